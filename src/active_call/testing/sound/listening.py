"""The judge's recogniser: a timeline of samples in, utterances and the sentences recognised in them out.

It decides from sound alone. Utterances are cut by energy; a sentence is recognised by pocketsphinx under a grammar of candidates and
decoys, and may be none of them. It must not know what the program meant to say. Free dictation of telephone speech is poor, a grammar of
some dozen sentences is nearly always right; decoys are sentences that must not be heard, and keep the grammar from forcing a match.

`Judge` works in its own process: the decoder holds the interpreter's lock, and a phone must not miss its next packet for that.
"""

from __future__ import annotations

import multiprocessing
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from active_call.testing.sound import audio, voice
from active_call.testing.sound.audio import VOICED_LEVEL, Pcm
from active_call.testing.sound.pronunciation import arpabet

MIN_COVERAGE = 0.6
"""Share of the voiced time that the recognised words must cover; the rest is pauses between sentences and onsets."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """Speech between two pauses; positions are samples of the timeline at 8 kHz."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Recognition:
    """What was heard: `sentences` are candidates or decoys in the order heard, empty for none of them.

    `words` are the words themselves (of an incomplete sentence: as far as it was heard). `coverage` is the share of the voiced time that
    they fill, 0..1. `is_decoy` when any sentence is a decoy.
    """

    sentences: tuple[str, ...]
    words: str
    coverage: float
    is_decoy: bool = False

    @property
    def text(self) -> str:
        """The sentences as one line, `none` when nothing fits."""
        return " ".join(self.sentences) or "none"


_TAIL_FRAMES = 25
"""One last word of at most this many 10 ms frames may be too many: it is left out when no sentence fits with it."""

_WIDE: dict[str, float] = {"beam": 1e-55, "pbeam": 1e-55, "wbeam": 7e-33}
"""How improbable a path may be and still be followed when an utterance is heard for the second time. With the decoder's own (1e-48, 7e-29)
one voice loses every path of one sentence in one of four hearings; with these alone, other sentences break off before their end."""

NOTHING = Recognition((), "", 0.0)


def utterances(timeline: Pcm, *, gap_ms: int = 800, min_ms: int = 80, level: float = VOICED_LEVEL) -> list[Utterance]:
    """The stretches of speech that pauses of at least `gap_ms` divide; shorter than `min_ms` is a click, not speech."""
    voiced = np.flatnonzero(audio.frame_levels(timeline) > level)
    if not len(voiced):
        return []
    breaks = np.flatnonzero(np.diff(voiced) - 1 >= gap_ms / 20)
    firsts = voiced[np.concatenate(([0], breaks + 1))]
    lasts = voiced[np.concatenate((breaks, [len(voiced) - 1]))]
    spans = zip(firsts * audio.FRAME_SAMPLES, (lasts + 1) * audio.FRAME_SAMPLES, strict=True)
    found = [Utterance(int(start), int(end)) for start, end in spans]
    return [one for one in found if one.end - one.start >= min_ms * audio.RATE_HZ // 1000]


def words_of(sentence: str) -> tuple[str, ...]:
    """The words of a sentence as the grammar has them: lower case, without punctuation."""
    return tuple(re.findall(r"[a-z0-9]+(?:'[a-z]+)?", sentence.lower().replace("’", "'")))


def grammar(sentences: Sequence[str], *, incomplete: bool = False) -> str:
    """A JSGF grammar of one or more of the sentences; with `incomplete` the last one breaks off after any word but its first."""
    rules = [words_of(sentence) for sentence in sentences if words_of(sentence)]
    whole = " | ".join(" ".join(words) for words in rules)
    if not incomplete:
        return f"#JSGF V1.0; grammar judge; public <heard> = ( {whole} )+ ;"
    broken = " | ".join(_breakable(words) for words in rules)
    return f"#JSGF V1.0; grammar judge; public <heard> = ( {whole} )* ( {broken} ) ;"


def _breakable(words: tuple[str, ...]) -> str:
    return " ".join(words[:1]) + " " + " [ ".join(words[1:]) + " ]" * (len(words) - 2)


def split_into_sentences(words: Sequence[str], sentences: Sequence[str], *, incomplete: bool = False) -> tuple[str, ...]:
    """The sentences that make up the words, one after another; empty if none do."""
    if not words:
        return ()
    for sentence in sentences:
        own = words_of(sentence)
        length = len(own)
        if own and tuple(words[:length]) == own:
            rest = split_into_sentences(words[length:], sentences, incomplete=incomplete)
            if rest or len(words) == length:
                return (sentence, *rest)
    if incomplete:
        return tuple(sentence for sentence in sentences if words_of(sentence)[: len(words)] == tuple(words))[:1]
    return ()


@cache
def _decoder(is_wide: bool) -> Any:
    """A decoder of this process. Loading it takes 0.2 s; each grammar is a search of its own in it."""
    try:
        import pocketsphinx
    except ImportError as error:
        raise voice.VoiceError("the judge needs a recogniser: pip install 'active-call[local]' (pocketsphinx)") from error
    return pocketsphinx.Decoder(lm=None, loglevel="FATAL", **(_WIDE if is_wide else {}))


class Recogniser:
    """One grammar, for any number of utterances. All recognisers of a process share its decoders: use them in one thread."""

    def __init__(self, candidates: Sequence[str], decoys: Sequence[str] = (), *, incomplete: bool = False) -> None:
        self._sentences = (*candidates, *decoys)
        self._decoys = frozenset(decoys)
        self._incomplete = incomplete
        self._grammar = grammar(self._sentences, incomplete=incomplete)
        self._prepared = [self._prepare(_decoder(is_wide=False))]

    def _prepare(self, decoder: Any) -> Any:
        """The decoder, with this grammar, and as if it had heard nothing yet."""
        for word in sorted({word for sentence in self._sentences for word in words_of(sentence)}):
            if decoder.lookup_word(word) is None:
                decoder.add_word(word, arpabet(voice.phonemes(word)), False)
        decoder.add_jsgf_string(self._grammar, self._grammar)
        decoder.reinit_feat()
        return decoder

    def recognise(self, pcm: Pcm) -> Recognition:
        """The sentences of an utterance (8 kHz). If none is found, it is decoded again, and then twice with wider beams.

        A decoder learns the channel's mean spectrum while it hears (cepstral mean normalisation), so it hears the same sound better the
        second time.
        """
        first = self._recognise(self._prepared[0], pcm)
        if first.sentences or self._incomplete:
            return first
        if len(self._prepared) == 1:
            self._prepared.append(self._prepare(_decoder(is_wide=True)))
        narrow, wide = self._prepared
        hearings = (self._recognise(decoder, pcm) for decoder in (narrow, wide, wide))
        return next((one for one in hearings if one.sentences), first)

    def _recognise(self, decoder: Any, pcm: Pcm) -> Recognition:
        padded = np.concatenate((audio.silence(200), pcm, audio.silence(300)))
        padded = audio.add(padded, audio.noise(len(padded)))
        decoder.activate_search(self._grammar)
        decoder.start_utt()
        decoder.process_raw(audio.resample(padded, audio.RATE_HZ, 16_000).tobytes(), full_utt=True)
        decoder.end_utt()
        hypothesis = decoder.hyp()
        if hypothesis is None or not hypothesis.hypstr:
            return NOTHING
        spoken = list(_spoken(decoder))
        heard = self._sentences_in(spoken)
        if not heard:
            spoken = _without_tail(spoken)
            heard = self._sentences_in(spoken)
        coverage = _coverage(padded, [(first, last) for _, first, last in spoken])
        words = [word for word, _, _ in spoken]
        if coverage < MIN_COVERAGE:
            heard = ()
        return Recognition(heard, " ".join(words), round(coverage, 3), any(sentence in self._decoys for sentence in heard))

    def _sentences_in(self, spoken: list[tuple[str, int, int]]) -> tuple[str, ...]:
        return split_into_sentences([word for word, _, _ in spoken], self._sentences, incomplete=self._incomplete)


def _spoken(decoder: Any) -> Iterator[tuple[str, int, int]]:
    """Each recognised word with its first and last 10 ms frame, without fillers (`<sil>`, `[NOISE]`)."""
    for segment in decoder.seg():
        if not segment.word.startswith(("<", "[", "(")):
            yield segment.word.partition("(")[0], segment.start_frame, segment.end_frame


def _without_tail(spoken: list[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    """The words without one short last word: the decoder likes to hear the beginning of one sentence more in the end of a long vowel."""
    if len(spoken) > 1 and spoken[-1][2] - spoken[-1][1] <= _TAIL_FRAMES:
        return spoken[:-1]
    return spoken


def _coverage(pcm: Pcm, spans: Sequence[tuple[int, int]]) -> float:
    """Which share of the voiced 10 ms frames lies in the spans."""
    voiced = np.flatnonzero(audio.frame_levels(pcm, audio.RATE_HZ // 100) > VOICED_LEVEL)
    if not len(voiced):
        return 0.0
    inside = np.zeros(len(pcm) // (audio.RATE_HZ // 100) + 1, dtype=bool)
    for first, last in spans:
        inside[first : last + 1] = True
    return float(inside[voiced].mean())


_recognisers: dict[tuple[tuple[str, ...], tuple[str, ...], bool], Recogniser] = {}
"""In the judge's own process: one decoder for each set of sentences."""


def _recognise(candidates: tuple[str, ...], decoys: tuple[str, ...], incomplete: bool, octets: bytes) -> Recognition:
    key = (candidates, decoys, incomplete)
    if key not in _recognisers:
        _recognisers[key] = Recogniser(candidates, decoys, incomplete=incomplete)
    return _recognisers[key].recognise(np.frombuffer(octets, dtype=np.int16))


def _stand_back() -> None:
    os.nice(5)  # both sides of the call have priority


class Judge:
    """Recognition in a process of its own. Close it when done."""

    def __init__(self, candidates: Sequence[str], decoys: Sequence[str] = ()) -> None:
        self._candidates, self._decoys = tuple(candidates), tuple(decoys)
        self._process = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=_stand_back)

    def submit(self, pcm: Pcm, *, incomplete: bool = False) -> Future[Recognition]:
        """Recognise one utterance at 8 kHz; a future."""
        return self._process.submit(_recognise, self._candidates, self._decoys, incomplete, pcm.tobytes())

    def warm_up(self, timeout_s: float = 30.0) -> None:
        """Load the decoders before the call begins."""
        for incomplete in (False, True):
            self.submit(audio.noise(1600), incomplete=incomplete).result(timeout_s)

    def close(self) -> None:
        """End the process."""
        self._process.shutdown(wait=True, cancel_futures=True)


def recognise_wav(path: Path, candidates: Sequence[str], decoys: Sequence[str] = (), *, channel: int = 0) -> list[Recognition]:
    """Every utterance of a recording, recognised in this process."""
    timeline = audio.read_wav(path, channel=channel)
    recogniser = Recogniser(candidates, decoys)
    return [recogniser.recognise(timeline[one.start : one.end]) for one in utterances(timeline)]
