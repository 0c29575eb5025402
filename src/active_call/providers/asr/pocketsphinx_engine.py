"""PocketSphinx inside its engine process: one decoder, one acoustic model, a grammar for each set of phrases.

Speech (s16le, 16 kHz) and phrases enter; the spoken phrase leaves, or nothing. A grammar alone maps any sound to one of its phrases, so
each utterance is decoded a second time with free phones, and the phrase must score well against them: see `PhraseScore`.
"""

from __future__ import annotations

import functools
import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec import Struct

from active_call.providers.asr.grammar import Grammar, compile_grammar
from active_call.providers.asr.spelling import pronounce

NOISE_SIGMA = 16.0
"""Of 32 767. The decoder fails on digital silence around speech. A faint noise floor is enough; a louder one does not help."""
MAX_GRAMMARS = 64
"""The number of compiled grammars kept; a playbook has one for each scene."""
FRAME_BYTES = 320
"""10 ms at 16 kHz: the decoder's frame."""
MAX_SPEECH_BYTES = 20 * 16_000 * 2
"""A grammar's phrase is no longer than this; only the end of longer speech is decoded."""

FREE_PHONES = "free phones"
SILENCES = frozenset({"<sil>", "(NULL)", "<s>", "</s>", "SIL", "[NOISE]", "[SPEECH]", "+NSN+", "+SPN+"})


class PhraseScore(Struct, frozen=True):
    """How well a phrase explains the sound, against free phones. Smaller is better.

    `loss` is what the grammar loses in log likelihood for each frame of speech (times 1000, in the decoder's scaled units). 80 frames are
    added to the length, because short words ("no") lose more for each frame at their edges. `phone_distance` is the edit distance
    between the phrase's phones and the free ones, 0 to 1.
    """

    loss: float
    phone_distance: float

    @property
    def doubt(self) -> float:
        return self.loss + PHONE_DISTANCE_WEIGHT * self.phone_distance

    @property
    def confidence(self) -> float:
        """0 to 1; 0.5 at the bound."""
        return 1.0 / (1.0 + math.exp(min(50.0, (self.doubt - MAX_DOUBT) * 3.0)))


EXTRA_FRAMES = 80
PHONE_DISTANCE_WEIGHT = 3.0
MAX_DOUBT = 4.6
"""All three are measured on seven voices (espeak-ng and flite) in the telephone band: 97 % of the phrases kept, 91 % of other sentences
refused; 96 % and 99 % with twelve phrases and twelve sentences that were not used for tuning. The module's tests check the rates.
"""


def warm() -> None:
    """Load the acoustic model and the dictionary (about 0.2 s, 70 MB)."""
    _engine()


def prepare(phrases: tuple[str, ...]) -> list[str]:
    """Compile the grammar of `phrases` in advance. Returns the words that cannot be pronounced; phrases with such a word are left out."""
    return _engine().grammar_of(phrases).unpronounceable


def recognise(pcm: bytes, phrases: tuple[str, ...]) -> tuple[str, float]:
    """The one of `phrases`, as written there, that was said in `pcm`, and the confidence; an empty text for anything else."""
    return _engine().recognise(pcm, phrases)


class _Compiled(Struct, frozen=True):
    """A grammar in the decoder, under `search`; None if no phrase can be pronounced."""

    search: str
    grammar: Grammar | None
    unpronounceable: list[str]


class _Decoded(Struct, frozen=True):
    """One pass: the words with their number of frames, and the log score of the whole."""

    words: list[tuple[str, int]]
    score: float

    @property
    def spoken(self) -> list[tuple[str, int]]:
        return [(word, n_frames) for word, n_frames in self.words if word not in SILENCES]


class _Engine:
    """The decoder and its compiled grammars."""

    def __init__(self) -> None:
        self._decoder = create_decoder()
        self._decoder.add_allphone_file(FREE_PHONES, None)
        self._grammars: OrderedDict[tuple[str, ...], _Compiled] = OrderedDict()
        self._n_compiled = 0

    def grammar_of(self, phrases: tuple[str, ...]) -> _Compiled:
        compiled = self._grammars.get(phrases)
        if compiled is None:
            compiled = self._grammars[phrases] = self._compile(phrases)
            if len(self._grammars) > MAX_GRAMMARS:
                _, oldest = self._grammars.popitem(last=False)
                if oldest.grammar is not None:
                    self._decoder.remove_search(oldest.search)
        self._grammars.move_to_end(phrases)
        return compiled

    def recognise(self, pcm: bytes, phrases: tuple[str, ...]) -> tuple[str, float]:
        compiled = self.grammar_of(phrases)
        if compiled.grammar is None:
            return "", 0.0
        sound = with_noise_floor(pcm[-MAX_SPEECH_BYTES:])
        heard = self._decode(compiled.search, sound)
        phrase = compiled.grammar.phrase_in([_bare(word) for word, _ in heard.spoken]) if heard else None
        if heard is None or phrase is None:
            return "", 0.0
        free = self._decode(FREE_PHONES, sound)
        if free is None:
            return "", 0.0
        evidence = self._score(heard, free)
        return (phrase if evidence.doubt <= MAX_DOUBT else ""), round(evidence.confidence, 3)

    def _score(self, heard: _Decoded, free: _Decoded) -> PhraseScore:
        n_frames = sum(n for _, n in heard.spoken)
        phones = [phone for word, _ in heard.spoken for phone in (self._decoder.lookup_word(word) or "").split()]
        free_phones = [phone for phone, _ in free.spoken]
        distance = edit_distance(phones, free_phones) / max(len(phones), len(free_phones), 1)
        return PhraseScore((free.score - heard.score) * 1000 / (n_frames + EXTRA_FRAMES), distance)

    def _decode(self, search: str, sound: bytes) -> _Decoded | None:
        """One pass over `sound`; None if nothing fits, which the grammar's beam may cause."""
        decoder = self._decoder
        decoder.activate_search(search)
        decoder.start_utt()
        decoder.process_raw(sound, full_utt=True)
        decoder.end_utt()
        hypothesis = decoder.hyp()
        if hypothesis is None or not hypothesis.hypstr or hypothesis.score <= 0:
            return None
        words = [(segment.word, segment.end_frame - segment.start_frame + 1) for segment in decoder.seg()]
        return _Decoded(words, math.log(hypothesis.score))

    def _compile(self, phrases: tuple[str, ...]) -> _Compiled:
        grammar = compile_grammar(phrases)
        bad = self._learn(grammar.words) if grammar else []
        if grammar and bad:
            grammar = compile_grammar([written for spoken, written in grammar.spellings.items() if not set(spoken) & set(bad)])
        self._n_compiled += 1
        search = f"phrases {self._n_compiled}"
        if grammar is not None:
            self._decoder.add_jsgf_string(search, grammar.jsgf)
        return _Compiled(search, grammar, bad)

    def _learn(self, words: frozenset[str]) -> list[str]:
        """Add the words that the decoder's dictionary lacks. Returns those that cannot be pronounced."""
        missing = sorted(word for word in words if self._decoder.lookup_word(word) is None)
        sounds = {word: pronounce(word) for word in missing}
        for word, phones in sounds.items():
            if phones is not None:
                self._decoder.add_word(word, phones, False)
        return [word for word, phones in sounds.items() if phones is None]


def create_decoder() -> Any:
    """A decoder with the wheel's English model and dictionary, and no search of its own."""
    from pocketsphinx import Config, Decoder, get_model_path, set_loglevel

    set_loglevel("FATAL")
    model = get_model_path("en-us")
    config = Config(hmm=f"{model}/en-us", dict=f"{model}/cmudict-en-us.dict", lm=None, loglevel="FATAL", bestpath=False)
    return Decoder(config)


def with_noise_floor(pcm: bytes) -> bytes:
    """`pcm` with faint noise added. The noise depends only on the length, so results are reproducible."""
    sound = np.frombuffer(pcm[: len(pcm) // 2 * 2], dtype="<i2")
    noise = np.random.default_rng(sound.size).normal(0.0, NOISE_SIGMA, sound.size)
    return np.clip(sound + noise, -32768, 32767).astype("<i2").tobytes()


def edit_distance(a: Sequence[str], b: Sequence[str]) -> int:
    """Levenshtein distance."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        corner, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (x != y))
    return row[-1]


def _bare(word: str) -> str:
    """`word` without its pronunciation number: `to(2)` becomes `to`."""
    return word.partition("(")[0]


@functools.cache
def _engine() -> _Engine:
    return _Engine()
