"""Pause the plays of a stream as soon as its caller speaks, if the control process has armed this, without asking it again.

PauseOnVoice orders, onsets of speech and orders that change the plays go in. The pause and PausedOnVoice come out. The first voiced chunk
arrives about 30 ms before speech is confirmed, and the round trip to the control process takes a tick or more. So the plays pause at the
onset and resume if speech is not confirmed.

| state       | event                              | then                                                          |
|-------------|------------------------------------|---------------------------------------------------------------|
| armed       | onset, and enough is left to play  | paused at this sample: unconfirmed, or paused if confirmed    |
| unconfirmed | silence before confirmation        | the plays resume at that sample; armed                        |
| unconfirmed | speech is confirmed                | paused: reported, no longer armed                             |
| unconfirmed | an order stops or replaces plays   | the plays resume; armed                                       |
| unconfirmed | PausePlay                          | as ordered; armed                                             |
| any         | PauseOnVoice                       | armed or not; an unconfirmed pause ends                       |
"""

from __future__ import annotations

from collections.abc import Callable

from active_call.base.pcm import duration_ms, samples_in
from active_call.media.link import messages as link
from active_call.media.link.messages import Link
from active_call.media.worker.slots import Stream


class VoicePause:
    """For all streams. Call `before_change` before any change of a stream's plays; `watch` starts and stops its onset reports."""

    def __init__(
        self, emit: Callable[[Link], None], before_change: Callable[[Stream], None], watch: Callable[[Stream, int | None], None]
    ) -> None:
        self._emit = emit
        self._before_change = before_change
        self._watch = watch
        self._armed: dict[int, link.PauseOnVoice] = {}
        self._unsure: dict[int, link.PausedOnVoice] = {}
        """By stream: the report to send once speech is confirmed."""

    def arm(self, stream: Stream, order: link.PauseOnVoice) -> None:
        """Apply the order."""
        self._go_on(stream)
        if order.armed:
            self._armed[stream.number] = order
            self._watch(stream, order.voiced_ms)
        else:
            self.forget(stream)

    def forget(self, stream: Stream) -> None:
        """The stream is no longer armed or is closed."""
        self._unsure.pop(stream.number, None)
        if self._armed.pop(stream.number, None) is not None:
            self._watch(stream, None)

    def onset(self, stream: Stream, now: float, *, is_onset: bool, is_sure: bool) -> None:
        """The caller may have started to speak (`is_sure`: has), or (not `is_onset`) has not after all."""
        if not is_onset:
            self._go_on(stream)
            return
        order, plays = self._armed.get(stream.number), stream.plays
        if order is None or plays.paused:
            return
        self._before_change(stream)
        sounding = plays.sounding
        if sounding is None:
            return
        name, heard, left = sounding
        if left is not None and left < samples_in(order.unless_left_ms, stream.rate_hz):
            return
        plays.pause(samples_in(order.fade_ms, stream.rate_hz))
        self._unsure[stream.number] = link.PausedOnVoice(stream.number, name, duration_ms(heard, stream.rate_hz), now)
        if is_sure:
            self.speech(stream)

    def speech(self, stream: Stream) -> None:
        """Speech is confirmed and has been reported."""
        report = self._unsure.pop(stream.number, None)
        if report is not None:
            self.forget(stream)
            self._emit(report)

    def plays_changed(self, stream: Stream, order: link.Order) -> None:
        """An order about the plays was executed: an unconfirmed pause is over."""
        match order:
            case link.PausePlay():
                self._unsure.pop(stream.number, None)
            case link.StopPlay():
                self._go_on(stream)
            case _:
                pass

    def _go_on(self, stream: Stream) -> None:
        if self._unsure.pop(stream.number, None) is not None:
            self._before_change(stream)
            stream.plays.resume()
