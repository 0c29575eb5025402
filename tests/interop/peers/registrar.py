"""Kamailio as a registrar with digest authentication (its modules auth, usrloc and registrar).

What asks for less than `MIN_EXPIRES_S` is granted that.
"""

from __future__ import annotations

from pathlib import Path

from peers.kamailio import listens
from peers.process import Program, free_port, require, wait_until

MIN_EXPIRES_S = 60
PASSWORD = "open sesame"

_CONFIG = """\
debug=2
log_stderror=yes
children=1
tcp_children=1
listen=udp:127.0.0.1:{port}
listen=tcp:127.0.0.1:{port}
mpath="/usr/lib/x86_64-linux-gnu/kamailio/modules/:/usr/lib/aarch64-linux-gnu/kamailio/modules/:/usr/lib/kamailio/modules/"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "pv.so"
loadmodule "xlog.so"
loadmodule "siputils.so"
loadmodule "textops.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "auth.so"
modparam("registrar", "min_expires", {min_expires_s})
modparam("usrloc", "db_mode", 0)

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


class Registrar:
    """A registrar on loopback, UDP and TCP, whose every user has `PASSWORD`."""

    def __init__(self, folder: Path) -> None:
        self._path = require("kamailio")
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        text = _CONFIG.format(port=self.port, min_expires_s=MIN_EXPIRES_S, password=PASSWORD)
        (folder / "kamailio.cfg").write_text(text)
        self._program: Program | None = None

    @property
    def log(self) -> str:
        """What it printed: `BOUND …` and `UNBOUND …` for what it has saved."""
        return self._program.log if self._program else ""

    def __enter__(self) -> Registrar:
        arguments = [self._path, "-f", str(self._folder / "kamailio.cfg"), "-DD", "-E", "-m", "32", "-M", "4"]
        folders = ["-P", str(self._folder / "pid"), "-Y", str(self._folder), "-w", str(self._folder)]
        program = self._program = Program([*arguments, *folders], self._folder)
        if not wait_until(lambda: listens(self.port) or program.exit_code is not None, 10) or program.exit_code is not None:
            program.stop()
            raise RuntimeError(f"kamailio did not start:\n{program.log[-2000:]}")
        return self

    def __exit__(self, *_: object) -> None:
        if self._program is not None:
            self._program.stop()
