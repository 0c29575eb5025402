"""What is read at all: judged by the source and a look at the size, before a byte is parsed.

A flow and a raw message enter; whether to parse it leaves. An address that is silenced is not read, unless one of our own calls or
requests is under way with it: a forged source address can provoke refusals. Parsing costs time by lines and bytes, so both are limited for
unknown sources; a real INVITE has some 40 lines and 4 KB.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from active_call.sip.access.request_admission import RequestAdmission
from active_call.sip.events import Flow
from active_call.sip.ports import PeersPort

MAX_UNKNOWN_LINES = 200
MAX_UNKNOWN_HEADER_BYTES = 16_384
MAX_UNKNOWN_BODY_BYTES = 32_768
MAX_LINES = 1000
PEERS_KEPT_S = 1.0

Standing = Literal["known", "peer", "unknown", "silenced"]
"""`known`: of a trunk or registrar; `peer`: a call or request of ours is under way there; `silenced`: not to be read."""


class Reader:
    """See the module. `registrars` gives the addresses that we are registered at."""

    def __init__(self, admission: RequestAdmission, port: PeersPort, registrars: Callable[[float], list[str]]) -> None:
        self._admission = admission
        self._port = port
        self._registrars = registrars
        self._peers: frozenset[str] = frozenset()
        self._peers_of = (-1, -1)
        self._peers_until = 0.0

    def standing(self, flow: Flow, now: float) -> Standing:
        """How the source of that flow stands."""
        return self.standing_of(flow.remote.host, now)

    def standing_of(self, host: str, now: float) -> Standing:
        """How that address stands."""
        admission = self._admission
        if admission.is_known(host, self._registrars(now)):
            return "known"
        if not admission.is_silenced(host, now):
            return "unknown"
        return "peer" if host in self._current_peers(now) else "silenced"

    def is_too_large(self, data: bytes, *, is_known: bool) -> str:
        """Why a whole message is not parsed; empty where it is."""
        end = data.find(b"\r\n\r\n")
        n_header = len(data) if end < 0 else end
        n_lines = data.count(b"\n", 0, n_header)
        if n_lines > (MAX_LINES if is_known else MAX_UNKNOWN_LINES):
            return f"{n_lines} header lines"
        if not is_known and n_header > MAX_UNKNOWN_HEADER_BYTES:
            return f"{n_header} bytes of headers"
        if not is_known and len(data) - n_header > MAX_UNKNOWN_BODY_BYTES:
            return f"a body of {len(data) - n_header} bytes"
        return ""

    def _current_peers(self, now: float) -> frozenset[str]:
        """Addresses with which a call or a request of ours is under way, as of at most a second ago."""
        state = self._port.peers_version()
        if now >= self._peers_until or state != self._peers_of:
            self._peers_of, self._peers_until = state, now + PEERS_KEPT_S
            self._peers = self._port.peer_hosts()
        return self._peers
