"""The SIP core on a bench: virtual time, countable randomness, and a peer that writes and reads raw text by itself."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from active_call.sip.endpoint import Endpoint
from active_call.sip.events import Address, EndpointConfig, Flow, InternalFault, Listener, SipEvent, Target

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode adds no folder: `history` and `raw_sip` are found here

from raw_sip import Message, read, request_text, response_text, text

US = Address("198.51.100.1", 5060)
PEER = Address("192.0.2.9", 5060)
UDP = Flow("udp", US, PEER)
TLS = Flow("tls", Address("198.51.100.1", 5061), Address("54.172.60.0", 58540), 7)
TCP = Flow("tcp", US, Address("192.0.2.9", 40001), 8)
OFFER = b"v=0\r\no=root 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
ANSWER = b"v=0\r\no=us 1 1 IN IP4 198.51.100.1\r\ns=-\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\nm=audio 5000 RTP/AVP 0\r\n"


def listeners(*transports: str) -> tuple[Listener, ...]:
    ports = {"udp": 5060, "tcp": 5060, "tls": 5061}
    return tuple(Listener(t, Address("0.0.0.0", ports[t]), Address("198.51.100.1", ports[t])) for t in transports)


class CountingRandomness:
    """Distinct, repeatable values; `uniform` gives the middle."""

    def __init__(self) -> None:
        self.n = 0

    def token(self, n_bytes: int) -> str:
        self.n += 1
        return f"{self.n:0{2 * n_bytes}x}"

    def random_bytes(self, n_bytes: int) -> bytes:
        return bytes.fromhex(self.token(n_bytes))

    def uniform(self, low: float, high: float) -> float:
        return (low + high) / 2

    def uuid(self) -> str:
        return f"uuid-{self.token(4)}"


@dataclass
class Bench:
    """An endpoint with its clock and all that it has said so far."""

    config: EndpointConfig = field(
        default_factory=lambda: EndpointConfig(listeners=listeners("udp", "tcp", "tls"), user_agent="active-call")
    )
    flow: Flow = UDP
    resolves: bool = True
    may_fault: bool = False
    """An error of ours is part of the test."""

    def __post_init__(self) -> None:
        self.now = 1000.0
        self.randomness = CountingRandomness()
        self.endpoint = Endpoint(self.config, self.randomness)
        self.sent: list[Message] = []
        self.events: list[SipEvent] = []

    def drain(self) -> None:
        for question in self.endpoint.take_look_ups() if self.resolves else ():
            # A resolver that finds one place, whatever it is asked: the name itself.
            self.endpoint.handle_look_up(question.id, (Target(question.transports[0], question.host, question.port),), "", self.now)
        for transmit in self.endpoint.take_transmits():
            message = read(transmit.data, transmit)
            message.at = self.now
            self.sent.append(message)
        events = self.endpoint.take_events()
        self.events += events
        for event in events:
            if isinstance(event, InternalFault) and not self.may_fault:
                raise event.error

    def feed(self, data: bytes, flow: Flow | None = None) -> list[Message]:
        """Give the endpoint raw bytes; what it sends because of them."""
        flow = flow or self.flow
        n_before = len(self.sent)
        if flow.connection_id is None:
            self.endpoint.receive_datagram(data, flow, self.now)
        else:
            self.endpoint.receive_stream(data, flow, self.now)
        self.drain()
        return self.sent[n_before:]

    def do(self, operation: Callable[..., object], *arguments: object, **options: object) -> list[Message]:
        """Call an operation with the time filled in; what the endpoint sends because of it."""
        n_before = len(self.sent)
        operation(*arguments, self.now, **options)
        self.drain()
        return self.sent[n_before:]

    def advance(self, seconds: float) -> list[Message]:
        """Let time pass, alarm by alarm; what the endpoint sends meanwhile."""
        n_before = len(self.sent)
        end = self.now + seconds
        while (at := self.endpoint.next_timeout()) is not None and at <= end:
            self.now = max(self.now, at)
            self.endpoint.handle_timeout(self.now)
            self.drain()
        self.now = end
        self.drain()
        return self.sent[n_before:]

    def of(self, kind: type) -> list:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def counts(self) -> tuple[int, int, int]:
        return self.endpoint.n_calls, self.endpoint.n_transactions, self.endpoint.n_dialogs


class Wire:
    """What tests need by name; importlib mode gives test files no module to import it from."""

    Bench = Bench
    UDP, TLS, TCP, OFFER, ANSWER, US, PEER = UDP, TLS, TCP, OFFER, ANSWER, US, PEER
    listeners = staticmethod(listeners)
    read = staticmethod(read)
    text = staticmethod(text)
    request = staticmethod(request_text)
    response = staticmethod(response_text)
    Randomness = CountingRandomness


@pytest.fixture(scope="session")
def wire() -> type[Wire]:
    return Wire


@pytest.fixture
def bench() -> Bench:
    return Bench()
