"""Every message in the shape of a carrier, and what has to be made of it: `tests/vectors/carriers/expected.toml` says."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from active_call.legs.sip.identity import caller_of, header_map, identity_of, plain_uri
from active_call.sdp.negotiation import LocalMedia, NegotiationError, negotiate_answer
from active_call.sip.events import Address, CallAnswered, Flow, IncomingCall, OutboundInvite
from active_call.sip.syntax.digest import select_challenge
from active_call.sip.syntax.headers import parse_name_addr
from active_call.sip.syntax.message import Response, parse_message, session_description
from active_call.sip.syntax.reason import reasons_of

CARRIERS = Path(__file__).parents[1] / "vectors" / "carriers"
EXPECTED: dict[str, dict[str, Any]] = tomllib.loads((CARRIERS / "expected.toml").read_text(encoding="utf-8"))
FILES = {path.stem: path for path in sorted(CARRIERS.iterdir()) if path.suffix in (".dat", ".sdp")}
REQUESTS = [name for name in FILES if "reply" in EXPECTED.get(name, {})]
RESPONSES = [name for name in FILES if "code" in EXPECTED.get(name, {})]
OFFERS = [name for name in FILES if EXPECTED.get(name, {}).keys() & {"codec", "refused"}]
LOCAL = LocalMedia("198.51.100.1", 20_000)
KEY = bytes(range(30))


def flow(over: str) -> Flow:
    return Flow(over, Address("198.51.100.1", 5060), Address("203.0.113.1", 40_000), None if over == "udp" else 7)  # type: ignore[arg-type]


def _as_sent(via: str) -> str:
    """A Via without what the receiver adds (RFC 3581 §4)."""
    return via.removesuffix(";received=203.0.113.1").replace(";rport=40000", ";rport")


def test_every_vector_has_an_expectation_and_every_expectation_a_vector() -> None:
    assert set(FILES) == set(EXPECTED)
    assert set(FILES) == set(REQUESTS) | set(RESPONSES) | set(OFFERS)


@pytest.mark.parametrize("name", REQUESTS)
def test_request_of_a_carrier_is_answered_and_understood(wire, name: str) -> None:
    expected, bench = EXPECTED[name], wire.Bench()
    data = FILES[name].read_bytes()
    replies = bench.feed(data, flow(expected["over"]))
    assert replies[0].code == expected["reply"]
    message = parse_message(data)
    for header in ("Via", "Call-ID", "CSeq"):
        sent = [value for key, value in replies[0].headers if key == header]
        assert [_as_sent(value) for value in sent] == message.headers.get_all(header)
    if "cause" in expected:
        assert reasons_of(message)[0].cause == expected["cause"]
    if expected["reply"] != 100:
        return
    (call,) = bench.of(IncomingCall)
    found = {
        "caller": caller_of(call.request),
        "callee": plain_uri(call.request.headers.get("To") or ""),
        "target": bench.endpoint.dialog_info(call.call).remote_target,
        "routes": len(call.request.headers.split("Record-Route")),
        "sdp": call.sdp is not None,
    }
    assert found == found | {key: value for key, value in expected.items() if key in found}
    assert found["sdp"] is expected.get("sdp", True)
    facts = identity_of(header_map(call.request))
    assert facts == facts | expected.get("facts", {})
    (ok,) = bench.do(bench.endpoint.answer, call.call, wire.ANSWER)
    assert ok.code == 200
    assert ok.all("Record-Route") == message.headers.get_all("Record-Route")
    assert "".join(ok.all("Session-Expires")) == expected.get("timer", "")


@pytest.mark.parametrize("name", OFFERS)
def test_description_of_a_carrier_is_answered_as_it_must_be(name: str) -> None:
    expected, data = EXPECTED[name], FILES[name].read_bytes()
    offer = data if FILES[name].suffix == ".sdp" else session_description(parse_message(data))
    assert offer is not None
    if "refused" in expected:
        with pytest.raises(NegotiationError, match=expected["refused"]):
            negotiate_answer(offer, LOCAL, key_for=lambda _: KEY, session_id=1, version=1)
        return
    answer, agreement = negotiate_answer(offer, LOCAL, key_for=lambda _: KEY, session_id=1, version=1)
    found = {
        "codec": agreement.codec,
        "srtp": agreement.crypto is not None,
        "event": agreement.send_event_type,
        "media": f"{agreement.remote_ip}:{agreement.remote_port}",
        "hold": agreement.on_hold,
        "direction": next(
            line[2:] for line in answer.decode().split("\r\n") if line in ("a=sendrecv", "a=recvonly", "a=sendonly", "a=inactive")
        ),
    }
    assert found == found | {key: value for key, value in expected.items() if key in found}
    assert found["srtp"] is expected.get("srtp", False)


@pytest.mark.parametrize("name", RESPONSES)
def test_response_of_a_carrier_is_understood(name: str) -> None:
    expected, message = EXPECTED[name], parse_message(FILES[name].read_bytes())
    assert isinstance(message, Response)
    assert message.code == expected["code"]
    if "target" in expected:
        assert parse_name_addr(message.headers.get("Contact") or "").uri_text == expected["target"]
    assert len(message.headers.split("Record-Route")) == expected.get("routes", 0)
    assert (session_description(message) is not None) is expected.get("sdp", False)
    if "challenge" in expected:
        header = "WWW-Authenticate" if message.code == 401 else "Proxy-Authenticate"
        challenge = select_challenge(message.headers.get_all(header))
        assert challenge is not None
        assert (challenge.realm, challenge.opaque, "auth" if challenge.qop else "") == (
            expected["challenge"]["realm"],
            expected["challenge"]["opaque"],
            expected["challenge"]["qop"],
        )
    if "cause" in expected:
        assert reasons_of(message)[0].cause == expected["cause"]
    if "binding" in expected:
        assert parse_name_addr(message.headers.get("Contact") or "").parameters["expires"] == str(expected["binding"])


def test_route_set_wins_over_the_contacts_transport_in_exotels_answer(wire) -> None:
    """The Contact asks for TLS, the Record-Route for TCP: ACK and BYE take the route (RFC 3261 §12.2.1.1)."""
    bench = wire.Bench()
    bench.do(bench.endpoint.invite, OutboundInvite("sip:+15550100003@203.0.113.20:5070;transport=tcp", "sip:+1@x", wire.OFFER))
    invite = bench.sent[-1]
    template = FILES["exotel_200_transport_mismatch"].read_bytes()
    theirs = parse_message(template)
    answer = wire.response(
        invite,
        200,
        contact=theirs.headers.get("Contact"),
        extra=(("Record-Route", theirs.headers.get("Record-Route") or ""),),
        body=theirs.body,
    )
    tcp = Flow("tcp", Address("198.51.100.1", 40_000), Address("203.0.113.20", 5070), 9)
    (ack,) = bench.feed(answer, tcp)
    assert bench.of(CallAnswered)
    assert (ack.method, ack.uri) == ("ACK", EXPECTED["exotel_200_transport_mismatch"]["target"])
    assert ack.transmit is not None
    target = ack.transmit.destination
    assert f"{target.transport} {target.host}:{target.port}" == EXPECTED["exotel_200_transport_mismatch"]["next_hop"]
