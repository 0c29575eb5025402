"""What `ps`, `top` and /proc show as the name of a process that was forked: the words of its command line, and its short name.

The kernel shows what stands in the memory of the arguments, so the new words are written there, as far as they fit. Linux only; elsewhere,
and where anything is not as expected, nothing happens.
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
"""Place of `arg_start`, before `arg_end`, among the fields of /proc/self/stat behind the `)`, the first of which proc(5) counts as 3."""


def set_process_title(module: str, *arguments: str) -> None:
    """Be shown as a program of ours that runs `module`."""
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
