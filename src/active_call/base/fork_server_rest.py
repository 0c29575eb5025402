"""The fork server at rest: a bare interpreter that waits for the next request, then executes the fork server again.

It runs as a script, `python -I -S fork_server_rest.py FDS PROGRAM ARGUMENTS…`, and imports nothing from this package. FDS are the
descriptors of the request socket and of a pidfd per child. When one of them is readable, the script executes PROGRAM. The process keeps its
pid, so it remains the parent of its children.
"""

from __future__ import annotations

import os
import select
import sys


def main(fds: str, program: str, *arguments: str) -> None:
    """Wait until one of `fds` (comma-separated numbers) is readable, then execute `program`. Never returns."""
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
