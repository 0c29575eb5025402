"""Kamailio as a registrar with digest authentication (its modules auth, usrloc and registrar).

What asks for less than `MIN_EXPIRES_S` is granted that. It prints `BOUND …` and `UNBOUND …` for what it has saved.
"""

from __future__ import annotations

from pathlib import Path

from peers.kamailio import KamailioProgram

from ports import free_port

MIN_EXPIRES_S = 60
PASSWORD = "open sesame"

_ROUTES = """\
request_route {{
    if (!is_method("REGISTER")) {{ sl_send_reply("405", "Method Not Allowed"); exit; }}
    if (!pv_www_authenticate("active.example", "{password}", "0")) {{ www_challenge("active.example", "1"); exit; }}
    if (!save("location")) {{ sl_reply_error(); exit; }}
    if (registered("location", "$tu")) {{
        xlog("L_NOTICE", "BOUND $tu to $ct for $hdr(Expires) $cs\\n");
    }} else {{
        xlog("L_NOTICE", "UNBOUND $tu $cs\\n");
    }}
}}
"""


class Registrar(KamailioProgram):
    """A registrar on loopback, UDP and TCP, whose every user has `PASSWORD`."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        settings = (f'modparam("registrar", "min_expires", {MIN_EXPIRES_S})', 'modparam("usrloc", "db_mode", 0)')
        super().__init__(
            folder,
            _ROUTES.format(password=PASSWORD),
            modules=("usrloc", "registrar", "auth", *settings),
            listens=(f"udp:127.0.0.1:{self.port}", f"tcp:127.0.0.1:{self.port}"),
        )
