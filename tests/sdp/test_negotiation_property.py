"""Any offer is answered validly or refused with a reason, and two ends that have agreed agree on the same."""

from __future__ import annotations

import base64

from hypothesis import event, given
from hypothesis import strategies as st

from active_call.base.errors import ParseError
from active_call.sdp.crypto import KEY_BYTES, SUITES
from active_call.sdp.description import parse_description
from active_call.sdp.negotiation import (
    CryptoKey,
    LocalMedia,
    NegotiationError,
    SrtpPolicy,
    accept_answer,
    build_offer,
    negotiate_answer,
)
from searches import searching

NAMES = ("pcmu", "pcma", "g722", "opus", "l16_16000", "l16_8000")
ENCODINGS = [
    "PCMU/8000", "PCMA/8000", "G722/8000", "opus/48000/2", "OPUS/48000", "L16/16000", "L16/8000/2", "L16/8000", "telephone-event/8000",
    "telephone-event/48000", "telephone-event/16000", "CN/8000", "G729/8000", "speex/16000", "x/0", "/", "opus",
]  # fmt: skip
PROTOCOLS = ["RTP/AVP", "RTP/AVP", "RTP/AVP", "RTP/SAVP", "RTP/SAVP", "RTP/AVPF", "RTP/SAVPF", "UDP/TLS/RTP/SAVPF", "udptl", "rtp/avp"]
ATTRIBUTES = [
    "ptime:20", "ptime:60", "ptime:-1", "maxptime:10", "maxptime:", "sendonly", "recvonly", "inactive", "sendrecv", "rtcp-mux", "rtcp:9",
    "rtcp:9 IN IP4 0.0.0.0", "rtcp:99999", "fmtp:96 useinbandfec=1; usedtx=1", "fmtp:96", "crypto:1 X inline:y", "mid:audio",
    "setup:actpass",
]  # fmt: skip
ADDRESSES = ["192.0.2.1", "192.0.2.2", "0.0.0.0", "192.0.2.1/127", "host.example", "2001:db8::1", "[2001:db8::1]", "::"]


@st.composite
def crypto_lines(draw: st.DrawFn) -> str:
    suite = draw(st.sampled_from([*SUITES, "F8_128_HMAC_SHA1_80", SUITES[0].lower()]))
    size = draw(st.sampled_from([KEY_BYTES.get(suite, 30)] * 5 + [30, 46, 28, 44, 1]))
    extra = draw(st.sampled_from(["", "", "", "|2^20", "|2^20|1:4", " UNENCRYPTED_SRTP", " WSH=64", ";inline:x"]))
    return f"crypto:{draw(st.integers(0, 99))} {suite} inline:{base64.b64encode(bytes(size)).decode()}{extra}"


@st.composite
def sections(draw: st.DrawFn) -> list[str]:
    numbers = draw(st.lists(st.sampled_from([0, 8, 9, 13, 18, 96, 97, 101, 102, 126, 127, 200]), max_size=8))
    media = draw(st.sampled_from(["audio"] * 6 + ["video", "image"]))
    lines = [f"m={media} {draw(st.sampled_from([4, 40_000, 65_535, 0]))} {draw(st.sampled_from(PROTOCOLS))} {' '.join(map(str, numbers))}"]
    if draw(st.integers(0, 3)) == 0:
        address = draw(st.sampled_from(ADDRESSES))
        lines.append(f"c=IN {'IP6' if ':' in address else 'IP4'} {address}")
    lines += [f"a=rtpmap:{number} {draw(st.sampled_from(ENCODINGS))}" for number in numbers if draw(st.booleans())]
    lines += [f"a={attribute}" for attribute in draw(st.lists(st.sampled_from(ATTRIBUTES), max_size=4))]
    lines += [f"a={line}" for line in draw(st.lists(crypto_lines(), max_size=3))]
    return lines


@st.composite
def descriptions(draw: st.DrawFn) -> bytes:
    lines = ["v=0", "o=- 1 2 IN IP4 127.0.0.1", "s=-"]
    if draw(st.integers(0, 9)):
        lines.append(f"c=IN IP4 {draw(st.sampled_from(ADDRESSES[:5]))}")
    lines.append("t=0 0")
    for section in draw(st.lists(sections(), min_size=1, max_size=4)):
        lines += section
    return "\r\n".join([*lines, ""]).encode()


@st.composite
def ends(draw: st.DrawFn) -> LocalMedia:
    codecs = draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    suites = draw(st.lists(st.sampled_from(SUITES), min_size=1, unique=True))
    policy = draw(st.sampled_from([SrtpPolicy.PREFERRED] * 3 + [SrtpPolicy.REQUIRED]))
    return LocalMedia("192.0.2.77", 30_000, codecs=tuple(codecs), srtp=policy, suites=tuple(suites), rtcp_mux=draw(st.booleans()))


def key_for(suite: str) -> bytes:
    return b"k" * KEY_BYTES[suite]


def check_answer(offer: bytes, data: bytes, local: LocalMedia) -> None:
    theirs, ours = parse_description(offer), parse_description(data)
    assert [(s.media, s.protocol) for s in theirs.media] == [(s.media, s.protocol) for s in ours.media]
    live = [(theirs.media[index], section) for index, section in enumerate(ours.media) if section.port]
    assert len(live) == 1
    offered, answered = live[0]
    assert (offered.media, offered.port != 0) == ("audio", True)
    assert set(answered.formats) <= set(offered.formats)
    names = [answered.rtpmaps()[number].name.lower() for number in answered.payload_types]
    assert len(names) <= 2
    assert names[0] in ("pcmu", "pcma", "g722", "opus", "l16")
    assert names[1:] in ([], ["telephone-event"])
    assert ("SAVP" in answered.protocol) == (len(answered.cryptos()) == 1)
    for crypto in answered.cryptos():
        assert (crypto.tag, crypto.suite) in [(line.tag, line.suite.upper()) for line in offered.cryptos()]
        assert crypto.suite in local.suites
    if answered.get("rtcp-mux") is not None:
        assert offered.get("rtcp-mux") is not None
    asked, said = theirs.direction_of(offered), answered.direction
    assert (
        said
        in {
            "sendrecv": ("sendrecv", "sendonly", "recvonly", "inactive"),
            "sendonly": ("recvonly", "inactive"),
            "recvonly": ("sendonly", "inactive"),
            "inactive": ("inactive",),
        }[asked]
    )


def check_refusal(error: NegotiationError) -> None:
    assert error.code == "negotiation_error"
    assert error.reason


@searching(80)
@given(descriptions(), ends())
def test_any_offer_is_answered_validly_or_refused_with_a_reason(offer: bytes, local: LocalMedia) -> None:
    try:
        data, agreement = negotiate_answer(offer, local, key_for=key_for, session_id=1, version=1)
    except ParseError:
        return
    except NegotiationError as error:
        check_refusal(error)
        return
    event("answered")
    check_answer(offer, data, local)
    assert agreement.codec in local.codecs
    assert 10 <= agreement.ptime_ms <= 60
    assert agreement.formats[0].payload_type == agreement.receive_payload_type
    assert len({item.payload_type for item in agreement.formats}) == len(agreement.formats)
    assert 13 not in {item.payload_type for item in agreement.formats}
    again = build_offer(local, keys=(), session_id=1, version=2, previous=data)
    numbers = parse_description(again).media[len(parse_description(data).media) - 1 :]
    assert numbers
    before = next(section for section in parse_description(data).media if section.port).rtpmaps()
    after = next(section for section in parse_description(again).media if section.port).rtpmaps()
    for number in before.keys() & after.keys():
        assert (before[number].name, before[number].clock_hz) == (after[number].name, after[number].clock_hz)


@searching(70)
@given(descriptions(), ends())
def test_any_answer_is_accepted_or_refused_with_a_reason(data: bytes, local: LocalMedia) -> None:
    for keys in ((), tuple(CryptoKey(tag, suite, key_for(suite)) for tag, suite in enumerate(local.suites, start=1))):
        offer = build_offer(local, keys=keys, session_id=1, version=1)
        try:
            agreement = accept_answer(offer, data, keys=keys)
        except ParseError:
            continue
        except NegotiationError as error:
            check_refusal(error)
            continue
        event("accepted")
        assert agreement.codec in local.codecs
        assert (agreement.crypto is not None) == bool(keys)


@searching(50)
@given(ends(), ends(), st.booleans())
def test_two_ends_agree_on_the_same_or_have_nothing_in_common(caller: LocalMedia, callee: LocalMedia, srtp: bool) -> None:
    keys = tuple(CryptoKey(tag, suite, b"c" * KEY_BYTES[suite]) for tag, suite in enumerate(caller.suites, start=1)) if srtp else ()
    offer = build_offer(caller, keys=keys, session_id=1, version=1)
    try:
        data, theirs = negotiate_answer(offer, callee, key_for=key_for, session_id=2, version=1)
    except NegotiationError:
        has_codec = set(caller.codecs) & set(callee.codecs)
        has_suite = not srtp or set(caller.suites) & set(callee.suites)
        assert not has_codec or not has_suite or (not srtp and callee.srtp is SrtpPolicy.REQUIRED)
        return
    ours = accept_answer(offer, data, keys=keys)
    assert ours.codec == theirs.codec
    assert ours.codec == next(name for name in caller.codecs if name in callee.codecs)
    assert (ours.send_payload_type, ours.receive_payload_type) == (theirs.receive_payload_type, theirs.send_payload_type)
    assert (ours.send_event_type, ours.event_clock_hz) == (theirs.receive_event_type, theirs.event_clock_hz)
    if ours.crypto is not None and theirs.crypto is not None:
        assert (ours.crypto.suite, ours.crypto.send_key) == (theirs.crypto.suite, theirs.crypto.receive_key)
        assert ours.crypto.receive_key == theirs.crypto.send_key
