"""Offer and answer: what is agreed, what is refused, and what stands in our descriptions."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from msgspec.structs import replace

from active_call.base.errors import LocalProtocolError, ParseError
from active_call.sdp.description import parse_description
from active_call.sdp.negotiation import (
    Agreement,
    CryptoAgreement,
    CryptoKey,
    Direction,
    Format,
    LocalMedia,
    NegotiationError,
    SrtpPolicy,
    accept_answer,
    build_offer,
    negotiate_answer,
)

CARRIERS = Path(__file__).parents[1] / "vectors" / "carriers"
LOCAL = LocalMedia("203.0.113.5", 20_000)
OURS, THEIRS, OTHER = b"o" * 30, b"t" * 30, b"x" * 30
S80, S32 = "AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32"
KEYS = (CryptoKey(1, S80, OURS), CryptoKey(2, S32, OTHER))


def inline(key: bytes) -> str:
    return "inline:" + base64.b64encode(key).decode()


def sdp(*lines: str, address: str | None = "192.0.2.1") -> bytes:
    head = [
        "v=0",
        "o=- 1 2 IN IP4 10.0.0.1",
        "s=-",
        *([f"c=IN {'IP6' if ':' in address else 'IP4'} {address}"] if address else []),
        "t=0 0",
    ]
    return "".join(f"{line}\r\n" for line in [*head, *lines]).encode()


def answer(offer: bytes, local: LocalMedia = LOCAL, direction: Direction = "sendrecv") -> tuple[list[str], Agreement]:
    data, agreement = negotiate_answer(offer, local, key_for=lambda _: OURS, session_id=7, version=8, direction=direction)
    assert data.endswith(b"\r\n")
    return data.decode().split("\r\n")[:-1], agreement


def refusal(offer: bytes, local: LocalMedia = LOCAL) -> str:
    with pytest.raises(NegotiationError) as caught:
        answer(offer, local)
    assert caught.value.code == "negotiation_error"
    return caught.value.reason


def message_body(name: str) -> bytes:
    return (CARRIERS / name).read_bytes().partition(b"\r\n\r\n")[2]


# -- offers ------------------------------------------------------------------------------------------------------------------------------


def test_build_offer_plain_is_exactly_this() -> None:
    assert build_offer(LOCAL, session_id=7, version=1).decode().split("\r\n") == [
        "v=0",
        "o=- 7 1 IN IP4 203.0.113.5",
        "s=-",
        "c=IN IP4 203.0.113.5",
        "t=0 0",
        "m=audio 20000 RTP/AVP 0 8 101",
        "a=rtpmap:0 PCMU/8000",
        "a=rtpmap:8 PCMA/8000",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-16",
        "a=ptime:20",
        "a=sendrecv",
        "",
    ]


def test_build_offer_with_srtp_has_both_suites_without_lifetime_or_mki() -> None:
    text = build_offer(LOCAL, srtp=True, keys=KEYS, session_id=7, version=1, direction="sendonly").decode()
    assert "m=audio 20000 RTP/SAVP 0 8 101\r\n" in text
    assert f"a=crypto:1 {S80} {inline(OURS)}\r\na=crypto:2 {S32} {inline(OTHER)}\r\na=sendonly\r\n" in text


def test_build_offer_over_ipv6_says_so_without_brackets() -> None:
    text = build_offer(replace(LOCAL, ip="2001:db8::5"), session_id=7, version=1).decode()
    assert "c=IN IP6 2001:db8::5\r\n" in text


def test_build_offer_with_opus_has_an_event_for_each_clock() -> None:
    section = parse_description(build_offer(replace(LOCAL, codecs=("opus", "pcma")), session_id=1, version=1)).media[0]
    assert section.formats == ("107", "8", "110", "101")
    assert section.rtpmaps()[110].clock_hz == 48_000


def test_build_offer_in_an_open_session_keeps_every_section() -> None:
    offer = sdp("m=video 5 RTP/AVP 31", "m=audio 4 RTP/AVP 0")
    previous, _ = negotiate_answer(offer, LOCAL, key_for=lambda _: OURS, session_id=7, version=1)
    again = parse_description(build_offer(LOCAL, session_id=7, version=2, previous=previous))
    assert [(section.media, section.port) for section in again.media] == [("video", 0), ("audio", 20_000)]


def test_build_offer_of_nothing_or_without_keys_raises() -> None:
    for local, srtp in ((LOCAL, True), (replace(LOCAL, codecs=()), False), (replace(LOCAL, codecs=("g729",)), False)):
        with pytest.raises(LocalProtocolError):
            build_offer(local, srtp=srtp, session_id=1, version=1)
    with pytest.raises(LocalProtocolError):
        build_offer(LOCAL, keys=(CryptoKey(1, S80, b"short"),), session_id=1, version=1)


# -- answers -----------------------------------------------------------------------------------------------------------------------------


def test_negotiate_answer_to_twilio_is_srtp_under_its_tag_with_one_codec() -> None:
    lines, agreement = answer(message_body("twilio_invite_tls.dat"), replace(LOCAL, srtp=SrtpPolicy.PREFERRED))
    assert lines[5:] == [
        "m=audio 20000 RTP/SAVP 0 101",
        "a=rtpmap:0 PCMU/8000",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-16",
        "a=ptime:20",
        f"a=crypto:1 {S80} {inline(OURS)}",
        "a=sendrecv",
    ]
    assert agreement == Agreement(
        codec="pcmu",
        clock_hz=8000,
        send_payload_type=0,
        receive_payload_type=0,
        send_event_type=101,
        receive_event_type=101,
        event_clock_hz=8000,
        remote_ip="168.86.149.14",
        remote_port=19294,
        remote_rtcp=("168.86.149.14", 19295),
        send=True,
        receive=True,
        on_hold=False,
        ptime_ms=20,
        crypto=CryptoAgreement(S80, OURS, b"0123456789abcdef0123456789abcd", 1),
        formats=(Format(0, "pcmu", 8000), Format(8, "pcma", 8000), Format(101, "telephone-event", 8000)),
    )


def test_negotiate_answer_to_telnyx_takes_the_event_of_the_codecs_clock() -> None:
    offer = message_body("telnyx_invite_compact.dat")
    lines, agreement = answer(offer)
    assert "m=audio 20000 RTP/AVP 0 101" in lines
    assert (agreement.send_event_type, agreement.remote_rtcp) == (101, ("36.255.198.129", 24357))
    lines, agreement = answer(offer, replace(LOCAL, codecs=("opus",)))
    assert "m=audio 20000 RTP/AVP 102 103" in lines
    assert (agreement.codec, agreement.clock_hz, agreement.event_clock_hz) == ("opus", 48_000, 48_000)


def test_negotiate_answer_to_meta_uses_its_media_address_and_number_126() -> None:
    lines, agreement = answer((CARRIERS / "meta_offer.sdp").read_bytes())
    assert "m=audio 20000 RTP/SAVP 0 126" in lines
    assert (agreement.remote_ip, agreement.remote_rtcp, agreement.receive_event_type) == ("157.240.19.130", ("157.240.19.130", 3483), 126)


def test_negotiate_answer_with_opus_takes_the_only_event_there_is() -> None:
    offer = sdp("m=audio 4 RTP/AVP 107 0 101", "a=rtpmap:107 opus/48000/2", "a=rtpmap:101 telephone-event/8000")
    _, agreement = answer(offer, replace(LOCAL, codecs=("pcmu", "opus")))
    assert (agreement.codec, agreement.send_event_type, agreement.event_clock_hz) == ("opus", 101, 8000)


def test_negotiate_answer_takes_the_offerers_order() -> None:
    assert answer(sdp("m=audio 4 RTP/AVP 18 8 0"))[1].codec == "pcma"


def test_negotiate_answer_believes_rtpmap_before_the_static_number() -> None:
    lines, agreement = answer(sdp("m=audio 4 RTP/AVP 0 97", "a=rtpmap:0 X/8000", "a=rtpmap:97 pcma/8000"))
    assert (agreement.codec, agreement.send_payload_type) == ("pcma", 97)
    assert "a=rtpmap:97 PCMA/8000" in lines


def test_negotiate_answer_without_event_offers_none() -> None:
    lines, agreement = answer(sdp("m=audio 4 RTP/AVP 8"))
    assert "m=audio 20000 RTP/AVP 8" in lines
    assert (agreement.send_event_type, agreement.receive_event_type) == (None, None)


def test_negotiate_answer_refuses_other_sections_in_place() -> None:
    lines, agreement = answer(
        sdp("m=video 6 RTP/AVP 31 34", "m=audio 0 RTP/AVP 0", "m=audio 4 RTP/AVP 0", "m=image 7 udptl t38", "m=text 9 TCP/MSRP *")
    )
    media = [line for line in lines if line.startswith("m=")]
    assert media == [
        "m=video 0 RTP/AVP 31 34",
        "m=audio 0 RTP/AVP 0",
        "m=audio 20000 RTP/AVP 0",
        "m=image 0 udptl t38",
        "m=text 0 TCP/MSRP *",
    ]
    assert agreement.remote_port == 4


def test_negotiate_answer_prefers_the_encrypted_of_two_sections() -> None:
    lines, agreement = answer(sdp("m=audio 4 RTP/AVP 0", "m=audio 6 RTP/SAVP 8", f"a=crypto:3 {S32} {inline(THEIRS)}"))
    assert [line for line in lines if line.startswith("m=")] == ["m=audio 0 RTP/AVP 0", "m=audio 20000 RTP/SAVP 8"]
    assert (agreement.remote_port, agreement.crypto) == (6, CryptoAgreement(S32, OURS, THEIRS, 3))


def test_negotiate_answer_falls_back_to_the_plain_section_when_the_key_is_unusable() -> None:
    _, agreement = answer(sdp("m=audio 6 RTP/SAVP 8", "a=crypto:1 F8 inline:x", "m=audio 4 RTP/AVP 0"))
    assert (agreement.remote_port, agreement.crypto) == (4, None)


@pytest.mark.parametrize(
    "bad",
    [
        f"a=crypto:1 AEAD_AES_256_GCM {inline(THEIRS)}",
        f"a=crypto:1 {S80} {inline(THEIRS)}|2^31|1:1",
        f"a=crypto:1 {S80} {inline(THEIRS)}|1:4",
        f"a=crypto:1 {S80} {inline(THEIRS)};{inline(OTHER)}",
        f"a=crypto:1 {S80} {inline(THEIRS[:16])}",
        f"a=crypto:1 {S80} inline:!!!",
        f"a=crypto:1 {S80} {inline(THEIRS)} UNENCRYPTED_SRTP",
        f"a=crypto:1 {S80} {inline(THEIRS)} KDR=1",
    ],
)
def test_negotiate_answer_passes_over_a_crypto_line_it_cannot_use(bad: str) -> None:
    lines, agreement = answer(sdp("m=audio 6 RTP/SAVP 0", bad, f"a=crypto:9 {S80} {inline(THEIRS)}|2^48 WSH=64 -X KDR=0"))
    assert agreement.crypto == CryptoAgreement(S80, OURS, THEIRS, 9)
    assert f"a=crypto:9 {S80} {inline(OURS)}" in lines
    assert "no common SRTP suite" in refusal(sdp("m=audio 6 RTP/SAVP 0", bad))


def test_negotiate_answer_policy_required_refuses_plain_only() -> None:
    local = replace(LOCAL, srtp=SrtpPolicy.REQUIRED)
    assert "encrypted media is required" in refusal(sdp("m=audio 4 RTP/AVP 0"), local)
    assert answer(sdp("m=audio 6 RTP/SAVP 0", f"a=crypto:1 {S80} {inline(THEIRS)}"), local)[1].crypto is not None


def test_negotiate_answer_policy_off_refuses_encrypted_only() -> None:
    local = replace(LOCAL, srtp=SrtpPolicy.OFF)
    secure = ("m=audio 6 RTP/SAVP 0", f"a=crypto:1 {S80} {inline(THEIRS)}")
    assert "encrypted media is switched off" in refusal(sdp(*secure), local)
    assert answer(sdp("m=audio 4 RTP/AVP 0"), local)[1].crypto is None
    lines, agreement = answer(sdp(*secure, "m=audio 4 RTP/AVP 0"), local)
    assert agreement.crypto is None
    assert [line for line in lines if line.startswith("m=")] == ["m=audio 0 RTP/SAVP 0", "m=audio 20000 RTP/AVP 0"]


def test_negotiate_answer_refusal_names_both_sides() -> None:
    assert refusal(sdp("m=audio 4 RTP/AVP 18 9")) == "no common codec: offered G729/8000, G722/8000, supported pcmu, pcma"


@pytest.mark.parametrize(
    "lines", [(), ("m=video 4 RTP/AVP 31",), ("m=audio 0 RTP/AVP 0",), ("m=audio 4 UDP/TLS/RTP/SAVPF 0",), ("m=image 4 udptl t38",)]
)
def test_negotiate_answer_without_usable_audio_is_488(lines: tuple[str, ...]) -> None:
    assert "no usable audio" in refusal(sdp(*lines))


def test_refusal_of_dtls_says_which_keys_are_taken() -> None:
    """What an operator reads who sets `media_encryption = dtls` or `webrtc = yes` in Asterisk."""
    told = refusal(sdp("m=audio 4 UDP/TLS/RTP/SAVP 0", "a=fingerprint:SHA-256 00:11", "a=setup:actpass"))
    assert told == "no usable audio: offered audio 4 UDP/TLS/RTP/SAVP, supported audio over RTP/AVP or RTP/SAVP with SDES, not DTLS"


def test_negotiate_answer_to_another_address_family_or_to_nonsense_is_488() -> None:
    assert "address family" in refusal(sdp("m=audio 4 RTP/AVP 0", address="2001:db8::1"))
    assert "not an IP address" in refusal(sdp("m=audio 4 RTP/AVP 0", address="not_a_name!"))
    _, agreement = answer(sdp("m=audio 4 RTP/AVP 0", address="2001:db8::1"), replace(LOCAL, ip="2001:db8::5"))
    assert agreement.remote_ip == "2001:db8::1"


def test_negotiate_answer_without_any_address_is_a_parse_error() -> None:
    with pytest.raises(ParseError):
        answer(sdp("m=audio 4 RTP/AVP 0", address=None))


@pytest.mark.parametrize(
    ("offered", "wanted", "expected", "send", "receive", "on_hold"),
    [
        ("sendrecv", "sendrecv", "sendrecv", True, True, False),
        ("sendonly", "sendrecv", "recvonly", False, True, True),
        ("recvonly", "sendrecv", "sendonly", True, False, False),
        ("inactive", "sendrecv", "inactive", False, False, True),
        ("sendrecv", "sendonly", "sendonly", True, False, False),
        ("sendrecv", "inactive", "inactive", False, False, False),
        ("sendonly", "sendonly", "inactive", False, False, True),
        ("recvonly", "recvonly", "inactive", False, False, False),
    ],
)
def test_negotiate_answer_direction_rfc3264_6_1(
    offered: str, wanted: Direction, expected: str, send: bool, receive: bool, on_hold: bool
) -> None:
    lines, agreement = answer(sdp("m=audio 4 RTP/AVP 0", f"a={offered}"), direction=wanted)
    assert lines[-1] == f"a={expected}"
    assert (agreement.send, agreement.receive, agreement.on_hold) == (send, receive, on_hold)


@pytest.mark.parametrize(("address", "local_ip"), [("0.0.0.0", "203.0.113.5"), ("::", "2001:db8::5"), ("0.0.0.0", "2001:db8::5")])
def test_negotiate_answer_unspecified_address_is_hold_rfc3264_8_4(address: str, local_ip: str) -> None:
    lines, agreement = answer(sdp("m=audio 4 RTP/AVP 0", address=address), replace(LOCAL, ip=local_ip))
    assert lines[-1] == "a=recvonly"
    assert (agreement.send, agreement.on_hold) == (False, True)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [((), 20), (("a=ptime:30",), 30), (("a=ptime:40", "a=maxptime:20"), 20), (("a=maxptime:10",), 10), (("a=ptime:0",), 20)],
)
def test_negotiate_answer_reports_the_wanted_packet_time(lines: tuple[str, ...], expected: int) -> None:
    assert answer(sdp("m=audio 4 RTP/AVP 0", *lines))[1].ptime_ms == expected


def test_negotiate_answer_mirrors_the_timing_and_keeps_avpf() -> None:
    lines, _ = answer(sdp("m=audio 4 RTP/AVPF 0").replace(b"t=0 0", b"t=3149328700 0"))
    assert "t=3149328700 0" in lines
    assert "m=audio 20000 RTP/AVPF 0" in lines


# -- answers to our offers ---------------------------------------------------------------------------------------------------------------

PLAIN_OFFER = build_offer(LOCAL, session_id=7, version=1)
SECURE_OFFER = build_offer(LOCAL, keys=KEYS, session_id=7, version=1)


def test_accept_answer_sends_under_their_numbers_and_receives_under_ours() -> None:
    reply = sdp("m=audio 4000 RTP/AVP 96 126", "a=rtpmap:96 PCMA/8000", "a=rtpmap:126 telephone-event/8000", "a=ptime:30")
    agreement = accept_answer(PLAIN_OFFER, reply)
    assert (agreement.codec, agreement.send_payload_type, agreement.receive_payload_type) == ("pcma", 96, 8)
    assert (agreement.send_event_type, agreement.receive_event_type, agreement.ptime_ms) == (126, 101, 30)
    assert (agreement.remote_ip, agreement.remote_port, agreement.crypto) == ("192.0.2.1", 4000, None)


def test_accept_answer_takes_the_key_of_the_chosen_tag() -> None:
    agreement = accept_answer(SECURE_OFFER, sdp("m=audio 4 RTP/SAVP 0", f"a=crypto:2 {S32} {inline(THEIRS)}"), keys=KEYS)
    assert agreement.crypto == CryptoAgreement(S32, OTHER, THEIRS, 2)


@pytest.mark.parametrize(
    ("offer", "lines"),
    [
        (PLAIN_OFFER, ()),
        (PLAIN_OFFER, ("m=audio 0 RTP/AVP 0",)),
        (PLAIN_OFFER, ("m=video 4 RTP/AVP 0",)),
        (PLAIN_OFFER, ("m=audio 4 RTP/SAVP 0", f"a=crypto:1 {S80} {inline(THEIRS)}")),
        (PLAIN_OFFER, ("m=audio 4 RTP/AVP 9",)),
        (SECURE_OFFER, ("m=audio 4 RTP/AVP 0",)),
        (SECURE_OFFER, ("m=audio 4 RTP/SAVP 0",)),
        (SECURE_OFFER, ("m=audio 4 RTP/SAVP 0", f"a=crypto:3 {S80} {inline(THEIRS)}")),
        (SECURE_OFFER, ("m=audio 4 RTP/SAVP 0", f"a=crypto:1 {S32} {inline(THEIRS)}")),
        (SECURE_OFFER, ("m=audio 4 RTP/SAVP 0", f"a=crypto:1 {S80} {inline(THEIRS)}|1:4")),
    ],
)
def test_accept_answer_that_does_not_fit_raises(offer: bytes, lines: tuple[str, ...]) -> None:
    with pytest.raises(NegotiationError):
        accept_answer(offer, sdp(*lines), keys=KEYS)


@pytest.mark.parametrize(
    ("offered", "answered", "send", "receive", "on_hold"),
    [
        ("sendrecv", "sendrecv", True, True, False),
        ("sendrecv", "recvonly", True, False, False),
        ("sendrecv", "sendonly", False, True, True),
        ("sendrecv", "inactive", False, False, True),
        ("sendonly", "recvonly", True, False, False),
        ("sendonly", "sendrecv", True, False, False),
        ("inactive", "inactive", False, False, False),
    ],
)
def test_accept_answer_direction(offered: Direction, answered: str, send: bool, receive: bool, on_hold: bool) -> None:
    offer = build_offer(LOCAL, session_id=7, version=1, direction=offered)
    agreement = accept_answer(offer, sdp("m=audio 4 RTP/AVP 0", f"a={answered}"))
    assert (agreement.send, agreement.receive, agreement.on_hold) == (send, receive, on_hold)


@pytest.mark.parametrize(
    "offer", [PLAIN_OFFER, SECURE_OFFER, build_offer(replace(LOCAL, codecs=("g722", "opus")), session_id=1, version=1)]
)
def test_both_sides_of_a_negotiation_agree(offer: bytes) -> None:
    peer = LocalMedia("192.0.2.77", 30_000, codecs=("opus", "g722", "pcma", "pcmu"))
    data, theirs = negotiate_answer(offer, peer, key_for=lambda _: THEIRS, session_id=1, version=1)
    ours = accept_answer(offer, data, keys=KEYS)
    assert ours.codec == theirs.codec
    assert (ours.send_payload_type, ours.receive_payload_type) == (theirs.receive_payload_type, theirs.send_payload_type)
    assert (ours.send_event_type, ours.receive_event_type) == (theirs.receive_event_type, theirs.send_event_type)
    assert (ours.remote_ip, ours.remote_port) == ("192.0.2.77", 30_000)
    if ours.crypto is not None:
        assert theirs.crypto == CryptoAgreement(ours.crypto.suite, ours.crypto.receive_key, ours.crypto.send_key, ours.crypto.tag)


def test_keys_do_not_show_in_representations() -> None:
    assert "ooo" not in repr(KEYS[0]) + repr(CryptoAgreement(S80, OURS, OURS))


@pytest.mark.parametrize(
    "lines",
    [
        ("m=audio 4 RTP/SAVP 0", *(f"a=crypto:{tag} SUITE_{tag} inline:AAAA" for tag in range(500))),
        ("m=audio 4 RTP/AVP 96 97", *(f"a=rtpmap:{96 + number % 2} x{number}/8000" for number in range(500))),
        tuple(f"m=audio 4 RTP/AVP {number % 20 + 100}" for number in range(500)),
        tuple(f"m=video {number} RTP/AVP 96" for number in range(500)),
    ],
)
def test_reason_of_a_refusal_names_a_few_of_what_was_offered(lines: tuple[str, ...]) -> None:
    with pytest.raises(NegotiationError) as refused:
        negotiate_answer(sdp(*lines), LOCAL, key_for=lambda _: OURS, session_id=1, version=1)
    assert len(str(refused.value)) < 400
