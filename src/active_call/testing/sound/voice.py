"""The caller's voice: text in, 8 kHz samples out, through the espeak-ng library that the `espeakng-loader` wheel carries.

It must not know the program's own speech synthesis; it speaks with another voice than an agent does, so that neither can pass for the
other. The library keeps one voice and one callback per process: a phone runs in a process of its own, and calls here take turns.
"""

from __future__ import annotations

import ctypes
import threading
from functools import lru_cache

import numpy as np

from active_call.testing.sound import audio
from active_call.testing.sound.audio import Pcm

CALLER_VOICE = "en-gb+f3"
"""British English, a female variant."""

_SYNCHRONOUS = 2  # espeak_AUDIO_OUTPUT: AUDIO_OUTPUT_SYNCHRONOUS
_CHARS_UTF8 = 1
_PHONEMES_IPA = 0x02
_POS_CHARACTER = 1
_RATE, _VOLUME = 1, 2  # espeak_PARAMETER
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
_lock = threading.Lock()


class VoiceError(Exception):
    """The library is missing, or has no such voice."""


@lru_cache(maxsize=1)
def _library() -> tuple[ctypes.CDLL, int]:
    """The library, initialised, and its sample rate."""
    try:
        import espeakng_loader
    except ImportError as error:
        raise VoiceError("the caller needs a voice: pip install 'active-call[local]' (espeakng-loader)") from error
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    library.espeak_Initialize.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_int]
    library.espeak_Initialize.restype = ctypes.c_int
    library.espeak_SetVoiceByName.argtypes = [ctypes.c_char_p]
    library.espeak_SetVoiceByName.restype = ctypes.c_int
    library.espeak_SetParameter.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int]
    library.espeak_SetParameter.restype = ctypes.c_int
    library.espeak_SetSynthCallback.argtypes = [_Callback]
    library.espeak_SetSynthCallback.restype = None
    library.espeak_Synth.argtypes = [
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_uint,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_uint,
        ctypes.POINTER(ctypes.c_uint),
        ctypes.c_void_p,
    ]
    library.espeak_Synth.restype = ctypes.c_int
    library.espeak_Synchronize.argtypes = []
    library.espeak_Synchronize.restype = ctypes.c_int
    library.espeak_TextToPhonemes.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_int, ctypes.c_int]
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    rate_hz = library.espeak_Initialize(_SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), 0)
    if rate_hz <= 0:
        raise VoiceError("espeak-ng did not start")
    return library, rate_hz


def _set_voice(library: ctypes.CDLL, voice: str) -> None:
    name, plus, variant = voice.partition("+")
    name = "en" if name == "en-gb" else name  # British English is this library's plain `en`
    if library.espeak_SetVoiceByName(f"{name}{plus}{variant}".encode()) != 0:
        raise VoiceError(f"espeak-ng has no voice {voice!r}")


def speak(text: str, voice: str = CALLER_VOICE, *, words_per_minute: int = 160) -> Pcm:
    """`text` as 8 kHz samples, peak 16000, without silence around it. Raises VoiceError."""
    pieces: list[bytes] = []

    def collect(samples: ctypes._Pointer[ctypes.c_short], n_samples: int, _events: object) -> int:
        if n_samples > 0:
            pieces.append(ctypes.string_at(samples, 2 * n_samples))
        return 0

    with _lock:
        library, rate_hz = _library()
        callback = _Callback(collect)
        library.espeak_SetSynthCallback(callback)
        _set_voice(library, voice)
        library.espeak_SetParameter(_RATE, words_per_minute, 0)
        encoded = text.encode()
        library.espeak_Synth(encoded, len(encoded) + 1, 0, _POS_CHARACTER, 0, _CHARS_UTF8, None, None)
        library.espeak_Synchronize()
    pcm = np.frombuffer(b"".join(pieces), dtype=np.int16)
    return _trimmed(audio.normalise(audio.resample(pcm, rate_hz, audio.RATE_HZ)))


def _trimmed(pcm: Pcm, floor: int = 60) -> Pcm:
    """Without the quiet ends, so that the last sample sent is the last sample of speech."""
    loud = np.flatnonzero(np.abs(pcm.astype(np.int32)) > floor)
    return pcm[loud[0] : loud[-1] + 1] if len(loud) else pcm[:0]


def phonemes(text: str, voice: str = "en-us") -> str:
    """`text` in the International Phonetic Alphabet, as espeak-ng would say it. Raises VoiceError."""
    spoken: list[str] = []
    with _lock:
        library, _ = _library()
        _set_voice(library, voice)
        buffer = ctypes.create_string_buffer(text.encode())
        rest = ctypes.c_void_p(ctypes.addressof(buffer))
        while rest.value:
            piece = library.espeak_TextToPhonemes(ctypes.byref(rest), _CHARS_UTF8, _PHONEMES_IPA)
            spoken.append(piece.decode() if piece else "")
    return " ".join(spoken)
