"""Framing and the reports about plays."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.base.errors import ParseError
from active_call.media.link.framing import OrderReader, ReportReader, Unreadable, frame
from active_call.media.link.messages import CloseStream, Link, PlayEnded, PlayStarted, PlayStarved, QueueAudio, StreamDead
from active_call.media.send.play_queue import Began, Finished, RanDry
from active_call.media.send.play_reports import PlayReports
from active_call.media.worker.load import percentile

ORDERS = [QueueAudio(1, "a", b"\x01\x02" * 5000, True), CloseStream(2), QueueAudio(3, "", b"")]


@given(st.lists(st.integers(0, 10_100), max_size=6))
def test_orders_cut_anywhere_are_read_whole(cuts: list[int]) -> None:
    data = b"".join(frame(order) for order in ORDERS)
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    reader = OrderReader()
    read = [order for low, high in pairwise(bounds) for order in reader.feed(data[low:high])]
    assert read == ORDERS


@given(st.binary(max_size=64))
def test_reader_fed_anything_raises_parse_error_only(data: bytes) -> None:
    for reader in (OrderReader(), ReportReader()):
        try:
            reader.feed(len(data).to_bytes(4, "big") + data)
        except ParseError:
            continue


def test_reader_refuses_a_length_that_cannot_be() -> None:
    with pytest.raises(ParseError):
        OrderReader().feed(b"\xff\xff\xff\xff")


def test_report_is_no_order() -> None:
    (found,) = OrderReader().feed(frame(StreamDead(1, 2.0)))
    assert isinstance(found, Unreadable)


def test_play_started_waits_for_the_first_voiced_packet() -> None:
    told: list[Link] = []
    reports = PlayReports(told.append)
    reports.take(1, [Began("a")], 10.0, voiced=False, rate_hz=8000)
    assert told == []
    reports.take(1, [], 10.02, voiced=True, rate_hz=8000)
    reports.take(1, [RanDry("a")], 10.04, voiced=False, rate_hz=8000)
    assert told == [PlayStarted(1, "a", 10.0, 10.02), PlayStarved(1, "a", 10.04)]


def test_play_without_voice_is_told_as_started_before_it_is_told_as_ended() -> None:
    told: list[Link] = []
    reports = PlayReports(told.append)
    reports.take(1, [Began("a")], 10.0, voiced=False, rate_hz=8000)
    reports.take(1, [Finished("a", True, 320, 320), Began("b")], 10.02, voiced=False, rate_hz=8000)
    assert told == [PlayStarted(1, "a", 10.0, -1.0), PlayEnded(1, "a", True, 40.0, 40.0, 10.02)]
    assert reports.awaiting_voice == {1: ("b", 10.02)}


@pytest.mark.parametrize(("percent", "value"), [(50, 50), (99, 99), (100, 100), (0, 1)])
def test_percentile_is_the_nearest_rank(percent: float, value: float) -> None:
    assert percentile([float(n) for n in range(1, 101)], percent) == value
