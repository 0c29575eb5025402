"""Words that are spoken while the model writes them: one stream, the same words heard, and the same ends as sentence by sentence."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from test_speech_output import Files, Player, ends, tracks, with_player

from active_call.base.errors import ProviderError
from active_call.contract import commands, events
from active_call.contract.options import TtsOption
from active_call.providers.text_to_speech import SpeechChunk, TextToSpeechCapabilities
from active_call.providers.tts.whole_text import WholeTextStream


class WritingVoice:
    """Takes text while it is written: 1 s of sound for each clause, made in 0.2 s. `broken` clauses fail in their middle."""

    name = "fake"
    capabilities = TextToSpeechCapabilities(8_000, streaming_text=True)

    def __init__(self, *, marks: bool = True) -> None:
        self.marks = marks
        self.streams: list[list[tuple[float, str]]] = []
        """What was asked of each stream, and when."""
        self.broken: set[str] = set()

    def open(self, *, speaker: str | None = None, speed: float | None = None) -> Any:
        asked: list[tuple[float, str]] = []
        self.streams.append(asked)
        stream = WholeTextStream(lambda text: self._say(text, asked), 8_000)
        return stream if self.marks else Unmarked(stream)

    async def _say(self, text: str, asked: list[tuple[float, str]]) -> AsyncGenerator[SpeechChunk, None]:
        asked.append((asyncio.get_running_loop().time(), text.strip()))
        for number in range(10):
            await asyncio.sleep(0.02)
            if number == 5 and text.strip() in self.broken:
                raise ProviderError("fake", "gone")
            yield SpeechChunk(b"\1\0" * 800)

    async def close(self) -> None:
        pass


class Unmarked:
    """A stream of a vendor that does not tell clauses apart."""

    def __init__(self, inner: WholeTextStream) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __aiter__(self) -> Unmarked:
        return self

    async def __anext__(self) -> SpeechChunk:
        chunk = await anext(self._inner)
        return SpeechChunk(chunk.pcm)


def say(player: Player, text: str, **more: Any) -> None:
    player.speaking.tts(commands.Tts(text=text, play_id="r1", streaming=True, **more))


def with_voice(work: Callable[[Player, WritingVoice], Awaitable[None]], voice: WritingVoice | None = None) -> None:
    voice = voice or WritingVoice()

    async def begin(player: Player) -> None:
        player.speaking.use(None, voice)
        await work(player, voice)

    with_player(Files(0), begin)


def texts(voice: WritingVoice) -> list[list[str]]:
    return [[text for _, text in stream] for stream in voice.streams]


def test_clauses_go_to_one_stream_as_they_are_written() -> None:
    async def work(player: Player, voice: WritingVoice) -> None:
        for clause in ("Yes,", "of course,", "we are open."):
            say(player, clause)
            await asyncio.sleep(0.3)
        say(player, "", end_of_stream=True)
        await asyncio.sleep(4)
        assert texts(voice) == [["Yes,", "of course,", "we are open."]]
        assert [at for at, _ in voice.streams[0]] == pytest.approx([0.0, 0.3, 0.6], abs=0.05)
        assert ends(player) == [("", 3000)] and tracks(player) == ["+r1", "-r1"]
        assert not player.speaking.is_speaking

    with_voice(work)


@pytest.mark.parametrize("pause_s", [0.1, 2.5])
def test_last_words_end_the_play_with_or_without_a_pause_before_them(pause_s: float) -> None:
    async def work(player: Player, voice: WritingVoice) -> None:
        say(player, "One moment.")
        await asyncio.sleep(pause_s)
        say(player, "Here it is.", end_of_stream=True)
        await asyncio.sleep(5)
        assert texts(voice) == [["One moment.", "Here it is."]] and ends(player)[-1] == ("", 2000)

    with_voice(work)


def test_what_is_known_whole_is_asked_for_sentence_by_sentence() -> None:
    async def work(player: Player, voice: WritingVoice) -> None:
        say(player, "Welcome.")
        say(player, "How can I help?", end_of_stream=True)
        await asyncio.sleep(5)
        assert texts(voice) == [["Welcome."], ["How can I help?"]] and ends(player) == [("", 2000)]

    with_voice(work)


@pytest.mark.parametrize(
    ("at_s", "heard"), [(0.55, "Good"), (1.6, "Good morning. We are"), (2.9, "Good morning. We are open now. Please call")]
)
def test_interruption_tells_the_words_that_were_heard(at_s: float, heard: str) -> None:
    async def work(player: Player, voice: WritingVoice) -> None:
        for clause in ("Good morning.", "We are open now.", "Please call again."):
            say(player, clause)
            await asyncio.sleep(0.05)
        await asyncio.sleep(at_s - 0.15)
        player.speaking.interrupt()
        await asyncio.sleep(0.2)
        (told,) = [event for event in player.events if isinstance(event, events.Interruption)]
        assert told.subtitle is not None and told.subtitle.startswith(heard)
        say(player, "Later.")
        await asyncio.sleep(2)
        assert texts(voice)[-1] == ["Later."]

    with_voice(work)


def test_graceful_interruption_ends_with_the_clause_that_is_heard() -> None:
    async def work(player: Player, voice: WritingVoice) -> None:
        for clause in ("One.", "Two.", "Three."):
            say(player, clause)
            await asyncio.sleep(0.05)
        await asyncio.sleep(1.4)
        player.speaking.interrupt(graceful=True)
        await asyncio.sleep(4)
        assert ends(player) == [("One. Two.", 2000)] and not player.speaking.is_speaking

    with_voice(work)


def test_another_mood_is_a_request_of_its_own_in_its_place() -> None:
    async def work(player: Player, voice: WritingVoice) -> None:
        say(player, "One,")
        await asyncio.sleep(0.1)
        say(player, "two,", option=TtsOption(emotion="happy"))
        await asyncio.sleep(0.1)
        say(player, "three.")
        await asyncio.sleep(0.1)
        say(player, "", end_of_stream=True)
        await asyncio.sleep(5)
        assert texts(voice) == [["One,"], ["two,"], ["three."]] and ends(player) == [("", 3000)]

    with_voice(work)


def test_sound_that_breaks_ends_the_play_with_what_was_heard() -> None:
    async def work(player: Player, voice: WritingVoice) -> None:
        voice.broken = {"Two three four."}
        say(player, "One.")
        await asyncio.sleep(0.1)
        say(player, "Two three four.")
        await asyncio.sleep(0.1)
        say(player, "Five.", end_of_stream=True)
        await asyncio.sleep(4)
        (error,) = [event for event in player.events if isinstance(event, events.Error)]
        (ended,) = [event for event in player.events if isinstance(event, events.TrackEnd)]
        assert error.sender == "tts" and ended.subtitle is not None and ended.subtitle.startswith("One.") and "Five" not in ended.subtitle

    with_voice(work)


def test_vendor_that_does_not_tell_clauses_apart_shares_the_time_by_their_lengths() -> None:
    async def work(player: Player, voice: WritingVoice) -> None:
        say(player, "Good morning.")
        await asyncio.sleep(0.05)
        say(player, "We are open.")
        await asyncio.sleep(0.05)
        say(player, "", end_of_stream=True)
        await asyncio.sleep(1.5)
        player.speaking.interrupt()
        await asyncio.sleep(0.1)
        (told,) = [event for event in player.events if isinstance(event, events.Interruption)]
        assert told.subtitle is not None and told.subtitle.startswith("Good morning. We")

    with_voice(work, WritingVoice(marks=False))


def test_speech_that_was_prepared_is_used_and_the_rest_is_written() -> None:
    async def work(player: Player, voice: WritingVoice) -> None:
        player.speaking.maker.prepare(commands.Tts(text="Certainly,"))
        await asyncio.sleep(0.5)
        say(player, "Certainly,")
        await asyncio.sleep(0.1)
        say(player, "we can.")
        await asyncio.sleep(0.1)
        say(player, "Today.", end_of_stream=True)
        await asyncio.sleep(5)
        assert texts(voice) == [["Certainly,"], ["we can.", "Today."]] and ends(player) == [("", 3000)]

    with_voice(work)
