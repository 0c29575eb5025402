"""What `active-call serve` does before anything else: load the code of the media processes, and fork the process that forks them.

A media process is then a copy that has its code already, and shares the memory of it with this process. It must come first: a process that
has threads cannot be forked safely, and what this process loads for itself is of no use to the others.
"""

from __future__ import annotations

import importlib
from typing import Final

from active_call.base.fork_server import ForkServer, start_fork_server
from active_call.base.numeric_threads import single_threaded
from active_call.net.descriptors import raise_descriptor_limit

MODULES: Final = ("active_call.media.worker.main", "active_call.providers.local.engine_process")
"""Of the processes that are forked."""


def preload() -> ForkServer | None:
    """The process that forks media and engine processes; None where there can be none, and each is a program of its own."""
    preload_modules()
    raise_descriptor_limit()  # which the children inherit
    return start_fork_server()


def preload_modules() -> None:
    """Load the code of media and engine processes."""
    with single_threaded():
        for module in MODULES:
            importlib.import_module(module)
