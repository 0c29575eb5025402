"""The interfaces between a simulated trunk, its calls and their parts. Types only."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from active_call.testing.phone.sip import Message
from active_call.testing.phone.wire import Hub, Peer
from active_call.testing.trunk.judging import Judge
from active_call.testing.trunk.switches import Switches
from active_call.testing.trunk.transactions import Exchange, Timers


class CarrierPort(Protocol):
    """How the carrier presents itself."""

    switches: Switches
    ip: str

    @property
    def edge(self) -> str: ...


class AdmissionPort(Protocol):
    """Judges credentials."""

    def proves_itself(self, request: Message, peer: Peer) -> bool: ...


class CallPort(Protocol):
    """One call, as its session timer, its transfer and the trunk's responses see it."""

    @property
    def trunk(self) -> TrunkPort: ...
    @property
    def switches(self) -> Switches: ...
    @property
    def judge(self) -> Judge: ...
    @property
    def ended(self) -> str: ...
    @property
    def local(self) -> str: ...
    @property
    def contact(self) -> str: ...

    def respond(
        self, request: Message, peer: Peer, code: int, reason: str, *, headers: Sequence[tuple[str, str]] = (), body: bytes = b""
    ) -> bytes: ...
    def refuse_request(self, request: Message, peer: Peer, code: int, reason: str) -> None: ...
    def request(
        self,
        method: str,
        *,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        content_type: str = "",
        on_response: Callable[[Exchange, Message], None] | None = None,
    ) -> Exchange: ...
    def update(self) -> Exchange: ...
    def reinvite(self, *, offerless: bool = False) -> Exchange: ...
    def give_up(self, why: str) -> None: ...


class TrunkPort(CarrierPort, Protocol):
    """The trunk as its calls and its admission see it."""

    judge: Judge
    lock: threading.RLock
    timers: Timers
    hub: Hub

    @property
    def admission(self) -> AdmissionPort: ...

    def wait(self, condition: Callable[[], bool], timeout_s: float) -> bool: ...
    def reach(self, uri: str) -> Peer: ...
    def transmit(self, message: Message, peer: Peer) -> bytes: ...
    def transmit_request(
        self, message: Message, peer: Peer, on_response: Callable[[Exchange, Message], None] | None = None
    ) -> Exchange: ...
    def respond(
        self,
        request: Message,
        peer: Peer,
        code: int,
        reason: str,
        *,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        leg: CallPort | None = None,
        to_tag: str = "",
    ) -> bytes: ...
    def expect_ack(self, invite: Message) -> None: ...
