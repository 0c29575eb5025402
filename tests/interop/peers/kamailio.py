"""Kamailio in three parts: a record-routing proxy, a registrar (`peers.registrar`), and a carrier's edge with TLS outside and UDP inside.

Kamailio 5.6 (Debian `kamailio`, `kamailio-tls-modules`). It prints `PASSED <method>` for what went through and `WITHOUT ROUTE <method>` for
what it refused: every request of a dialog must come through it, or it does not arrive.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from peers.process import Program, require, wait_until

from active_call.testing import certificate
from ports import free_port

_HEAD = """\
debug=2
log_stderror=yes
children=1
tcp_children=1
{listens}
mpath="/usr/lib/x86_64-linux-gnu/kamailio/modules/:/usr/lib/aarch64-linux-gnu/kamailio/modules/:/usr/lib/kamailio/modules/"
{modules}

{routes}
"""
_BASE_MODULES = ("tm", "sl", "pv", "xlog", "siputils", "textops")

_PROXY = """\
request_route {{
    if (!mf_process_maxfwd_header("70")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
    if (is_method("CANCEL")) {{ if (t_check_trans()) {{ t_relay(); }} exit; }}
    if (has_totag()) {{ route(WITHIN); exit; }}
    t_check_trans();
    {admit}
    record_route();
    {onward}
    xlog("L_NOTICE", "PASSED $rm\\n");
    t_relay();
}}

route[WITHIN] {{
    {admit_within}
    if (loose_route()) {{
        xlog("L_NOTICE", "PASSED $rm\\n");
        t_relay();
    }} else if (is_method("ACK")) {{
        if (t_check_trans()) {{ t_relay(); }}
    }} else {{
        xlog("L_NOTICE", "WITHOUT ROUTE $rm\\n");
        sl_send_reply("404", "Not here");
    }}
}}
"""
_CHALLENGE = """\
if ({condition}) {{
        if (!pv_proxy_authenticate("{realm}", "{password}", "0")) {{
            xlog("L_NOTICE", "CHALLENGED $rm\\n");
            proxy_challenge("{realm}", "1");
            exit;
        }}
        consume_credentials();
    }}
"""
_TLS = """\
[server:default]
method = TLSv1.2+
verify_certificate = no
require_certificate = no
private_key = {own}
certificate = {own}

[client:default]
method = TLSv1.2+
verify_certificate = yes
require_certificate = yes
ca_list = {customer}
"""


class KamailioProgram:
    """One Kamailio on loopback with the given routes. Use as a context manager, or `start` and `stop`."""

    def __init__(self, folder: Path, routes: str, *, modules: Sequence[str], listens: Sequence[str]) -> None:
        self._path = require("kamailio")
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        names = (*_BASE_MODULES, *(name for name in modules if not name.startswith("modparam")))
        lines = [f'loadmodule "{name}.so"' for name in names] + [line for line in modules if line.startswith("modparam")]
        text = _HEAD.format(listens="\n".join(f"listen={one}" for one in listens), modules="\n".join(lines), routes=routes)
        (folder / "kamailio.cfg").write_text(text)
        self._tcp_ports = [int(one.rpartition(":")[2]) for one in listens if not one.startswith("udp")]
        self._program: Program | None = None

    def start(self) -> None:
        """Start it in the foreground; returns when it listens."""
        arguments = [self._path, "-f", str(self._folder / "kamailio.cfg"), "-DD", "-E", "-m", "64", "-M", "8"]
        folders = ["-P", str(self._folder / "pid"), "-Y", str(self._folder), "-w", str(self._folder)]
        program = self._program = Program([*arguments, *folders], self._folder)

        def is_ready() -> bool:
            return program.exit_code is not None or all(listens(port) for port in self._tcp_ports)

        if not wait_until(is_ready, 10) or program.exit_code is not None:
            program.stop()
            raise RuntimeError(f"kamailio did not start:\n{program.log[-2000:]}")

    @property
    def log(self) -> str:
        """What it printed."""
        return self._program.log if self._program else ""

    @property
    def passed(self) -> list[str]:
        """The methods that went through, in order."""
        return [line.split("PASSED ")[1].strip() for line in self.log.splitlines() if "PASSED " in line]

    @property
    def challenged(self) -> list[str]:
        """The methods that were challenged, in order."""
        return [line.split("CHALLENGED ")[1].strip() for line in self.log.splitlines() if "CHALLENGED " in line]

    def stop(self) -> None:
        """End it and its workers."""
        if self._program is not None:
            self._program.stop()

    def __enter__(self) -> KamailioProgram:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Kamailio(KamailioProgram):
    """A proxy on UDP and TCP that sends every new request to `target` (`ip:port`) over `transport`."""

    def __init__(self, folder: Path, *, target: str, transport: str = "udp") -> None:
        self.port = free_port()
        onward = f'$du = "sip:{target};transport={transport}";'
        listens = (f"udp:127.0.0.1:{self.port}", f"tcp:127.0.0.1:{self.port}")
        routes = _PROXY.format(admit="", onward=onward, admit_within="")
        super().__init__(folder, routes, modules=("rr", "maxfwd"), listens=listens)


class Edge(KamailioProgram):
    """A carrier's edge: customers outside over TLS, subscribers inside over UDP, so that it record-routes twice (`r2=on`).

    New requests from inside go to the customer at `127.0.0.1:customer_port`, whose certificate it verifies; those from outside are
    challenged by 407, then go to `subscriber` (`ip:port`). With `challenges_within` a re-INVITE or BYE of the customer is challenged too.
    """

    REALM, USER, PASSWORD = "edge.example", "active-call", "strongpassword"

    def __init__(
        self,
        folder: Path,
        *,
        customer_port: int,
        customer_certificate: Path,
        subscriber: str = "127.0.0.1:9",
        challenges_within: bool = False,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.tls_port, self.udp_port = free_port(), free_port()
        self.certificate = edge_certificate(folder)
        (folder / "tls.cfg").write_text(_TLS.format(own=self.certificate, customer=customer_certificate))
        challenge = {"realm": self.REALM, "password": self.PASSWORD}
        within = _CHALLENGE.format(condition='proto == TLS && is_method("INVITE|BYE")', **challenge) if challenges_within else ""
        onward = f'if (proto == TLS) {{ $du = "sip:{subscriber}"; }} else {{ $du = "sip:127.0.0.1:{customer_port};transport=tls"; }}'
        routes = _PROXY.format(admit=_CHALLENGE.format(condition="proto == TLS", **challenge), onward=onward, admit_within=within)
        super().__init__(
            folder,
            routes,
            modules=("rr", "maxfwd", "auth", "tls", f'modparam("tls", "config", "{folder / "tls.cfg"}")'),
            listens=(f"tls:127.0.0.1:{self.tls_port}", f"udp:127.0.0.1:{self.udp_port}"),
        )
        text = (folder / "kamailio.cfg").read_text()
        (folder / "kamailio.cfg").write_text("enable_tls=yes\n" + text)


def edge_certificate(folder: Path) -> Path:
    """The edge's certificate and key in one file, made on first use."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "certificate.pem"
    return path if path.exists() else certificate.write_self_signed(folder)


def listens(port: int) -> bool:
    """Whether some process accepts on the TCP port; asked of the kernel, so that nothing is sent."""
    wanted = f"0100007F:{port:04X} 00000000:0000 0A"
    return wanted in Path("/proc/net/tcp").read_text()
