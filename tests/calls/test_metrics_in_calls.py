"""The `metrics` events of a call: the keys and data that clients of the contract read, and figures that fit what happened."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from calls_kit import Call, a_call

from active_call.contract import commands, events
from active_call.store.audio_cache import AudioCache
from active_call.store.speech import SpeechLibrary

PLAYBOOK = "---\nllm: {provider: openai}\ngreeting: Good day.\n---\nHelp.\n"


def metrics(call: Call, key: str) -> list[events.Metrics]:
    return [event for event in call.of(events.Metrics) if event.key == key]


def test_turn_with_a_model_is_measured_from_the_callers_words_to_the_last_sound(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            call.engines.model.will_say = ["We open at nine. Anything else?"]
            await call.quiet()
            await call.says("When do you open?", 1.5)
            await call.until(lambda: bool(metrics(call, "llm_response")))
            await call.quiet()

            (asked,) = metrics(call, "llm_call_start")
            (answered,) = metrics(call, "llm_response")
            assert asked.data == {"playId": answered.data["playId"]}
            assert answered.data["response"].split() == ["We", "open", "at", "nine.", "Anything", "else?"]
            assert answered.data["duration"] == answered.duration
            assert 200 <= answered.data["ttfb"] <= 260 < answered.duration <= 500
            assert answered.track_id is None

            plays = {event.play_id for event in call.of(events.TrackStart)}
            spoken = [event.data for event in metrics(call, "tts_play_id_map")]
            assert [one["text"] for one in spoken] == ["Good day.", "We open at nine.", "Anything else?"]
            assert {one["playId"] for one in spoken} == plays
            assert answered.data["playId"] in plays

            made = metrics(call, "completed.tts.voice")
            assert [one.data["cmdSeq"] for one in made] == [0, 0, 1]
            assert [set(one.data) for one in made] == [{"speaker", "playId", "cmdSeq", "length", "cached", "ttfb", "duration"}] * 3
            assert all(30 <= one.data["ttfb"] <= one.duration <= 60 and one.data["length"] > 0 for one in made[:1])
            assert not any(one.data["cached"] for one in made)

            (first,) = [event for event in call.of(events.Metrics) if event.key.startswith("ttfb.asr.")]
            (whole,) = [event for event in call.of(events.Metrics) if event.key.startswith("completed.asr.")]
            (final,) = call.of(events.AsrFinal)
            assert first.duration == whole.duration == final.timestamp - final.start_time
            assert first.data == whole.data == {"index": final.index}
            assert all(isinstance(event.duration, int) for event in call.of(events.Metrics))

    virtually(story())


def test_model_that_fails_has_begun_and_given_no_response(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            call.engines.model.will_say = [RuntimeError("no")]
            await call.quiet()
            await call.says("Hello?")
            await call.until(lambda: bool(call.of(events.Error)))
            assert len(metrics(call, "llm_call_start")) >= 1
            assert metrics(call, "llm_response") == []

    virtually(story())


def test_kept_speech_is_told_as_cached(virtually: Any, tmp_path: Path) -> None:
    async def at_once(function: Any, *args: Any) -> Any:
        return function(*args)

    async def story() -> None:
        async with a_call(None, direction="outbound", speech=SpeechLibrary(AudioCache(tmp_path), at_once)) as call:
            await call.until(lambda: bool(call.of(events.MediaReady)))
            for number in range(2):
                call.session.post(commands.Tts(text="One moment.", play_id=f"p{number}", cache_key="moment"))
                await call.until(lambda: len(metrics(call, "completed.tts.voice")) > number)  # noqa: B023 (awaited within the turn)
                await asyncio.sleep(1.0)
            assert [event.data["cached"] for event in metrics(call, "completed.tts.voice")] == [False, True]
            assert call.spoken == ["One moment."]

    virtually(story())
