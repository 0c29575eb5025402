"""The usage of recognition, synthesis and speech-to-speech: counted at their walls, from input and output. Pure.

A vendor bills what it was sent. A recognition stream that sends less than it is given reports what it sent (`sent_s`). Text counts when
the vendor has begun to speak it, or was cancelled meanwhile.
"""

from __future__ import annotations

from typing import Final

from active_call.base.pcm import BYTES_PER_SAMPLE, LISTEN_RATE_HZ
from active_call.providers.chat import Usage
from active_call.providers.usage.metering import Meter
from active_call.providers.usage.token_usage import amounts_of
from active_call.providers.usage.units import Billed, Unit, Used

REPORT_S: Final = 5.0
"""Recognition is reported at least this often, in seconds of sound, so that a budget is checked before the end."""
IN_TOKENS_PER_S: Final = 10.0
OUT_TOKENS_PER_S: Final = 20.0
"""For sound, if a speech-to-speech model does not report tokens: 1 token for 100 ms of input and for 50 ms of output (OpenAI,
"Managing costs" of the Realtime API).
"""


class SoundMeter:
    """The sound sent on one recognition stream."""

    def __init__(self, billed: Billed, meter: Meter, stream: object) -> None:
        self._billed = billed
        self._meter = meter
        self._stream = stream
        self._pushed_bytes = 0
        self._told_s = 0.0
        self._due_bytes = self._report_bytes = int(REPORT_S * LISTEN_RATE_HZ) * BYTES_PER_SAMPLE

    def pushed(self, n_bytes: int) -> None:
        """The stream was given this much sound (s16le, 16 kHz)."""
        self._pushed_bytes += n_bytes
        if self._pushed_bytes >= self._due_bytes:
            self._due_bytes = self._pushed_bytes + self._report_bytes
            self.report()

    def report(self) -> None:
        """Report the usage since the last report."""
        sent_s = self._sent_s()
        if sent_s > self._told_s:
            more_s, self._told_s = sent_s - self._told_s, sent_s
            self._meter(Used(self._billed, {Unit.SECONDS: more_s}))

    def _sent_s(self) -> float:
        counted_s = getattr(self._stream, "sent_s", None)
        return counted_s if isinstance(counted_s, float) else self._pushed_bytes / BYTES_PER_SAMPLE / LISTEN_RATE_HZ


class SpeechMeter:
    """The usage of one synthesis attempt."""

    def __init__(self, billed: Billed, rate_hz: int, meter: Meter) -> None:
        self._billed = billed
        self._rate_hz = rate_hz
        self._meter = meter
        self._told_chars = 0
        self._n_bytes = 0

    def spoke(self, n_bytes: int, n_chars: int) -> None:
        """More sound came, after the engine had been given `n_chars` of text."""
        self._n_bytes += n_bytes
        if not self._told_chars:
            self._report_characters(n_chars, {Unit.REQUESTS: 1.0})

    def close(self, n_chars: int, *, was_refused: bool = False) -> None:
        """The attempt has ended, after `n_chars` of text in total. `was_refused`: it ended with the engine's error."""
        if was_refused and not self._n_bytes:
            return
        seconds = self._n_bytes / BYTES_PER_SAMPLE / self._rate_hz
        self._report_characters(n_chars, {Unit.SECONDS: seconds} if seconds else {}, is_estimated=not self._n_bytes)

    def _report_characters(self, n_chars: int, beside: dict[Unit, float], *, is_estimated: bool = False) -> None:
        more, self._told_chars = n_chars - self._told_chars, max(n_chars, self._told_chars)
        amounts = {Unit.CHARACTERS: float(more), **beside} if more > 0 else beside
        if amounts:
            self._meter(Used(self._billed, amounts, is_estimated))


class RealtimeMeter:
    """The usage of one conversation with a speech-to-speech model. Replies without a count are estimated from their sound."""

    def __init__(self, billed: Billed, input_rate_hz: int, output_rate_hz: int, meter: Meter) -> None:
        self._billed = billed
        self._input_rate_hz = input_rate_hz
        self._output_rate_hz = output_rate_hz
        self._meter = meter
        self._heard_bytes = 0
        self._spoken_bytes = 0

    def heard(self, n_bytes: int) -> None:
        """The model was given this much of the caller's sound."""
        self._heard_bytes += n_bytes

    def spoke(self, n_bytes: int) -> None:
        """The model output this much sound."""
        self._spoken_bytes += n_bytes

    def reply_done(self, usage: Usage | None) -> None:
        """A reply has ended, with the vendor's count if it gave one."""
        if usage is None:
            self._report_estimate()
            return
        self._heard_bytes = self._spoken_bytes = 0
        self._meter(Used(self._billed, {**amounts_of(usage), Unit.REQUESTS: 1.0}))

    def close(self) -> None:
        """The conversation has ended. A reply that was cut short is estimated; sound without a reply is left out."""
        if self._spoken_bytes:
            self._report_estimate()

    def _report_estimate(self) -> None:
        amounts = {
            Unit.AUDIO_INPUT_TOKENS: self._heard_bytes / BYTES_PER_SAMPLE / self._input_rate_hz * IN_TOKENS_PER_S,
            Unit.AUDIO_OUTPUT_TOKENS: self._spoken_bytes / BYTES_PER_SAMPLE / self._output_rate_hz * OUT_TOKENS_PER_S,
        }
        self._heard_bytes = self._spoken_bytes = 0
        told = {unit: float(round(amount)) for unit, amount in amounts.items() if amount >= 0.5}
        if told:
            self._meter(Used(self._billed, {**told, Unit.REQUESTS: 1.0}, is_estimated=True))
