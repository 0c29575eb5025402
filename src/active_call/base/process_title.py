"""Sets the name of a forked process in `ps`, `top` and /proc: the words of its command line, and its short name.

The kernel shows the memory of the arguments, so the new words are written there, as far as they fit. Linux only; on other systems, and
if the memory layout is unexpected, nothing happens.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from pathlib import Path
from typing import Final

PR_SET_NAME: Final = 15
NAME_BYTES: Final = 15
_ARG_START: Final = 48 - 3
"""The position of `arg_start`, before `arg_end`, among the fields of /proc/self/stat after the `)`; proc(5) counts the first one as 3."""


def set_process_title(module: str, *arguments: str) -> None:
    """Show this process as one that runs `module`."""
    if sys.platform != "linux":
        return
    place = module.removeprefix("active_call.")
    with contextlib.suppress(OSError, AttributeError, ValueError, IndexError):
        fields = Path("/proc/self/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        start, end = int(fields[_ARG_START]), int(fields[_ARG_START + 1])
        if 0 < start < end:
            size = end - start
            text = b"\0".join(word.encode("utf-8", "replace") for word in ("active-call", place, *arguments))
            ctypes.memmove(start, text[: size - 1].ljust(size, b"\0"), size)
        name = ctypes.create_string_buffer(place.removesuffix(".main").encode()[:NAME_BYTES])
        ctypes.CDLL(None).prctl(PR_SET_NAME, name, 0, 0, 0)
