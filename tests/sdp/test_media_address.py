"""Where media may go, by what is named and by where the peer signals from; names of hosts; RFC 3605."""

from __future__ import annotations

from pathlib import Path

import pytest

from active_call.sdp.media_address import address_refusal, is_behind_nat, is_host_name
from active_call.sdp.negotiation import Agreement, LocalMedia, NegotiationError, accept_answer, build_offer, negotiate_answer

CASE = Path(__file__).parents[1] / "cases" / "02-sdp-connection-address-is-a-name"
SILENT = Path(__file__).parents[1] / "cases" / "05-silent-peer-that-sends-rtcp-is-hung-up"
PUBLIC, PRIVATE, LOOPBACK = "198.51.100.4", "10.1.2.3", "127.0.0.1"


def description(address: str, *lines: str, port: int = 4000) -> bytes:
    family = "IP6" if ":" in address else "IP4"
    text = ["v=0", "o=- 1 1 IN IP4 192.0.2.1", "s=-", f"c=IN {family} {address}", "t=0 0", f"m=audio {port} RTP/AVP 0", *lines, ""]
    return "\r\n".join(text).encode()


def agreed(offer: bytes, peer: str = PUBLIC) -> Agreement:
    local = LocalMedia("192.0.2.9", 12_000, peer=peer)
    return negotiate_answer(offer, local, key_for=lambda _: b"", session_id=1, version=1)[1]


@pytest.mark.parametrize(
    ("address", "peer", "is_refused"),
    [
        ("127.0.0.1", PUBLIC, True),
        ("127.8.9.10", PRIVATE, True),
        ("::1", "2001:db8::4", True),
        ("::ffff:127.0.0.1", PUBLIC, True),
        ("::127.0.0.1", "2001:db8::4", True),
        ("64:ff9b::7f00:1", "2001:db8::4", True),
        ("2002:7f00:1::", "2001:db8::4", True),
        ("::ffff:0.0.0.0", "2001:db8::4", False),
        ("127.0.0.1", LOOPBACK, False),
        ("::1", LOOPBACK, False),
        ("169.254.169.254", PUBLIC, True),
        ("169.254.169.254", LOOPBACK, True),
        ("169.254.1.1", "169.254.9.9", False),
        ("fe80::1", "2001:db8::4", True),
        ("224.0.0.1", LOOPBACK, True),
        ("ff02::1", PUBLIC, True),
        ("255.255.255.255", LOOPBACK, True),
        ("240.0.0.1", PUBLIC, True),
        ("0.0.0.1", PUBLIC, True),
        ("0.0.0.0", PUBLIC, False),
        ("::", PUBLIC, False),
        ("10.0.0.1", PUBLIC, False),
        ("10.0.0.1", PRIVATE, False),
        ("203.0.113.7", LOOPBACK, False),
    ],
)
def test_address_refusal_by_address_and_peer(address: str, peer: str, is_refused: bool) -> None:
    assert bool(address_refusal(address, peer)) is is_refused


def test_refused_address_is_a_488_with_the_reason() -> None:
    with pytest.raises(NegotiationError, match="loopback") as refused:
        agreed(description("127.0.0.1"))
    assert refused.value.code == "negotiation_error"
    offer = build_offer(LocalMedia("192.0.2.9", 12_000), session_id=1, version=1)
    with pytest.raises(NegotiationError, match="one host"):
        accept_answer(offer, description("239.1.2.3"), peer=PUBLIC)


def test_private_address_of_a_public_peer_is_behind_a_nat() -> None:
    assert is_behind_nat("192.168.1.4", PUBLIC)
    assert not is_behind_nat("192.168.1.4", PRIVATE)
    assert not is_behind_nat("198.51.100.9", PUBLIC)


@pytest.mark.parametrize(
    ("text", "is_name"), [("sbc.example.com", True), ("localhost", True), ("a" * 64 + ".com", False), ("a b", False), ("", False)]
)
def test_is_host_name(text: str, is_name: bool) -> None:
    assert is_host_name(text) is is_name


def test_offer_and_answer_with_the_name_of_a_host_agree_on_the_name() -> None:
    agreement = agreed((CASE / "offer.sdp").read_bytes())
    assert (agreement.remote_ip, agreement.remote_host, agreement.remote_port) == ("", "localhost", 40_000)
    assert agreement.send
    assert not agreement.on_hold
    offer = build_offer(LocalMedia("192.0.2.9", 12_000), session_id=1, version=1)
    agreement = accept_answer(offer, (CASE / "answer.sdp").read_bytes(), peer=PUBLIC)
    assert (agreement.remote_ip, agreement.remote_host) == ("", "localhost")


def test_name_of_a_host_stands_behind_ip6_too() -> None:
    assert agreed(description("host.example").replace(b"IP4 host", b"IP6 host")).remote_host == "host.example"


@pytest.mark.parametrize(
    ("lines", "port", "expected"),
    [
        (("a=rtcp:4801",), 4800, ("198.51.100.7", 4801)),
        (("a=rtcp:5000",), 4801, ("198.51.100.7", 5000)),
        (("a=rtcp:53020 IN IP4 198.51.100.8",), 4800, ("198.51.100.8", 53_020)),
        (("a=rtcp:53020 IN IP4 127.0.0.1",), 4800, ("198.51.100.7", 53_020)),
        (("a=rtcp:53020 IN IP4 host.example",), 4800, ("198.51.100.7", 53_020)),
        ((), 4801, ("198.51.100.7", 4802)),
    ],
)
def test_rtcp_goes_where_a_rtcp_says_rfc3605_2_1(lines: tuple[str, ...], port: int, expected: tuple[str, int]) -> None:
    assert agreed(description("198.51.100.7", *lines, port=port)).remote_rtcp == expected


def test_silence_suppression_is_agreed_where_the_peer_says_so_rfc3108() -> None:
    assert agreed((SILENT / "offer.sdp").read_bytes(), LOOPBACK).may_be_silent
    assert not agreed(description("198.51.100.7", "a=silenceSupp:off - - - -")).may_be_silent


@pytest.mark.parametrize("address", ["::ffff:0.0.0.0", "::ffff:0:0", "::"])
def test_unspecified_address_is_hold_however_it_is_written(address: str) -> None:
    local = LocalMedia("2001:db8::9", 12_000, peer="2001:db8::4")
    agreement = negotiate_answer(description(address), local, key_for=lambda _: b"", session_id=1, version=1)[1]
    assert (agreement.send, agreement.on_hold) == (False, True)
