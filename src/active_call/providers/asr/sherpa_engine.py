"""sherpa-onnx inside its engine process: one recogniser for each requested model and language.

Speech (s16le, 16 kHz), the model's kind and files enter; the text leaves, with word times if the model reports them. One thread computes:
a pool has a process for each core. A streaming model also gets the utterance in one piece, so that any process can serve any caller.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from active_call.base.pcm import LISTEN_RATE_HZ
from active_call.providers.asr.invented_text import is_invented
from active_call.providers.asr.long_speech import split_long
from active_call.providers.models.catalogue import ModelKind

Floats = NDArray[np.float32]
Files = tuple[tuple[str, str], ...]
"""The model's files: pairs of role and path."""
Words = list[tuple[str, float, float]]
"""Words with their starts and ends, in seconds."""

TAIL_S = 0.5
"""Silence added after an utterance, in which a streaming model outputs its last words."""
LAST_WORD_S = 0.2
"""The assumed length of the last token, which models do not report."""
INVENTIVE = frozenset({ModelKind.MOONSHINE, ModelKind.WHISPER})
"""These kinds write text for any sound."""
_SPACES = ("\u2581", " ")


def warm(kind: str, files: Files, language: str) -> None:
    """Load the model and run it once."""
    transcribe(bytes(LISTEN_RATE_HZ), kind, files, language)


def transcribe(pcm: bytes, kind: str, files: Files, language: str) -> tuple[str, Words]:
    """The words in `pcm`. `language` is a primary BCP 47 tag, empty to let the model detect it."""
    recogniser = _recogniser(kind, files, language)
    samples = np.frombuffer(pcm[: len(pcm) // 2 * 2], dtype="<i2").astype(np.float32) / 32768.0
    texts: list[str] = []
    words: Words = []
    begun_s = 0.0
    for part in split_long(samples):
        if not len(part):
            continue
        result = _decode(recogniser, part, is_streaming=kind == ModelKind.ZIPFORMER.value)
        texts.append(str(result.text).strip())
        found = words_of(list(result.tokens), list(result.timestamps))
        words += [(text, begun_s + start, begun_s + end) for text, start, end in found]
        begun_s += len(part) / LISTEN_RATE_HZ
    text = " ".join(text for text in texts if text)
    if ModelKind(kind) in INVENTIVE and is_invented(text):
        return "", []
    return (text.capitalize() if text.isupper() else text), words


def words_of(tokens: Sequence[str], timestamps: Sequence[float]) -> Words:
    """Joins tokens to words; none if the model reports no times. A token with a space begins a word, which ends before the next one."""
    if not tokens or len(tokens) != len(timestamps):
        return []
    words: Words = []
    for token, at in zip(tokens, timestamps, strict=True):
        text = token.strip("".join(_SPACES))
        begins = token.startswith(_SPACES) or not words or (len(text) == 1 and text > "\u2e80")
        if begins:
            if words:
                words[-1] = (words[-1][0], words[-1][1], max(words[-1][1], min(words[-1][2], at)))
            words.append((text, at, at + LAST_WORD_S))
        else:
            words[-1] = (words[-1][0] + text, words[-1][1], at + LAST_WORD_S)
    return [word for word in words if word[0]]


def _decode(recogniser: Any, samples: Floats, *, is_streaming: bool) -> Any:
    stream = recogniser.create_stream()
    stream.accept_waveform(LISTEN_RATE_HZ, samples)
    if not is_streaming:
        recogniser.decode_stream(stream)
        return stream.result
    stream.accept_waveform(LISTEN_RATE_HZ, np.zeros(int(TAIL_S * LISTEN_RATE_HZ), dtype=np.float32))
    stream.input_finished()
    while recogniser.is_ready(stream):
        recogniser.decode_stream(stream)
    return recogniser.get_result_all(stream)


@functools.lru_cache(maxsize=4)
def _recogniser(kind: str, files: Files, language: str) -> Any:
    import sherpa_onnx

    paths = dict(files)
    match ModelKind(kind):
        case ModelKind.MOONSHINE:
            return sherpa_onnx.OfflineRecognizer.from_moonshine_v2(**paths)
        case ModelKind.PARAKEET:
            return sherpa_onnx.OfflineRecognizer.from_transducer(**paths, model_type="nemo_transducer")
        case ModelKind.SENSE_VOICE:
            return sherpa_onnx.OfflineRecognizer.from_sense_voice(**paths, language=language or "auto", use_itn=True)
        case ModelKind.WHISPER:
            return sherpa_onnx.OfflineRecognizer.from_whisper(**paths, language=language)
        case ModelKind.ZIPFORMER:
            return sherpa_onnx.OnlineRecognizer.from_transducer(**paths, num_threads=1)
