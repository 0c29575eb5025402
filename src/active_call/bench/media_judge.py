"""Evaluates the packets received by the callers of the bench, after the run.

A log of datagrams with the kernel's time stamps enters; counts and the packets' distances from their grid leave.

**packet_offset.** Each of our streams sends a packet every 20 ms. For every packet the arrival (kernel time stamp at the receiver's socket)
minus its media time (RTP timestamp / 8000 Hz, from the first packet on) is a constant plus error; the constant, the stream's phase, is the
median over its packets. The offset is the distance of a packet from that, early or late, which a jitter buffer at the far end must cover.
Only arrivals within the measured window count, also for the median. RFC 3550 section 6.4.1 smooths the same differences; a percentile does
not.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from active_call.bench.datagrams import Incoming, Rows
from active_call.rtp.srtp import SrtpSession

PLAIN_BYTES: Final = 172
TAG_BYTES: Final = 10
MAX_DECRYPTED: Final = 40
"""For this many streams every packet is decrypted; for all others length and header are checked."""
CLOCK_HZ: Final = 8000
_MIN_PACKETS: Final = 10
"""A stream with fewer packets in the window has no usable phase; `n_received` shows this."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The observations over all callers. Lateness and offsets are in milliseconds."""

    received_by_ssrc: dict[int, int]
    """RTP packets of each of our streams."""
    missing: int
    """Missing sequence numbers between the first and the last received one."""
    repeated: int
    wrong: int
    """Wrong length or header, a timestamp that does not match the sequence number, or not authentic."""
    packet_offset_ms: dict[str, float]
    sender_late_ms: dict[str, float]
    is_log_full: bool


def judge(incoming: Incoming, sessions: list[SrtpSession | None], window: tuple[float, float], late_s: list[float]) -> Judgement:
    """`sessions` are the callers' by index (SSRC - 1); `window` is in monotonic seconds."""
    packets = incoming.packets()
    header = np.ascontiguousarray(packets[:, :12])
    numbers = header.view(">u4").reshape(-1, 3)
    ssrc = numbers[:, 2].astype(np.int64)
    sequence = (numbers[:, 0] & 0xFFFF).astype(np.int64)
    timestamp = numbers[:, 1].astype(np.int64)
    expected_bytes = PLAIN_BYTES + (TAG_BYTES if sessions and sessions[0] is not None else 0)
    is_known = (ssrc >= 1) & (ssrc <= len(sessions)) & (header[:, 0] == 0x80) & (header[:, 1] & 0x7F == 0)
    is_good = is_known & (incoming.sizes() == expected_bytes)
    is_rtcp = (header[:, 1] >= 192) & (header[:, 1] <= 223)  # its port is the next one, which may be another caller's
    shift_ns = time.time_ns() - time.monotonic_ns()
    arrivals_s = np.asarray((incoming.arrivals() - shift_ns) * 1e-9, np.float64)
    in_window = (arrivals_s >= window[0]) & (arrivals_s < window[1])
    order = np.argsort(ssrc[is_good], kind="stable")
    good = np.flatnonzero(is_good)[order]
    received: dict[int, int] = {}
    missing = repeated = 0
    wrong = int((~is_good & ~is_rtcp).sum())
    offsets: list[NDArray[np.float64]] = []
    for rows in np.split(good, np.flatnonzero(np.diff(ssrc[good])) + 1):
        if not len(rows):
            continue
        unwrapped = sequence[rows[0]] + np.concatenate([[0], np.cumsum(wrapped(np.diff(sequence[rows]), 16))])
        n_distinct = len(np.unique(unwrapped))
        received[int(ssrc[rows[0]])] = len(rows)
        missing += int(np.ptp(unwrapped)) + 1 - n_distinct
        repeated += len(rows) - n_distinct
        media = np.concatenate([[0], np.cumsum(wrapped(np.diff(timestamp[rows]), 32))])
        wrong += int(np.count_nonzero(media % 160))
        seen = in_window[rows]
        if np.count_nonzero(seen) >= _MIN_PACKETS:
            offsets.append(off_grid_ms(arrivals_s[rows][seen], media[seen]))
    wrong += _n_unauthentic(packets, good, ssrc, sessions, expected_bytes)
    return Judgement(
        received,
        missing,
        repeated,
        wrong,
        spread(np.concatenate(offsets) if offsets else np.zeros(0)),
        spread(np.array(late_s) * 1000),
        incoming.is_full,
    )


def off_grid_ms(arrivals_s: NDArray[np.float64], media: NDArray[np.int64]) -> NDArray[np.float64]:
    """The distance of each packet from the stream's own grid, whose phase is the median."""
    difference_s = arrivals_s - arrivals_s[0] - (media - media[0]) / CLOCK_HZ
    return np.asarray(np.abs(difference_s - np.median(difference_s)) * 1000)


def spread(values: NDArray[np.float64]) -> dict[str, float]:
    """Median, 99th percentile and maximum; zeros if there are no values."""
    if not len(values):
        return {"p50": 0.0, "p99": 0.0, "max": 0.0}
    p50, p99 = np.percentile(values, (50, 99))
    return {"p50": round(float(p50), 3), "p99": round(float(p99), 3), "max": round(float(values.max()), 3)}


def wrapped(steps: NDArray[np.int64], n_bits: int) -> NDArray[np.int64]:
    """Differences of wrapping numbers, in the shorter direction."""
    half = 1 << (n_bits - 1)
    return np.asarray((steps + half) % (2 * half) - half)


def _n_unauthentic(packets: Rows, good: NDArray[np.intp], ssrc: NDArray[np.int64], sessions: list[SrtpSession | None], size: int) -> int:
    step = max(1, len(sessions) // MAX_DECRYPTED)
    count = 0
    for row in good[(ssrc[good] - 1) % step == 0].tolist():
        session = sessions[int(ssrc[row]) - 1]
        if session is None:
            return 0
        plain = session.unprotect(packets[row, :size].tobytes())
        count += plain is None or len(plain) != PLAIN_BYTES
    return count
