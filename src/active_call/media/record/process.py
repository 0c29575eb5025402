"""The process that writes recordings: `python -m active_call.media.record.process FD`, one per media process that records.

Orders arrive on the socket FD; reports about finished files leave on it. Encoding and disk writes happen here, where no tick waits for
them. When its media process ends for any reason, it finishes the files and ends too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys

from active_call.media.record.files import Recording
from active_call.media.record.link import BeginRecording, Ended, EndRecording, RecordPiece, framed, receive_order

_NICENESS = 5
"""Lower priority than the media processes and the control process."""


class Writer:
    """All files of the process, by recording number."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._recordings: dict[int, Recording] = {}

    def run(self) -> None:
        """Execute orders until the media process is gone, then finish the open files."""
        with contextlib.suppress(ConnectionError):
            while (order := receive_order(self._connection)) is not None:
                self._carry_out(order)
        for number, recording in list(self._recordings.items()):
            recording.end()
            self._report(number, recording)

    def _carry_out(self, order: BeginRecording | RecordPiece | EndRecording) -> None:
        match order:
            case BeginRecording():
                recording = self._recordings[order.recording] = Recording(order)
                self._report(order.recording, recording)
            case RecordPiece():
                self._write(order)
            case EndRecording():
                ended = self._recordings.get(order.recording)
                if ended is not None:
                    ended.end(order.tick)
                    self._report(order.recording, ended)

    def _write(self, piece: RecordPiece) -> None:
        size = len(piece.data) // len(piece.recordings)
        data = memoryview(piece.data)
        for position, number in enumerate(piece.recordings):
            recording = self._recordings.get(number)
            if recording is not None:
                recording.append(piece.tick, data[position * size : (position + 1) * size])
                self._report(number, recording)

    def _report(self, number: int, recording: Recording) -> None:
        """Report the end of a recording once."""
        if recording.report is not None:
            del self._recordings[number]
            with contextlib.suppress(OSError):  # the media process may be gone
                self._connection.sendall(framed(Ended(number, recording.report)))


def main(fd: int) -> None:
    """Write until the socket ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.umask(0o077)  # only this user may read recordings
    with contextlib.suppress(OSError, AttributeError):  # child processes inherit the higher priority of the media process
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICENESS)
    with socket.socket(fileno=fd) as connection:
        connection.setblocking(True)
        Writer(connection).run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
