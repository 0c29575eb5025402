"""One-way audio of a call: decides which problems noticed by the media process are reported.

Reports enter, `mediaProblem` events leave, and the end of a call without media. Before the answer no sound is required: carriers announce
early media and send none. A problem that still exists some time after the answer is reported then.
"""

from __future__ import annotations

import asyncio

from active_call.call.ports import CallPorts, HangUp
from active_call.call.state import CallFacts
from active_call.contract import events
from active_call.media.link.messages import MediaProblem, StreamDead
from active_call.media.receive.one_way_audio import NOTHING_S


class MediaWatchdog:
    """The watchdog of one call."""

    def __init__(self, facts: CallFacts, ports: CallPorts, hang_up: HangUp) -> None:
        self._facts = facts
        self._ports = ports
        self._end_call = hang_up
        self._early: dict[str, MediaProblem] = {}
        self._early_dead: StreamDead | None = None

    @property
    def _is_answered(self) -> bool:
        return self._facts.answered_at is not None

    def problem(self, report: MediaProblem) -> None:
        """A problem has begun or ended."""
        if self._is_answered and report.name not in self._early:
            self._report(report)
        elif report.over:
            self._early.pop(report.name, None)
            self._early_dead = None
        else:
            self._early[report.name] = report

    def dead(self, report: StreamDead) -> None:
        """No media has come for a long time."""
        if self._is_answered:
            self._hang_up(report.silent_s)
        else:
            self._early_dead = report

    def answered(self) -> None:
        """From now on sound is required."""
        if self._early or self._early_dead is not None:
            self._ports.spawn(self._look_again(), "sound after the answer")

    async def _look_again(self) -> None:
        await asyncio.sleep(NOTHING_S)
        self._ports.later(self._report_what_is_left)
        waited_s = self._early_dead.silent_s if self._early_dead is not None else 0.0
        await asyncio.sleep(max(waited_s - NOTHING_S, 0.0))
        self._ports.later(self._end_if_dead)

    def _report_what_is_left(self) -> None:
        left, self._early = self._early, {}
        for report in left.values():
            self._report(report)

    def _end_if_dead(self) -> None:
        if self._early_dead is not None:
            self._hang_up(2 * self._early_dead.silent_s)

    def _report(self, report: MediaProblem) -> None:
        if report.over:
            self._early_dead = None
        else:
            self._ports.log.warning("one-way audio", extra={"problem": report.name, "detail": report.detail})
        self._ports.emit(events.MediaProblem(problem=report.name, detail=report.detail, over=report.over))

    def _hang_up(self, silent_s: float) -> None:
        self._ports.emit(events.RtpTimeout(timeout=round(silent_s)))
        self._facts.error = f"no media from the peer for {silent_s:.0f} s"
        self._end_call(by="system", cause="rtp_timeout", reason=self._facts.error)
