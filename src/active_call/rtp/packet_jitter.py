"""The jitter buffer for formats whose packets must be decoded whole and in order: Opus, G.722, L16.

Packets of any duration go in as they arrive. What is to be decoded next comes out in order: a packet, or a gap for a lost one. It counts in
ticks of the RTP clock and knows no codec. `playout` requests as much as a frame needs.

Theory. The states and the policy are those of `jitter` and `delay`. The cursor is the timestamp of the sound to be decoded next; packets
are stored in a dictionary by timestamp. A packet that is missing while later ones are stored is lost: a gap is returned up to the next
packet. If the buffer is empty, the cursor stops, and `stall` counts the sound that was concealed. If packets turn out to be lost, the
cursor skips that much.
"""

from __future__ import annotations

from msgspec import Struct

from active_call.base.pcm import FRAME_MS
from active_call.rtp.delay import HALF, IDLE_AFTER, MASK, MAX_AHEAD_MS, MAX_DEPTH_MS, MAX_SEQUENCE_STEP, MAX_TARGET, PlayoutDelay


class Packet(Struct, frozen=True):
    """A packet to decode now. Its duration is `ticks`."""

    payload: bytes
    ticks: int


class Gap(Struct, frozen=True):
    """`ticks` of lost sound. `next_payload` is that of the packet right after it, None if the gap continues."""

    ticks: int
    next_payload: bytes | None = None


class PacketJitterBuffer(PlayoutDelay):
    """One stream's buffer. A tick is `FRAME_MS` long. Call `start_tick` in each tick, then `take` for what is due in it.

    Counters: `received` packets; `lost` ones, missing by sequence number so far, in `loss_runs`; `late` and `duplicate` ones, which were
    discarded; `concealed` ticks of 20 ms in which sound was due and missing; `dropped` packets.
    """

    __slots__ = (
        "_clock_ticks",
        "_concealed_ticks",
        "_cursor",
        "_frame_ticks",
        "_max_ahead",
        "_max_depth",
        "_packets",
        "_playing",
        "_sequence",
        "_stalled",
        "_waited",
        "_waiting",
        "dropped",
        "duplicate",
        "late",
        "received",
    )

    def __init__(self, clock_hz: int) -> None:
        super().__init__(clock_hz)
        self._frame_ticks = clock_hz * FRAME_MS // 1000
        self._max_ahead = MAX_AHEAD_MS * clock_hz // 1000
        self._max_depth = MAX_DEPTH_MS * clock_hz // 1000
        self._packets: dict[int, Packet] = {}
        self.received = self.late = self.duplicate = self.dropped = 0
        self._concealed_ticks = self._waiting = self._stalled = self._cursor = 0
        self._sequence = self._waited = -1
        self._playing = False

    def reset(self) -> None:
        """Clear the stored packets and the measured delays, because the source has changed. The counters stay."""
        self._forget_network()
        self._sequence = -1
        self._go_idle()

    @property
    def waiting_ticks(self) -> int:
        """Amount of stored sound in ticks."""
        return self._waiting

    @property
    def concealed(self) -> int:
        """Number of 20 ms frames that were due and missing."""
        return self._concealed_ticks // self._frame_ticks

    def push(self, sequence: int, timestamp: int, payload: bytes, ticks: int, arrival: float) -> None:
        """Take one packet with a duration of `ticks` that arrived at `arrival` (seconds)."""
        self.received += 1
        step = (sequence - self._sequence) & 0xFFFF
        if self._sequence < 0 or MAX_SEQUENCE_STEP < step < 0x10000 - MAX_SEQUENCE_STEP:
            self._missing.clear()
            self._begin(timestamp, arrival)
        elif step == 0:
            self.duplicate += 1
            return
        elif step >= 0x8000:
            self._admit_old(sequence, timestamp, payload, ticks, arrival)
            return
        else:
            self._note_missing(step - 1, sequence)
            self._admit(timestamp, ticks, arrival)
        self._sequence = sequence
        self.note_packet(timestamp, arrival)
        self._set_packet_frames(max(1, ticks // self._frame_ticks))
        self._store(timestamp, Packet(payload, ticks))

    def note_other(self, sequence: int) -> None:
        """Record a packet of this source that is not sound (an event, comfort noise), so that it does not count as lost."""
        step = (sequence - self._sequence) & 0xFFFF
        if self._sequence >= 0 and 0 < step < MAX_SEQUENCE_STEP:
            self._note_missing(step - 1, sequence)
            self._sequence = sequence
        else:
            self._note_found(sequence)

    def start_tick(self) -> bool:
        """Whether anything is to be played in this tick. Call once per 20 ms."""
        if not self._playing and self._waited >= 0:
            is_filled = self._waiting >= self.target_frames * self._frame_ticks
            self._playing = is_filled or self._waited > self.target_frames - self._packet_frames
            self._waited += 1
        return self._playing

    def take(self, wanted_ticks: int) -> Packet | Gap | None:
        """What is to be decoded next, None if nothing is stored. A gap is at most `wanted_ticks` long unless a packet follows it."""
        cursor = self._cursor
        packet = self._packets.pop(cursor, None)
        if packet is not None:
            self._waiting -= packet.ticks
            self._cursor = (cursor + packet.ticks) & MASK
            self._drop_overlapped()
            return packet
        distance = min(((timestamp - cursor) & MASK for timestamp in self._packets), default=HALF)
        if distance >= HALF:
            self._drop_overlapped()
            return None
        following = self._packets[(cursor + distance) & MASK]
        is_last = distance <= max(following.ticks, wanted_ticks)
        gap = Gap(distance, following.payload) if is_last else Gap(max(wanted_ticks, 1))
        self._cursor = (cursor + gap.ticks) & MASK
        self._concealed_ticks += gap.ticks
        return gap

    def _drop_overlapped(self) -> None:
        """Drop the packets before the cursor, because a packet overlapped them."""
        cursor = self._cursor
        for timestamp in [at for at in self._packets if (at - cursor) & MASK >= HALF]:
            self._waiting -= self._packets.pop(timestamp).ticks
            self.late += 1

    def stall(self, ticks: int) -> bool:
        """The buffer was empty and `ticks` of sound were concealed. False if the talkspurt is over because of that."""
        self._stalled += ticks
        if self._stalled < IDLE_AFTER * self._frame_ticks:
            return True
        self._go_idle()  # no sound was due: the sender pauses
        return False

    # -- received packets ------------------------------------------------------------------------------------------------------------------

    def _store(self, timestamp: int, packet: Packet) -> None:
        self._packets[timestamp] = packet
        self._waiting += packet.ticks

    def _admit(self, timestamp: int, ticks: int, arrival: float) -> None:
        """Move the cursor into reach of a packet whose sequence number is higher than all before."""
        if self._waited < 0:
            self._begin(timestamp, arrival)
            return
        if self._stalled:
            self._skip_stalled(timestamp)
        ahead = (timestamp - self._cursor) & MASK
        if ahead >= HALF or timestamp in self._packets:
            self._begin(timestamp, arrival)  # higher number, earlier timestamp: the sender has reset its clock
        elif ahead >= self._max_ahead:
            self._begin(timestamp, arrival)
        elif ahead >= self._max_depth:
            self._catch_up((timestamp + ticks - self.target_frames * self._frame_ticks) & MASK)

    def _admit_old(self, sequence: int, timestamp: int, payload: bytes, ticks: int, arrival: float) -> None:
        """Take an overtaken packet if its playout time has not passed."""
        is_filling = not self._playing and self._waited >= 0
        if timestamp in self._packets or (sequence not in self._missing and not is_filling):
            self.duplicate += 1
            return
        self._note_overtaken(sequence, timestamp, arrival)
        behind = (self._cursor - timestamp) & MASK
        is_ahead = behind == 0 or (behind >= HALF and (1 << 32) - behind < self._max_depth)
        is_before_the_start = not self._playing and behind <= MAX_TARGET * self._frame_ticks
        if self._waited < 0 or not (is_ahead or is_before_the_start):
            self.late += 1
            return
        if not is_ahead:
            self._cursor = timestamp
        self._store(timestamp, Packet(payload, ticks))

    # -- the cursor ------------------------------------------------------------------------------------------------------------------------

    def _go_idle(self) -> None:
        self._packets.clear()
        self._waiting = 0
        self._playing = False
        self._waited = -1
        self._stalled = 0
        self._cursor = 0
        self._begin_measuring(0, 0.0)

    def _begin(self, timestamp: int, arrival: float) -> None:
        """Start a talkspurt with the packet at hand."""
        self._go_idle()
        self._begin_measuring(timestamp, arrival)
        self._waited = 0
        self._cursor = timestamp

    def _skip_stalled(self, timestamp: int) -> None:
        """Sound arrives after the buffer was empty: skip what was lost meanwhile, no more."""
        ahead = (timestamp - self._cursor) & MASK
        if ahead < HALF:
            self._cursor = (self._cursor + min(ahead, self._stalled)) & MASK
        self._concealed_ticks += self._stalled
        self._stalled = 0

    def _catch_up(self, cursor: int) -> None:
        """Too much is stored: drop what is before `cursor`."""
        for timestamp in [at for at in self._packets if (at - cursor) & MASK >= HALF]:
            self._waiting -= self._packets.pop(timestamp).ticks
            self.dropped += 1
        self._cursor = cursor
