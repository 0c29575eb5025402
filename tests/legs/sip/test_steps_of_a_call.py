"""How many steps (calls of functions) the set-up of a call takes in its most frequent parts. A count, not a time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType

from active_call.legs.abilities import has_telephone_events, replaced_by, signalling_of
from active_call.legs.sip.trace.text import summary_of
from active_call.sip.endpoint import Endpoint
from active_call.sip.events import Address, EndpointConfig, Flow, Listener
from active_call.sip.syntax.message import Request, parse_message
from active_call.sip.syntax.validation import validate_request
from active_call.testing.fakes.call import FakeLeg
from active_call.testing.virtual_time import CountingRandomness


def steps(work: Callable[[int], object]) -> int:
    """The number of calls that `work` makes when it runs again with other values."""
    counted = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    work(1)
    sys.setprofile(count)
    try:
        work(2)
    finally:
        sys.setprofile(None)
    return counted


def invite(number: int) -> bytes:
    return (
        f"INVITE sip:bench@127.0.0.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:40000;branch=z9hG4bK{number};rport\r\nMax-Forwards: 70\r\n"
        f"From: <sip:caller@127.0.0.1>;tag=t{number}\r\nTo: <sip:bench@127.0.0.1:5060>\r\nCall-ID: c{number}@127.0.0.1\r\n"
        "CSeq: 1 INVITE\r\nContact: <sip:caller@127.0.0.1:40000>\r\nContent-Type: application/sdp\r\nContent-Length: 5\r\n\r\nv=0\r\n"
    ).encode()


def test_request_is_parsed_checked_and_summarised_in_few_steps() -> None:
    def handle(number: int) -> None:
        message = parse_message(invite(number))
        assert isinstance(message, Request)
        validate_request(message)
        summary_of(invite(number))

    assert steps(handle) < 250


def test_abilities_of_a_leg_are_looked_up_once_for_its_class() -> None:
    leg = FakeLeg()
    assert steps(lambda _: (has_telephone_events(leg), replaced_by(leg), signalling_of(leg, whole=False))) < 30


def test_invite_is_refused_in_few_steps_while_no_calls_are_accepted() -> None:
    us, peer = Address("127.0.0.1", 5060), Address("127.0.0.1", 40000)
    endpoint = Endpoint(EndpointConfig(listeners=(Listener("udp", us, us),), user_agent="active-call"), CountingRandomness())
    endpoint.set_accepting(False, 5)

    def refuse(number: int) -> None:
        endpoint.receive_datagram(invite(100 + number), Flow("udp", us, peer), 1.0)
        (reply,) = endpoint.take_transmits()
        assert reply.data.startswith(b"SIP/2.0 503 ")

    assert steps(refuse) < 350


def test_ack_to_a_refusal_takes_few_steps() -> None:
    us, peer = Address("127.0.0.1", 5060), Address("127.0.0.1", 40000)
    endpoint = Endpoint(EndpointConfig(listeners=(Listener("udp", us, us),), user_agent="active-call"), CountingRandomness())
    endpoint.set_accepting(False, 5)

    def acknowledge(number: int) -> None:
        endpoint.receive_datagram(acks[number], Flow("udp", us, peer), 1.0)
        assert not endpoint.has_output

    acks = {}
    for number in (1, 2):
        endpoint.receive_datagram(invite(number), Flow("udp", us, peer), 1.0)
        (reply,) = endpoint.take_transmits()
        endpoint.take_events()
        to = reply.data.partition(b"\r\nTo: ")[2].partition(b"\r\n")[0]
        head = invite(number).partition(b"\r\n\r\n")[0].replace(b"INVITE", b"ACK").replace(b"To: <sip:bench@127.0.0.1:5060>", b"To: " + to)
        acks[number] = head.replace(b"Content-Length: 5", b"Content-Length: 0") + b"\r\n\r\n"
    assert steps(acknowledge) < 60
