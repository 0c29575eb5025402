"""The `metrics` events of synthesis and recognition: the time to the first result, and to the complete result.

It observes pieces of speech and the recogniser's events, and emits events with the contract's keys. It changes and delays nothing.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from msgspec import Struct

from active_call.call.speech.output_ports import SpeechStore
from active_call.call.speech.play import Job
from active_call.contract import events

Pieces = AsyncGenerator[tuple[bytes, int], None]
EmitEvent = Callable[[events.Metrics], object]


def spoken(command_text: str, play_id: str, tell: EmitEvent) -> None:
    """A text will be spoken under that playId."""
    tell(events.Metrics(key="tts_play_id_map", data={"playId": play_id, "text": command_text}))


class Made(Struct, frozen=True):
    """The timing of a synthesis: the time to its first and to all of its sound, and its length."""

    first_ms: int
    duration_ms: int
    n_bytes: int


def completed(job: Job, made: Made, voice: str, tell: EmitEvent, *, is_cached: bool = False) -> None:
    """All sound of `job` has come."""
    data = {
        "speaker": job.speaker or "",
        "playId": job.play.play_id,
        "cmdSeq": next((number for number, piece in enumerate(job.play.pieces) if piece is job.piece), 0),
        "length": made.n_bytes,
        "cached": is_cached,
        "ttfb": made.first_ms,
        "duration": made.duration_ms,
    }
    tell(events.Metrics(key=f"completed.tts.{voice}", duration=made.duration_ms, data=data))


async def measured(
    job: Job, pieces: Pieces, voice: str, tell: EmitEvent, now: Callable[[], float], kept: SpeechStore | None = None
) -> Pieces:
    """`pieces`, with a report when all of them have come; cancelled speech is not reported. `now` gives monotonic seconds."""
    began, first_ms, n_bytes = now(), 0, 0
    is_cached = bool(job.cache_key) and kept is not None and await kept.is_kept(job.cache_key)
    async with aclosing(pieces) as all_of_them:
        async for pcm, rate_hz in all_of_them:
            if not n_bytes:
                first_ms = round((now() - began) * 1000)
            n_bytes += len(pcm)
            yield pcm, rate_hz
    if not job.text or not n_bytes:
        return
    completed(job, Made(first_ms, round((now() - began) * 1000), n_bytes), voice, tell, is_cached=is_cached)


class RecogniserMetrics:
    """Observes the events of a call. `recogniser`: the name of the current one."""

    def __init__(self, tell: EmitEvent, recogniser: Callable[[], str]) -> None:
        self._report = tell
        self._recogniser = recogniser
        self._begun = -1
        """The utterance for which some words were reported."""

    def observe(self, event: events.Event) -> None:
        """The first words of an utterance, and all of them; both counted from the beginning of its speech."""
        if not isinstance(event, events.AsrDelta | events.AsrFinal) or event.refer or event.start_time is None or not event.text:
            return
        duration_ms, data = max(0, event.timestamp - event.start_time), {"index": event.index}
        if self._begun != event.index:
            self._begun = event.index
            self._report(events.Metrics(key=f"ttfb.asr.{self._recogniser()}", duration=duration_ms, data=data))
        if isinstance(event, events.AsrFinal):
            self._report(events.Metrics(key=f"completed.asr.{self._recogniser()}", duration=duration_ms, data=data))
