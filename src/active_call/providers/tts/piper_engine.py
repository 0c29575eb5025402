"""Piper's network inside its engine process: the words of a sentence enter, a latent leaves; pieces of the latent enter, sound leaves.

Nothing is kept between two requests except the loaded voices, so that any process may serve any request, and the sentences of several
calls take turns piece by piece. One thread: two take twice the CPU time and shorten the wait for a short sentence by a quarter at most.
The network runs in onnxruntime (MIT); phonemes come from libespeak-ng (GPL-3, as in `espeak_engine`). The server's own process must not
import this module's engines.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from active_call.base.cache_folder import cache_folder
from active_call.providers.tts.phonemes import phonemes_of
from active_call.providers.tts.piper_model import CONTEXT_FRAMES
from active_call.providers.tts.piper_networks import load

Floats = np.ndarray[Any, np.dtype[np.float32]]

PAD, BEGIN, END = "_", "^", "$"
"""Piper's own phonemes; every phoneme is followed by a pad."""
MAX_VOICES = 4
"""The most voices loaded at the same time; a voice takes about 150 MB."""
KNEE = 0.7
"""Louder samples are compressed."""
MAX_PHONEMES = 1200
"""The longest speech of one request: 30 s. The rest is left out."""


class Sentence(Struct, frozen=True):
    """A sentence ready to be decoded. `latent`: (1, channels, frames) float32; empty if `sound` holds the whole sentence.

    `ends`: for each word (first frame, frame after its last), or None for a word without sound.
    """

    latent: Floats
    frame_samples: int
    ends: tuple[tuple[int, int] | None, ...]
    sound: bytes = b""


class _Voice:
    """A loaded voice."""

    def __init__(self, model: str) -> None:
        config: Mapping[str, Any] = json.loads(Path(f"{model}.json").read_text(encoding="utf-8"))
        if config.get("phoneme_type", "espeak") != "espeak":
            raise ValueError(f"{Path(model).name}: phoneme type {config['phoneme_type']!r} is not supported; expected espeak")
        inference = config.get("inference", {})
        self.espeak_voice: str = config["espeak"]["voice"]
        self.frame_samples = int(config["audio"].get("hop_length", 256))
        self._ids: dict[str, list[int]] = config["phoneme_id_map"]
        self._scales = (
            float(inference.get("noise_scale", 0.667)),
            float(inference.get("length_scale", 1.0)),
            float(inference.get("noise_w", 0.8)),
        )
        self._n_speakers = int(config.get("num_speakers", 1))
        self.networks = load(Path(model), cache_folder())

    def inputs(self, phonemes: Sequence[tuple[str, int]], speed: float, *, varies: bool = True) -> tuple[dict[str, Any], list[int]]:
        """The network's inputs, and the word of each id (-1: none). `varies`: lengths and timbre of the sounds are drawn at random."""
        ids, words = [*self._ids[BEGIN], *self._ids[PAD]], [-1, -1]
        for phoneme, word in phonemes[:MAX_PHONEMES]:
            known = self._ids.get(phoneme)
            if known:
                ids += [*known, *self._ids[PAD]]
                words += [word] * (len(known) + len(self._ids[PAD]))
        ids += self._ids[END]
        words += [-1] * len(self._ids[END])
        noise, length, noise_w = self._scales if varies else (0.0, self._scales[1], 0.0)
        feed: dict[str, Any] = {
            "input": np.array([ids], dtype=np.int64),
            "input_lengths": np.array([len(ids)], dtype=np.int64),
            "scales": np.array([noise, length / speed, noise_w], dtype=np.float32),
        }
        if self._n_speakers > 1:
            feed["sid"] = np.array([0], dtype=np.int64)
        return feed, words


_voices: OrderedDict[str, _Voice] = OrderedDict()


def warm(model: str) -> None:
    """Load the voice and run it once: the first run is slower than later ones."""
    sentence = prepare(model, ["Ready."], 1.0)
    if not sentence.sound:
        decode(model, *piece(sentence.latent, 0, 1))


def prepare(model: str, words: list[str], speed: float, gain: float = 1.0, *, varies: bool = True) -> Sentence:
    """Prepare a sentence for decoding. `words`: the spoken forms, one for each written word. Raises the errors of loading the voice.

    `gain` is for a voice that cannot be decoded in pieces; its sound is made here. `varies`: the voice draws the length and the timbre of
    each sound at random; otherwise it says a sentence in the same way each time.
    """
    voice = _voice(model)
    feed, owners = voice.inputs(phonemes_of(words, voice.espeak_voice), speed, varies=varies)
    if not any(owner >= 0 for owner in owners):
        return Sentence(np.zeros((1, 1, 0), dtype=np.float32), voice.frame_samples, (None,) * len(words))
    networks = voice.networks
    if networks.decoder is None:
        sound = networks.encoder.run(None, feed)[0]
        n_frames = sound.size // voice.frame_samples
        return Sentence(
            np.zeros((1, 1, 0), dtype=np.float32), voice.frame_samples, _shared(owners, len(words), n_frames), _pcm(sound, gain)
        )
    latent, durations = networks.encoder.run([networks.latent, networks.durations], feed)
    return Sentence(latent, voice.frame_samples, _word_frames(owners, durations.ravel(), len(words)))


def decode(model: str, latent: Floats, n_before: int, n_after: int, gain: float = 1.0) -> bytes:
    """The sound (s16le, times `gain`) of `latent` (1, channels, frames); its first `n_before` and last `n_after` frames are context."""
    voice = _voice(model)
    networks = voice.networks
    if networks.decoder is None:
        raise RuntimeError("this voice cannot be decoded in pieces")
    sound = networks.decoder.run(None, {networks.latent: latent})[0].ravel()
    last = sound.size - n_after * voice.frame_samples
    return _pcm(sound[n_before * voice.frame_samples : last], gain)


def piece(latent: Floats, first: int, last: int) -> tuple[Floats, int, int]:
    """The frames from `first` to before `last`, with their context: the input of `decode`."""
    begin, end = max(0, first - CONTEXT_FRAMES), min(latent.shape[2], last + CONTEXT_FRAMES)
    return np.ascontiguousarray(latent[:, :, begin:end]), first - begin, end - last


def _voice(model: str) -> _Voice:
    if model not in _voices:
        _voices[model] = _Voice(model)
        if len(_voices) > MAX_VOICES:
            _voices.popitem(last=False)
    _voices.move_to_end(model)
    return _voices[model]


def _word_frames(owners: list[int], durations: Floats, n_words: int) -> tuple[tuple[int, int] | None, ...]:
    """First and last frame of each word, from the frames of each id."""
    ends = np.cumsum(durations)
    spans: list[tuple[int, int] | None] = [None] * n_words
    for owner, end, length in zip(owners, ends, durations, strict=True):
        if owner >= 0:
            span = spans[owner]
            spans[owner] = (span[0] if span else round(float(end - length)), round(float(end)))
    return tuple(spans)


def _shared(owners: list[int], n_words: int, n_frames: int) -> tuple[tuple[int, int] | None, ...]:
    """Frames divided equally among the ids, for a voice that does not report durations."""
    return _word_frames(owners, np.full(len(owners), n_frames / len(owners), dtype=np.float32), n_words)


def _pcm(sound: Floats, gain: float) -> bytes:
    """16-bit samples; values above `KNEE` are compressed, not clipped."""
    louder = sound.ravel() * np.float32(gain)
    over = np.abs(louder) - KNEE
    bent = np.where(over > 0, np.sign(louder) * (KNEE + (1 - KNEE) * np.tanh(over / (1 - KNEE))), louder)
    return (bent * 32767.0).astype("<i2").tobytes()
