"""The streams of a media process: the stream in each slot, and the per-stream state that is not an array."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from active_call.media.link.messages import Listen
from active_call.media.receive.fed_audio import FedAudio
from active_call.media.receive.leg import Leg
from active_call.media.receive.one_way_audio import OneWayWatch
from active_call.media.receive.rtcp import RtcpSession
from active_call.media.send.play_queue import PlayQueue
from active_call.media.worker.quality_watch import QualityWatch


class Stream:
    """One stream. `leg` and `control` are None if it was opened without RTP. Then its plays run on the clock alone, and the sound of its
    caller is `fed`.
    """

    __slots__ = (
        "control",
        "dead_reported",
        "fed",
        "is_failed",
        "is_judged_narrow",
        "leg",
        "listen",
        "n_listeners",
        "number",
        "one_way",
        "plays",
        "quality",
        "rate_hz",
        "recording",
        "recording_rate_hz",
        "slot",
    )

    def __init__(
        self,
        number: int,
        slot: int,
        leg: Leg | None,
        control: RtcpSession | None,
        rate_hz: int = 8000,
        fed: FedAudio | None = None,
    ) -> None:
        self.number = number
        self.slot = slot
        self.leg = leg
        self.control = control
        self.fed = fed
        self.rate_hz = rate_hz
        """Rate of its plays: that of its first codec. A later codec does not change it, so that queued sound keeps its positions."""
        self.plays = PlayQueue(rate_hz)
        self.listen = Listen(number, detect=False, forward_audio=False)
        self.is_judged_narrow: bool | None = None
        """Whether speech is detected at 8 instead of 16 kHz; None until sound arrives."""
        self.one_way = OneWayWatch()
        self.quality = QualityWatch()
        self.is_failed = False
        """Given up after an error: the tick skips it, and only the order to close it is executed."""
        self.n_listeners = 0
        """Number of bridged streams that hear this caller."""
        self.recording = 0
        self.recording_rate_hz = 0
        self.dead_reported = False

    @property
    def is_sending(self) -> bool:
        """Whether a packet (or, without RTP, a frame) is due in every tick."""
        return self.leg is None or self.leg.may_send

    @property
    def input(self) -> Leg | FedAudio | None:
        """The source of the caller's sound."""
        return self.leg if self.leg is not None else self.fed

    @property
    def has_started(self) -> bool:
        """Whether sound of the caller has arrived."""
        return self.input is not None and self.input.started

    @property
    def is_heard(self) -> bool:
        """Whether the caller's sound is needed (detection, recognition, recording, a bridge) and some of it has arrived."""
        is_wanted = self.listen.detect or self.listen.forward_audio or self.recording > 0 or self.n_listeners > 0
        return self.has_started and is_wanted


class SlotTable:
    """Streams by number, and the free slots. The lowest free slot is used first, so that arrays stay dense."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._free = list(range(capacity))
        self._by_number: dict[int, Stream] = {}

    def __len__(self) -> int:
        return len(self._by_number)

    def __iter__(self) -> Iterator[Stream]:
        return iter(self._by_number.values())

    def get(self, number: int) -> Stream | None:
        """The stream with that number, None if it is not open."""
        return self._by_number.get(number)

    def take_slot(self) -> int | None:
        """A free slot. Return it with `give_back` unless `add` follows."""
        return heapq.heappop(self._free) if self._free else None

    def give_back(self, slot: int) -> None:
        """Release the slot."""
        heapq.heappush(self._free, slot)

    def add(self, stream: Stream) -> None:
        """Add a stream in its slot."""
        self._by_number[stream.number] = stream

    def remove(self, stream: Stream) -> None:
        """Remove a closed stream and release its slot."""
        del self._by_number[stream.number]
        self.give_back(stream.slot)

    def in_order(self) -> list[Stream]:
        """The streams by slot: the sending order, the same in every tick."""
        return sorted(self._by_number.values(), key=lambda stream: stream.slot)
