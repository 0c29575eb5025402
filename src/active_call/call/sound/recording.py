"""The recordings of one call: when they begin, where they are stored, and waiting for the last one before the record is written.

A recording belongs to one media stream. If the call continues with another leg, it is recorded in another file (`call-2.ogg`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from msgspec import Struct

from active_call.base.errors import LocalProtocolError, MediaError
from active_call.call.dependencies import CallDependencies
from active_call.call.events.journal import Journal
from active_call.call.opening.options import given
from active_call.call.ports import Emit
from active_call.call.shared_state import CallState
from active_call.contract import events
from active_call.media.link.messages import RecordingEnded
from active_call.media.pool.pool import MediaStream
from active_call.store.recordings import numbered, path_inside, recorded_rate_hz, why_not_written, with_ending

DEFAULT_RATE_HZ = 16_000
DEFAULT_FLUSH_MS = 200


class _Target(Struct, frozen=True):
    """Where a recording goes and how."""

    path: Path
    rate_hz: int
    flush_ms: int


class Recording:
    """Begins, pauses and ends the recordings of one call."""

    def __init__(self, state: CallState, emit: Emit, journal: Journal, dependencies: CallDependencies) -> None:
        self._state = state
        self._emit = emit
        self._journal = journal
        self._policy = dependencies.recording
        self._folder = dependencies.recordings
        self._troubles = dependencies.troubles
        self._records = dependencies.records
        self._n_begun = 0
        self._target: _Target | None = None
        self._is_paused = False
        self._is_secret = False
        """The caller enters something that must not be recorded."""
        self._running: set[str] = set()

    @property
    def is_running(self) -> bool:
        """A file of this call is still being written."""
        return bool(self._running)

    def begin_as_configured(self) -> None:
        """The call was answered: record it if the call's own option or the server's policy asks for it."""
        policy, own = self._policy, self._state.option.recorder
        if own is not None and own.recorder_file:
            try:
                name = with_ending(own.recorder_file.replace("{id}", self._state.facts.session_id), own.format)
                path = path_inside(self._folder, name)
            except MediaError as error:
                self._emit(events.Error(sender="recorder", error=str(error)))
                return
            except OSError as error:
                self._failed(str(error), self._folder)
                return
            rate_hz = recorded_rate_hz(given(own.samplerate, DEFAULT_RATE_HZ))
            self._begin(_Target(path, rate_hz, given(own.ptime, DEFAULT_FLUSH_MS)))
        elif policy is not None and policy.auto_start:
            self.begin()

    def begin(self) -> None:
        """Record from now on, by the server's policy; does nothing if the policy allows no recordings."""
        policy = self._policy
        if policy is None:
            return
        try:
            path = policy.path_for(self._state.facts)
        except OSError as error:
            self._failed(str(error), self._folder)
            return
        self._begin(_Target(path, policy.rate_hz, policy.flush_ms))

    def _begin(self, target: _Target) -> None:
        stream = self._state.leg.stream
        if stream is None:
            return
        self._n_begun += 1
        self._target = target
        path = str(numbered(target.path, self._n_begun))
        stream.start_recording(path, target.rate_hz, target.flush_ms)
        if self._is_paused or self._is_secret:
            stream.pause_recording(True)
        self._running.add(path)
        self._journal.recording_began(path)
        self._records.update(self._journal.open_call())

    def stop(self) -> None:
        """End the current recording. Raises LocalProtocolError while the call has no sound."""
        self._stream().stop_recording()
        self._target, self._is_paused = None, False

    def pause(self, paused: bool) -> None:
        """Pause or resume the recording. Raises LocalProtocolError while the call has no sound."""
        self._stream().pause_recording(paused or self._is_secret)
        self._is_paused = paused

    def leave_out(self, is_secret: bool) -> None:
        """Leave out secret input, independently of pauses; does nothing while the call has no sound."""
        self._is_secret = is_secret
        stream = self._state.leg.stream
        if stream is not None and self._running:
            stream.pause_recording(is_secret or self._is_paused)

    def go_on(self) -> None:
        """The call has another leg: continue recording in a new file."""
        if self._target is not None:
            self._begin(self._target)

    def ended(self, report: RecordingEnded) -> None:
        """A file is complete, or failed before its end."""
        self._running.discard(report.path)
        if not self._running:
            self._target = None
        self._journal.recording_ended(report.path, report.duration_ms, report.error)
        if not report.error:
            self._troubles.clear("recordings")
        else:
            self._failed(report.error, Path(report.path).parent)

    def _failed(self, reason: str, folder: Path) -> None:
        """Report it in the call and in `/health`, there until a recording succeeds or is possible again."""
        self._troubles.note("recordings", reason, probe=partial(why_not_written, folder))
        self._emit(events.Error(sender="recorder", error=reason))

    def lost(self) -> None:
        """The media process is gone, and its reports about files with it."""
        self._running.clear()
        self._target = None

    async def complete(self, next_report: Callable[[], Awaitable[None]]) -> None:
        """End recordings, and handle reports by `next_report` until all files are complete; only then are their lengths known."""
        if self._state.leg.stream is None or not self._running:
            return
        self._state.leg.stream.stop_recording()
        while self._running:
            await next_report()

    def _stream(self) -> MediaStream:
        if self._state.leg.stream is None:
            raise LocalProtocolError("the call has no sound to record yet")
        return self._state.leg.stream
