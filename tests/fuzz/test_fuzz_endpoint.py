"""Whole endpoints under damaged messages, as datagrams and as a stream cut anywhere: no input raises, and what began ends."""

from __future__ import annotations

import itertools

from fuzzing import SEEDS, bounded, mutated, pieces
from hypothesis import given
from hypothesis import strategies as st

from active_call.base.errors import LocalProtocolError
from active_call.sip.endpoint import Endpoint
from active_call.sip.events import Address, EndpointConfig, Flow, IncomingCall, Listener, RequestReceived, Target, TransferRequested

US, PEER = Address("198.51.100.1", 5060), Address("192.0.2.9", 5060)
UDP, TCP = Flow("udp", US, PEER), Flow("tcp", US, Address("192.0.2.9", 40_001), 8)
ANSWER = b"v=0\r\no=us 1 1 IN IP4 198.51.100.1\r\ns=-\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\nm=audio 5000 RTP/AVP 0\r\n"
PONG = b"\r\n"
INVITES = [seed for seed in SEEDS if seed.startswith(b"INVITE ")]


class CountingRandomness:
    """Distinct, repeatable values; `uniform` gives the middle."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def token(self, n_bytes: int) -> str:
        return f"{next(self._numbers):0{2 * n_bytes}x}"

    def random_bytes(self, n_bytes: int) -> bytes:
        return bytes.fromhex(self.token(n_bytes))

    def uniform(self, low: float, high: float) -> float:
        return (low + high) / 2

    def uuid(self) -> str:
        return self.token(4)


class Fed:
    """An endpoint whose user takes every call, and answers everything that it is asked; or only looks on."""

    def __init__(self, *, answers: bool = True) -> None:
        self.answers = answers
        self.now = 100.0
        listeners = tuple(Listener(name, US, US) for name in ("udp", "tcp"))  # type: ignore[arg-type]
        self.endpoint = Endpoint(EndpointConfig(listeners=listeners, user_agent="u"), CountingRandomness())
        self.sent: list[bytes] = []
        self.calls: list[IncomingCall] = []

    def settle(self) -> None:
        for question in self.endpoint.take_look_ups():
            hops = (Target(question.transports[0], "192.0.2.77", 5060), Target(question.transports[-1], "192.0.2.78", None))
            self.endpoint.handle_look_up(question.id, hops if question.id % 2 else (), "no such name", self.now)
        self.sent += [transmit.data for transmit in self.endpoint.take_transmits()]
        for event in self.endpoint.take_events():
            try:
                if isinstance(event, IncomingCall):
                    self.calls.append(event)
                if not self.answers:
                    continue
                if isinstance(event, IncomingCall):
                    self.endpoint.answer(event.call, ANSWER, self.now)
                elif isinstance(event, RequestReceived | TransferRequested):
                    self.endpoint.respond(event.token, 202, "Accepted", self.now)
            except LocalProtocolError:
                continue
        for question in self.endpoint.take_look_ups():
            self.endpoint.handle_look_up(question.id, (), "no such name", self.now)
        self.sent += [transmit.data for transmit in self.endpoint.take_transmits()]

    def receive(self, data: bytes, flow: Flow) -> None:
        if flow.connection_id is None:
            self.endpoint.receive_datagram(data, flow, self.now)
        else:
            self.endpoint.receive_stream(data, flow, self.now)
        self.settle()

    def assert_over(self) -> None:
        """Everything is hung up, and time runs out."""
        for event in self.calls:
            self.endpoint.hang_up(event.call, self.now)
        self.settle()
        end = self.now + 600
        while (at := self.endpoint.next_timeout()) is not None and at <= end:
            self.now = max(self.now, at)
            self.endpoint.handle_timeout(self.now)
            self.settle()
        assert (self.endpoint.n_calls, self.endpoint.n_transactions, self.endpoint.n_dialogs) == (0, 0, 0)
        assert self.endpoint.next_timeout() is None


@bounded(60)
@given(st.lists(mutated(), min_size=1, max_size=4))
def test_datagrams_raise_nothing_and_what_they_begin_ends(messages: list[bytes]) -> None:
    fed = Fed()
    for data in messages:
        fed.receive(data, UDP)
    fed.assert_over()


@bounded(40)
@given(st.lists(mutated(), min_size=1, max_size=3), st.lists(st.integers(1, 400), min_size=1, max_size=8))
def test_stream_cut_anywhere_leads_to_the_same_messages_as_whole(messages: list[bytes], sizes: list[int]) -> None:
    stream = b"".join(messages)
    sent, ponged = [], []
    for cut in ([len(stream)], sizes, [1]):
        fed = Fed(answers=False)
        for piece in pieces(stream, cut):
            fed.receive(piece, TCP)
        sent.append([data for data in fed.sent if data and data != PONG])
        ponged.append(PONG in fed.sent)
        fed.endpoint.handle_connection_lost(TCP, "closed", fed.now)
        fed.assert_over()
    assert sent[0] == sent[1] == sent[2]
    assert ponged[0] == ponged[1] == ponged[2]  # one pong answers all pings of a read, after its messages


@bounded(40)
@given(st.sampled_from(INVITES), st.data())
def test_damaged_requests_inside_a_call_raise_nothing(invite: bytes, data: st.DataObject) -> None:
    fed = Fed()
    fed.receive(invite, UDP)
    answered = next((one for one in fed.sent if one.startswith(b"SIP/2.0 200")), None)
    for number in range(data.draw(st.integers(1, 4))):
        method = data.draw(
            st.sampled_from((b"ACK", b"BYE", b"INVITE", b"UPDATE", b"PRACK", b"REFER", b"NOTIFY", b"INFO", b"OPTIONS", b"CANCEL"))
        )
        inside = invite.replace(b"INVITE", method).replace(b"branch=", b"branch=z9hG4bK%d" % number)
        if answered is not None:
            to = next(line for line in answered.split(b"\r\n") if line.startswith(b"To:"))
            inside = b"\r\n".join(to if line[:3].lower() in (b"to:", b"t: ") else line for line in inside.split(b"\r\n"))
        fed.receive(data.draw(mutated([inside])), UDP)
    fed.assert_over()
