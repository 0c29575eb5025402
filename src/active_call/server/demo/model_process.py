"""The process of the demo's language model: `python -m active_call.server.demo.model_process FOLDER MODEL`.

Serves MODEL with `xllamacpp` from FOLDER on a free loopback port, prints `{"address": …}`, and ends when its standard input closes.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from typing import Any

CONTEXT_TOKENS = 2048
N_SLOTS = 2
"""Concurrent conversations: an interrupted answer and the next one overlap briefly."""
NICENESS = 3
"""Lower priority than media and the call."""


def main(folder: str, model: str) -> None:
    """Serve until standard input closes."""
    os.nice(NICENESS)
    sys.path.insert(0, folder)
    xllamacpp: Any = import_module("xllamacpp")
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_ctx = CONTEXT_TOKENS
    params.n_parallel = N_SLOTS
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.endpoint_slots = True
    params.cpuparams.n_threads = max(1, min(2, (os.cpu_count() or 1) // 2))
    server = xllamacpp.Server(params)
    print(json.dumps({"address": server.listening_address}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:3])
