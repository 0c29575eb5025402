"""The sound of a SIP leg: what its descriptions say when the peer offers again (RFC 3264 section 8)."""

from __future__ import annotations

import asyncio
import base64
import re
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from active_call.base.world import Randomness
from active_call.legs.sip.causes import warning_header
from active_call.legs.sip.media import MediaSettings, SipMedia
from active_call.media.link.messages import ConfigureRtp
from active_call.sdp.negotiation import NegotiationError, SrtpPolicy


class Stream:
    """A media stream that takes every setting."""

    stream = 1
    port = 20_000

    def configure(self, order: ConfigureRtp) -> None: ...


class Pool:
    """Hands out one stream."""

    async def open_stream(self, _on_report: object, *, bind_ip: str, near: object = None) -> Stream:
        del bind_ip
        return Stream()


def sound(**settings_of: Any) -> SipMedia:
    randomness = SimpleNamespace(token=lambda size: "ab" * size, bytes=lambda size: b"k" * size, random_bytes=lambda size: b"k" * size)
    settings = MediaSettings("127.0.0.1", ("pcmu", "pcma"), **settings_of)
    media = SipMedia(cast("Any", Pool()), settings, cast("Randomness", randomness), public_ip="127.0.0.1")
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


# -- codecs and suites -------------------------------------------------------------------------------------------------------------------


class Listening(Stream):
    """A media stream that remembers its last setting."""

    def __init__(self) -> None:
        self.setting: dict[str, Any] = {}

    def configure(self, order: ConfigureRtp) -> None:
        self.setting = msgspec.structs.asdict(order)


def sound_of(stream: Listening, **settings: Any) -> SipMedia:
    class Opened(Pool):
        async def open_stream(self, _on_report: object, *, bind_ip: str, near: object = None) -> Stream:
            del bind_ip
            return stream

    keys = iter(range(1, 100))
    randomness = SimpleNamespace(token=lambda size: "ab" * size, random_bytes=lambda size: bytes([next(keys)]) * size)
    all_of_them = MediaSettings("127.0.0.1", ("pcmu", "g722", "opus"), **settings)
    media = SipMedia(cast("Any", Opened()), all_of_them, cast("Randomness", randomness), public_ip="127.0.0.1")
    asyncio.run(media.open(lambda _report: None))
    return media


def secure_offer(*lines: str, formats: str = "0") -> bytes:
    head = ["v=0", "o=- 1 1 IN IP4 192.0.2.1", "s=-", "c=IN IP4 192.0.2.1", "t=0 0", f"m=audio 4000 RTP/SAVP {formats}"]
    return "\r\n".join([*head, *lines, ""]).encode()


def crypto(tag: int, suite: str, size: int) -> str:
    return f"a=crypto:{tag} {suite} inline:{base64.b64encode(bytes(size)).decode()}"


def test_codec_changes_by_a_new_offer_and_back() -> None:
    stream = Listening()
    media = sound_of(stream)
    for formats, lines, expected in (
        ("0", (), ("pcmu", 0, 20, "")),
        (
            "96",
            ("a=rtpmap:96 opus/48000/2", "a=fmtp:96 useinbandfec=1;usedtx=1", "a=ptime:40"),
            ("opus", 96, 40, "useinbandfec=1;usedtx=1"),
        ),
        ("9 0", ("a=ptime:10",), ("g722", 9, 10, "")),
        ("0", (), ("pcmu", 0, 20, "")),
    ):
        media.answer(offer(codec=formats) + "\r\n".join([*lines, ""]).encode())
        found = tuple(stream.setting[name] for name in ("codec", "send_payload_type", "ptime_ms", "send_parameters"))
        assert found == expected


def test_offer_with_srtp_has_the_default_suites_unless_told_otherwise() -> None:
    assert re.findall(rb"a=crypto:(\S+ \S+) ", sound_of(Listening()).offer(srtp=True)) == [
        b"1 AES_CM_128_HMAC_SHA1_80",
        b"2 AES_CM_128_HMAC_SHA1_32",
    ]
    chosen = ("AEAD_AES_256_GCM", "AES_256_CM_HMAC_SHA1_80")
    offered = re.findall(rb"a=crypto:\d+ (\S+) inline:(\S+)", sound_of(Listening(), srtp_suites=chosen).offer(srtp=True))
    assert [(suite.decode(), len(base64.b64decode(key))) for suite, key in offered] == [(chosen[0], 44), (chosen[1], 46)]


def test_answer_takes_any_suite_unless_told_otherwise() -> None:
    gcm, aes = crypto(1, "AEAD_AES_128_GCM", 28), crypto(2, "AES_CM_128_HMAC_SHA1_80", 30)
    stream = Listening()
    sound_of(stream).answer(secure_offer(gcm, aes))
    assert (stream.setting["suite"], len(stream.setting["send_key"])) == ("AEAD_AES_128_GCM", 28)
    sound_of(stream, srtp_suites=("AES_CM_128_HMAC_SHA1_80",)).answer(secure_offer(gcm, aes))
    assert (stream.setting["suite"], len(stream.setting["send_key"])) == ("AES_CM_128_HMAC_SHA1_80", 30)
    with pytest.raises(NegotiationError):
        sound_of(stream, srtp_suites=("AES_CM_128_HMAC_SHA1_80",)).answer(secure_offer(gcm))


def test_suite_that_changes_in_mid_call_gets_a_key_of_its_length_and_an_unchanged_one_keeps_its_key() -> None:
    stream = Listening()
    media = sound_of(stream)
    keys = []
    for line in (crypto(1, "AES_CM_128_HMAC_SHA1_80", 30), crypto(1, "AES_CM_128_HMAC_SHA1_80", 30), crypto(1, "AEAD_AES_256_GCM", 44)):
        media.answer(secure_offer(line))
        keys.append(stream.setting["send_key"])
    assert keys[0] == keys[1]
    assert [len(key) for key in keys] == [30, 30, 44]


# -- hold ------------------------------------------------------------------------------------------------------------------------------


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


def public_offer(address: str, *lines: str) -> bytes:
    text = ["v=0", "o=- 1 1 IN IP4 192.0.2.1", "s=-", f"c=IN IP4 {address}", "t=0 0", "m=audio 4000 RTP/AVP 0", *lines, ""]
    return "\r\n".join(text).encode()


def test_name_that_leads_to_a_private_address_of_a_public_peer_gets_nothing_until_its_packets_come() -> None:
    async def look_up(_name: str) -> tuple[str, ...]:
        return ("10.0.0.5",)

    stream = Listening()
    media = sound_of(stream)
    media.peer, media._look_up = "198.51.100.7", look_up

    async def answered() -> None:
        media.answer(public_offer("media.attacker.example"))
        await asyncio.sleep(0.05)

    asyncio.run(answered())
    assert stream.setting["remote_ip"] == ""


@pytest.mark.parametrize("name", ["media", "sbc.local", "SBC.Local.", "x.localhost"])
@pytest.mark.parametrize("peer", ["198.51.100.7", "10.0.0.9"])
def test_names_of_its_own_network_are_looked_up_for_a_peer_of_ours_alone(name: str, peer: str) -> None:
    """Look-ups of such names take the system's few threads, and lead a public peer nowhere."""
    asked: list[str] = []

    async def look_up(name: str) -> tuple[str, ...]:
        asked.append(name)
        return ("10.0.0.10",)

    media = sound_of(Listening())
    media.peer, media._look_up = peer, look_up

    async def answered() -> None:
        media.answer(public_offer(name))
        await asyncio.sleep(0)

    asyncio.run(answered())
    assert asked == ([name] if peer.startswith("10.") else [])


def test_peer_that_names_another_host_with_every_offer_is_looked_up_a_few_times() -> None:
    asked: list[str] = []

    async def look_up(name: str) -> tuple[str, ...]:
        asked.append(name)
        return ("198.51.100.9",)

    media = sound_of(Listening())
    media.peer, media._look_up = "198.51.100.7", look_up

    async def answered() -> None:
        for n in range(100):
            media.answer(public_offer(f"media{n}.attacker.example"))
            await asyncio.sleep(0)

    asyncio.run(answered())
    assert 1 <= len(asked) <= 20


@pytest.mark.parametrize("peer", ["198.51.100.7", "10.0.0.9"])
def test_rtcp_of_a_public_peer_does_not_go_to_a_private_address(peer: str) -> None:
    stream = Listening()
    media = sound_of(stream)
    media.peer = peer
    media.answer(public_offer("198.51.100.7", "a=rtcp:5060 IN IP4 10.0.0.5"))
    expected = "10.0.0.5" if peer.startswith("10.") else "198.51.100.7"
    assert (stream.setting["remote_rtcp_ip"], stream.setting["remote_rtcp_port"]) == (expected, 5060)


@pytest.mark.parametrize("address", ["2001:db8::7", "::ffff:198.51.100.7"])
def test_rtcp_goes_by_the_family_of_the_socket(address: str) -> None:
    stream = Listening()
    media = sound_of(stream)
    media.peer = "198.51.100.7"
    media.answer(public_offer("198.51.100.7", f"a=rtcp:5060 IN IP6 {address}"))
    assert (stream.setting["remote_rtcp_ip"], stream.setting["remote_rtcp_port"]) == ("198.51.100.7", 5060)


def test_warning_fits_into_a_packet_whatever_the_peer_has_named() -> None:
    name, value = warning_header("no media to " + "a\xff\r\n" * 5_000)
    assert name == "Warning" and len(value.encode()) < 1_300 and value.endswith('"')


# -- the limit of silence ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit_s", "set_s"), [(None, 20.0), (0, 0.0), (45, 45.0)])
@pytest.mark.parametrize("asks", ["peer", "we"])
def test_limit_of_silence_of_one_call_comes_before_that_of_the_server(limit_s: int | None, set_s: float, asks: str) -> None:
    stream = Listening()
    media = sound_of(stream)
    media.limit_silence(limit_s)
    if asks == "peer":
        media.answer(offer())
    else:
        media.offer(srtp=False)
        media.accept(offer())
    assert stream.setting["rtp_timeout_s"] == set_s
    media.answer(offer(direction="inactive"))
    assert stream.setting["rtp_timeout_s"] == 0.0, "on hold nothing is awaited"


# -- audio that rests, and offers of best effort


def resting(port: int = 0) -> bytes:
    return offer().replace(b"m=audio 4000", b"m=audio %d" % port)


def test_audio_of_port_0_is_answered_with_port_0_and_the_call_waits_3264_8_2() -> None:
    media = sound()
    first = media.answer(offer())
    answer = media.answer(resting())
    assert b"m=audio 0 RTP/AVP" in answer
    assert version(answer) == version(first) + 1
    assert media.agreement is not None
    assert (media.agreement.send, media.agreement.receive, media.agreement.on_hold) == (False, False, True)
    assert media.answer(resting()) == answer
    again = media.answer(offer())
    assert (b"m=audio 20000" in again, version(again)) == (True, version(answer) + 1)
    assert (media.agreement.send, media.agreement.receive, media.agreement.on_hold) == (True, True, False)


def test_first_offer_without_audio_is_refused() -> None:
    with pytest.raises(NegotiationError):
        sound().answer(resting())


def test_prepared_answer_is_the_one_that_is_given() -> None:
    media = sound()
    media.prepare(offer())
    assert media.agreement is None
    prepared = media.answer(offer())
    assert prepared == sound().answer(offer())
    media = sound()
    media.prepare(offer())
    assert b"a=sendrecv" not in media.answer(offer(direction="sendonly"))  # another offer: what was prepared is of no use


def best_effort(tag: int = 1) -> bytes:
    key = base64.b64encode(b"p" * 30)
    return offer() + b"a=crypto:%d AES_CM_128_HMAC_SHA1_80 inline:%s\r\n" % (tag, key)


def test_best_effort_offer_is_answered_with_srtp_under_its_own_profile_where_that_is_wanted() -> None:
    media = sound(best_effort=True)
    answer = media.answer(best_effort(3))
    assert b"m=audio 20000 RTP/AVP 0" in answer
    assert b"a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:" in answer
    assert media.agreement is not None
    assert media.agreement.crypto is not None
    assert media.agreement.crypto.receive_key == b"p" * 30
    ours = media.offer(srtp=True, direction="sendonly")
    assert b"m=audio 20000 RTP/AVP" in ours
    assert b"a=crypto:" in ours
    media.accept(best_effort(3))
    assert media.agreement.crypto is not None


@pytest.mark.parametrize(("policy", "wanted"), [("preferred", False), ("off", True)])
def test_best_effort_offer_is_answered_plain_where_that_is_not_wanted(policy: str, wanted: bool) -> None:
    media = sound(srtp=SrtpPolicy(policy), best_effort=wanted)
    assert b"crypto" not in media.answer(best_effort())
    assert media.agreement is not None
    assert media.agreement.crypto is None


def test_best_effort_offer_without_a_usable_key_is_answered_plain() -> None:
    media = sound(best_effort=True)
    assert b"crypto" not in media.answer(offer() + b"a=crypto:1 F8_128_HMAC_SHA1_80 inline:AAAA\r\n")


def test_plain_answer_to_a_best_effort_offer_of_ours_ends_the_encryption() -> None:
    media = sound(best_effort=True)
    media.answer(best_effort())
    media.offer(srtp=True)
    media.accept(offer())
    assert media.agreement is not None
    assert (media.agreement.crypto, media.agreement.best_effort) == (None, False)
