"""What a call hears of one turn of a caller, kept so that the turn can be taken again and again, with other rules, in milliseconds.

In: the caller's sound (8 kHz). Out: a `TurnTrace`: what the media process reports, and what the recogniser would tell of every utterance
that the call might cut out of it. Both depend on the sound alone. Which utterances are cut out, and when the agent takes its turn, are the
call's decisions: `turn_replay` makes them. A trace is JSON, so that it can be kept in a file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from active_call.base.pcm import LISTEN_RATE_HZ
from active_call.media.link.messages import CallerAudio, Link, Listen, PauseHeard, SpeechEnded, SpeechStarted
from active_call.providers.asr import moonshine_engine
from active_call.providers.asr.onset import speech_from
from active_call.providers.asr.partials import PartialRecognition
from active_call.providers.asr.short_replies import alternatives_of, rivals_of
from active_call.providers.asr.sound_ring import SoundRing
from active_call.providers.asr.utterances import LEAD_SAMPLES, MIN_UTTERANCE_SAMPLES, Transcript
from active_call.providers.speech_to_text import Alternative, Partial, RecognitionEvent
from active_call.testing.sound import audio
from active_call.testing.sound.audio import RATE_HZ, Pcm
from active_call.testing.spoken_calls.line import TICK_S, Line
from active_call.testing.spoken_calls.recogniser import BASE_S, SHARE, CachedRecogniser, OfflineRecogniser, is_sure
from active_call.testing.virtual_time import run_virtually

BEFORE_S = 0.6
AFTER_S = 5.0
"""Of the line's noise alone, before and behind what is said: longer than anything waits."""
LONGEST_GAP_S = 1.0
"""A longer pause is within no utterance: the call ends it before."""
CLOSED_AFTER_S = 0.2
"""An utterance is taken to be closed so long after its last voiced packet: what is a little sooner or later is silence."""
JUDGED_AFTER_S = 0.25
"""The sound that a model judges ends so long after the last voiced packet."""

Report = SpeechStarted | SpeechEnded | PauseHeard
Judge = Callable[[bytes], float]


@dataclass(slots=True)
class HeardFrom:
    """What the recogniser tells of an utterance that begins with one stretch of speech, for as long as it stays open."""

    partials: list[tuple[float, str, float]] = field(default_factory=list)
    """When, the text so far, its confidence."""
    whole: list[tuple[float, str | None, float]] = field(default_factory=list)
    """From when on the text of the whole utterance is known before its end, and sure, or (None) is not any more."""
    finals: dict[int, tuple[str, float, float]] = field(default_factory=dict)
    """By the stretch of speech with which the utterance ends: text, confidence, and how long the recogniser takes (s)."""
    alternatives: dict[str, tuple[Alternative, ...]] = field(default_factory=dict)
    """The short replies that are nearly as likely as a text of `whole` or `finals`."""

    def whole_at(self, now: float) -> tuple[str, float] | None:
        """The text that is known at `now`, when it is the whole."""
        latest: tuple[str, float] | None = None
        for at, text, confidence in self.whole:
            if at > now:
                break
            latest = None if text is None else (text, confidence)
        return latest


@dataclass(slots=True)
class TurnTrace:
    """One turn. Times are seconds from the beginning of the line."""

    began: float
    ended: float
    """When the first and the last sample of what is said came in."""
    reports: list[tuple[float, Report]] = field(default_factory=list)
    """When the call is told, and what."""
    heard: list[HeardFrom] = field(default_factory=list)
    """By the number of the stretch of speech."""
    judged: dict[int, float] = field(default_factory=dict)
    """What a model of the sound says in the pause behind a stretch of speech: the probability that the turn is over."""

    def starts(self) -> list[SpeechStarted]:
        """The beginnings of the stretches of speech."""
        return [report for _, report in self.reports if isinstance(report, SpeechStarted)]

    def ends(self) -> list[SpeechEnded]:
        """Their ends. The last may lack one."""
        return [report for _, report in self.reports if isinstance(report, SpeechEnded)]


def record_turn(said: Pcm, background: Pcm, cached: CachedRecogniser, judge: Judge | None = None) -> TurnTrace:
    """Hear `said` over the line's `background`."""
    reports, pieces = _reports(with_silence(said), background)
    trace = TurnTrace(BEFORE_S, BEFORE_S + len(said) / RATE_HZ, reports)
    pcm = _joined(pieces)
    n_starts = len(trace.starts())
    for first in range(n_starts):
        last = _last_within(trace, first)
        heard = run_virtually(_partials(trace.starts()[first], pieces, trace, last, cached))
        for number in range(first, min(last + 1, len(trace.ends()))):
            sound = _sound_of(trace, first, number, pcm)
            text, confidence, _ = heard.finals[number] = _final(trace, first, number, sound, cached)
            for known, sure in ((text, confidence), *_whole_texts(heard, trace, number)):
                heard.alternatives[known] = _alternatives(known, sure, sound, cached)
        trace.heard.append(heard)
    if judge is not None:
        begin = trace.starts()[0].sample - LISTEN_RATE_HZ // 2 if n_starts else 0
        for number, end in enumerate(trace.ends()):
            until = end.sample + int(JUDGED_AFTER_S * LISTEN_RATE_HZ)
            trace.judged[number] = judge(pcm[2 * max(0, begin, until - 8 * LISTEN_RATE_HZ) : 2 * until])
    return trace


def with_silence(said: Pcm) -> Pcm:
    """`said` with the silence before and behind it."""
    return np.concatenate([audio.silence(BEFORE_S * 1000), said, audio.silence(AFTER_S * 1000)])


def _reports(sound: Pcm, background: Pcm) -> tuple[list[tuple[float, Report]], list[tuple[float, CallerAudio]]]:
    reports: list[tuple[float, Report]] = []
    pieces: list[tuple[float, CallerAudio]] = []
    now = 0.0

    def take(report: Link) -> None:
        if isinstance(report, CallerAudio):
            pieces.append((now, report))
        elif isinstance(report, SpeechStarted | SpeechEnded | PauseHeard):
            reports.append((now, report))

    line = Line(take, background)
    line.listen(Listen(1, detect=True, forward_audio=True, pauses=True))
    line.give(sound)
    for tick in range(1, int(len(sound) / RATE_HZ / TICK_S) + 1):
        now = round(tick * TICK_S, 3)
        line.tick(now)
    return reports, pieces


def _joined(pieces: Sequence[tuple[float, CallerAudio]]) -> bytes:
    end = max(piece.sample + len(piece.pcm) // 2 for _, piece in pieces)
    pcm = bytearray(2 * end)
    for _, piece in pieces:
        pcm[2 * piece.sample : 2 * piece.sample + len(piece.pcm)] = piece.pcm
    return bytes(pcm)


def _last_within(trace: TurnTrace, first: int) -> int:
    """The last stretch of speech that may belong to an utterance which begins with `first`."""
    starts, ends = trace.starts(), trace.ends()
    last = first
    while last + 1 < len(starts) and starts[last + 1].at - ends[last].at <= LONGEST_GAP_S:
        last += 1
    return last


def _whole_texts(heard: HeardFrom, trace: TurnTrace, last: int) -> list[tuple[str, float]]:
    """The texts of `heard.whole` that were known between the end of stretch `last` and the next one's."""
    ends = [end.at for end in trace.ends()]
    until = ends[last + 1] if last + 1 < len(ends) else float("inf")
    return [(text, confidence) for at, text, confidence in heard.whole if text and ends[last] < at <= until]


def _alternatives(text: str, confidence: float, sound: bytes, cached: CachedRecogniser) -> tuple[Alternative, ...]:
    rivals = rivals_of(text, confidence, len(sound) / (2 * LISTEN_RATE_HZ))
    own, *rates = cached.rate(sound, (text, *rivals)) if rivals else (0.0,)
    return alternatives_of(own, tuple(zip(rivals, rates, strict=True)))


async def _partials(
    start: SpeechStarted, pieces: Sequence[tuple[float, CallerAudio]], trace: TurnTrace, last: int, cached: CachedRecogniser
) -> HeardFrom:
    loop = asyncio.get_running_loop()
    heard = HeardFrom()

    def take(event: RecognitionEvent) -> None:
        if isinstance(event, Partial):
            heard.partials.append((round(loop.time(), 3), event.text, event.confidence or 0.0))

    recognition = OfflineRecogniser(cached).open(take)
    began = next(at for at, report in trace.reports if report is start)
    ends = trace.ends()
    until = ends[last].at + LONGEST_GAP_S if last < len(ends) else pieces[-1][0]
    is_open = False
    for at, piece in pieces:
        if at > until:
            break
        await asyncio.sleep(at - loop.time())
        if is_open:
            _note_whole(heard, recognition, loop.time())
        if at >= began and not is_open:
            recognition.start_utterance(1, start.sample)
            is_open = True
        recognition.push_audio(piece.pcm, piece.sample)
        if is_open:
            _note_whole(heard, recognition, loop.time())
    await recognition.close()
    return heard


def _note_whole(heard: HeardFrom, recognition: PartialRecognition, now: float) -> None:
    whole = recognition.whole_text(1)
    text, confidence = (None, 0.0) if whole is None or not is_sure(whole) else (whole.text, whole.confidence or 0.0)
    if text != (heard.whole[-1][1] if heard.whole else None):
        heard.whole.append((round(now, 3), text, confidence))


def _sound_of(trace: TurnTrace, first: int, last: int, pcm: bytes) -> bytes:
    """The sound of an utterance from stretch of speech `first` to `last`."""
    ring = SoundRing(len(pcm))
    ring.push(pcm, 0)
    begin = speech_from(ring, trace.starts()[first].sample, LEAD_SAMPLES, trace.ends()[first - 1].sample if first else 0)
    end = trace.ends()[last].sample + int(CLOSED_AFTER_S * LISTEN_RATE_HZ)
    return pcm[2 * begin : 2 * end]


def _final(trace: TurnTrace, first: int, last: int, sound: bytes, cached: CachedRecogniser) -> tuple[str, float, float]:
    end = trace.ends()[last].sample + int(CLOSED_AFTER_S * LISTEN_RATE_HZ)
    is_speech = end - trace.starts()[first].sample >= MIN_UTTERANCE_SAMPLES
    takes_s = BASE_S + SHARE * len(sound) / (2 * LISTEN_RATE_HZ)
    transcript = cached.hear(sound) if is_speech else Transcript("")
    if not is_sure(transcript):
        takes_s *= 1 + len(moonshine_engine.PACES)
        transcript = cached.hear(sound, effort=moonshine_engine.Effort.THOROUGH)
    return transcript.text, transcript.confidence or 0.0, round(takes_s, 3)


# -- JSON

_KINDS: dict[str, type[Report]] = {"start": SpeechStarted, "end": SpeechEnded, "pause": PauseHeard}


def to_json(trace: TurnTrace) -> dict[str, Any]:
    """`trace` as JSON values."""
    names = {kind: name for name, kind in _KINDS.items()}
    return {
        "said": [trace.began, round(trace.ended, 3)],
        "reports": [[at, names[type(report)], *_rounded(report)] for at, report in trace.reports],
        "heard": [
            {
                "partials": [[at, text, round(confidence, 3)] for at, text, confidence in heard.partials],
                "whole": [[at, text, round(confidence, 3)] for at, text, confidence in heard.whole],
                "finals": {
                    str(number): [text, round(confidence, 3), latency] for number, (text, confidence, latency) in heard.finals.items()
                },
                "alternatives": {text: [[one.text, round(one.share, 4)] for one in found] for text, found in heard.alternatives.items()},
            }
            for heard in trace.heard
        ],
        "judged": {str(number): round(probability, 4) for number, probability in trace.judged.items()},
    }


def _rounded(report: Report) -> list[object]:
    values = [getattr(report, name) for name in report.__struct_fields__]
    return [round(value, 4) if isinstance(value, float) else value for value in values]


def from_json(value: dict[str, Any]) -> TurnTrace:
    """The trace that `to_json` has written."""
    began, ended = value["said"]
    return TurnTrace(
        began,
        ended,
        reports=[(at, _KINDS[kind](*fields)) for at, kind, *fields in value["reports"]],
        heard=[
            HeardFrom(
                [(at, text, confidence) for at, text, confidence in heard["partials"]],
                [(at, text, confidence) for at, text, confidence in heard["whole"]],
                {int(number): (text, confidence, latency) for number, (text, confidence, latency) in heard["finals"].items()},
                {text: tuple(Alternative(other, share) for other, share in found) for text, found in heard.get("alternatives", {}).items()},
            )
            for heard in value["heard"]
        ],
        judged={int(number): probability for number, probability in value["judged"].items()},
    )
