"""A judge's recogniser for open conversation: it recognises any speech as words, and compares them with the expected sentences.

It decides from sound alone, as `listening` does, and gives the same `Recognition`; but no grammar forces the speech into a sentence.
Words are Moonshine's, the recogniser that the program itself may use: a sentence that it mishears counts as not heard. Works in a process
of its own. Numbers are compared as digits.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from difflib import SequenceMatcher

import numpy as np

from active_call.testing.sound import audio
from active_call.testing.sound.audio import Pcm
from active_call.testing.sound.listening import Recognition, words_of

MIN_SHARE = 0.65
"""Share of a sentence's words that must be heard, in order."""
NUMBERS = dict(
    zip("zero one two three four five six seven eight nine ten eleven twelve".split(), map(str, range(13)), strict=True)  # noqa: SIM905
)


def plain_words(text: str) -> list[str]:
    """The words of a text for comparing: lower case, small numbers as digits."""
    return [NUMBERS.get(word, word) for word in words_of(text)]


def share_heard(sentence: str, heard: Sequence[str]) -> tuple[float, int]:
    """The share of the words of `sentence` that was heard, in order, and where they begin."""
    words = plain_words(sentence)
    blocks = [block for block in SequenceMatcher(None, words, list(heard), autojunk=False).get_matching_blocks() if block.size]
    return (sum(block.size for block in blocks) / max(1, len(words)), blocks[0].b if blocks else 0)


def sentences_in(text: str, candidates: Sequence[str], *, incomplete: bool = False) -> tuple[str, ...]:
    """Which candidates were heard, in the order heard; with `incomplete` one of which only the beginning was heard."""
    heard = plain_words(text)
    shares = [(*share_heard(sentence, heard), sentence) for sentence in candidates]
    found = sorted((at, sentence) for share, at, sentence in shares if share >= MIN_SHARE)
    if found or not incomplete or not heard:
        return tuple(sentence for _, sentence in found)
    begun = [(share_heard(" ".join(words_of(one)[: len(heard) + 1]), heard)[0], one) for one in candidates]
    share, sentence = max(begun, default=(0.0, ""))
    return (sentence,) if share >= MIN_SHARE else ()


def _hear(candidates: tuple[str, ...], decoys: tuple[str, ...], incomplete: bool, octets: bytes) -> Recognition:
    from active_call.providers.asr import moonshine_engine

    padded = np.concatenate((audio.silence(250), np.frombuffer(octets, dtype=np.int16), audio.silence(250)))
    text, _ = moonshine_engine.transcribe(audio.resample(padded, audio.RATE_HZ, 16_000).tobytes())
    if not candidates:
        return Recognition((text,) if text and not incomplete else (), text, 1.0 if text else 0.0)
    found = sentences_in(text, (*candidates, *decoys), incomplete=incomplete)
    best = max((share_heard(sentence, plain_words(text))[0] for sentence in found), default=0.0)
    return Recognition(found, text, round(best, 3), any(sentence in decoys for sentence in found))


def _stand_back() -> None:
    os.nice(5)  # both sides of the call have priority


class OpenJudge:
    """Recognition in a process of its own, as `listening.Judge`. Close it when done."""

    def __init__(self, candidates: Sequence[str], decoys: Sequence[str] = ()) -> None:
        self._candidates, self._decoys = tuple(candidates), tuple(decoys)
        self._process = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=_stand_back)

    def submit(self, pcm: Pcm, *, incomplete: bool = False) -> Future[Recognition]:
        """Recognise one utterance at 8 kHz; a future."""
        return self._process.submit(_hear, self._candidates, self._decoys, incomplete, pcm.tobytes())

    def warm_up(self, timeout_s: float = 60.0) -> None:
        """Load the model before the call begins. Raises FileNotFoundError if it is not installed."""
        self.submit(audio.noise(4000)).result(timeout_s)

    def close(self) -> None:
        """End the process."""
        self._process.shutdown(wait=True, cancel_futures=True)
