"""Every IPv6 torture message of RFC 5118 and what it must lead to: in the message layer, in the endpoint, in the description."""

from __future__ import annotations

from pathlib import Path

import pytest

from active_call.base.errors import ParseError
from active_call.sdp.description import parse_description
from active_call.sdp.negotiation import LocalMedia, NegotiationError, negotiate_answer
from active_call.sip.syntax.bad_request import BadRequest
from active_call.sip.syntax.headers import parse_name_addr, parse_via, with_via_received
from active_call.sip.syntax.message import Request, parse_message
from active_call.sip.syntax.uri import parse_uri
from active_call.sip.syntax.validation import validate_request

VECTORS = Path(__file__).parents[2] / "vectors" / "rfc5118"

# name: (section, code of the refusal or None). §4.10: "an implementation must tolerate both of the above constructs".
VERDICTS: dict[str, tuple[str, int | None]] = {
    "ipv6-good": ("4.1", None),
    "ipv6-bad": ("4.2", 400),
    "port-ambiguous": ("4.3", None),
    "port-unambiguous": ("4.4", None),
    "via-received-param-with-delim": ("4.5", None),
    "via-received-param-no-delim": ("4.5", None),
    "ipv6-in-sdp": ("4.6", None),
    "mult-ip-in-header": ("4.7", None),
    "mult-ip-in-sdp": ("4.8", None),
    "ipv4-mapped-ipv6": ("4.9", None),
    "ipv6-bug-abnf-3-colons": ("4.10", None),
    "ipv6-correct-abnf-2-colons": ("4.10", None),
}
PRINTED_LENGTHS = {"ipv6-in-sdp": (251, 268), "mult-ip-in-sdp": (189, 181), "ipv4-mapped-ipv6": (245, 236)}
IN_ENDPOINT = {"REGISTER": 405, "BYE": 481, "OPTIONS": 200, "INVITE": 100}


def load(name: str) -> bytes:
    return (VECTORS / f"{name}.dat").read_bytes()


def request(name: str) -> Request:
    message = parse_message(load(name))
    assert isinstance(message, Request)
    validate_request(message)
    return message


def test_rfc5118_every_vector_has_a_verdict() -> None:
    assert {path.stem for path in VECTORS.glob("*.dat")} == set(VERDICTS)
    assert len(VERDICTS) == 12


@pytest.mark.parametrize("name", VERDICTS)
def test_rfc5118_vector_leads_to_its_verdict(name: str) -> None:
    code = VERDICTS[name][1]
    if code is None:
        assert request(name).to_bytes() == load(name)
        return
    with pytest.raises(BadRequest) as refusal:
        request(name)
    assert refusal.value.code == code


@pytest.mark.parametrize("name", VERDICTS)
def test_rfc5118_vector_is_answered_by_the_endpoint_with_its_via_as_it_came(wire, name: str) -> None:  # type: ignore[no-untyped-def]
    peer = wire.UDP.__class__("udp", wire.US, wire.PEER.__class__("2001:db8::9:1", 5060))
    bench = wire.Bench(flow=peer)
    (first, *_) = bench.feed(load(name))
    method = load(name).split(b" ", 1)[0].decode()
    assert first.code == (VERDICTS[name][1] or IN_ENDPOINT[method])
    came = [line[5:] for line in load(name).decode().split("\r\n") if line.startswith("Via: ")]
    sent = first.all("Via")
    assert sent[1:] == came[1:]
    assert sent[0].startswith(came[0].partition(";")[0])
    assert sent[0].endswith(";received=2001:db8::9:1")
    assert sent[0].count("received=") == 1


def test_ipv6_good_4_1_brackets_are_not_part_of_the_address() -> None:
    message = request("ipv6-good")
    assert (message.parsed_uri.host, message.parsed_uri.port) == ("2001:db8::10", None)
    assert (message.top_via.host, message.top_via.port) == ("2001:db8::9:1", None)
    assert parse_name_addr(message.headers.get("Contact") or "").uri.host_port == "[2001:db8::1]"


def test_port_ambiguous_4_3_is_part_of_the_address() -> None:
    uri = request("port-ambiguous").parsed_uri
    assert (uri.host, uri.port) == ("2001:db8::10:5070", None)


def test_port_unambiguous_4_4_is_a_port() -> None:
    uri = request("port-unambiguous").parsed_uri
    assert (uri.host, uri.port) == ("2001:db8::10", 5070)


@pytest.mark.parametrize("name", ["via-received-param-with-delim", "via-received-param-no-delim"])
def test_via_received_4_5_with_and_without_brackets_is_the_same_address(name: str) -> None:
    assert request(name).top_via.received == "2001:db8::9:255"
    edited = parse_via(with_via_received(request(name).top_via.text, "2001:db8::1", None))
    assert edited.received == "2001:db8::1"


def test_ipv6_in_sdp_4_6_addresses_have_no_brackets_there() -> None:
    description = parse_description(request("ipv6-in-sdp").body)
    assert [description.address_of(media) for media in description.media] == ["2001:db8::20"] * 2
    assert [media.port for media in description.media] == [6000, 6024]


def test_mult_ip_in_header_4_7_reads_both_families() -> None:
    vias = [parse_via(text) for text in request("mult-ip-in-header").headers.split("Via")]
    assert [(via.host, via.port, via.received) for via in vias] == [
        ("2001:db8::9:1", 6050, None),
        ("192.0.2.1", None, None),
        ("2001:db8::9:255", None, "192.0.2.200"),
    ]


def test_mult_ip_in_sdp_4_8_each_section_has_its_own_family() -> None:
    body = request("mult-ip-in-sdp").body
    description = parse_description(body)
    assert [description.address_of(media) for media in description.media] == ["192.0.2.1", "2001:db8::1"]
    answer, agreement = negotiate_answer(body, LocalMedia("203.0.113.5", 20_000), key_for=lambda _: bytes(30), session_id=1, version=1)
    assert (agreement.remote_ip, agreement.remote_port) == ("192.0.2.1", 22334)
    assert b"m=video 0 RTP/AVP 107" in answer


def test_mult_ip_in_sdp_4_8_sound_of_another_family_than_ours_is_488() -> None:
    with pytest.raises(NegotiationError) as refusal:
        negotiate_answer(
            request("mult-ip-in-sdp").body, LocalMedia("2001:db8::5", 20_000), key_for=lambda _: bytes(30), session_id=1, version=1
        )
    assert refusal.value.code == "negotiation_error"


def test_ipv4_mapped_ipv6_4_9_is_read_in_every_place() -> None:
    message = request("ipv4-mapped-ipv6")
    assert [parse_via(text).host for text in message.headers.split("Via")] == ["::ffff:192.0.2.10", "::ffff:192.0.2.2"]
    assert parse_name_addr(message.headers.get("Contact") or "").uri.host == "::ffff:192.0.2.2"
    description = parse_description(message.body)
    assert description.address_of(description.media[0]) == "::ffff:192.0.2.2"


def test_abnf_bug_4_10_three_colons_name_the_same_address_as_two() -> None:
    bug, correct = request("ipv6-bug-abnf-3-colons"), request("ipv6-correct-abnf-2-colons")
    assert bug.parsed_uri.host == correct.parsed_uri.host == "2001:db8::192.0.2.1"
    assert bug.uri == "sip:user@[2001:db8:::192.0.2.1]"


@pytest.mark.parametrize(
    "host", ["2001:db8:::1", "2001:db8::::192.0.2.1", "2001::db8:::192.0.2.1", "1:::2:::192.0.2.1", ":::", "2001:db8:::192.0.2"]
)
def test_abnf_bug_4_10_other_triple_colons_are_refused(host: str) -> None:
    with pytest.raises(ParseError):
        parse_uri(f"sip:user@[{host}]")


@pytest.mark.parametrize("name", PRINTED_LENGTHS)
def test_content_length_as_printed_is_refused_where_too_long_and_obeyed_where_too_short(name: str) -> None:
    """RFC 3261 §18.3, over a datagram."""
    right, printed = PRINTED_LENGTHS[name]
    data = load(name).replace(f"Content-Length: {right}\r\n".encode(), f"Content-Length: {printed}\r\n".encode())
    assert data != load(name)
    if printed > right:
        with pytest.raises(BadRequest):
            parse_message(data)
    else:
        assert len(parse_message(data).body) == printed
