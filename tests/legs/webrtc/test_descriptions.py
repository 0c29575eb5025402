"""Offers in the shape of Chromium, Firefox and Safari, our answers to them, and fragments of descriptions."""

from __future__ import annotations

from pathlib import Path

import pytest

from active_call.base.errors import ParseError
from active_call.legs.webrtc.description import Ours, build_answer, read_offer
from active_call.legs.webrtc.fragments import fragment_of, read_fragment, with_ice
from active_call.legs.webrtc.settings import CODECS
from active_call.sdp.description import parse_description
from active_call.sdp.negotiation import NegotiationError

OURS = Ours("abcd", "0123456789abcdefghijkl", "AA:BB", ["1 1 udp 2130706431 192.0.2.1 40000 typ host"])


def offer(name: str) -> str:
    return (Path(__file__).parent / "offers" / f"{name}.sdp").read_bytes().decode()


@pytest.mark.parametrize(
    ("name", "opus", "event", "n_candidates"),
    [("chromium", 111, 110, 1), ("firefox", 109, 101, 2), ("safari", 96, 101, 1)],
)
def test_offer_of_a_browser_is_read_and_answered(name: str, opus: int, event: int, n_candidates: int) -> None:
    theirs = read_offer(offer(name))
    assert (len(theirs.candidates), theirs.we_are_client, theirs.mid) == (n_candidates, True, "0")
    text, agreement = build_answer(theirs, OURS, CODECS, 40_002, session_id=7)
    answer = parse_description(text.encode())
    assert (agreement.codec, agreement.send_payload_type, agreement.rtcp_mux) == ("opus", opus, True)
    assert "useinbandfec=1" in agreement.send_parameters
    assert len(answer.media) == len(theirs.description.media)
    audio = answer.media[0]
    assert (audio.port, audio.protocol, audio.get("setup"), audio.get("ice-ufrag")) == (9, "UDP/TLS/RTP/SAVPF", "active", "abcd")
    assert audio.get("rtcp-mux") is not None
    assert [one.value for one in answer.attributes if one.name == "group"] == ["BUNDLE 0"]
    assert [
        one for one in audio.attributes if one.name in ("extmap", "simulcast", "rid", "candidate") and "typ host" not in str(one.value)
    ] == []


def test_picture_and_data_of_chromium_are_refused_by_port_zero() -> None:
    text, _ = build_answer(read_offer(offer("chromium")), OURS, CODECS, 40_002, session_id=7)
    refused = parse_description(text.encode()).media[1:]
    assert [(one.media, one.port, one.get("mid")) for one in refused] == [("video", 0, "1"), ("application", 0, "2")]


def test_answer_has_no_group_and_no_mid_that_the_offer_does_not_have() -> None:
    """RFC 8843 §7.3, RFC 5888 §9.1: as clients before BUNDLE offer."""
    text = offer("firefox")
    without_group = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("a=group"))
    bare = "".join(line for line in without_group.splitlines(keepends=True) if not line.startswith("a=mid"))
    for changed, mid in ((without_group, "0"), (bare, None)):
        answer = parse_description(build_answer(read_offer(changed), OURS, CODECS, 40_002, session_id=7)[0].encode())
        assert not any(one.name == "group" for one in answer.attributes)
        assert answer.media[0].get("mid") == mid


def test_every_fingerprint_of_the_offer_is_kept() -> None:
    assert [name for name, _ in read_offer(offer("safari")).fingerprints] == ["sha-384", "sha-256"]
    assert len(read_offer(offer("firefox")).fingerprints) == 1  # that of the session


def test_offer_of_a_picture_alone_is_refused() -> None:
    head, _, rest = offer("chromium").partition("m=audio")
    with pytest.raises(NegotiationError, match="no audio"):
        read_offer(head + rest[rest.index("m=video") :])


def test_lite_agent_says_so_and_a_further_answer_has_a_higher_version() -> None:
    theirs = read_offer(offer("firefox"))
    lite = Ours(OURS.ufrag, OURS.password, OURS.fingerprint, OURS.candidates, is_lite=True)
    first, _ = build_answer(theirs, lite, CODECS, 40_002, session_id=7)
    second, _ = build_answer(theirs, lite, CODECS, 40_002, session_id=7, version=2)
    assert "a=ice-lite" in first.split("m=")[0]
    assert [parse_description(one.encode()).origin.version for one in (first, second)] in ([1, 2], ["1", "2"])


def test_fragment_puts_other_ice_into_every_section() -> None:
    lines = ("a=ice-ufrag:Nw3t", "a=ice-pwd:abcdefghijklmnopqrstuv", "m=audio 9 UDP/TLS/RTP/SAVPF 0", "a=mid:0")
    text = "\r\n".join((*lines, "a=candidate:1 1 udp 1 192.0.2.9 5 typ host", "a=end-of-candidates", ""))
    fragment = read_fragment(text)
    assert (fragment.ufrag, len(fragment.candidates)) == ("Nw3t", 1)
    for name in ("chromium", "firefox", "safari"):
        theirs = read_offer(with_ice(offer(name), fragment))
        assert (theirs.ufrag, theirs.password, theirs.candidates) == ("Nw3t", "abcdefghijklmnopqrstuv", fragment.candidates)
        assert theirs.fingerprints == read_offer(offer(name)).fingerprints
        answer, _ = build_answer(theirs, OURS, CODECS, 40_002, session_id=7)
        ours = read_fragment(fragment_of(answer))
        assert (ours.ufrag, ours.password, list(ours.candidates)) == (OURS.ufrag, OURS.password, OURS.candidates)


@pytest.mark.parametrize(
    "text", ["", "hello", "a=ice-ufrag:abcd\r\n", "a=ice-ufrag:a b\r\na=ice-pwd:xxxx\r\n", "a=candidate:1\r\n" * 100, "a=" + "x" * 70_000]
)
def test_fragment_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ParseError):
        read_fragment(text)
