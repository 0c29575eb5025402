"""The fork server at rest: a bare interpreter that waits for the next request, then becomes the fork server again.

It runs as a script, `python -I -S fork_server_rest.py FDS PROGRAM ARGUMENTS…`, and imports nothing of this package. The descriptors FDS are
the socket of requests and a pidfd for each child. As soon as one of them is readable it executes PROGRAM. The process keeps its pid, so it
stays the parent of its children.
"""

from __future__ import annotations

import os
import select
import sys


def main(fds: str, program: str, *arguments: str) -> None:
    """Wait for any of `fds`, numbers with commas between them, then execute `program`. Does not return."""
    try:
        with open("/proc/self/comm", "w") as name:  # noqa: PTH123 (pathlib would be most of this process)
            name.write("base.fork_serve")
    except OSError:
        pass
    waiting = select.poll()
    for fd in fds.split(","):
        waiting.register(int(fd), select.POLLIN)
    waiting.poll()
    os.execv(program, [program, *arguments])  # noqa: S606


if __name__ == "__main__":
    main(*sys.argv[1:])
