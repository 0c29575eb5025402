"""Packets of a whole tick, judged with `struct` and a G.711 decoder written from the Recommendation's formula."""

from __future__ import annotations

import struct

import numpy as np

from active_call.media.send.packet_batch import PACKET_BYTES, SendBatch


def mu_law(code: int) -> int:
    code = ~code & 0xFF
    magnitude = ((((code & 0x0F) << 3) + 0x84) << ((code & 0x70) >> 4)) - 0x84
    return -magnitude if code & 0x80 else magnitude


def headers(batch: SendBatch, n_packets: int) -> list[tuple[int, ...]]:
    return [struct.unpack("!BBHII", batch.packet(row)[:12]) for row in range(n_packets)]


def test_batch_gives_every_row_its_own_header_and_payload() -> None:
    batch = SendBatch(8)
    batch.begin_stream(2, ssrc=0xDEADBEEF, sequence=65535, timestamp=0xFFFFFF00)
    batch.begin_stream(5, ssrc=7, sequence=100, timestamp=1000)
    batch.payload_type[[2, 5]] = 0
    slots = np.array([5, 2])
    pcm = batch.rows(2)
    pcm[1] = 8000
    batch.build(slots, pcm, 3)
    assert headers(batch, 2) == [(0x80, 0x80, 100, 1480, 7), (0x80, 0x80, 65535, 0xE0, 0xDEADBEEF)]
    assert batch.packet(0)[12:] == b"\xff" * 160
    assert len(batch.packet(0)) == PACKET_BYTES
    assert abs(mu_law(batch.packet(1)[12]) - 8000) <= 8000 / 32
    batch.build(slots, batch.rows(2), 4)
    assert headers(batch, 2) == [(0x80, 0x00, 101, 1640, 7), (0x80, 0x00, 0, 0x180, 0xDEADBEEF)]
    assert batch.n_packets[[2, 5]].tolist() == [2, 2]


def test_batch_after_skipped_ticks_keeps_the_sequence_and_moves_the_timestamp() -> None:
    batch = SendBatch(1)
    batch.begin_stream(0, ssrc=1, sequence=10, timestamp=0)
    slots = np.array([0])
    batch.build(slots, batch.rows(1), 0)
    assert headers(batch, 1)[0][2:4] == (10, 0)
    batch.build(slots, batch.rows(1), 50)
    assert headers(batch, 1)[0][2:4] == (11, 8000)


def test_batch_another_clock_takes_the_timestamp_on_from_where_it_is() -> None:
    batch = SendBatch(1)
    batch.begin_stream(0, ssrc=1, sequence=10, timestamp=0xFFFFFF00)
    before = batch.timestamp(0, 7)
    batch.set_clock(0, 48_000, 7)
    assert batch.timestamp(0, 7) == before
    assert batch.timestamp(0, 8) == (before + 960) & 0xFFFFFFFF
    batch.set_clock(0, 8000, 9)
    assert batch.timestamp(0, 10) == (before + 2 * 960 + 160) & 0xFFFFFFFF
