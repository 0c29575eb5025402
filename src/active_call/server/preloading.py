"""What `active-call serve` does before anything else: fork the fork server, which loads the code of media and engine processes.

It loads on another core while this process loads what it needs itself. It must come first: a process that has threads cannot be forked
safely, and what this process loads for itself is of no use to media and engine processes.
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
    """Start the fork server of media and engine processes. None if there can be none; then each of them is a program of its own."""
    raise_descriptor_limit()  # which the children inherit
    started = start_fork_server(f"{__name__}:{preload_modules.__name__}")
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
