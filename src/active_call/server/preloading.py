"""The first step of `active-call serve`: load the code of the media processes, and fork the fork server.

A media process is then a copy with its code loaded, and shares that memory. This must come first: a process with threads cannot be forked
safely, and the media processes do not need what this process loads later.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Final

from active_call.base.fork_server import start_fork_server
from active_call.base.numeric_threads import single_threaded
from active_call.net.descriptors import raise_descriptor_limit

if TYPE_CHECKING:
    from active_call.base.forked_children import ForkServer

MODULES: Final = ("active_call.media.worker.main", "active_call.providers.local.engine_process")
"""The name of the forked processes."""


def preload() -> ForkServer | None:
    """The fork server for media and engine processes; None if it cannot be used, and each is a separate program."""
    preload_modules()
    raise_descriptor_limit()  # inherited by the children
    started = start_fork_server()
    if started is None:
        return None
    from active_call.base.forked_children import ForkServer  # it imports asyncio, which the fork server does not need

    return ForkServer(*started)


def preload_modules() -> None:
    """Load the code of media and engine processes."""
    with single_threaded():
        for module in MODULES:
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
