"""The caller's sound (s16le, 16 kHz) in the format that a vendor accepts: another rate, or G.711 µ-law at 8 kHz."""

from __future__ import annotations

from typing import Final

import numpy as np
import soxr
from msgspec import Struct

from active_call.base.errors import ConfigError
from active_call.base.pcm import BYTES_PER_SAMPLE, LISTEN_RATE_HZ
from active_call.codec.g711 import encode
from active_call.contract.options import AsrOption

LINEAR: Final = "linear16"
MULAW: Final = "mulaw"
TELEPHONE_RATE_HZ: Final = 8_000
_MU_LAW: Final = np.array([False])
_NAMES: Final = {"linear16": LINEAR, "pcm": LINEAR, "pcm_s16le": LINEAR, "mulaw": MULAW, "ulaw": MULAW, "pcmu": MULAW, "pcm_mulaw": MULAW}


class SoundFormat(Struct, frozen=True):
    """The format sent to a vendor: mono at `rate_hz`, `encoding` LINEAR (s16le) or MULAW."""

    rate_hz: int = LISTEN_RATE_HZ
    encoding: str = LINEAR

    @property
    def bytes_per_s(self) -> int:
        return self.rate_hz * (1 if self.encoding == MULAW else BYTES_PER_SAMPLE)

    @property
    def is_mulaw(self) -> bool:
        return self.encoding == MULAW


WIDE: Final = SoundFormat()
TELEPHONE_MULAW: Final = SoundFormat(TELEPHONE_RATE_HZ, MULAW)


def chosen_format(option: AsrOption, *known: SoundFormat) -> SoundFormat:
    """The format that `option` selects by `samplerate` and `extra.encoding`, among those that the vendor accepts; the first by default.

    Raises ConfigError for one that it does not accept.
    """
    encoding = option.extra.get("encoding")
    if encoding is None and option.samplerate is None:
        return known[0]
    name = _NAMES.get(str(encoding).lower()) if encoding is not None else None
    if encoding is not None and name is None:
        raise ConfigError("asr.extra.encoding", f"expected one of {', '.join(_NAMES)}, found {encoding!r}")
    fitting = [form for form in known if name in (None, form.encoding) and option.samplerate in (None, form.rate_hz)]
    if not fitting:
        offered = ", ".join(f"{form.encoding} at {form.rate_hz} Hz" for form in known)
        raise ConfigError("asr.samplerate" if option.samplerate else "asr.extra.encoding", f"this vendor accepts {offered}")
    return fitting[0]


class SoundEncoder:
    """Converts one caller's sound to `form`. Keeps the resampler's state between pieces."""

    def __init__(self, form: SoundFormat) -> None:
        self._is_mulaw = form.is_mulaw
        self._resampler = (
            soxr.ResampleStream(LISTEN_RATE_HZ, form.rate_hz, 1, dtype="int16", quality="LQ") if form.rate_hz != LISTEN_RATE_HZ else None
        )

    def encode(self, pcm: bytes) -> bytes:
        """`pcm` (s16le, 16 kHz) in the vendor's format; what the resampler holds back comes with the next piece."""
        if self._resampler is None and not self._is_mulaw:
            return pcm
        samples = np.frombuffer(pcm, "<i2")
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(samples)
        if self._is_mulaw:
            return bytes(encode(samples.reshape(1, -1), _MU_LAW)[0].tobytes())
        return bytes(samples.astype("<i2", copy=False).tobytes())
