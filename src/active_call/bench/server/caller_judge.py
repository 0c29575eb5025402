"""Evaluates the sound received by the callers of the whole-server bench, after the run.

The log of datagrams and the calls enter; counts and distances from the grid leave. A call is identified by the server's source port.
`bench.media_judge` explains how a packet's distance from its 20 ms grid is measured. The packets of a few calls (`MAX_CLOSE`) are
decrypted.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from active_call.bench.datagrams import Incoming
from active_call.bench.media_judge import off_grid_ms, spread, wrapped
from active_call.bench.server.caller_calls import Call
from active_call.bench.server.caller_sound import FRAME, PLAIN_BYTES, TAG_BYTES, TICKS_PER_S, opened, session_for_receiving
from active_call.bench.server.task import Window

MAX_CLOSE: Final = 20
SETTLE_S: Final = 1.0
"""After the answer, before a call's packets count: a server may begin with a burst."""
_SILENCE: Final = (0xFF, 0x7F)
"""Zero in mu-law."""


@dataclass(slots=True)
class Heard:
    """The received sound of all calls."""

    offsets: list[NDArray[np.float64]] = field(default_factory=list)
    offsets_all: list[NDArray[np.float64]] = field(default_factory=list)
    worst_ms: list[float] = field(default_factory=list)
    received: int = 0
    expected: int = 0
    skipped: int = 0
    lost: int = 0
    wrong: int = 0
    n_close: int = 0
    n_audible: int = 0
    n_up: int = 0


def listen(incoming: Incoming, calls: list[Call], window: Window, *, is_secured: bool) -> Heard:
    """Evaluate the answered calls."""
    heard = Heard()
    arrivals, order = _by_port(incoming)
    ports = incoming.source_ports()[order]
    step = max(1, len(calls) // MAX_CLOSE)
    for index, call in enumerate(calls):
        first, end = np.searchsorted(ports, (call.rtp_port, call.rtp_port + 1))
        rows = order[first:end]
        rows = rows[arrivals[rows] >= call.answered_at - SETTLE_S]  # a port may have been another call's
        _judge_call(heard, incoming, arrivals, rows, call, window)
        if index % step == 0:
            _look_closely(heard, incoming, rows, call.server_key, is_secured=is_secured)
    return heard


def _by_port(incoming: Incoming) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """The arrival of each datagram, in monotonic seconds, and the indices of the RTP packets, by port and then by time."""
    shift_ns = time.time_ns() - time.monotonic_ns()
    arrivals = np.asarray((incoming.arrivals() - shift_ns) * 1e-9, np.float64)
    packets = incoming.packets()
    kind = packets[:, 1]
    is_rtp = (packets[:, 0] >> 6 == 2) & ~((kind >= 192) & (kind <= 223)) & (incoming.sizes() > 12)
    rows = np.flatnonzero(is_rtp)
    return arrivals, rows[np.lexsort((arrivals[rows], incoming.source_ports()[rows]))]


def _judge_call(
    heard: Heard, incoming: Incoming, arrivals: NDArray[np.float64], rows: NDArray[np.intp], call: Call, window: Window
) -> None:
    is_up = call.answered_at + SETTLE_S <= window.start and not 0 < call.over_at < window.end
    heard.n_up += is_up
    heard.expected += round((window.end - window.start) * TICKS_PER_S) if is_up else 0
    if len(rows) < 2:
        return
    words = np.ascontiguousarray(incoming.packets()[rows, :12]).view(">u4").reshape(-1, 3)
    sequence = _unwrapped(np.asarray(words[:, 0] & 0xFFFF, np.int64), 16)
    media = _unwrapped(np.asarray(words[:, 1], np.int64), 32)
    n_distinct = len(np.unique(sequence))
    heard.lost += int(np.ptp(sequence)) + 1 - n_distinct
    heard.wrong += len(rows) - n_distinct
    at = arrivals[rows]
    settled = at >= call.answered_at + SETTLE_S
    if np.count_nonzero(settled) > 1:
        offsets = off_grid_ms(at[settled], media[settled])
        heard.offsets_all.append(offsets)
        heard.worst_ms.append(float(np.percentile(offsets, 99)))
    inside = settled & (at >= window.start) & (at < window.end)
    if is_up and np.count_nonzero(inside) > 1:
        heard.received += int(np.count_nonzero(inside))
        heard.offsets.append(off_grid_ms(at[inside], media[inside]))
        jumps = np.diff(media[inside]) // FRAME - np.diff(sequence[inside])
        heard.skipped += int(jumps[jumps > 0].sum())


def _unwrapped(numbers: NDArray[np.int64], n_bits: int) -> NDArray[np.int64]:
    """From 0 on, continuing beyond the counter's end."""
    steps: NDArray[np.int64] = numbers[1:] - numbers[:-1]
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(wrapped(steps, n_bits))])


def _look_closely(heard: Heard, incoming: Incoming, rows: NDArray[np.intp], key: bytes, *, is_secured: bool) -> None:
    if is_secured and not key:
        heard.wrong += len(rows)
        return
    session = session_for_receiving(key) if is_secured else None
    size = PLAIN_BYTES + (TAG_BYTES if is_secured else 0)
    sizes = incoming.sizes()[rows]
    for row, n_bytes in zip(rows.tolist(), sizes.tolist(), strict=True):
        heard.n_close += 1
        plain = opened(incoming.packets()[row, :n_bytes].tobytes(), session) if n_bytes == size else None
        if plain is None:
            heard.wrong += 1
        else:
            heard.n_audible += any(byte not in _SILENCE for byte in plain[12::16])


def late_spread(late: list[tuple[float, float]], window: Window | None = None) -> dict[str, float]:
    """How late the callers sent, in ms; in the window, or over all time."""
    seconds = [late_s for at, late_s in late if window is None or window.start <= at < window.end]
    return spread(np.array(seconds) * 1000)


def joined(offsets: list[NDArray[np.float64]]) -> dict[str, float]:
    """The spread over all calls."""
    return spread(np.concatenate(offsets) if offsets else np.zeros(0))
