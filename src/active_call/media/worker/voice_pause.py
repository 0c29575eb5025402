"""Freezes what a stream plays as soon as its caller speaks, where the control process has asked for it, without asking it again.

In: PauseOnVoice orders, onsets of speech, the orders that change the plays. Out: the pause, PausedOnVoice. The first voiced chunk comes
some 30 ms before speech is sure, and the way to the control process and back takes a tick or more: so the plays stand still at the onset,
and go on by themselves when it was none.

| state     | what happens                       | then                                                          |
|-----------|------------------------------------|---------------------------------------------------------------|
| armed     | onset, and enough is left to play  | frozen at this sample: unsure, or paused when speech is sure  |
| unsure    | silence before speech is sure      | the plays go on from that sample; armed                       |
| unsure    | speech is sure                     | paused: told, and no longer armed                             |
| unsure    | an order stops or replaces plays   | the plays go on; armed                                        |
| unsure    | PausePlay                          | what it says; armed                                           |
| any       | PauseOnVoice                       | armed, or not; an unsure pause ends                           |
"""

from __future__ import annotations

from collections.abc import Callable

from active_call.base.pcm import duration_ms, samples_in
from active_call.media.link import messages as link
from active_call.media.link.messages import Link
from active_call.media.worker.slots import Stream


class VoicePause:
    """Of all streams. `before_change` is to be called before the plays of a stream are touched; `watch` begins and ends its onsets."""

    def __init__(
        self, emit: Callable[[Link], None], before_change: Callable[[Stream], None], watch: Callable[[Stream, int | None], None]
    ) -> None:
        self._emit = emit
        self._before_change = before_change
        self._watch = watch
        self._armed: dict[int, link.PauseOnVoice] = {}
        self._unsure: dict[int, link.PausedOnVoice] = {}
        """By stream: what is told once speech is sure."""

    def arm(self, stream: Stream, order: link.PauseOnVoice) -> None:
        """Take the order."""
        self._go_on(stream)
        if order.armed:
            self._armed[stream.number] = order
            self._watch(stream, order.voiced_ms)
        else:
            self.forget(stream)

    def forget(self, stream: Stream) -> None:
        """The stream is not armed any more, or closed."""
        self._unsure.pop(stream.number, None)
        if self._armed.pop(stream.number, None) is not None:
            self._watch(stream, None)

    def onset(self, stream: Stream, now: float, *, is_onset: bool, is_sure: bool) -> None:
        """The caller seems to speak (`is_sure`: speaks), or (not `is_onset`) did not after all."""
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
        """The caller speaks: it is sure, and told."""
        report = self._unsure.pop(stream.number, None)
        if report is not None:
            self.forget(stream)
            self._emit(report)

    def plays_changed(self, stream: Stream, order: link.Order) -> None:
        """An order about the plays was carried out: an unsure pause is over."""
        match order:
            case link.PausePlay():
                self._unsure.pop(stream.number, None)
            case link.StopPlay() | link.QueueAudio(replace=True):
                self._go_on(stream)
            case _:
                pass

    def _go_on(self, stream: Stream) -> None:
        if self._unsure.pop(stream.number, None) is not None:
            stream.plays.resume()
