"""Stories of the smaller commands: digits by every way, tracks, ringing with sound, requests that the peer refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from calls_kit import Always, Call, Engines, Voice, a_call, fault_in

from active_call.base.errors import ConfigError, TransportError
from active_call.call.opening.routing import LeftOpen
from active_call.contract import commands, events
from active_call.contract.options import CallOption, TtsOption
from active_call.legs.events import LegDigit, LegRequestRefused, LegRinging
from active_call.testing.fakes.call import FakeLeg

PLAYBOOK = """---
llm: {provider: script}
greeting: Welcome.
---
## hello
Hello again.
"""


async def greeted(call: Call) -> None:
    await call.until(lambda: bool(call.of(events.TrackEnd)))


# -- digits ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("events_agreed", "allowed", "method", "way"),
    [
        (True, "INFO", None, "rfc4733"),
        (False, "INFO", None, "info"),
        (False, "BYE", None, "inband"),
        (True, "INFO", "info", "info"),
        (True, "INFO", "inband", "inband"),
    ],
)
def test_digits_of_ours_go_the_way_that_fits(virtually: Any, events_agreed: bool, allowed: str, method: str | None, way: str) -> None:
    async def story() -> None:
        leg = FakeLeg(has_telephone_events=events_agreed, allowed=frozenset({allowed}))
        async with a_call(PLAYBOOK, leg=leg) as call:
            await greeted(call)
            call.session.post(commands.Dtmf(digits="1#", duration=100, method=method))
            await asyncio.sleep(0.1)
            stream = call.leg.stream
            assert stream is not None
            assert (stream.digits_sent == "1#") is (way == "rfc4733")
            assert (leg.messages == ["INFO 1#"]) is (way == "info")
            await asyncio.sleep(1)
            assert [event.play_id for event in call.of(events.TrackEnd)[1:]] == (["dtmf:1#"] if way == "inband" else [])

    virtually(story())


def test_digits_by_tones_are_those_of_the_keys(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            await greeted(call)
            assert call.leg.stream is not None
            queued: list[bytes] = []
            call.leg.stream.queue_audio = lambda play, pcm, **_: queued.append(pcm)  # type: ignore[method-assign, misc]
            call.session.post(commands.Dtmf(digits="5", duration=200, method="inband"))
            await asyncio.sleep(0.1)
            tone = np.frombuffer(queued[0], "<i2")[: 8 * 200].astype(float)
            spectrum = abs(np.fft.rfft(tone))
            strongest = sorted(np.argsort(spectrum)[-2:] * 5)  # bins of 5 Hz
            assert [abs(found - wanted) <= 5 for found, wanted in zip(strongest, (770, 1336), strict=True)] == [True, True]

    virtually(story())


def test_digits_that_cannot_be_sent_are_an_error(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK, leg=FakeLeg(has_telephone_events=False)) as call:
            await greeted(call)
            for command in (
                commands.Dtmf(digits="1", method="rfc4733"),
                commands.Dtmf(digits="1", method="pigeon"),
                commands.Dtmf(digits="x", method="inband"),
            ):
                call.session.post(command)
            await call.until(lambda: len(call.of(events.Error)) == 3)
            assert {fault_in(event)[0] for event in call.of(events.Error)} == {"dtmf"}

    virtually(story())


def test_press_that_a_trunk_tells_twice_is_heard_once(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            await greeted(call)
            for _ in range(2):
                call.leg.press("7")
                call.leg.sink(LegDigit("7"))
                await asyncio.sleep(0.3)
            assert [event.digit for event in call.of(events.Dtmf)] == ["7", "7"]

    virtually(story())


# -- tracks and requests -----------------------------------------------------------------------------------------------------------------


def test_tracks_are_muted_by_their_names(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            await greeted(call)
            stream = call.leg.stream
            assert stream is not None
            for track in (None, "agent", "partner", "caller"):
                call.session.post(commands.Mute(track_id=track))
            call.session.post(commands.Mute(track_id="drums"))
            await call.until(lambda: bool(call.of(events.Error)))
            assert (stream.muted, stream.muted_tracks) == (True, {"plays", "partner", "caller"})
            for track in ("agent", "caller"):
                call.session.post(commands.Unmute(track_id=track))
            await asyncio.sleep(0.1)
            assert (stream.muted, stream.muted_tracks) == (True, {"partner"})
            call.session.post(commands.Unmute())
            await asyncio.sleep(0.1)
            assert (stream.muted, stream.muted_tracks) == (False, set())
            for track in ("server-side-track", call.session.id):  # as events name them
                call.session.post(commands.Mute(track_id=track))
            await asyncio.sleep(0.1)
            assert (stream.muted, stream.muted_tracks) == (False, {"plays", "caller"})

    virtually(story())


def test_request_that_the_peer_refuses_is_told(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            await greeted(call)
            call.session.post(commands.Message(body="hi"))
            call.leg.sink(LegRequestRefused("MESSAGE", 415, "Unsupported Media Type"))
            await call.until(lambda: bool(call.of(events.Error)))
            (error,) = call.of(events.Error)
            assert (error.sender, error.code, error.error) == ("message", 415, "415 Unsupported Media Type")
            assert call.leg.ended is None

    virtually(story())


def test_ice_candidate_in_a_sip_call_is_passed_over(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            await greeted(call)
            call.session.post(commands.AddIceCandidate(candidate="candidate:1 1 udp 1 127.0.0.1 9 typ host"))
            await asyncio.sleep(0.1)
            assert call.of(events.Error) == []

    virtually(story())


# -- before the answer -------------------------------------------------------------------------------------------------------------------


def test_agent_says_nothing_before_the_other_side_has_answered(virtually: Any) -> None:
    async def story() -> None:
        leg = FakeLeg(has_early_media=True, answers_after_s=8.0)
        async with a_call(PLAYBOOK, leg=leg, direction="outbound", option=CallOption(callee="sip:x@y")) as call:
            await call.until(lambda: bool(call.of(events.Ringing)))
            assert call.of(events.Ringing)[0].early_media is True
            call.session.post(commands.Tts(text="Too early.", play_id="early"))  # a client may ask for it all the same
            await leg.speak(1.0)  # an announcement in the early media
            await asyncio.sleep(3)
            assert call.of(events.TrackStart) == []
            await call.until(lambda: bool(call.of(events.Answer)))
            answered_at = call.of(events.Answer)[0].timestamp
            await call.until(lambda: len(call.of(events.TrackEnd)) >= 1)
            assert all(event.timestamp >= answered_at for event in call.of(events.TrackStart))
            assert "Welcome." in call.spoken

    virtually(story())


class Sounds:
    """A library with one file."""

    async def pieces(self, source: str, rate_hz: int, *, repeat: bool = False, trust: object = None) -> AsyncIterator[bytes]:
        assert (source, rate_hz, repeat) == ("ring.wav", 8000, False)
        yield b"\5\0" * 8000


@pytest.mark.parametrize("ringtone", ["ring.wav", "tone:ringback", None])
def test_ringing_with_sound_opens_it_before_the_answer(virtually: Any, ringtone: str | None) -> None:
    async def story() -> None:
        async with a_call(None, router=Always(lambda _: LeftOpen()), sounds=Sounds()) as call:
            call.session.post(commands.Ringing(early_media=True, ringtone=ringtone))
            await call.until(lambda: bool(call.leg.stream))
            await asyncio.sleep(0.1)
            stream = call.leg.stream
            assert stream is not None
            assert bool(stream.music) is (ringtone is not None)
            call.session.post(commands.Tts(text="One moment.", play_id="wait"))
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            assert call.of(events.Answer) == []
            call.session.post(commands.Accept())
            await call.until(lambda: bool(call.of(events.Answer)))
            assert stream.music == b""
            assert call.leg.stream is stream

    virtually(story())


class PickyEngines(Engines):
    """Engines that know one voice."""

    def get_synthesiser(self, option: TtsOption, trust: object = None) -> Any:
        if option.provider == "nosuch":
            raise ConfigError("tts.provider", "unknown provider 'nosuch'")
        return super().get_synthesiser(option)


def test_accept_that_names_no_engine_is_an_error_and_may_be_corrected(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(None, router=Always(lambda _: LeftOpen()), engines=PickyEngines(voice=Voice())) as call:
            call.session.post(commands.Accept(option=CallOption(tts=TtsOption(provider="nosuch"))))
            await asyncio.sleep(1)
            assert [event.error for event in call.of(events.Error)] == ["accept: tts.provider: unknown provider 'nosuch'"]
            assert call.of(events.Hangup) == []
            call.session.post(commands.Accept())
            await call.until(lambda: bool(call.of(events.Answer)))

    virtually(story())


def test_ringing_without_sound_opens_none(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(None, router=Always(lambda _: LeftOpen())) as call:
            call.session.post(commands.Ringing())
            await call.until(lambda: bool(call.of(events.Ringing)))
            call.leg.sink(LegRinging(early_media=False))
            await asyncio.sleep(0.1)
            assert call.leg.stream is None

    virtually(story())


class UnreachableLeg(FakeLeg):
    """A leg whose callee has no address."""

    async def dial(self, option: CallOption, *, call_id: str = "") -> None:
        raise TransportError("the name has no address", where="nowhere.example")


def test_callee_without_an_address_is_an_unavailable_server(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK, leg=UnreachableLeg(), direction="outbound", option=CallOption(callee="sip:x@nowhere.example")) as call:
            await call.until(lambda: bool(call.of(events.Hangup)))
            (hangup,) = call.of(events.Hangup)
            assert (hangup.reason, hangup.initiator) == ("serverUnavailable", "system")
            assert [event.error for event in call.of(events.Error)] == ["nowhere.example: the name has no address"]

    virtually(story())
