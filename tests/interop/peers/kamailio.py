"""Kamailio as a record-routing proxy between two peers: every request of the dialog must come through it, or it does not arrive.

Kamailio 5.6 (Debian `kamailio`), UDP and TCP. Two Record-Route values where the transports of the two sides differ.
"""

from __future__ import annotations

from pathlib import Path

from peers.process import Program, free_port, require, wait_until

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
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "xlog.so"
loadmodule "siputils.so"
loadmodule "maxfwd.so"
loadmodule "textops.so"

request_route {{
    if (!mf_process_maxfwd_header("70")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
    if (is_method("CANCEL")) {{ if (t_check_trans()) {{ t_relay(); }} exit; }}
    if (has_totag()) {{
        if (loose_route()) {{
            xlog("L_NOTICE", "PASSED $rm\\n");
            t_relay();
        }} else if (is_method("ACK")) {{
            if (t_check_trans()) {{ t_relay(); }}
        }} else {{
            xlog("L_NOTICE", "WITHOUT ROUTE $rm\\n");
            sl_send_reply("404", "Not here");
        }}
        exit;
    }}
    t_check_trans();
    record_route();
    $du = "sip:{target};transport={transport}";
    xlog("L_NOTICE", "PASSED $rm\\n");
    t_relay();
}}
"""


class Kamailio:
    """A proxy that sends every new request to `target` (`ip:port`) over `transport`."""

    def __init__(self, folder: Path, *, target: str, transport: str = "udp") -> None:
        self._path = require("kamailio")
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        (folder / "kamailio.cfg").write_text(_CONFIG.format(port=self.port, target=target, transport=transport))
        self._program: Program | None = None

    def start(self) -> None:
        """Start it in the foreground; returns when it listens."""
        arguments = [self._path, "-f", str(self._folder / "kamailio.cfg"), "-DD", "-E", "-m", "32", "-M", "4"]
        program = self._program = Program(
            [*arguments, "-P", str(self._folder / "pid"), "-Y", str(self._folder), "-w", str(self._folder)], self._folder
        )
        if not wait_until(lambda: listens(self.port) or program.exit_code is not None, 10) or program.exit_code is not None:
            program.stop()
            raise RuntimeError(f"kamailio did not start:\n{program.log[-2000:]}")

    @property
    def log(self) -> str:
        """What it printed: `PASSED <method>` for what went through, `WITHOUT ROUTE <method>` for what it refused."""
        return self._program.log if self._program else ""

    def stop(self) -> None:
        """End it and its workers."""
        if self._program is not None:
            self._program.stop()

    def __enter__(self) -> Kamailio:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def listens(port: int) -> bool:
    """Whether some process accepts on the TCP port; asked of the kernel, so that nothing is sent."""
    wanted = f"0100007F:{port:04X} 00000000:0000 0A"
    return wanted in Path("/proc/net/tcp").read_text()
