"""The first step of `active-call serve`: load what all processes need, then fork the fork server of media and engine processes.

What is loaded before the fork is loaded once, and its memory is shared. Then the fork server loads the rest of its children's code on
another core while this process loads its own. The fork must come before that: a process with threads cannot be forked safely, and media and
engine processes do not need the code of this process.
"""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from active_call.base.fork_server import start_fork_server
from active_call.base.numeric_threads import single_threaded
from active_call.net.descriptors import raise_descriptor_limit

if TYPE_CHECKING:
    from active_call.base.forked_children import ForkServer

MODULES: Final = ("active_call.media.worker.main", "active_call.providers.local.engine_process")
"""The main modules of the forked processes."""
SHARED: Final = (
    "active_call.codec.resample",
    "active_call.media.detect.speech",
    "active_call.media.link.framing",
    "active_call.media.receive.one_way_audio",
    "active_call.media.record.link",
    "active_call.media.sounds.tones",
    "active_call.providers.local.engine_process",
)
"""What this process and those of `MODULES` load, all with numpy or structs. Nothing may be in it that one of them does not need."""


def preload() -> ForkServer | None:
    """Start the fork server for media and engine processes. None if it cannot be used; then each of them is a separate program."""
    raise_descriptor_limit()  # inherited by the children
    _load(SHARED)
    gc.freeze()  # the garbage collector must not touch shared pages: a page it writes to is copied
    started = start_fork_server(f"{__name__}:{preload_modules.__name__}")
    if started is None:
        return None
    from active_call.base.forked_children import ForkServer  # it imports asyncio, which the fork server does not need

    return ForkServer(*started)


def preload_modules() -> None:
    """Load the code of media and engine processes."""
    _load(MODULES)


def _load(modules: Iterable[str]) -> None:
    with single_threaded():
        for module in modules:
            importlib.import_module(module)


def load_httpx() -> None:
    """Load httpx without its command line, which imports a terminal formatter for 500 languages (rich, pygments; 50 ms, 4 MB).

    None in `sys.modules` marks a module as missing; httpx then works as if these were not installed.
    """
    name = "httpx._main"
    if name not in sys.modules:
        sys.modules[name] = None  # type: ignore[assignment]
        try:
            importlib.import_module("httpx")
        finally:
            del sys.modules[name]
