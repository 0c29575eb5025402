"""Moonshine inside its engine process: `moonshine-voice`'s English model, run by ONNX Runtime (`moonshine_decoder` has the search).

Speech (s16le, 16 kHz) enters; its text and a confidence leave. One thread computes: a pool has a process for each core. The package's own
library is not used: it has its own voice detector and computes everything two or three times (0.2 s of CPU for each second of speech, here
0.035 s; one process takes 175 MB and 0.35 s to load). Model and tokenizer: Moonshine AI, MIT.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from enum import Enum, auto
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from active_call.base.pcm import LISTEN_RATE_HZ, samples_in
from active_call.providers.asr.expected_phrases import PRIOR, SURE_NEARNESS, alternatives_to, as_sentence, hums_for, is_phrase
from active_call.providers.asr.invented_text import is_invented
from active_call.providers.asr.long_speech import split_long
from active_call.providers.asr.moonshine_decoder import END, Candidate, Decoder, Views
from active_call.providers.asr.spoken_digits import DIGITS, is_as_digits, may_be_digits
from active_call.providers.asr.whisper_tiny import WhisperTiny, second_recogniser
from active_call.providers.asr.word_sequences import english, plain_words

Floats = NDArray[np.float32]

MODEL = "tiny-en"
MAX_TOKENS_PER_S = 6.5
"""The limit of the model's authors. More tokens are a loop, which the model produces on sound without speech."""
SPARE_TOKENS = 4
MIN_SAMPLES = LISTEN_RATE_HZ // 10
"""Shorter sound holds no word, and the encoder needs at least 60 ms."""
PEAK = 0.7
"""Speech is amplified to this level. The model recognises loud speech better: 94.6 % of words instead of 92.9 % (two voices, telephone
band).
"""
MAX_GAIN = 30.0
PADDING = np.zeros(samples_in(300, LISTEN_RATE_HZ), dtype=np.float32)
"""Silence added before and after an utterance, as in the training recordings. The right text of 36 sentences is 0.2 to 0.9 nats likelier
(median) with 0.3 s than with 0.1 s, in each of four voices; 0.5 s are no better.
"""
SURE_CONFIDENCE = 0.85
"""A piece of a sentence of lower confidence may be recognised together with the next one."""
LIKELY = 2.0
"""In nats: how much less likely than the likeliest text a text of the first search may be that has likelier words."""
DOUBTS = ((0.8, 2.0), (0.92, 1.0))
"""A text below the confidence is doubtful if its lead (in nats, over the next text with other words) is below the second number. A thorough
search changed 37 of 65 such texts, and 3 of 26 others below 0.92 (four voices).
"""
SURE_OF_PHRASE = 0.8
"""An expected phrase of at least this confidence is clear."""
PACES = (1 / 1.06, 1 / 0.94)
"""Slower and faster by 6 %. With 10 % the result was one point lower."""
MIN_DOUBTFUL_S = 0.7
"""Shorter sound is not recognised again."""
WIDTH = 4
"""How many beginnings of a text are followed. Four cost 1.5 times the time of one."""
WITHIN = 4.0
"""In nats: how much less likely than the likeliest text, by its sound, a text of a thorough search may be that has likelier words."""
WORDS_WEIGHT = 0.3
"""Of the log-probability of the words in that choice. From 0.2 to 0.5 the result is the same within 0.7 %."""
MAX_BY_BOTH = 2
"""So many texts of this model are rated by the second one as well."""
LONGER = 1.3
"""The second recogniser's text has at most so many times as many tokens. It does not end by itself, but begins again."""
_SPACE = "\u2581"


def warm() -> None:
    """Load the models, and run the recogniser once, so that the runtime allocates its memory."""
    _model().transcribe(np.zeros(LISTEN_RATE_HZ // 2, dtype=np.float32))
    english()
    second_recogniser()


class Effort(Enum):
    """How thoroughly sound is recognised."""

    DRAFT = auto()
    """The greedy search."""
    USUAL = auto()
    """Beam search; texts at most `LIKELY` below the likeliest one are compared by their words."""
    THOROUGH = auto()
    """Beam search at three paces together; texts at most `WITHIN` below the likeliest one, and those of the second recogniser
    (`whisper_tiny`) if it is installed, are compared by both models and by their words. It costs three to five times as much.
    """


def draft(pcm: bytes, phrases: tuple[str, ...] = ()) -> tuple[str, float]:
    """As `transcribe`, for a partial text in the middle of speech: two thirds of the cost, 1.5 times the wrong words."""
    heard = _hear(_samples(pcm), phrases, Effort.DRAFT)
    return heard.text, heard.confidence


def forecast(pcm: bytes, phrases: tuple[str, ...] = ()) -> tuple[str, float, bool]:
    """As `transcribe`, for sound that may be a whole utterance. The third result: whether the text is clear, so that `transcribe_again`
    would find the same.
    """
    samples = _samples(pcm)
    heard = _hear(samples, phrases)
    return heard.text, heard.confidence, not _is_doubtful(heard, samples)


def transcribe(pcm: bytes, phrases: tuple[str, ...] = (), thorough: bool = False) -> tuple[str, float]:
    """The words in `pcm`, with punctuation, and the confidence from 0 to 1; an empty text and 0 if there is no word.

    `phrases`: expected phrases (`expected_phrases`). One that is nearly as likely as the recognised text is returned, with its own
    confidence. `thorough`: if the text is doubtful, the sound is recognised again with `Effort.THOROUGH`.
    """
    samples = _samples(pcm)
    heard = _hear(samples, phrases)
    if thorough and _is_doubtful(heard, samples):
        heard = _hear(samples, phrases, Effort.THOROUGH)
    return heard.text, heard.confidence


def transcribe_again(pcm: bytes, phrases: tuple[str, ...] = ()) -> tuple[str, float]:
    """As `transcribe` with `thorough`, for sound whose text is known to be doubtful: without the first pass."""
    samples = _samples(pcm)
    heard = _hear(samples, phrases, Effort.THOROUGH if _is_long_enough(samples) else Effort.USUAL)
    return heard.text, heard.confidence


def _is_doubtful(heard: Heard, samples: Floats) -> bool:
    is_near = any(heard.confidence < confidence and heard.lead < lead for confidence, lead in DOUBTS)
    return bool(heard.text) and is_near and _is_long_enough(samples)


def _is_long_enough(samples: Floats) -> bool:
    return len(samples) > MIN_DOUBTFUL_S * LISTEN_RATE_HZ


def _hear(samples: Floats, phrases: tuple[str, ...], effort: Effort = Effort.USUAL) -> Heard:
    heard = [_model().transcribe(part, phrases, effort) for part in split_long(samples)]
    told = [part for part in heard if part.text]
    n_tokens = sum(part.n_tokens for part in told)
    if not n_tokens:
        return NOTHING
    confidence = math.exp(sum(math.log(part.confidence) * part.n_tokens for part in told) / n_tokens)
    lead = min(part.lead for part in told)
    return Heard(" ".join(part.text for part in told), sum(part.log_probability for part in told), n_tokens, confidence, lead)


def _at_pace(samples: Floats, pace: float) -> Floats:
    """`samples` resampled to play faster (`pace` above 1) or slower, which also changes the pitch."""
    places = np.arange(0, len(samples) - 1, pace)
    return np.interp(places, np.arange(len(samples)), samples).astype(np.float32) if len(places) else samples


def model_folder() -> Path | None:
    """The model's folder in the installed package; None if the package is not installed or has no model."""
    return _model_folder(find_spec)


@functools.lru_cache(maxsize=1)
def _model_folder(find: Callable[[str], ModuleSpec | None]) -> Path | None:
    """Cached, because each call asks. A package installed later is found after a restart."""
    spec = find("moonshine_voice")
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    folders = [Path(place) / "assets" / MODEL for place in places]
    return next((folder for folder in folders if (folder / "encoder_model.ort").is_file()), None)


LEAST_OF_A_WORD: Final = 0.25
"""A single word below this confidence is a hum (0.18); spoken words have 0.33 and more in noise of 10 dB."""


class Heard(Struct, frozen=True):
    """The text of one stretch of speech. `log_probability`: natural log, the mean of all paces, summed over `n_tokens`; `confidence`: from
    0 to 1, a token's mean probability at the best pace; `lead`: how much likelier it is than the next text with other words, in nats.
    """

    text: str
    log_probability: float = 0.0
    n_tokens: int = 0
    confidence: float = 0.0
    lead: float = 0.0


NOTHING: Final = Heard("")


class Moonshine:
    """The loaded model."""

    def __init__(self, folder: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        providers = ["CPUExecutionProvider"]
        self._encoder = onnxruntime.InferenceSession(str(folder / "encoder_model.ort"), options, providers=providers)
        self._decoder = Decoder(onnxruntime.InferenceSession(str(folder / "decoder_model_merged.ort"), options, providers=providers))
        self._tokens = read_tokens((folder / "tokenizer.bin").read_bytes())
        self._numbers = {token: number for number, token in enumerate(self._tokens)}  # if a byte and a token match, the token wins
        digits = (self._numbers_of(word) for digit in DIGITS for word in (digit, digit.capitalize()))
        self._digits = {END, self._numbers[b","], self._numbers[b"."], *(number for word in digits for number in word)}

    def transcribe(self, samples: Floats, phrases: tuple[str, ...] = (), effort: Effort = Effort.USUAL) -> Heard:
        """The words in `samples` (16 kHz, -1 to 1)."""
        if len(samples) < MIN_SAMPLES:
            return NOTHING
        is_thorough = effort is Effort.THOROUGH
        second = second_recogniser() if is_thorough else None
        sounds = (samples, *(_at_pace(samples, pace) for pace in PACES)) if is_thorough else (samples,)
        views = Views.of([self._encode(sound) for sound in sounds])
        max_tokens = int(len(samples) / LISTEN_RATE_HZ * MAX_TOKENS_PER_S) + SPARE_TOKENS
        texts = [self._heard(one) for one in self._texts(views, max_tokens, effort)]
        if is_invented(texts[0].text):
            return NOTHING
        texts = [one for one in texts if not is_invented(one.text)]
        found = _likeliest_words(texts) if second is None else self._by_both(second, samples, views, texts)
        if may_be_digits(found.text):
            digits = self._heard(self._decoder.likeliest(views, max_tokens, WIDTH, allowed=self._digits))
            if is_as_digits(found.text, digits.text, digits.log_probability - found.log_probability):
                return digits
        hums = hums_for(found.text, found.log_probability, len(samples) / LISTEN_RATE_HZ)
        likely = (found, *texts) if is_thorough else (found,)
        near = [rival for one in likely for rival in alternatives_to(one.text, phrases, is_doubtful=is_thorough)]
        alternatives = (*(() if is_phrase(found.text, phrases) else dict.fromkeys(near)), *hums)
        rivals = [self._rated(views, rival) for rival in alternatives]
        best = max(rivals, key=lambda rival: rival.log_probability, default=found)
        nearness = best.log_probability - texts[0].log_probability
        if best is found or nearness + PRIOR <= 0:
            said = _expected(found) if is_phrase(found.text, phrases) else found
            return said if " " in said.text or said.confidence >= LEAST_OF_A_WORD else NOTHING
        return _expected(replace(best, confidence=1 / (1 + math.exp(-(nearness + SURE_NEARNESS))), lead=0.0))

    def _by_both(self, second: WhisperTiny, samples: Floats, views: Views, texts: Sequence[Heard]) -> Heard:
        """The text of `texts`, or one that the second recogniser finds, that is likeliest by both models and its words. Its confidence is
        that of the surer model. If both find the same words first, these count.
        """
        first = texts[0]
        sound = second.listen(samples)
        texts_of_second = second.texts(sound, int(first.n_tokens * LONGER) + SPARE_TOKENS)
        found = list(dict.fromkeys(as_sentence(text) for text in texts_of_second if not is_invented(text)))
        if found and plain_words(found[0]) == plain_words(first.text):
            rated = [first]
        else:
            known = {one.text for one in texts}
            rated = [*texts[:MAX_BY_BOTH], *(self._rated(views, text) for text in found if text not in known)]
        others = second.rate(sound, [one.text for one in rated])
        surer = [replace(one, confidence=max(one.confidence, other.confidence)) for one, other in zip(rated, others, strict=True)]
        return _likeliest_words(surer, [other.log_probability for other in others])

    def _rated(self, views: Views, text: str) -> Heard:
        return replace(self._heard(self._decoder.rate(views, self._numbers_of(text))), text=text)

    def _texts(self, views: Views, max_tokens: int, effort: Effort) -> Sequence[Candidate]:
        if effort is Effort.DRAFT:
            return [self._decoder.likeliest(views, max_tokens)]
        return self._decoder.texts(views, max_tokens, WIDTH, WITHIN if effort is Effort.THOROUGH else LIKELY)

    def _heard(self, found: Candidate) -> Heard:
        octets = b"".join(self._tokens[token] for token in found.tokens)
        text = octets.decode("utf-8", "replace").replace(_SPACE, " ").strip()
        n_tokens = len(found.tokens) + 1
        return Heard(text, found.log_probability, n_tokens, math.exp(max(found.by_view) / n_tokens))

    def _encode(self, samples: Floats) -> Floats:
        sound = _padded(samples)[np.newaxis]
        (states,) = self._encoder.run(None, {"input_values": sound, "attention_mask": np.ones(sound.shape, dtype=np.int64)})
        one: Floats = states[0]
        return one

    def _numbers_of(self, text: str) -> list[int]:
        """The tokens of `text` as the model writes it: the pair of neighbours whose union has the lowest number is joined first (byte-pair
        encoding). Other tokens of the same text have some 20 nats less.
        """
        parts = [char.encode() for char in _SPACE + text.replace(" ", _SPACE)]
        n_tokens = len(self._tokens)
        while len(parts) > 1:
            unions = [self._numbers.get(one + other, n_tokens) for one, other in pairwise(parts)]
            first = min(unions)
            if first == n_tokens:
                break
            place = unions.index(first)
            parts[place : place + 2] = [parts[place] + parts[place + 1]]
        known = (self._numbers.get(part) for part in parts)
        return [number for number in known if number is not None]


def _expected(phrase: Heard) -> Heard:
    """`phrase`, which is expected, as clear if it is likely enough."""
    return replace(phrase, lead=math.inf) if phrase.confidence >= SURE_OF_PHRASE else phrase


def _likeliest_words(texts: Sequence[Heard], others: Sequence[float] = ()) -> Heard:
    """The text of `texts` that is likeliest by its sound and its words. `others`: their log-probabilities by another model of the sound."""
    words = english() if len(texts) > 1 else None
    by_sound = [one.log_probability + other for one, other in zip(texts, others or [0.0] * len(texts), strict=True)]
    rated = [(sound + (WORDS_WEIGHT * words.rate(one.text) if words else 0.0), one) for sound, one in zip(by_sound, texts, strict=True)]
    best, found = max(rated, key=lambda one: one[0])
    said = plain_words(found.text)
    rivals = (rate for rate, one in rated if plain_words(one.text) != said)
    return replace(found, lead=best - max(rivals, default=-math.inf))


def read_tokens(data: bytes) -> list[bytes]:
    """The tokens of a `tokenizer.bin` in order. Each follows its length (one byte below 128, else two, low seven bits first)."""
    tokens: list[bytes] = []
    position = 0
    while position < len(data):
        length = data[position]
        position += 1
        if length >= 128:
            length += data[position] * 128 - 128
            position += 1
        tokens.append(data[position : position + length])
        position += length
    return tokens


def _samples(pcm: bytes) -> Floats:
    """`pcm` as floats, amplified to `PEAK`."""
    samples = np.frombuffer(pcm[: len(pcm) // 2 * 2], dtype="<i2").astype(np.float32) / 32768.0
    loudest = float(np.abs(samples).max(initial=0.0))
    return samples * min(MAX_GAIN, PEAK / loudest) if loudest else samples


def _padded(samples: Floats) -> Floats:
    """`samples` with silence on both sides, unless it is already there."""
    before = PADDING if samples[: len(PADDING)].any() else PADDING[:0]
    behind = PADDING if samples[-len(PADDING) :].any() else PADDING[:0]
    return np.concatenate((before, samples, behind))


@functools.cache
def _model() -> Moonshine:
    folder = model_folder()
    if folder is None:
        raise FileNotFoundError(f"the package moonshine-voice with its model {MODEL!r}: pip install 'active-call[local]'")
    return Moonshine(folder)
