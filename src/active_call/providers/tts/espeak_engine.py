"""libespeak-ng inside its engine process: text enters, s16le mono sound at 22 050 Hz leaves.

The library keeps all its state in globals and is not reentrant; the engine process runs one request at a time, so this is safe. The library
and its data come from the wheel `espeakng-loader` (GPL-3, the extra `[local]`); nothing else may import this module in the server's own
process. Function names and constants: espeak-ng's `speak_lib.h`.
"""

from __future__ import annotations

import ctypes
import functools
from ctypes import POINTER, c_char_p, c_int, c_short, c_size_t, c_uint, c_void_p
from typing import Any

import numpy as np

RATE_HZ = 22_050
WORDS_PER_MINUTE = 165
"""At speed 1.0."""
MIN_WORDS_PER_MINUTE, MAX_WORDS_PER_MINUTE = 80, 450
"""The library's own limits (`espeakRATE`)."""

AUDIO_OUTPUT_SYNCHRONOUS = 2
INITIALIZE_DONT_EXIT = 0x8000
CHARS_UTF8 = 1
POS_CHARACTER = 1
RATE, VOLUME = 1, 2
EE_OK = 0

SILENCE_LEVEL = 100
"""Samples at or below this are silence (-50 dBFS)."""
LEAD_MS, TAIL_MS = 10, 60
"""Silence kept before and after the words: enough not to clip a soft onset, too short to delay speech."""
RAMP_MS = 2

SynthCallback = ctypes.CFUNCTYPE(c_int, POINTER(c_short), c_int, c_void_p)


def warm() -> None:
    """Load the library and its data."""
    _library()


def loaded_library() -> ctypes.CDLL:
    """The library, for phonemes: loaded, with its data."""
    return _library()


def has_voice(name: str) -> bool:
    """Select a voice. Returns whether `name` ('en-us', 'de', 'en-gb+f3') is a voice."""
    return _select(name)


def synthesise(text: str, voice: str, speed: float, volume: int, tail_ms: int = TAIL_MS) -> bytes:
    """The sound of `text`, trimmed to at most 10 ms of silence before it and `tail_ms` after it.

    `speed` 1.0 is 165 words a minute, `volume` 100 the library's own. Raises RuntimeError for an unknown voice, or if the library fails.
    """
    library = _library()
    if not _select(voice):
        raise RuntimeError(f"no voice {voice!r}")
    words_per_minute = round(WORDS_PER_MINUTE * speed)
    library.espeak_SetParameter(RATE, max(MIN_WORDS_PER_MINUTE, min(MAX_WORDS_PER_MINUTE, words_per_minute)), 0)
    library.espeak_SetParameter(VOLUME, volume, 0)
    pieces: list[bytes] = []
    _receiver().pieces = pieces
    data = speakable(text).encode() + b"\0"
    error = library.espeak_Synth(data, len(data), 0, POS_CHARACTER, 0, CHARS_UTF8, None, None)
    if error != EE_OK:
        raise RuntimeError(f"espeak_Synth failed with {error}")
    return trim(np.frombuffer(b"".join(pieces), dtype="<i2"), tail_ms).tobytes()


def speakable(text: str) -> str:
    """`text` without control characters, which the library would read as commands (Ctrl-A) or as the end (NUL)."""
    return "".join(character if character >= " " else " " for character in text)


def trim(sound: np.ndarray[Any, np.dtype[np.int16]], tail_ms: int) -> np.ndarray[Any, np.dtype[np.int16]]:
    """`sound` (samples,) without most of the silence at its ends. The cut ends are ramped to avoid clicks."""
    loud = np.flatnonzero(np.abs(sound.astype(np.int32)) > SILENCE_LEVEL)
    if loud.size == 0:
        return sound[:0]
    first = max(0, int(loud[0]) - LEAD_MS * RATE_HZ // 1000)
    last = min(sound.size, int(loud[-1]) + 1 + tail_ms * RATE_HZ // 1000)
    cut = sound[first:last].astype(np.float32)
    n_ramp = min(RAMP_MS * RATE_HZ // 1000, cut.size // 2)
    ramp = np.linspace(0.0, 1.0, n_ramp, endpoint=False, dtype=np.float32)
    cut[:n_ramp] *= ramp
    cut[cut.size - n_ramp :] *= ramp[::-1]
    return cut.astype("<i2")


class _Receiver:
    """Receives the sound of the running synthesis from the library's callback."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.callback = SynthCallback(self._receive)

    def _receive(self, wave: Any, n_samples: int, _events: int | None) -> int:
        if wave and n_samples > 0:
            self.pieces.append(ctypes.string_at(wave, n_samples * 2))
        return 0


@functools.cache
def _receiver() -> _Receiver:
    return _Receiver()


@functools.cache
def _library() -> ctypes.CDLL:
    """The library, loaded and initialised; cached for the life of the process."""
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    _declare(library)
    rate = library.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, 200, espeakng_loader.get_data_path().encode(), INITIALIZE_DONT_EXIT)
    if rate != RATE_HZ:
        raise RuntimeError(f"espeak_Initialize returned {rate}, not {RATE_HZ}")
    library.espeak_SetSynthCallback(_receiver().callback)
    return library


def _declare(library: ctypes.CDLL) -> None:
    library.espeak_Initialize.argtypes = [c_int, c_int, c_char_p, c_int]
    library.espeak_Initialize.restype = c_int
    library.espeak_SetSynthCallback.argtypes = [SynthCallback]
    library.espeak_SetSynthCallback.restype = None
    library.espeak_SetVoiceByName.argtypes = [c_char_p]
    library.espeak_SetVoiceByName.restype = c_int
    library.espeak_ListVoices.argtypes = [c_void_p]
    library.espeak_ListVoices.restype = POINTER(POINTER(_VoiceEntry))
    library.espeak_SetParameter.argtypes = [c_int, c_int, c_int]
    library.espeak_SetParameter.restype = c_int
    library.espeak_Synth.argtypes = [c_char_p, c_size_t, c_uint, c_int, c_uint, c_uint, POINTER(c_uint), c_void_p]
    library.espeak_Synth.restype = c_int


class _VoiceEntry(ctypes.Structure):
    """`espeak_VOICE`. `languages` is a list of (priority byte, code, NUL), ended by a zero byte."""

    _fields_ = (
        ("name", c_char_p),
        ("languages", c_void_p),
        ("identifier", c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("xx1", ctypes.c_ubyte),
        ("score", c_int),
        ("spare", c_void_p),
    )


@functools.cache
def _identifiers() -> dict[str, str]:
    """Voice identifiers (`gmw/en`) by language code (`en-gb`): not every code is a voice's name."""
    entries = _library().espeak_ListVoices(None)
    identifiers: dict[str, str] = {}
    i = 0
    while entries[i]:
        entry = entries[i].contents
        address = entry.languages
        while ctypes.string_at(address, 1) != b"\0":
            code = ctypes.string_at(address + 1)
            identifiers.setdefault(code.decode(), entry.identifier.decode())
            address += len(code) + 2
        i += 1
    return identifiers


class _Voice:
    """The library's current voice; changing it costs a file read."""

    name = ""


def _select(name: str) -> bool:
    if _Voice.name == name:
        return True
    code, plus, variant = name.partition("+")
    candidates = [name]
    if code in _identifiers():
        candidates.append(f"{_identifiers()[code]}{plus}{variant}")
    found = any(_library().espeak_SetVoiceByName(candidate.encode()) == EE_OK for candidate in candidates)
    _Voice.name = name if found else ""
    return found
