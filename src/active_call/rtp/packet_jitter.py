"""The jitter buffer for formats whose packets must be decoded whole, each after the one before it: Opus, G.722, L16.

Packets of any duration enter as they arrive; in order, one at a time, leaves what is to be decoded next: a packet, or the gap in place of
one that is lost. It counts in ticks of the RTP clock and knows no codec; `playout` asks it for as much as a frame needs.

Theory. The states and the policy are those of `jitter` and `delay`. The cursor is the timestamp of the sound to be decoded next, and
packets wait in a dictionary under theirs. A packet missing while later ones wait is lost: a gap is given as far as the next one. When
nothing waits at all, the cursor stands still, and `stall` counts the sound that was made up meanwhile; if packets prove lost, the cursor
passes so much of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from active_call.base.pcm import FRAME_MS
from active_call.rtp.delay import HALF, IDLE_AFTER, MASK, MAX_AHEAD_MS, MAX_DEPTH_MS, MAX_SEQUENCE_STEP, MAX_TARGET, PlayoutDelay


@dataclass(frozen=True, slots=True)
class Packet:
    """To be decoded now; it lasts `ticks`."""

    payload: bytes
    ticks: int


@dataclass(frozen=True, slots=True)
class Gap:
    """`ticks` of sound that were lost. `next_payload` is that of the packet right behind them, None when the gap goes on."""

    ticks: int
    next_payload: bytes | None = None


class PacketJitterBuffer(PlayoutDelay):
    """One stream's buffer; a tick is `FRAME_MS` long. `start_tick` opens each tick, then `take` gives what is due in it.

    Counters: `received` packets; `lost` by their numbers and not come so far, in `loss_runs`; `late` and `duplicate` ones, thrown away;
    `concealed` ticks of 20 ms in which sound was due and missing; `dropped` packets given up.
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
        """Forget what waits and what is known of the network: another source sends. The counters stay."""
        self._forget_network()
        self._sequence = -1
        self._go_idle()

    @property
    def waiting_ticks(self) -> int:
        """How much sound waits."""
        return self._waiting

    @property
    def concealed(self) -> int:
        """Frames of 20 ms that were due and missing."""
        return self._concealed_ticks // self._frame_ticks

    def push(self, sequence: int, timestamp: int, payload: bytes, ticks: int, arrival: float) -> None:
        """Take one packet that lasts `ticks` and arrived at `arrival` (seconds)."""
        self.received += 1
        step = (sequence - self._sequence) & 0xFFFF
        if self._sequence < 0 or MAX_SEQUENCE_STEP < step < 0x10000 - MAX_SEQUENCE_STEP:
            self._begin(timestamp, arrival)
        elif step == 0:
            self.duplicate += 1
            return
        elif step >= 0x8000:
            self._admit_old(timestamp, payload, ticks, arrival)
            return
        else:
            self._note_missing(step - 1)
            self._admit(timestamp, ticks, arrival)
        self._sequence = sequence
        self.note_packet(timestamp, arrival)
        self._set_packet_frames(max(1, ticks // self._frame_ticks))
        self._store(timestamp, Packet(payload, ticks))

    def pass_over(self, sequence: int) -> None:
        """Note a packet of this source that is not sound (an event, comfort noise), so that its number does not count as lost."""
        step = (sequence - self._sequence) & 0xFFFF
        if self._sequence >= 0 and 0 < step < MAX_SEQUENCE_STEP:
            self._note_missing(step - 1)
            self._sequence = sequence

    def start_tick(self) -> bool:
        """Whether anything is to be played in this tick. Call it once in 20 ms."""
        if not self._playing and self._waited >= 0:
            is_filled = self._waiting >= self.target_frames * self._frame_ticks
            self._playing = is_filled or self._waited > self.target_frames - self._packet_frames
            self._waited += 1
        return self._playing

    def take(self, wanted_ticks: int) -> Packet | Gap | None:
        """Return what is to be decoded next, None when nothing waits. A gap is no longer than `wanted_ticks` unless a packet follows it."""
        cursor = self._cursor
        packet = self._packets.pop(cursor, None)
        if packet is not None:
            self._waiting -= packet.ticks
            self._cursor = (cursor + packet.ticks) & MASK
            return packet
        distance = min(((timestamp - cursor) & MASK for timestamp in self._packets), default=HALF)
        if distance >= HALF:
            self._pass_overlapped()
            return None
        following = self._packets[(cursor + distance) & MASK]
        is_last = distance <= max(following.ticks, wanted_ticks)
        gap = Gap(distance, following.payload) if is_last else Gap(max(wanted_ticks, 1))
        self._cursor = (cursor + gap.ticks) & MASK
        self._concealed_ticks += gap.ticks
        return gap

    def _pass_overlapped(self) -> None:
        """What still waits lies before the cursor: a packet reached over it."""
        self.late += len(self._packets)
        self._packets.clear()
        self._waiting = 0

    def stall(self, ticks: int) -> bool:
        """Nothing waited, and `ticks` of sound had to be made up. False: that went on for so long that the talkspurt is over."""
        self._stalled += ticks
        if self._stalled < IDLE_AFTER * self._frame_ticks:
            return True
        self._go_idle()  # nothing was due: the sender pauses
        return False

    # -- packets as they come --------------------------------------------------------------------------------------------------------------

    def _store(self, timestamp: int, packet: Packet) -> None:
        self._packets[timestamp] = packet
        self._waiting += packet.ticks

    def _admit(self, timestamp: int, ticks: int, arrival: float) -> None:
        """Bring the cursor into reach of a packet whose number is higher than all before."""
        if self._waited < 0:
            self._begin(timestamp, arrival)
            return
        if self._stalled:
            self._skip_stalled(timestamp)
        ahead = (timestamp - self._cursor) & MASK
        if ahead >= HALF or timestamp in self._packets:
            self._begin(timestamp, arrival)  # numbered later, stamped earlier: the sender's clock was set anew
        elif ahead >= self._max_ahead:
            self._begin(timestamp, arrival)
        elif ahead >= self._max_depth:
            self._catch_up((timestamp + ticks - self.target_frames * self._frame_ticks) & MASK)

    def _admit_old(self, timestamp: int, payload: bytes, ticks: int, arrival: float) -> None:
        """Take a packet that others have overtaken, if its turn has not passed."""
        if timestamp in self._packets:
            self.duplicate += 1
            return
        self._note_overtaken(timestamp, arrival)
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
        """Sound comes again after nothing had waited: pass what was lost meanwhile, no more."""
        ahead = (timestamp - self._cursor) & MASK
        if ahead < HALF:
            self._cursor = (self._cursor + min(ahead, self._stalled)) & MASK
        self._concealed_ticks += self._stalled
        self._stalled = 0

    def _catch_up(self, cursor: int) -> None:
        """Too much waits: what lies before `cursor` is given up."""
        for timestamp in [at for at in self._packets if (at - cursor) & MASK >= HALF]:
            self._waiting -= self._packets.pop(timestamp).ticks
            self.dropped += 1
        self._cursor = cursor
