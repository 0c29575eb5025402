"""Decide before parsing whether a message is read at all, by its source and its size.

A flow and a raw message go in; the decision whether to parse comes out. A message from a silenced address is not parsed, unless one of our
calls or requests with that address is open: an attacker with a forged source address can provoke refusals. Parsing cost grows with lines
and bytes, so both are limited for unknown sources. A real INVITE has about 40 lines and 4 KB.
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
"""`known`: a trunk or registrar. `peer`: one of our calls or requests with it is open. `silenced`: its messages are not parsed."""


class Reader:
    """See the module. `registrars` returns the addresses of the registrars where we are registered."""

    def __init__(self, admission: RequestAdmission, port: PeersPort, registrars: Callable[[float], list[str]]) -> None:
        self._admission = admission
        self._port = port
        self._registrars = registrars
        self._peers: frozenset[str] = frozenset()
        self._peers_of = (-1, -1)
        self._peers_until = 0.0

    def standing(self, flow: Flow, now: float) -> Standing:
        """The standing of the flow's source."""
        return self.standing_of(flow.remote.host, now)

    def standing_of(self, host: str, now: float) -> Standing:
        """The standing of that address."""
        admission = self._admission
        if admission.is_known(host, self._registrars(now)):
            return "known"
        if not admission.is_silenced(host, now):
            return "unknown"
        return "peer" if host in self._current_peers(now) else "silenced"

    def is_too_large(self, data: bytes, *, is_known: bool) -> str:
        """Why a whole message is too large to be parsed; empty if it is not."""
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
        """Addresses with an open call or request of ours, at most one second old."""
        state = self._port.peers_version()
        if now >= self._peers_until or state != self._peers_of:
            self._peers_of, self._peers_until = state, now + PEERS_KEPT_S
            self._peers = self._port.peer_hosts()
        return self._peers
