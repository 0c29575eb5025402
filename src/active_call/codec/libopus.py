"""libopus through ctypes: find the library, declare its functions, and the constants of opus_defines.h that we use.

The library comes with the `av` wheel, which has FFmpeg's libraries beside its modules; a system libopus works too. `av`'s own interface has
neither packet loss concealment nor in-band FEC for the decoder, so it is not used.

Calls keep the GIL (`PyDLL`): they take some tens of microseconds, and reacquiring the lock would take the tick longer.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from typing import Final

APPLICATION_VOIP: Final = 2048
APPLICATION_LOW_DELAY: Final = 2051
"""Only the CELT part of the codec."""
SET_APPLICATION: Final = 4000
SET_BITRATE: Final = 4002
SET_MAX_BANDWIDTH: Final = 4004
SET_COMPLEXITY: Final = 4010
SET_INBAND_FEC: Final = 4012
SET_PACKET_LOSS_PERC: Final = 4014
SET_DTX: Final = 4016
SET_SIGNAL: Final = 4024
RESET_STATE: Final = 4028
SIGNAL_VOICE: Final = 3001
SIGNAL_MUSIC: Final = 3002
BANDWIDTHS: Final = {8000: 1101, 12000: 1102, 16000: 1103, 24000: 1104, 48000: 1105}
"""OPUS_BANDWIDTH_… by the required sampling rate: narrow, medium, wide, super-wide and full band."""

_PROTOTYPES: Final = {
    "opus_encoder_get_size": (ctypes.c_int, (ctypes.c_int,)),
    "opus_encoder_init": (ctypes.c_int, (ctypes.c_void_p, ctypes.c_int32, ctypes.c_int, ctypes.c_int)),
    "opus_encode": (ctypes.c_int32, (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_int32)),
    "opus_decoder_get_size": (ctypes.c_int, (ctypes.c_int,)),
    "opus_decoder_init": (ctypes.c_int, (ctypes.c_void_p, ctypes.c_int32, ctypes.c_int)),
    "opus_decode": (ctypes.c_int, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32, ctypes.c_void_p, ctypes.c_int, ctypes.c_int)),
    "opus_strerror": (ctypes.c_char_p, (ctypes.c_int,)),
    "opus_get_version_string": (ctypes.c_char_p, ()),
}


class OpusError(Exception):
    """libopus returned an error; the text is its own."""


def _paths() -> Iterator[str]:
    """Possible paths of libopus, the wheel's first. The system's is searched only if needed, because that runs other programs."""
    with suppress(PackageNotFoundError):
        yield from (str(file.locate()) for file in files("av") or () if file.name.startswith("libopus"))
    if system := ctypes.util.find_library("opus"):
        yield system


@cache
def load() -> ctypes.PyDLL:
    """The library, loaded once. Raises OpusError if there is none."""
    for path in _paths():
        try:
            library = ctypes.PyDLL(path)
        except OSError:
            continue
        for name, (result, arguments) in _PROTOTYPES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        # Variadic functions: only the leading arguments may be declared.
        for name in ("opus_encoder_ctl", "opus_decoder_ctl"):
            function = getattr(library, name)
            function.restype, function.argtypes = ctypes.c_int, (ctypes.c_void_p, ctypes.c_int)
        return library
    raise OpusError("libopus was not found, neither in the av wheel nor on the system")


def is_available() -> bool:
    """Whether this machine has libopus."""
    try:
        load()
    except OpusError:
        return False
    return True


def version() -> str:
    """The library's text for an error code."""
    text: bytes = load().opus_get_version_string()
    return text.decode()


def check(code: int) -> int:
    """Return what libopus returned. Raises OpusError if it is an error."""
    if code < 0:
        raise OpusError(load().opus_strerror(code).decode())
    return code
