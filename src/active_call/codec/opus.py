"""Opus for one stream with libopus (RFC 6716, RFC 7587), including FEC, DTX and concealment.

Samples go in and payloads come out, and vice versa, at any of the five rates of Opus. The codec resamples itself, so 16 kHz needs neither a
resampler nor work on the band above 8 kHz. A stream is encoded as mono; stereo is decoded to mono.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from itertools import repeat
from typing import Final

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from active_call.base.errors import ParseError
from active_call.codec import libopus

Samples = NDArray[np.int16]

_MAX_PAYLOAD_BYTES: Final = 1275
"""The longest single frame (RFC 6716 §3.2.1)."""
_LONGEST_MS: Final = 120
RTP_CLOCK_HZ: Final = 48_000
_MIN_BITRATE: Final = 6000
"""RFC 7587 §6.1, for `maxaveragebitrate`."""
DTX_BYTES: Final = 2
"""A payload of at most this size is silence and need not be sent (RFC 7587 §3.1.3)."""

_SILK_TICKS: Final = (480, 960, 1920, 2880)
_HYBRID_TICKS: Final = (480, 960)
_CELT_TICKS: Final = (120, 240, 480, 960)
_FRAME_TICKS: Final = _SILK_TICKS * 3 + _HYBRID_TICKS * 2 + _CELT_TICKS * 4
"""The duration of a frame by the configuration number of the TOC byte, at 48 kHz (RFC 6716 table 2)."""


def payload_ticks(payload: bytes) -> int:
    """Return the duration of a payload in ticks of its 48 kHz clock. Raises ParseError (RFC 6716 §3)."""
    if not payload:
        raise ParseError("Opus packet", expected="at least one byte", found="none")
    toc = payload[0]
    match toc & 3:
        case 0:
            n_frames = 1
        case 3:
            if len(payload) < 2:
                raise ParseError("Opus packet", expected="a frame count", found="one byte")
            n_frames = payload[1] & 0x3F
        case _:
            n_frames = 2
    ticks = _FRAME_TICKS[toc >> 3] * n_frames
    if not 0 < ticks <= _LONGEST_MS * 48:
        raise ParseError("Opus packet", expected=f"sound of at most {_LONGEST_MS} ms", found=f"{ticks / 48} ms")
    return ticks


MIN_LOSS_PERCENT: Final = 3
"""Below this libopus adds no FEC, and the first loss would be audible."""
MAX_LOSS_PERCENT: Final = 30
"""Above this the FEC data costs more quality than it saves."""
LOSS_MEMORY: Final = 0.75
"""A report arrives about every five seconds. A report without loss reduces the expected loss by a quarter."""
CLEAN_REPORTS: Final = 3
"""After this many reports without loss in a row FEC is not needed, and the cheaper CELT part of the codec encodes."""


class OpusSettings(Struct, frozen=True):
    """Encoder settings. The peer's parameters are in its fmtp (RFC 7587 §6.1)."""

    bitrate: int = 32_000
    """For mono wide-band speech RFC 7587 §3.1.1 recommends 16 to 20 kbit/s. With FEC libopus narrows the band below 32."""
    complexity: int = 1
    """0 to 10; docs/decisions/0025 has the cost of each."""
    fec: bool = True
    """Repeat important data of a packet in the next one, if the bit rate allows."""
    expected_loss_percent: int = 10
    """Amount of FEC; 0 disables it."""
    dtx: bool = False
    """Send almost nothing in pauses. Carriers treat that as a dead stream, so use it only if the peer asks for it."""
    max_playback_rate_hz: int = 48_000
    is_low_delay: bool = False
    """Use only the CELT part of the codec, without FEC and DTX: less than half of the encoder's time and 4 ms less delay. To be set before
    the first payload. At 48 kbit/s it is nearer to the original than the speech part at 32 (docs/decisions/0089).
    """


def settings_for(parameters: str, base: OpusSettings | None = None) -> OpusSettings:
    """Encoder settings for a peer with these `a=fmtp` parameters (after the payload type; RFC 7587 §6.1).

    Unknown parameters are ignored. FEC follows `useinbandfec`, whose absence means no. The peer's limits can only lower ours.
    """
    base = base or OpusSettings()
    found: dict[str, str] = {}
    for item in parameters.split(";"):
        name, _, value = item.partition("=")
        found.setdefault(name.strip().lower(), value.strip())
    return replace(
        base,
        bitrate=min(base.bitrate, max(_number(found.get("maxaveragebitrate"), base.bitrate), _MIN_BITRATE)),
        fec=base.fec and found.get("useinbandfec") == "1",
        dtx=found.get("usedtx") == "1",
        max_playback_rate_hz=max(_number(found.get("maxplaybackrate"), base.max_playback_rate_hz), 8000),
    )


def _number(text: str | None, default: int) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else default


class OpusEncoder:
    """Encoder of one stream, for payloads of 2.5, 5, 10, 20, 40 or 60 ms."""

    __slots__ = (
        "_address", "_encode", "_input", "_input_address", "_is_shedding", "_library", "_n_clean", "_output", "_settings", "_sizes",
        "_state", "expected_loss_percent", "sample_rate_hz",
    )  # fmt: skip

    def __init__(self, sample_rate_hz: int = 16_000, settings: OpusSettings | None = None) -> None:
        library = self._library = libopus.load()
        self.sample_rate_hz = sample_rate_hz
        self._state = ctypes.create_string_buffer(library.opus_encoder_get_size(1))
        self._address = ctypes.addressof(self._state)
        libopus.check(library.opus_encoder_init(self._address, sample_rate_hz, 1, libopus.APPLICATION_VOIP))
        self._sizes = frozenset(sample_rate_hz * tenths // 10_000 for tenths in (25, 50, 100, 200, 400, 600))
        self._input = np.zeros(max(self._sizes), np.int16)
        self._input_address = self._input.ctypes.data
        self._output = ctypes.create_string_buffer(_MAX_PAYLOAD_BYTES)
        self._encode = library.opus_encode
        self._is_shedding = False
        self._n_clean = 0
        """Reports without loss in a row."""
        self.configure(settings or OpusSettings())

    @property
    def address(self) -> int:
        """The argument of `encode_all`. Valid as long as the encoder lives."""
        return self._address

    @property
    def has_dtx(self) -> bool:
        """Whether the encoder itself sends almost nothing in pauses."""
        return self._settings.dtx

    @property
    def uses_celt(self) -> bool:
        """Whether the reports allow the CELT part: it takes half of the time and is nearer to the original, but has no FEC and less DTX."""
        return self._n_clean >= CLEAN_REPORTS and not self._settings.dtx

    def configure(self, settings: OpusSettings) -> None:
        """Change the settings from the next payload on. Raises OpusError for a value out of range."""
        self._settings = settings
        self._n_clean = 0
        self.expected_loss_percent = settings.expected_loss_percent if settings.fec else 0
        self._apply()

    def set_shedding(self, is_shedding: bool) -> None:
        """Encode with less effort (about 55 % of the time): without FEC at once, the band narrows within seconds. False: as configured."""
        if is_shedding is not self._is_shedding:
            self._is_shedding = is_shedding
            self._apply()

    def _apply(self) -> None:
        settings, is_full, uses_celt = self._settings, not self._is_shedding, self.uses_celt
        limit_hz = settings.max_playback_rate_hz if is_full else 8000
        rate_hz = max((rate for rate in libopus.BANDWIDTHS if rate <= limit_hz), default=8000)
        application = libopus.APPLICATION_LOW_DELAY if settings.is_low_delay else libopus.APPLICATION_VOIP
        for request, value in (
            (libopus.SET_APPLICATION, application),
            (libopus.SET_SIGNAL, libopus.SIGNAL_MUSIC if uses_celt else libopus.SIGNAL_VOICE),
            (libopus.SET_BITRATE, settings.bitrate),
            (libopus.SET_COMPLEXITY, settings.complexity if is_full and not uses_celt else 0),
            (libopus.SET_INBAND_FEC, int(settings.fec and is_full)),
            (libopus.SET_PACKET_LOSS_PERC, self.expected_loss_percent),
            (libopus.SET_DTX, int(settings.dtx)),
            (libopus.SET_MAX_BANDWIDTH, libopus.BANDWIDTHS[rate_hz]),
        ):
            libopus.check(self._library.opus_encoder_ctl(self._address, request, ctypes.c_int32(value)))

    def take_loss(self, percent: float) -> None:
        """The peer reports this loss of our packets (RTCP): increase FEC at once, reduce it gradually (only if the peer uses FEC).

        After `CLEAN_REPORTS` reports without loss the CELT part encodes, and at the next loss the speech part again. libopus joins them
        without a gap, and chooses the speech part itself if the bit rate is too low for CELT (about 18 kbit/s).
        """
        used_celt = self.uses_celt
        self._n_clean = 0 if percent > 0 else self._n_clean + 1
        if self._settings.fec:
            eased = LOSS_MEMORY * self.expected_loss_percent + (1 - LOSS_MEMORY) * percent
            wanted = round(min(max(percent, eased, MIN_LOSS_PERCENT), MAX_LOSS_PERCENT))
            if wanted != self.expected_loss_percent:
                self.expected_loss_percent = wanted
                libopus.check(self._library.opus_encoder_ctl(self._address, libopus.SET_PACKET_LOSS_PERC, ctypes.c_int32(wanted)))
        if self.uses_celt is not used_celt:
            self._apply()

    def encode(self, samples: Samples) -> bytes:
        """Return the payload. One of at most `DTX_BYTES` need not be sent."""
        n_samples = len(samples)
        if n_samples not in self._sizes:
            raise ValueError(f"Opus has no frame of {n_samples} samples at {self.sample_rate_hz} Hz")
        self._input[:n_samples] = samples
        size = libopus.check(self._encode(self._address, self._input_address, n_samples, self._output, _MAX_PAYLOAD_BYTES))
        return ctypes.string_at(self._output, size)

    def reset(self) -> None:
        """Reset for another stream with the same settings."""
        libopus.check(self._library.opus_encoder_ctl(self._address, libopus.RESET_STATE))


def encode_all(encoders: Sequence[int], samples: Sequence[int], n_samples: int, payloads: Sequence[int], limit_bytes: int) -> list[int]:
    """Encode one frame of `n_samples` with each of the encoders. All three are addresses; `payloads` is the memory for the results.

    `limit_bytes`: space for each payload. Returns the size of each payload, or libopus' negative error number.
    """
    return list(map(libopus.load().opus_encode, encoders, samples, repeat(n_samples), payloads, repeat(limit_bytes)))


class OpusDecoder:
    """Decoder of one stream, for payloads of any mixed durations, to mono sound."""

    __slots__ = ("_address", "_decode", "_library", "_output", "_output_address", "_state", "sample_rate_hz")

    def __init__(self, sample_rate_hz: int = 16_000) -> None:
        library = self._library = libopus.load()
        self.sample_rate_hz = sample_rate_hz
        self._state = ctypes.create_string_buffer(library.opus_decoder_get_size(1))
        self._address = ctypes.addressof(self._state)
        libopus.check(library.opus_decoder_init(self._address, sample_rate_hz, 1))
        self._output = np.zeros(sample_rate_hz * _LONGEST_MS // 1000, np.int16)
        self._output_address = self._output.ctypes.data
        self._decode = library.opus_decode

    def duration_s(self, payload: bytes) -> float:
        """The duration of the payload. Raises ParseError."""
        return payload_ticks(payload) / RTP_CLOCK_HZ

    def decode(self, payload: bytes) -> Samples:
        """Return the samples. Raises ParseError if libopus cannot decode the payload."""
        if not payload:
            raise ParseError("Opus packet", expected="at least one byte", found="none")  # libopus would treat it as a loss
        return self._run(payload, len(self._output), 0)

    def conceal(self, n_samples: int) -> Samples:
        """Return concealment that continues the last sound. `n_samples` in steps of 2.5 ms; more than 120 ms are produced in pieces."""
        step = len(self._output)
        sizes = (min(step, n_samples - at) for at in range(0, n_samples, step))
        return np.concatenate([np.zeros(0, np.int16), *(self._run(None, size, 0) for size in sizes)])

    def decode_fec(self, next_payload: bytes, n_samples: int) -> Samples:
        """Decode the FEC data of the previous payload in `next_payload`. Falls back to `conceal` if there is none or it is malformed."""
        try:
            repeated = min(payload_ticks(next_payload) * self.sample_rate_hz // RTP_CLOCK_HZ, n_samples)
            earlier = self.conceal(n_samples - repeated)
            return np.concatenate((earlier, self._run(next_payload, repeated, 1)))
        except ParseError:
            return self.conceal(n_samples)

    def reset(self) -> None:
        """Reset for another stream."""
        libopus.check(self._library.opus_decoder_ctl(self._address, libopus.RESET_STATE))

    def _run(self, payload: bytes | None, size: int, fec: int) -> Samples:
        n_samples = self._decode(self._address, payload, len(payload) if payload else 0, self._output_address, size, fec)
        if n_samples < 0:
            raise ParseError("Opus packet", expected="a packet that libopus can read", found=str(payload and payload[:8].hex()))
        return self._output[:n_samples].copy()
