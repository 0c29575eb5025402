"""Presses whose event packets do not share one RTP timestamp, as some gateways send them, and presses that really are several."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.rtp.dtmf import EVENTS, DigitReceiver

CASE = Path(__file__).parents[1] / "cases" / "04-dtmf-timestamp-moves-within-one-press"
_LINE = re.compile(r"marker=(\d) seq=\+(\d+) ts=T(?:\+(\d+))? event=(\d+) end=(\d) duration=(\d+)")


@dataclass(frozen=True)
class Sent:
    """One event packet as a gateway sends it."""

    code: int
    sequence: int
    timestamp: int
    duration: int
    end: bool
    marker: bool


def told(packets: Iterable[Sent], start: int = 0) -> str:
    receiver, digits = DigitReceiver(), ""
    for packet in packets:
        payload = bytes((packet.code, 0x80 * packet.end | 10)) + packet.duration.to_bytes(2, "big")
        digit = receiver.receive(payload, packet.timestamp & 0xFFFFFFFF, (packet.sequence + start) & 0xFFFF, marker=packet.marker)
        digits += digit.digit if digit else ""
    return digits


def from_case(name: str) -> list[Sent]:
    packets = []
    for line in (CASE / name).read_text().splitlines():
        if match := _LINE.search(line):
            marker, sequence, moved, code, end, duration = (int(group or 0) for group in match.groups())
            packets.append(Sent(code, sequence, 10_000 + moved, duration, bool(end), bool(marker)))
    return packets


def press(code: int, n_frames: int, first_sequence: int, timestamp: int, n_ends: int = 3) -> list[Sent]:
    """A press as RFC 4733 wants it."""
    updates = [Sent(code, first_sequence + n, timestamp, (n + 1) * 160, False, n == 0) for n in range(n_frames - 1)]
    after = first_sequence + n_frames - 1
    return updates + [Sent(code, after + n, timestamp, n_frames * 160, True, n_frames == 1 and n == 0) for n in range(n_ends)]


@pytest.mark.parametrize("name", ["tail-two.txt", "tail-one.txt"])
def test_press_with_renumbered_ends_is_one_digit(name: str) -> None:
    assert told(from_case(name)) == "1"


@pytest.mark.parametrize("growing", [True, False], ids=["growing", "constant"])
def test_press_with_a_timestamp_for_each_packet_is_one_digit(growing: bool) -> None:
    durations = [160 * (n + 1) if growing else 160 for n in range(9)]
    packets = [Sent(2, n, 5000 + 160 * n, duration, n >= 6, n == 0) for n, duration in enumerate(durations)]
    assert told(packets) == "2"


def test_renumbered_end_whose_neighbour_is_lost_is_one_digit() -> None:
    packets = from_case("tail-two.txt")
    del packets[-2]
    assert told(packets) == "1"


def test_three_presses_of_one_key_back_to_back_are_three_digits() -> None:
    packets = [sent for n in range(3) for sent in press(7, 6, 8 * n, 960 * n)]
    assert told(packets) == "777"


def test_short_presses_without_markers_are_as_many_digits() -> None:
    """Two frames each, the pause of 40 ms that a receiver may count on, and every marker lost with its packet."""
    packets = [sent for n in range(4) for sent in press(7, 3, 8 * n, 1120 * n)[1:]]
    assert told(packets) == "7777"


@given(
    keys=st.lists(st.tuples(st.integers(0, 15), st.integers(2, 40), st.integers(0, 20)), min_size=1, max_size=8),
    start=st.integers(0, 0xFFFF),
    base=st.integers(0, 0xFFFFFFFF),
    n_moved=st.integers(0, 2),
    step=st.sampled_from([160, 320, 480]),
)
def test_property_each_press_is_one_digit_however_its_last_ends_are_numbered(
    keys: list[tuple[int, int, int]], start: int, base: int, n_moved: int, step: int
) -> None:
    packets: list[Sent] = []
    sequence, timestamp = 0, base
    for code, n_frames, pause_frames in keys:
        sent = press(code, n_frames, sequence, timestamp)
        for n in range(n_moved):
            at = len(sent) - n_moved + n
            moved = sent[at]
            sent[at] = Sent(moved.code, moved.sequence, moved.timestamp + step * (n + 1), moved.duration, moved.end, moved.marker)
        packets += sent
        sequence += len(sent) + pause_frames
        timestamp += (n_frames + 2 + pause_frames + 3 * n_moved) * 160
    assert told(packets, start) == "".join(EVENTS[code] for code, _, _ in keys)


def test_key_presses_that_all_have_one_timestamp_are_told_each_once() -> None:
    codes = (1, 2, 2, 5, 5, 0)
    packets = [packet for index, code in enumerate(codes) for packet in press(code, 8, 20 * index, 10_000)]
    assert told(packets) == "122550"
    assert told(packets, start=65_500) == "122550"
    twice = [packet for packet in packets for _ in range(2)]
    assert told(twice) == "122550"
    without_ends = [packet for packet in packets if not packet.end or packet.code == 0]
    assert told(without_ends).replace("22", "2").replace("55", "5") == "1250"  # the ends alone tell a digit from its repetition


def test_overtaken_packets_of_a_key_press_before_are_no_new_one() -> None:
    first, second = press(1, 8, 0, 10_000), press(2, 8, 20, 10_000)
    assert told([*first, *second[:4], first[0], first[-1], *second[4:], first[3]]) == "12"
