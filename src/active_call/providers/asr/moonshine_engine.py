"""Moonshine inside its engine process: the encoder and the decoder of `moonshine-voice`'s English model, run by ONNX Runtime.

Speech (s16le, 16 kHz) enters; its text and a confidence leave. One thread computes: a pool has a process for each core. The package's own
library is not used: it has its own voice detector and computes everything two or three times (0.2 s of CPU for each second of speech, here
0.035 s; one process takes 175 MB and 0.35 s to load). Model and tokenizer: Moonshine AI, MIT.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from active_call.base.pcm import LISTEN_RATE_HZ
from active_call.providers.asr.expected_phrases import HUM_MAX_S, PRIOR, SURE_NEARNESS, alternatives_to, hums_for, is_phrase
from active_call.providers.asr.invented_text import is_invented
from active_call.providers.asr.long_speech import split_long

Floats = NDArray[np.float32]

MODEL = "tiny-en"
N_LAYERS, N_HEADS, HEAD_SIZE = 6, 8, 36
"""Of the tiny model's decoder."""
BEGIN, END = 1, 2
"""Token numbers of `<s>` and `</s>`."""
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
PADDING = np.zeros(LISTEN_RATE_HZ // 10, dtype=np.float32)
"""Silence added before and after an utterance, as in the training recordings. Of 96 utterances (three voices, 10 to 30 dB)
84.0 % of the words were right with it, 80.0 % without, 80.7 % with silence at the end only.
"""
SURE_CONFIDENCE = 0.8
"""A final text of lower confidence is recognised again at other paces."""
PACES = (1 / 1.06, 1 / 0.94)
"""Slower and faster by 6 %. Correct words of 50 sentences with and without: Piper's joe on a quiet line 94.6 and 94.4 %, at 20 dB 93.9 and
91.1, at 10 dB 87.8 and 79.8; flite's rms 95.4 and 93.6. With 10 % the result was one point lower."""
MAX_TOKEN_BYTES = 32
_SPACE = "\u2581"


def warm() -> None:
    """Load the model and run it once, so that the runtime allocates its memory."""
    _model().transcribe(np.zeros(LISTEN_RATE_HZ // 2, dtype=np.float32))


def transcribe(pcm: bytes, phrases: tuple[str, ...] = (), thorough: bool = False) -> tuple[str, float]:
    """The words in `pcm`, with punctuation, and the confidence from 0 to 1; an empty text and 0 if there is no word.

    `phrases`: expected phrases (`expected_phrases`). One that is nearly as likely as the recognised text is returned, with its own
    confidence. `thorough`: if the confidence is low, the sound is recognised again at other paces. The result is the
    expected phrase among the texts, if any, else the text with the highest confidence. This costs three times as much. Short sounds are
    recognised only once, because at another pace a hum is recognised as a word.
    """
    samples = _samples(pcm)
    text, confidence = _hear(samples, phrases)
    is_doubtful = bool(text) and confidence < SURE_CONFIDENCE and len(samples) > HUM_MAX_S * LISTEN_RATE_HZ
    if thorough and is_doubtful:
        others = [_hear(_at_pace(samples, pace), phrases) for pace in PACES]
        text, confidence = max([(text, confidence), *others], key=lambda heard: (is_phrase(heard[0], phrases), heard[1]))
    return text, confidence


def _hear(samples: Floats, phrases: tuple[str, ...]) -> tuple[str, float]:
    model = _model()
    heard = [model.transcribe(part, phrases) for part in split_long(samples)]
    texts = [part.text for part in heard if part.text]
    n_tokens = sum(part.n_tokens for part in heard)
    confidence = math.exp(sum(part.log_probability for part in heard) / n_tokens) if n_tokens else 0.0
    return " ".join(texts), confidence if texts else 0.0


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
    """The text of one stretch of speech, with the natural log of its probability, summed over `n_tokens`."""

    text: str
    log_probability: float
    n_tokens: int


class Moonshine:
    """The loaded model. Greedy decoding with cached keys and values: each step computes one token."""

    def __init__(self, folder: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        providers = ["CPUExecutionProvider"]
        self._encoder = onnxruntime.InferenceSession(str(folder / "encoder_model.ort"), options, providers=providers)
        self._decoder = onnxruntime.InferenceSession(str(folder / "decoder_model_merged.ort"), options, providers=providers)
        self._outputs = [output.name for output in self._decoder.get_outputs()][1:]
        self._tokens = read_tokens((folder / "tokenizer.bin").read_bytes())
        self._numbers = {token: number for number, token in enumerate(self._tokens)}  # if a byte and a token match, the token wins

    def transcribe(self, samples: Floats, phrases: tuple[str, ...] = ()) -> Heard:
        """The words in `samples` (16 kHz, -1 to 1)."""
        if len(samples) < MIN_SAMPLES:
            return Heard("", 0.0, 0)
        sound = self._encode(_padded(samples)[np.newaxis])
        tokens, log_probability = self._decode(sound, int(len(samples) / LISTEN_RATE_HZ * MAX_TOKENS_PER_S) + SPARE_TOKENS)
        text = b"".join(self._tokens[token] for token in tokens).decode("utf-8", "replace").replace(_SPACE, " ").strip()
        if is_invented(text):
            return Heard("", 0.0, 0)
        heard = Heard(text, log_probability, len(tokens) + 1)
        hums = hums_for(text, log_probability, len(samples) / LISTEN_RATE_HZ)
        rivals = [self._rate(sound, rival) for rival in (*alternatives_to(text, phrases), *hums)]
        best = max(rivals, key=lambda rival: rival.log_probability, default=heard)
        nearness = best.log_probability - log_probability
        if best is heard or nearness + PRIOR <= 0:
            return heard if " " in text or math.exp(heard.log_probability / heard.n_tokens) >= LEAST_OF_A_WORD else Heard("", 0.0, 0)
        confidence = 1 / (1 + math.exp(-(nearness + SURE_NEARNESS)))
        return Heard(best.text, best.n_tokens * math.log(confidence), best.n_tokens)

    def _encode(self, sound: Floats) -> dict[str, Any]:
        mask = np.ones(sound.shape, dtype=np.int64)
        (states,) = self._encoder.run(None, {"input_values": sound, "attention_mask": mask})
        return {"encoder_attention_mask": mask, "encoder_hidden_states": states, **_no_past()}

    def _decode(self, sound: dict[str, Any], max_tokens: int) -> tuple[list[int], float]:
        feeds = dict(sound)
        tokens: list[int] = []
        log_probability = 0.0
        token = BEGIN
        for step in range(max_tokens):
            feeds["input_ids"] = np.array([[token]], dtype=np.int64)
            feeds["use_cache_branch"] = np.array([step > 0])
            logits, *present = self._decoder.run(None, feeds)
            token, log_share = _likeliest(logits[0, -1])
            log_probability += log_share
            if token == END:
                break
            tokens.append(token)
            for name, value in zip(self._outputs, present, strict=True):
                if step == 0 or ".decoder." in name:  # the encoder's keys and values stay those of the first step
                    feeds[name.replace("present", "past_key_values")] = value
        return tokens, log_probability

    def _rate(self, sound: dict[str, Any], text: str) -> Heard:
        """The likelihood of `text`, with all its tokens in one step."""
        tokens = [*self._numbers_of(text), END]
        ids = np.array([[BEGIN, *tokens[:-1]]], dtype=np.int64)
        logits, *_ = self._decoder.run(None, {**sound, "input_ids": ids, "use_cache_branch": np.array([False])})
        rows = logits[0].astype(np.float64)
        shares = (
            rows - np.log(np.exp(rows - rows.max(axis=-1, keepdims=True)).sum(axis=-1, keepdims=True)) - rows.max(axis=-1, keepdims=True)
        )
        return Heard(text, float(shares[np.arange(len(tokens)), tokens].sum()), len(tokens))

    def _numbers_of(self, text: str) -> list[int]:
        """The tokens of `text`, longest first, as the model's own tokenizer writes common words."""
        rest = (_SPACE + text.replace(" ", _SPACE)).encode()
        numbers: list[int] = []
        while rest:
            length = next((n for n in range(min(len(rest), MAX_TOKEN_BYTES), 0, -1) if rest[:n] in self._numbers), 0)
            if length:
                numbers.append(self._numbers[rest[:length]])
            rest = rest[length or 1 :]
        return numbers


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


def _no_past() -> dict[str, Floats]:
    empty = {"decoder": np.zeros((1, N_HEADS, 0, HEAD_SIZE), np.float32), "encoder": np.zeros((1, N_HEADS, 0, HEAD_SIZE), np.float32)}
    return {
        f"past_key_values.{layer}.{side}.{what}": empty[side]
        for layer in range(N_LAYERS)
        for side in ("decoder", "encoder")
        for what in ("key", "value")
    }


def _likeliest(logits: Floats) -> tuple[int, float]:
    """The likeliest token and the natural log of its probability."""
    best = int(logits.argmax())
    return best, -math.log(float(np.exp(logits - logits[best]).sum()))


@functools.cache
def _model() -> Moonshine:
    folder = model_folder()
    if folder is None:
        raise FileNotFoundError(f"the package moonshine-voice with its model {MODEL!r}: pip install 'active-call[local]'")
    return Moonshine(folder)
