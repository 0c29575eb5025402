"""Whether RTP ports and file descriptors suffice for the configured calls; a shortage is reported with how to raise the limit.

The config and the limits of this process enter, plain sentences leave: at the start as warnings, in `doctor`, and on `/health` while a
media process has none left.
"""

from __future__ import annotations

import os
from typing import Final

from active_call.server.config.config import Config

PORTS_A_CALL: Final = 2
"""RTP and RTCP (RFC 3550 section 11). A call transferred by a bridge needs twice as many."""
FILES_A_CALL: Final = 3
"""Sockets of RTP and RTCP, and a recording, in the media process."""
OWN_FILES: Final = 64
"""For a media process without calls: pipes, sound files, the interpreter."""
SHORT_FOR_S: Final = 60.0
"""How long a refusal counts as a shortage: a port rests 30 s after its call."""

RAISE_FILES: Final = "raise the limit of open files (LimitNOFILE= in the systemd unit, --ulimit nofile= of the container, or ulimit -n)"


def n_media_processes(config: Config) -> int:
    """How many media processes this machine gets."""
    if config.media_workers == "auto":
        return max(1, (os.cpu_count() or 2) - 1)
    return config.media_workers


def capacity_warnings(config: Config, n_files: int, n_workers: int) -> list[str]:
    """The limits that are below the need of `admission.max_calls`; empty if that is not set. `n_files`: what one process may open."""
    n_calls = config.admission.max_calls
    if n_calls is None:
        return []
    told = []
    n_ports = config.rtp_end_port - config.rtp_start_port + 1
    if n_ports < n_calls * PORTS_A_CALL:
        told.append(
            f"{n_calls} calls (admission.max_calls) need {n_calls * PORTS_A_CALL} RTP ports, and there are {n_ports}"
            f" ({config.rtp_start_port}-{config.rtp_end_port}): raise rtp_end_port"
        )
    a_process = -(-n_calls // max(1, n_workers))
    needed = a_process * FILES_A_CALL + OWN_FILES
    if n_files < needed:
        told.append(
            f"{n_calls} calls (admission.max_calls) need {needed} open files in each of {n_workers} media process(es), and {n_files} are"
            f" allowed: {RAISE_FILES}"
        )
    return told


def shortage_text(config: Config, reason: str) -> str:
    """What a media process lacks, for the `reason` of a refused stream: `ports` or `descriptors`."""
    if reason == "ports":
        return (
            f"no RTP port is free in {config.rtp_start_port}-{config.rtp_end_port} (a call needs {PORTS_A_CALL},"
            " and they rest 30 s after it): raise rtp_end_port"
        )
    return f"a media process has no file descriptors left: {RAISE_FILES}"
