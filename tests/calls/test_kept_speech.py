"""Stories of `tts` with a `cacheKey`: the vendor is asked once, and what was not made to its end is not kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from calls_kit import MS_PER_CHARACTER, Call, Voice, a_call

from active_call.base.errors import ProviderError
from active_call.contract import commands, events
from active_call.contract.options import TtsOption
from active_call.store.audio_cache import AudioCache
from active_call.store.speech import SpeechLibrary

PLAYBOOK = """---
llm: {provider: script}
---
## hello
Hello again.
"""
GREETING = "Good morning, this is the harbour bakery."


class SlowVoice(Voice):
    """Gives its sound in quarters, half a second apart; `fails_after` so many of them."""

    fails_after: int | None = None

    async def synthesise(self, text: str, *, speaker: str | None = None, speed: float | None = None) -> AsyncIterator[bytes]:
        self.said.append(text)
        for i in range(4):
            if i == self.fails_after:
                raise ProviderError("voice", "out of breath")
            await asyncio.sleep(0.5)
            yield b"\1\0" * (len(text) * MS_PER_CHARACTER * 2)


async def at_once(function: Any, *args: Any) -> Any:
    """Virtual time does not wait for threads."""
    return function(*args)


def library(folder: Path) -> SpeechLibrary:
    return SpeechLibrary(AudioCache(folder), at_once)


async def heard(call: Call, **tts: Any) -> int:
    """Say it, and wait until it was heard; how long it was, in ms."""
    n_ends = len(call.of(events.TrackEnd))
    call.session.post(commands.Tts(**tts))
    await call.until(lambda: len(call.of(events.TrackEnd)) > n_ends)
    ended: events.TrackEnd = call.of(events.TrackEnd)[-1]
    return ended.duration


def test_two_commands_with_one_key_ask_the_vendor_once(virtually: Any, tmp_path: Path) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK, speech=library(tmp_path)) as call:
            await call.until(lambda: bool(call.of(events.Answer)))
            first = await heard(call, text=GREETING, cache_key="greeting")
            again = await heard(call, text=GREETING, option=TtsOption(cache_key="greeting"))
            assert first == again == len(GREETING) * MS_PER_CHARACTER
            assert call.spoken == [GREETING]

    virtually(story())


def test_key_alone_says_what_is_heard(virtually: Any, tmp_path: Path) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK, speech=library(tmp_path)) as call:
            await call.until(lambda: bool(call.of(events.Answer)))
            assert await heard(call, text=GREETING, cache_key="greeting") == await heard(call, text="Hi.", cache_key="greeting")
            await heard(call, text="Hi.", cache_key="another")
            await heard(call, text="Hi.", cache_key="")
            assert call.spoken == [GREETING, "Hi.", "Hi."]

    virtually(story())


def test_sound_is_found_on_disk_after_a_restart(virtually: Any, tmp_path: Path) -> None:
    async def story() -> None:
        for n_asked in (1, 0):
            async with a_call(PLAYBOOK, speech=library(tmp_path)) as call:
                await call.until(lambda call=call: bool(call.of(events.Answer)))
                assert await heard(call, text=GREETING, cache_key="greeting") == len(GREETING) * MS_PER_CHARACTER
                assert len(call.spoken) == n_asked

    virtually(story())


def test_speech_that_is_interrupted_while_it_is_made_is_not_kept(virtually: Any, tmp_path: Path) -> None:
    async def story() -> None:
        voice = SlowVoice()
        async with a_call(PLAYBOOK, speech=library(tmp_path), voice=voice) as call:
            await call.until(lambda: bool(call.of(events.Answer)))
            call.session.post(commands.Tts(text=GREETING, cache_key="greeting"))
            await call.until(lambda: bool(call.of(events.TrackStart)))
            call.session.post(commands.Interrupt())
            await call.until(lambda: bool(call.of(events.Interruption)))
            await asyncio.sleep(5)
            assert list(tmp_path.iterdir()) == []
            assert await heard(call, text=GREETING, cache_key="greeting") == len(GREETING) * MS_PER_CHARACTER
            assert await heard(call, text=GREETING, cache_key="greeting") == len(GREETING) * MS_PER_CHARACTER
            assert call.spoken == [GREETING, GREETING]

    virtually(story())


def test_call_that_ends_while_speech_is_made_keeps_nothing(virtually: Any, tmp_path: Path) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK, speech=library(tmp_path), voice=SlowVoice()) as call:
            await call.until(lambda: bool(call.of(events.Answer)))
            call.session.post(commands.Tts(text=GREETING, cache_key="greeting"))
            await call.until(lambda: bool(call.of(events.TrackStart)))
            call.leg.end("test", "gone")
            await call.over()
            await asyncio.sleep(5)
            assert list(tmp_path.iterdir()) == []

    virtually(story())


def test_first_sound_is_heard_while_the_rest_is_made(virtually: Any, tmp_path: Path) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK, speech=library(tmp_path), voice=SlowVoice()) as call:
            await call.until(lambda: bool(call.of(events.Answer)))
            asked_at = asyncio.get_running_loop().time()
            call.session.post(commands.Tts(text=GREETING, cache_key="greeting"))
            await call.until(lambda: bool(call.of(events.TrackStart)))
            assert asyncio.get_running_loop().time() - asked_at < 0.6  # the whole takes two seconds

    virtually(story())


def test_vendor_that_fails_on_the_way_is_told_and_nothing_is_kept(virtually: Any, tmp_path: Path) -> None:
    async def story() -> None:
        voice = SlowVoice()
        voice.fails_after = 2
        async with a_call(PLAYBOOK, speech=library(tmp_path), voice=voice) as call:
            await call.until(lambda: bool(call.of(events.Answer)))
            await heard(call, text=GREETING, cache_key="greeting")
            assert [(event.sender, event.error) for event in call.of(events.Error)] == [("tts", "voice: out of breath")]
            assert list(tmp_path.iterdir()) == []

    virtually(story())


def test_calls_that_ask_for_one_key_at_once_share_the_sound(virtually: Any, tmp_path: Path) -> None:
    async def story() -> None:
        speech, voice = library(tmp_path), SlowVoice()
        async with (
            a_call(PLAYBOOK, speech=speech, voice=voice, session_id="s.1") as one,
            a_call(PLAYBOOK, speech=speech, voice=voice, session_id="s.2") as other,
        ):
            for call in (one, other):
                await call.until(lambda call=call: bool(call.of(events.Answer)))
            both = await asyncio.gather(*(heard(call, text=GREETING, cache_key="greeting") for call in (one, other)))
            assert both == [len(GREETING) * MS_PER_CHARACTER] * 2
            assert voice.said == [GREETING]

    virtually(story())
