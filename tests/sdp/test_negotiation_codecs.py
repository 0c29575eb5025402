"""Offer and answer with every codec: numbers, clocks, parameters, packet times and suites of SRTP, also as carriers write them."""

from __future__ import annotations

import base64
from itertools import permutations

import pytest
from msgspec.structs import replace

from active_call.legs.agreed_media import agreed_rtp
from active_call.media.link.order_check import check_order
from active_call.sdp.crypto import DEFAULT_OFFER, KEY_BYTES, SUITES
from active_call.sdp.description import parse_description
from active_call.sdp.negotiation import (
    Agreement,
    CryptoAgreement,
    CryptoKey,
    Format,
    LocalMedia,
    NegotiationError,
    accept_answer,
    build_offer,
    negotiate_answer,
)

ALL = ("pcmu", "pcma", "g722", "opus", "l16_16000", "l16_8000")
LOCAL = LocalMedia("203.0.113.5", 20_000, codecs=ALL)
OPUS_LINES = ("a=rtpmap:102 opus/48000/2", "a=fmtp:102 minptime=10; useinbandfec=1; maxplaybackrate=16000")


def sdp(*lines: str, address: str = "192.0.2.1") -> bytes:
    return "\r\n".join(["v=0", "o=- 1 2 IN IP4 10.0.0.1", "s=-", f"c=IN IP4 {address}", "t=0 0", *lines, ""]).encode()


def key(suite: str, fill: int = 7) -> bytes:
    return bytes([fill]) * KEY_BYTES[suite]


def crypto_line(tag: int, suite: str, fill: int = 7) -> str:
    return f"a=crypto:{tag} {suite} inline:{base64.b64encode(key(suite, fill)).decode()}"


def answer(offer: bytes, local: LocalMedia = LOCAL) -> tuple[list[str], Agreement]:
    data, agreement = negotiate_answer(offer, local, key_for=lambda suite: key(suite, 1), session_id=7, version=8)
    return data.decode().split("\r\n")[:-1], agreement


# -- codecs ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codecs", list(permutations(("pcma", "g722", "opus"))))
def test_build_offer_names_the_codecs_in_the_configured_order(codecs: tuple[str, ...]) -> None:
    section = parse_description(build_offer(replace(LOCAL, codecs=codecs), session_id=1, version=1)).media[0]
    number = {"pcma": "8", "g722": "9", "opus": "107"}
    assert section.formats[:3] == tuple(number[codec] for codec in codecs)
    assert set(section.formats[3:]) == {"101", "110"}


def test_build_offer_of_everything_gives_each_payload_type_one_meaning() -> None:
    section = parse_description(build_offer(LOCAL, session_id=1, version=1)).media[0]
    names = [f"{rtpmap.name}/{rtpmap.clock_hz}" for rtpmap in map(section.rtpmaps().__getitem__, section.payload_types)]
    assert names == [
        "PCMU/8000", "PCMA/8000", "G722/8000", "opus/48000", "L16/16000", "L16/8000",
        "telephone-event/8000", "telephone-event/48000", "telephone-event/16000",
    ]  # fmt: skip
    assert len(set(section.payload_types)) == len(names)


@pytest.mark.parametrize(
    ("lines", "codec", "number", "clock"),
    [
        (("m=audio 4 RTP/AVP 9",), "g722", 9, 8000),
        (("m=audio 4 RTP/AVP 96", "a=rtpmap:96 G722/8000/1"), "g722", 96, 8000),
        (("m=audio 4 RTP/AVP 102", *OPUS_LINES), "opus", 102, 48_000),
        (("m=audio 4 RTP/AVP 102", "a=rtpmap:102 OPUS/48000"), "opus", 102, 48_000),
        (("m=audio 4 RTP/AVP 98", "a=rtpmap:98 L16/8000"), "l16_8000", 98, 8000),
        (("m=audio 4 RTP/AVP 98", "a=rtpmap:98 L16/16000/1"), "l16_16000", 98, 16_000),
        (("m=audio 4 RTP/AVP 18 11 10 98 13 8", "a=rtpmap:98 L16/8000/2"), "pcma", 8, 8000),
    ],
)
def test_negotiate_answer_takes_every_codec_under_the_offered_number(lines: tuple[str, ...], codec: str, number: int, clock: int) -> None:
    written, agreement = answer(sdp(*lines))
    assert (agreement.codec, agreement.send_payload_type, agreement.receive_payload_type) == (codec, number, number)
    assert agreement.clock_hz == clock
    assert f"m=audio 20000 RTP/AVP {number}" in written


def test_negotiate_answer_to_opus_states_its_parameters_and_remembers_the_peers() -> None:
    lines, agreement = answer(sdp("m=audio 4 RTP/AVP 102 0", *OPUS_LINES))
    assert lines[6:8] == ["a=rtpmap:102 opus/48000/2", "a=fmtp:102 useinbandfec=1"]
    assert agreement.send_parameters == "minptime=10; useinbandfec=1; maxplaybackrate=16000"


@pytest.mark.parametrize("rtpmap", [(), ("a=rtpmap:13 CN/8000",), ("a=rtpmap:13 PCMU/8000",)])
def test_negotiate_answer_never_takes_comfort_noise(rtpmap: tuple[str, ...]) -> None:
    lines, agreement = answer(sdp("m=audio 4 RTP/AVP 13 0", *rtpmap))
    assert (agreement.codec, "m=audio 20000 RTP/AVP 0" in lines) == ("pcmu", True)
    assert 13 not in {item.payload_type for item in agreement.formats}
    with pytest.raises(NegotiationError, match="CN/8000"):
        answer(sdp("m=audio 4 RTP/AVP 13", *rtpmap))


def test_negotiate_answer_repeated_payload_type_is_taken_once() -> None:
    lines, _ = answer(sdp("m=audio 4 RTP/AVP 0 0 101 0 101", "a=rtpmap:101 telephone-event/8000"))
    assert "m=audio 20000 RTP/AVP 0 101" in lines


# -- telephone events --------------------------------------------------------------------------------------------------------------------

TWO_EVENTS = ("a=rtpmap:101 telephone-event/8000", "a=rtpmap:103 telephone-event/48000")


@pytest.mark.parametrize(("first", "codec", "event", "clock"), [("102", "opus", 103, 48_000), ("0", "pcmu", 101, 8000)])
def test_negotiate_answer_takes_the_event_of_the_codecs_clock_and_both_may_come(first: str, codec: str, event: int, clock: int) -> None:
    lines, agreement = answer(sdp(f"m=audio 4 RTP/AVP {first} 101 103", *OPUS_LINES, *TWO_EVENTS))
    assert f"m=audio 20000 RTP/AVP {first} {event}" in lines
    assert (agreement.codec, agreement.send_event_type, agreement.receive_event_type, agreement.event_clock_hz) == (
        codec,
        event,
        event,
        clock,
    )
    assert agreement.formats == (
        Format(int(first), codec, agreement.clock_hz),
        Format(101, "telephone-event", 8000),
        Format(103, "telephone-event", 48_000),
    )


def test_accept_answer_takes_the_event_of_the_codecs_clock_and_all_offered_ones_may_come() -> None:
    offer = build_offer(replace(LOCAL, codecs=("opus", "pcmu")), session_id=1, version=1)
    reply = sdp("m=audio 4 RTP/AVP 107 110", "a=rtpmap:107 opus/48000/2", "a=rtpmap:110 telephone-event/48000")
    agreement = accept_answer(offer, reply)
    assert (agreement.send_event_type, agreement.receive_event_type, agreement.event_clock_hz) == (110, 110, 48_000)
    assert {item.payload_type: item.name for item in agreement.formats} == {
        107: "opus",
        0: "pcmu",
        110: "telephone-event",
        101: "telephone-event",
    }
    assert agreement.formats[0] == Format(107, "opus", 48_000)


# -- numbers -----------------------------------------------------------------------------------------------------------------------------


def test_accept_answer_other_numbers_are_sent_and_may_come_beside_ours() -> None:
    """RFC 3264 section 6.1: the answerer may use other numbers; we send under its, and receive under ours, or under its by mistake."""
    offer = build_offer(replace(LOCAL, codecs=("opus",)), session_id=1, version=1)
    reply = sdp("m=audio 4 RTP/AVP 96 97", "a=rtpmap:96 opus/48000/2", "a=rtpmap:97 telephone-event/48000", "a=fmtp:96 usedtx=1")
    agreement = accept_answer(offer, reply)
    assert (agreement.send_payload_type, agreement.receive_payload_type) == (96, 107)
    assert (agreement.send_event_type, agreement.receive_event_type) == (97, 110)
    assert {item.payload_type for item in agreement.formats} == {107, 110, 96, 97}
    assert agreement.send_parameters == "usedtx=1"


def test_accept_answer_with_several_codecs_sends_the_first_and_takes_them_all() -> None:
    """RFC 3264 section 6.1: the peer may send any of them."""
    offer = build_offer(replace(LOCAL, codecs=("pcmu", "pcma", "g722")), session_id=1, version=1)
    agreement = accept_answer(offer, sdp("m=audio 4 RTP/AVP 8 0 101", "a=rtpmap:101 telephone-event/8000"))
    assert (agreement.codec, agreement.send_payload_type) == ("pcma", 8)
    assert [item.name for item in agreement.formats] == ["pcma", "pcmu", "g722", "telephone-event"]


def test_build_offer_in_an_open_session_keeps_the_numbers_of_the_peers_offer_rfc3264_8_3_2() -> None:
    """The peer offered Opus as 110 and events as 107, the other way round from ours; they must not change their meaning."""
    offer = sdp(
        "m=audio 4 RTP/AVP 110 107 101",
        "a=rtpmap:110 opus/48000/2",
        "a=rtpmap:107 telephone-event/48000",
        "a=rtpmap:101 telephone-event/8000",
    )
    local = replace(LOCAL, codecs=("opus", "pcmu", "l16_8000"))
    previous, _ = negotiate_answer(offer, local, key_for=key, session_id=7, version=1)
    section = parse_description(build_offer(local, session_id=7, version=2, previous=previous)).media[0]
    names = {number: f"{rtpmap.name}/{rtpmap.clock_hz}" for number, rtpmap in section.rtpmaps().items()}
    assert names[110] == "opus/48000"
    assert names[107] == "telephone-event/48000"
    assert len(names) == len(section.payload_types) == 5


def test_build_offer_whose_usual_number_means_something_else_takes_a_free_one() -> None:
    previous = sdp("m=audio 4 RTP/AVP 0 107", "a=rtpmap:107 telephone-event/8000")
    section = parse_description(build_offer(replace(LOCAL, codecs=("opus", "pcmu")), session_id=7, version=2, previous=previous)).media[0]
    names = {number: f"{rtpmap.name}/{rtpmap.clock_hz}" for number, rtpmap in section.rtpmaps().items()}
    assert names == {96: "opus/48000", 0: "PCMU/8000", 110: "telephone-event/48000", 107: "telephone-event/8000"}


# -- packet time, RTCP -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (("a=ptime:10",), 10),
        (("a=ptime:60",), 60),
        (("a=ptime:120",), 60),
        (("a=ptime:5",), 10),
        (("a=ptime:20.0",), 20),
        (("a=maxptime:60",), 20),
        (("a=ptime:60", "a=maxptime:30"), 30),
        (("a=ptime:x",), 20),
    ],
)
def test_packet_time_is_the_peers_wish_within_10_to_60_ms(lines: tuple[str, ...], expected: int) -> None:
    offer = sdp("m=audio 4 RTP/AVP 0", *lines)
    assert answer(offer)[1].ptime_ms == expected
    assert accept_answer(build_offer(LOCAL, session_id=1, version=1), offer).ptime_ms == expected


def test_rtcp_mux_is_answered_only_if_offered_and_we_can() -> None:
    offered, plain = sdp("m=audio 40 RTP/AVP 0", "a=rtcp-mux"), sdp("m=audio 40 RTP/AVP 0")
    muxing = replace(LOCAL, rtcp_mux=True)
    for offer, local, muxed in ((offered, muxing, True), (offered, LOCAL, False), (plain, muxing, False)):
        lines, agreement = answer(offer, local)
        assert ("a=rtcp-mux" in lines, agreement.rtcp_mux) == (muxed, muxed)
        assert agreement.remote_rtcp == ("192.0.2.1", 40 if muxed else 41)
    assert b"rtcp-mux" not in build_offer(muxing, session_id=1, version=1)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a=rtcp:50", ("192.0.2.1", 50)),
        ("a=rtcp:50 IN IP4 192.0.2.9", ("192.0.2.9", 50)),
        ("a=rtcp:9 IN IP4 0.0.0.0", ("192.0.2.1", 41)),
        ("a=rtcp:nonsense", ("192.0.2.1", 41)),
    ],
)
def test_rtcp_goes_where_the_attribute_says_rfc3605(line: str, expected: tuple[str, int]) -> None:
    assert answer(sdp("m=audio 40 RTP/AVP 0", line))[1].remote_rtcp == expected


def test_fax_beside_audio_is_refused_in_place_and_alone_is_488() -> None:
    fax = "m=image 5 udptl t38"
    lines, _ = answer(sdp("m=audio 4 RTP/AVP 0", fax))
    assert [line for line in lines if line.startswith("m=")] == ["m=audio 20000 RTP/AVP 0", "m=image 0 udptl t38"]
    with pytest.raises(NegotiationError) as caught:
        answer(sdp("m=audio 0 RTP/AVP 0", fax))
    assert caught.value.code == "negotiation_error"


# -- SRTP suites -------------------------------------------------------------------------------------------------------------------------


def test_default_offer_is_exactly_what_twilio_takes() -> None:
    assert DEFAULT_OFFER == ("AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32")


@pytest.mark.parametrize("suite", SUITES)
def test_every_suite_is_answered_under_its_tag_with_a_key_of_its_length(suite: str) -> None:
    lines, agreement = answer(sdp("m=audio 4 RTP/SAVP 0", crypto_line(5, suite)))
    assert agreement.crypto == CryptoAgreement(suite, key(suite, 1), key(suite), 5)
    assert crypto_line(5, suite, 1) in lines


@pytest.mark.parametrize("suite", SUITES)
def test_every_suite_is_offered_and_its_answer_accepted(suite: str) -> None:
    keys = (CryptoKey(1, DEFAULT_OFFER[0], key(DEFAULT_OFFER[0], 1)), CryptoKey(2, suite, key(suite, 2)))
    offer = build_offer(LOCAL, keys=keys, session_id=1, version=1)
    agreement = accept_answer(offer, sdp("m=audio 4 RTP/SAVP 0", crypto_line(2, suite)), keys=keys)
    assert agreement.crypto == CryptoAgreement(suite, key(suite, 2), key(suite), 2)


def test_answer_takes_the_first_line_of_the_offerers_order_among_our_suites() -> None:
    offer = sdp("m=audio 4 RTP/SAVP 0", *(crypto_line(tag, suite) for tag, suite in enumerate(reversed(SUITES), start=1)))
    assert answer(offer)[1].crypto == CryptoAgreement(SUITES[-1], key(SUITES[-1], 1), key(SUITES[-1]), 1)
    limited = replace(LOCAL, suites=("AES_CM_128_HMAC_SHA1_32", "AEAD_AES_128_GCM"))
    found = answer(offer, limited)[1].crypto
    assert found is not None
    assert (found.suite, found.tag) == ("AEAD_AES_128_GCM", 2)
    with pytest.raises(NegotiationError, match="supported AES_CM_128_HMAC_SHA1_32 without MKI"):
        answer(sdp("m=audio 4 RTP/SAVP 0", crypto_line(1, SUITES[0])), replace(LOCAL, suites=("AES_CM_128_HMAC_SHA1_32",)))


def test_key_without_padding_is_read_and_a_key_of_another_suites_length_is_not() -> None:
    padded = crypto_line(1, "AEAD_AES_128_GCM")
    assert padded.endswith("==")
    found = answer(sdp("m=audio 4 RTP/SAVP 0", padded.rstrip("=")))[1].crypto
    assert found is not None
    assert found.receive_key == key("AEAD_AES_128_GCM")
    wrong = crypto_line(1, "AES_CM_128_HMAC_SHA1_80").replace("AES_CM_128_HMAC_SHA1_80", "AES_256_CM_HMAC_SHA1_80")
    with pytest.raises(NegotiationError, match="no common SRTP suite"):
        answer(sdp("m=audio 4 RTP/SAVP 0", wrong))


@pytest.mark.parametrize("clock", ["0", "1", "8", "999", "192001", "4294967296", "9" * 30])
def test_telephone_event_with_an_impossible_clock_is_left_out(clock: str) -> None:
    offer = sdp("m=audio 4000 RTP/AVP 0 101 102", f"a=rtpmap:101 telephone-event/{clock}", "a=rtpmap:102 telephone-event/16000")
    lines, agreement = answer(offer)
    assert (agreement.send_event_type, agreement.event_clock_hz) == (102, 16_000)
    assert not any("rtpmap:101" in line for line in lines)
    check_order(agreed_rtp(1, agreement))
    _, alone = answer(sdp("m=audio 4000 RTP/AVP 0 101", f"a=rtpmap:101 telephone-event/{clock}"))
    assert (alone.send_event_type, alone.event_clock_hz) == (None, 8000)
