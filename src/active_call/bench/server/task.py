"""The messages between the bench and its callers: the task, and the observations. Both are JSON lines."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

KEY_BYTES: Final = 30
"""Master key (16) and salt (14) of AES_CM_128_HMAC_SHA1_80 (RFC 4568 section 6.2)."""


@dataclass(frozen=True, slots=True)
class Task:
    """The callers' work. `n_lines`: the most concurrent calls, each with `n_packets` prepared.

    `seed`: for their SRTP keys; empty for RTP.
    """

    host: str
    port: int
    calls: int
    n_lines: int
    n_packets: int
    rate: float
    record: int = 0
    """Every n-th caller dials `record`, 0 none; all others dial `bench`."""
    seed: str = ""


def key_of(task: Task, line: int) -> bytes:
    """The SRTP key of the packets sent on `line`; empty for plain RTP."""
    return hashlib.blake2b(f"{task.seed} {line}".encode(), digest_size=KEY_BYTES).digest() if task.seed else b""


@dataclass(frozen=True, slots=True)
class Window:
    """The measured time, in monotonic seconds."""

    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Seen:
    """The callers' observations. Times in ms; `…_all` count from a second after each answer, the others in the measured window."""

    n_up: int
    """Calls that lasted through the whole window."""
    answered: int
    refused: dict[str, int]
    """Final responses other than 200, by code."""
    failed: dict[str, int]
    """Calls that ended otherwise, by reason: no answer, hung up by the server."""
    without_retry_after: int
    """Responses 503 without Retry-After (RFC 3261 section 21.5.4)."""
    retransmissions: int
    answer_ms: dict[str, float]
    refusal_ms: dict[str, float]
    packet_offset_ms: dict[str, float]
    packet_offset_all_ms: dict[str, float]
    worst_calls_ms: list[float]
    """The 99th percentile of each of the five worst calls, over all their time."""
    received: int
    expected: int
    """Packets in the window: received ones, and expected ones (one every 20 ms of each call)."""
    skipped: int
    """Packets in the window that the server never sent: RTP timestamps that jump while sequence numbers continue."""
    lost: int
    """Missing sequence numbers, over all time."""
    wrong: int
    """For the calls that are decrypted: packets that are not authentic or repeated."""
    audible_percent: float
    """Decrypted packets with more than silence."""
    sent: int
    late_ms: dict[str, float]
    """How late the callers sent, in the window."""
    late_all_ms: dict[str, float]
    is_log_full: bool = False
    ran_out: int = 0
    """Calls that could not be placed, because every line was in use."""
