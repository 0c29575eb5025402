"""The sound of a SIP leg: what its descriptions say when the peer offers again (RFC 3264 section 8)."""

from __future__ import annotations

import asyncio
import re
from types import SimpleNamespace
from typing import Any, cast

import pytest

from active_call.base.world import Randomness
from active_call.legs.sip_media import LegMedia, MediaSettings
from active_call.sdp.negotiation import NegotiationError


class Stream:
    """A media stream that takes every setting."""

    port = 20_000

    def configure(self, **_settings: Any) -> None: ...


class Pool:
    """Hands out one stream."""

    async def open_stream(self, _on_report: object, *, bind_ip: str, near: object = None) -> Stream:
        del bind_ip
        return Stream()


def sound() -> LegMedia:
    randomness = SimpleNamespace(token=lambda size: "ab" * size, bytes=lambda size: b"k" * size, random_bytes=lambda size: b"k" * size)
    settings = MediaSettings("127.0.0.1", ("pcmu", "pcma"))
    media = LegMedia(cast("Any", Pool()), settings, cast("Randomness", randomness), public_ip="127.0.0.1")
    asyncio.run(media.open(lambda _report: None))
    return media


def offer(*, direction: str = "sendrecv", codec: str = "0", media: str = "audio") -> bytes:
    profile = "udptl" if media == "image" else "RTP/AVP"
    lines = ["v=0", "o=- 1 1 IN IP4 192.0.2.1", "s=-", "c=IN IP4 192.0.2.1", "t=0 0", f"m={media} 4000 {profile} {codec}", f"a={direction}"]
    return "\r\n".join([*lines, ""]).encode()


def version(description: bytes) -> int:
    found = re.search(rb"o=\S+ \d+ (\d+) ", description)
    assert found is not None
    return int(found.group(1))


def test_answer_to_an_unchanged_offer_is_unchanged() -> None:
    media = sound()
    first = media.answer(offer())
    assert media.answer(offer()) == first


def test_answer_that_differs_has_the_next_version() -> None:
    media = sound()
    versions = [version(media.answer(offer(direction=one))) for one in ("sendrecv", "sendonly", "sendonly", "sendrecv")]
    assert [one - versions[0] for one in versions] == [0, 1, 1, 2]


def test_refused_offer_uses_up_no_version() -> None:
    media = sound()
    first = media.answer(offer())
    for refused in (offer(codec="18"), offer(media="image", codec="t38")):
        with pytest.raises(NegotiationError):
            media.answer(refused)
    assert media.answer(offer()) == first
    assert version(media.answer(offer(direction="inactive"))) == version(first) + 1


def test_offer_of_ours_without_a_change_is_the_same() -> None:
    media = sound()
    assert media.offer(srtp=False) == media.offer(srtp=False)


def test_offer_in_an_open_session_keeps_the_sections_that_were_refused() -> None:
    media = sound()
    media.answer(offer() + b"m=video 6 RTP/AVP 97\r\nm=image 8 udptl t38\r\n")
    lines = media.offer(srtp=False).decode().split("\r\n")
    assert [line.split(" ")[0:3] for line in lines if line.startswith("m=")] == [
        ["m=audio", "20000", "RTP/AVP"],
        ["m=video", "0", "RTP/AVP"],
        ["m=image", "0", "udptl"],
    ]


def test_offer_that_holds_says_so_and_a_refused_one_leaves_no_trace() -> None:
    ours = sound()
    first = ours.answer(offer())
    hold = ours.offer(srtp=False, direction="sendonly")
    assert b"a=sendonly" in hold
    assert version(hold) == version(first) + 1
    ours.take_back_offer()
    again = ours.offer(srtp=False, direction="inactive")
    assert b"a=inactive" in again
    assert version(again) == version(first) + 1


def test_answer_while_we_hold_grants_no_more_than_that() -> None:
    ours = sound()
    ours.answer(offer())
    ours.offer(srtp=False, direction="sendonly")
    ours.accept(offer(direction="recvonly"))
    ours.direction = "sendonly"
    assert b"a=sendonly" in ours.answer(offer())  # a refresh of the peer's takes nothing back
    assert b"a=inactive" in ours.answer(offer(direction="sendonly"))  # both hold


def test_offer_of_ours_that_has_met_theirs_makes_way_for_the_answer() -> None:
    ours = sound()
    first = ours.answer(offer())
    ours.offer(srtp=False, direction="sendonly")
    answer = ours.answer(offer(direction="sendonly"))
    assert version(answer) == version(first) + 1
    assert b"a=recvonly" in answer
