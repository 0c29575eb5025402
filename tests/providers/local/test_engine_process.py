"""An engine process whose parent leaves."""

from __future__ import annotations

import socket
import subprocess
import sys

from active_call.providers.local.engine_process import frame


def test_process_whose_parent_closes_during_a_request_ends_without_a_traceback() -> None:
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "active_call.providers.local.engine_process", "test_engine", str(theirs.fileno())]
    with subprocess.Popen(command, pass_fds=[theirs.fileno()], stderr=subprocess.PIPE) as process:
        theirs.close()
        ours.sendall(frame((len, ("the parent is gone when this is answered",))))
        ours.close()
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, b"")
