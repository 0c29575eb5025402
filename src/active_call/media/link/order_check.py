"""Validate every number of an order before it is applied.

An order goes in; ValueError names the invalid field. The contract limits what clients may ask for. This is the media process's own check,
so that no order can block it, exhaust its memory or make it fail. Pure.
"""

from __future__ import annotations

import ipaddress
import math
from typing import Final

import msgspec

from active_call.base.pcm import FRAME_MS
from active_call.codec.messages import MESSAGE_CODECS, PCM_RATES_HZ
from active_call.media.enhance.gain import GainSettings
from active_call.media.link import messages as link
from active_call.media.link.messages import Order

RATES_HZ: Final = (8000, 16_000, 48_000)
RECORDING_RATES_HZ: Final = (8000, 16_000)
MAX_FADE_MS: Final = 10_000
MAX_DIGITS: Final = 128
"""Maximum number of digits in one order; more than any dialled sequence."""
MAX_DIGIT_MS: Final = 60_000
MAX_BOUNDARIES: Final = 10_000
MAX_TEXT: Final = 4096
"""Maximum length of paths and names."""
MAX_FORMATS: Final = 128
"""One per payload type."""
DAY_S: Final = 86_400.0

_Bounds = tuple[tuple[str, float, float], ...]
_BOUNDS: Final[dict[type, _Bounds]] = {
    link.ConfigureRtp: (
        ("remote_port", 0, 65_535),
        ("remote_rtcp_port", 0, 65_535),
        ("send_payload_type", 0, 127),
        ("receive_payload_type", 0, 127),
        ("send_event_type", -1, 127),
        ("receive_event_type", -1, 127),
        ("ptime_ms", 1, 1000),
        ("rtp_timeout_s", 0, DAY_S),
        ("ssrc", 0, 0xFFFFFFFF),
        ("event_clock_hz", 1000, 192_000),
    ),
    link.Listen: (("threshold", 0, 1), ("min_speech_ms", 0, 10_000), ("silence_ms", 0, 60_000)),
    link.StartAmbience: (("offset", 0, 2**40), ("duck_level", 0, 10), ("normal_level", 0, 10), ("transition_speed", 0, 1)),
    link.StopPlay: (("fade_ms", 0, MAX_FADE_MS),),
    link.PausePlay: (("fade_ms", 0, MAX_FADE_MS), ("back_ms", 0, MAX_FADE_MS)),
    link.PauseOnVoice: (("voiced_ms", 0, 10_000), ("unless_left_ms", 0, 60_000), ("fade_ms", 0, MAX_FADE_MS)),
    link.StopMusic: (("fade_ms", 0, MAX_FADE_MS),),
    link.SendDigits: (("duration_ms", 1, MAX_DIGIT_MS),),
    link.StartRecording: (("flush_ms", 20, 60_000),),
    link.ForwardSent: (("piece_ms", FRAME_MS, 1000),),
    link.UseMessages: (("silent_frames", 0, 1000),),
    GainSettings: (
        ("headroom_db", 0, 60),
        ("max_gain_db", 0, 90),
        ("initial_gain_db", 0, 90),
        ("max_gain_change_db_per_second", 0, 100),
        ("max_output_noise_level_dbfs", -120, 0),
        ("adjacent_speech_frames_threshold", 0, 1000),
    ),
}


def check_order(order: Order) -> None:
    """Raise ValueError if a field of `order` is out of range."""
    if type(order) in _BOUNDS:
        _check_numbers(order)
    match order:
        case link.OpenStream():
            _check(order.rate_hz in RATES_HZ, "rate_hz", order.rate_hz)
            _check(not order.bind_ip or _is_address(order.bind_ip), "bind_ip", order.bind_ip)
        case link.ConfigureRtp():
            _check_rtp(order)
        case link.UseMessages():
            _check(order.codec in MESSAGE_CODECS, "codec", order.codec[:80])
            _check(order.rate_hz in PCM_RATES_HZ, "rate_hz", order.rate_hz)
        case link.ForwardSent():
            _check(order.piece_ms % FRAME_MS == 0, "piece_ms", order.piece_ms)
        case link.QueueAudio():
            _check(len(order.play) <= MAX_TEXT, "play", f"{len(order.play)} characters")
        case link.FinishPlay():
            _check(len(order.boundaries) <= MAX_BOUNDARIES, "boundaries", f"{len(order.boundaries)} of them")
        case link.SendDigits():
            _check(len(order.digits) <= MAX_DIGITS, "digits", f"{len(order.digits)} of them")
        case link.ImproveSound(gain=GainSettings() as gain):
            _check_numbers(gain)
        case link.StartAmbience() | link.StartRecording():
            _check(len(order.path) <= MAX_TEXT and "\0" not in order.path, "path", order.path[:80])
            if isinstance(order, link.StartRecording):
                _check(order.rate_hz in RECORDING_RATES_HZ, "rate_hz", order.rate_hz)
        case _:
            pass


def _check_rtp(order: link.ConfigureRtp) -> None:
    """Check addresses and ports: the kernel must never resolve a name here, and never get a number that is out of range."""
    for name, address in (("remote_ip", order.remote_ip), ("remote_rtcp_ip", order.remote_rtcp_ip)):
        _check(not address or _is_address(address), name, address[:80])
    _check(not (order.awaits_keys and order.suite), "awaits_keys", "with a suite")
    _check(len(order.receive_formats) <= MAX_FORMATS, "receive_formats", f"{len(order.receive_formats)} of them")
    _check(all(0 <= number <= 127 for number, _ in order.receive_formats), "receive_formats", order.receive_formats)


def _check_numbers(order: msgspec.Struct) -> None:
    for name, lowest, highest in _BOUNDS[type(order)]:
        value = getattr(order, name)
        _check(math.isfinite(value) and lowest <= value <= highest, name, value)


def _check(is_right: bool, name: str, value: object) -> None:
    if not is_right:
        raise ValueError(f"{name}: {value} is out of range")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
