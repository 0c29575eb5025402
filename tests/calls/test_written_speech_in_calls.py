"""Calls whose voice takes text while the model writes it: the caller hears the first clause sooner, and everything else is as ever."""

from __future__ import annotations

import asyncio
from typing import Any

from calls_kit import Voice, a_call

from active_call.contract import events
from active_call.providers.text_to_speech import TextToSpeechCapabilities
from active_call.providers.tts.whole_text import WholeTextStream

PLAYBOOK = "---\nllm: {provider: openai}\ngreeting: Good day. How can I help?\n---\nHelp.\n"
ANSWER = "Yes, of course, and it takes us no longer than a day or two in town. Anything else?"


class WritingVoice(Voice):
    """The voice of the calls, which takes text while it is written. `streams` counts what was asked of it."""

    def __init__(self, *, takes_text: bool = True) -> None:
        super().__init__()
        self._takes_text = takes_text
        self.streams = 0

    @property
    def capabilities(self) -> TextToSpeechCapabilities:
        return TextToSpeechCapabilities(self.rate_hz, streaming_text=self._takes_text)

    def open(self, *, speaker: str | None = None, speed: float | None = None) -> WholeTextStream:
        self.streams += 1
        return super().open(speaker=speaker, speed=speed)


def heard_after(virtually: Any, voice: WritingVoice) -> int:
    """Milliseconds from the end of the caller's words to the first of the answer."""

    async def story() -> int:
        async with a_call(PLAYBOOK, voice=voice) as call:
            call.engines.model.will_say = [ANSWER]
            await call.quiet()
            await call.says("Can you repair it?", 1.5)
            await call.until(lambda: len(call.of(events.TrackStart)) == 2)
            (final,) = call.of(events.AsrFinal)
            delay_ms = call.of(events.TrackStart)[-1].timestamp - final.end_time
            await call.quiet()
            assert " ".join(text.strip() for text in voice.said) == f"Good day. How can I help? {ANSWER}"
            assert [event.play_id for event in call.of(events.TrackEnd)] == [event.play_id for event in call.of(events.TrackStart)]
            made = [event for event in call.of(events.Metrics) if event.key == "completed.tts.voice"]
            assert len(made) == len(voice.said) and [one.data["cmdSeq"] for one in made[2:]] == list(range(len(voice.said) - 2))
            assert all(one.data["length"] > 0 and 0 <= one.data["ttfb"] <= one.duration for one in made)
            return int(delay_ms)

    return int(virtually(story()))


def test_first_clause_sounds_while_the_rest_is_written(virtually: Any) -> None:
    writing, whole = WritingVoice(), WritingVoice(takes_text=False)
    sooner, later = heard_after(virtually, writing), heard_after(virtually, whole)
    assert (
        writing.said[2].strip() == "Yes, of course,"
        and whole.said[2] == "Yes, of course, and it takes us no longer than a day or two in town."
    )
    assert sooner + 150 < later
    assert (writing.streams, whole.streams) == (3, 4)  # the greeting is known whole: a request a sentence, whose sound is kept


def test_caller_who_speaks_over_the_answer_has_heard_what_was_said(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK, voice=WritingVoice()) as call:
            call.engines.model.will_say = [ANSWER, "Good."]
            await call.quiet()
            await call.says("Can you repair it?", 1.5)
            await call.until(lambda: len(call.of(events.TrackStart)) == 2)
            await asyncio.sleep(2.0)
            await call.says("That is all right then, thank you.", 2.0)
            await call.until(lambda: bool(call.of(events.Interruption)))
            (cut,) = call.of(events.Interruption)
            assert cut.subtitle is not None and ANSWER.startswith(cut.subtitle) and cut.subtitle.startswith("Yes, of course")
            await call.quiet()

    virtually(story())
