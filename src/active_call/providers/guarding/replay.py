"""Replays unanswered sound into a new recognition stream: pieces, starts and ends, in order. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from active_call.base.pcm import LISTEN_RATE_HZ, samples_in
from active_call.providers.asr.recent_sound import RecentSound
from active_call.providers.speech_to_text import RecognitionStream

TAIL_SAMPLES: Final = samples_in(150, LISTEN_RATE_HZ)
"""Sound after an utterance that a new stream gets before the utterance's end."""


@dataclass(slots=True)
class Utterance:
    """An utterance without a final. `end_sample` is None while the caller speaks."""

    index: int
    start_sample: int
    end_sample: int | None = None
    n_streams: int = 0
    """How many streams received its end."""


def replay(
    stream: RecognitionStream,
    sound: RecentSound,
    start: int,
    utterances: Iterable[Utterance],
    end: Callable[[Utterance, int], None],
) -> None:
    """Push the sound from sample `start` on into `stream`, with the starts of `utterances`; `end` ends an utterance."""
    pieces = deque(sound.since(start))
    ordered = sorted(utterances, key=lambda utterance: utterance.index)
    for number, utterance in enumerate(ordered):
        _push_until(stream, pieces, utterance.start_sample)
        stream.start_utterance(utterance.index, utterance.start_sample)
        if utterance.end_sample is not None:
            until = utterance.end_sample + TAIL_SAMPLES
            if number + 1 < len(ordered):
                until = min(until, ordered[number + 1].start_sample)
            _push_until(stream, pieces, until)
            end(utterance, utterance.end_sample)
    _push_until(stream, pieces, sound.end)


def _push_until(stream: RecognitionStream, pieces: deque[tuple[int, bytes]], end: int) -> None:
    """Push the pieces that begin before sample `end`."""
    while pieces and pieces[0][0] < end:
        sample, pcm = pieces.popleft()
        stream.push_audio(pcm, sample)
