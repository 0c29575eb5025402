"""A caller with a natural voice: a Piper voice, computed in this process and moved to another pitch, so that it is not the agent's.

Text and a factor enter, 8 kHz samples leave. The voice speaks slower by the factor and is then played faster by it: its pace stays, its
pitch and its vowels move up, as those of a smaller person. Needs the extra `[local]`.
"""

from __future__ import annotations

import os
import re

import numpy as np

from active_call.providers.speech.spoken_english import spoken_words
from active_call.providers.tts import piper_engine
from active_call.providers.tts.piper_voices import find_voice
from active_call.providers.tts.sentences import parts_of
from active_call.testing.sound import audio
from active_call.testing.sound.audio import Pcm

NAME = re.compile(r"piper:(?P<speaker>[\w-]+)(?:\*(?P<factor>[0-9.]+))?")
"""`piper:joe*1.2`: the voice joe, a fifth higher."""


def speak(text: str, voice: str) -> Pcm:
    """`text` as 8 kHz samples with the pauses of its sentences. Raises LookupError if the voice is not installed."""
    match = NAME.fullmatch(voice)
    found = find_voice(os.environ, match["speaker"], None) if match else None
    if match is None or found is None:
        raise LookupError(f"there is no voice {voice!r}: pip install 'active-call[local]'")
    factor = float(match["factor"] or 1.0)
    pieces: list[Pcm] = []
    for part in parts_of(text, spoken_words):
        sentence = piper_engine.prepare(found.model, [word.spoken for word in part.words], 1.0 / factor)
        n_frames = sentence.latent.shape[2]
        sound = sentence.sound or piper_engine.decode(found.model, *piper_engine.piece(sentence.latent, 0, n_frames))
        pieces += [np.frombuffer(sound, dtype=np.int16), np.zeros(found.rate_hz * part.pause_ms // 1000, dtype=np.int16)]
    return audio.resample(np.concatenate(pieces), round(found.rate_hz * factor), audio.RATE_HZ)
