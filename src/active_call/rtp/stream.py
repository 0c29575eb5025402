"""Per-stream RTP state: reception statistics (RFC 3550 appendices A.1, A.3, A.8) and the sender's first values.

Sequence numbers, timestamps and arrival times go in; report blocks come out. This module knows no payload and no buffer.

The receiver follows A.1 without probation: the address has been negotiated or latched, so the first packet counts. A jump of more than
`MAX_DROPOUT` is accepted when the next number in sequence follows it; then the statistics restart.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from active_call.base.world import Randomness
from active_call.rtp.columns import Cell
from active_call.rtp.reception_table import MAX_DROPOUT, SEQUENCES, ReceptionTable
from active_call.rtp.rtcp import ReportBlock

MAX_MISORDER: Final = 100
"""RFC 3550 appendix A.1."""
_NO_SEQUENCE: Final = SEQUENCES + 1


class ReceiveStream:
    """Reception statistics of one source, in a row of `table` if given. `clock_rate` is the clock of its timestamps in Hz."""

    __slots__ = (
        "_bad_sequence",
        "_base_sequence",
        "_expected_prior",
        "_last_report_at",
        "_last_report_ntp",
        "_received_prior",
        "row",
        "ssrc",
        "table",
    )

    received = Cell[int]()
    clock_rate = Cell[int]()
    _max_sequence = Cell[int]()
    _cycles = Cell[int]()
    _timestamp = Cell[int]()
    _arrival = Cell[float]()
    _jitter = Cell[float]()

    def __init__(self, ssrc: int, clock_rate: int = 8000, *, table: ReceptionTable | None = None, row: int = 0) -> None:
        self.table = table or ReceptionTable(1)
        self.row = row
        self.ssrc = ssrc
        self.received = 0
        self.clock_rate = clock_rate
        self._base_sequence = -1
        self._max_sequence = 0
        self._bad_sequence = _NO_SEQUENCE
        self._cycles = 0
        self._arrival = 0.0
        self._timestamp = 0
        self._jitter = 0.0
        self._expected_prior = 0
        self._received_prior = 0
        self._last_report_ntp = 0
        self._last_report_at = 0.0

    def receive(self, sequence: int, timestamp: int, arrival: float) -> bool:
        """Count one packet that arrived at `arrival` (seconds). False: it jumped and is not accepted before the next one follows it."""
        step = (sequence - self._max_sequence) & 0xFFFF
        if self._base_sequence < 0:
            self._restart(sequence, timestamp, arrival)
        elif step > SEQUENCES - MAX_MISORDER:
            sequence = self._max_sequence  # overtaken: the highest number stays
        elif step >= MAX_DROPOUT:
            if sequence != self._bad_sequence:
                self._bad_sequence = (sequence + 1) & 0xFFFF
                return False
            self._restart(sequence, timestamp, arrival)
        self.table.receive(self.row, sequence, timestamp, arrival)
        return True

    def _restart(self, sequence: int, timestamp: int, arrival: float) -> None:
        """Restart the statistics with this packet, which is counted next, relative to itself, so without jitter."""
        self._base_sequence = self._max_sequence = sequence
        self._bad_sequence = _NO_SEQUENCE
        self._cycles = self.received = self._received_prior = self._expected_prior = 0
        self._jitter = 0.0
        self._timestamp = timestamp
        self._arrival = arrival

    @property
    def highest_sequence(self) -> int:
        """The extended highest sequence number received: roll-overs in the upper 16 bits."""
        return self._cycles + self._max_sequence

    @property
    def expected(self) -> int:
        """Number of packets that should have arrived."""
        return self.highest_sequence - self._base_sequence + 1 if self._base_sequence >= 0 else 0

    @property
    def lost(self) -> int:
        """Expected minus received; negative after duplicates."""
        return self.expected - self.received

    @property
    def jitter_ms(self) -> float:
        """The interarrival jitter of A.8 in milliseconds."""
        return self._jitter * 1000 / self.clock_rate

    def note_sender_report(self, ntp_time: int, arrival: float) -> None:
        """Record the peer's sender report (64-bit NTP time) for LSR and DLSR of our next report block."""
        self._last_report_ntp = (ntp_time >> 16) & 0xFFFFFFFF
        self._last_report_at = arrival

    def take_report(self, now: float) -> ReportBlock:
        """Return the report block for this source and start the next interval of `fraction_lost`. `now` is on the clock of `arrival`."""
        expected = self.expected
        expected_interval = expected - self._expected_prior
        lost_interval = expected_interval - (self.received - self._received_prior)
        self._expected_prior, self._received_prior = expected, self.received
        fraction = 0 if expected_interval <= 0 or lost_interval <= 0 else min(255, (lost_interval << 8) // expected_interval)
        delay = int((now - self._last_report_at) * 65536) if self._last_report_ntp else 0
        return ReportBlock(
            ssrc=self.ssrc,
            fraction_lost=fraction,
            cumulative_lost=max(-0x800000, min(0x7FFFFF, expected - self.received)),
            highest_sequence=self.highest_sequence & 0xFFFFFFFF,
            jitter=int(self._jitter),
            last_sender_report=self._last_report_ntp,
            delay_since_last_sender_report=max(0, min(delay, 0xFFFFFFFF)),
        )


class SendStream(Struct, frozen=True):
    """The first values of the packets that we send; `media/send` counts on from them."""

    ssrc: int
    sequence: int
    timestamp: int


def new_send_stream(randomness: Randomness, ssrc: int = 0) -> SendStream:
    """Return a stream with random initial values (RFC 3550 §5.1), and a random SSRC if `ssrc` is 0.

    The first sequence number is below 2^15, so that a peer that misses the first packets cannot get the roll-over counter wrong (RFC 3711
    §3.3.1).
    """
    random = int.from_bytes(randomness.random_bytes(10), "big")
    return SendStream(ssrc or (random & 0xFFFFFFFF) or 1, (random >> 32) & 0x7FFF, (random >> 48) & 0xFFFFFFFF)
