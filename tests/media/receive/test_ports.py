"""Which port comes when: RFC 3550 section 11 (even RTP ports), and the rest between two calls."""

from __future__ import annotations

from active_call.media.pool.pool import split_ports
from active_call.media.receive.ports import PortPool


def always(port: int) -> int:
    return port


def test_ports_from_an_odd_beginning_are_even_and_leave_room_for_rtcp() -> None:
    pool = PortPool(4001, 4007)
    taken = [pool.take(0.0, always) for _ in range(4)]
    assert taken == [(4002, 4002), (4004, 4004), (4006, 4006), None]


def test_ports_given_back_rest_before_they_are_used_again() -> None:
    pool = PortPool(4000, 4005, rest_s=30.0)
    for _ in range(2):
        assert pool.take(0.0, always) is not None
    pool.release(4000, 100.0)
    assert pool.take(129.9, always) == (4004, 4004)
    pool.release(4002, 129.9)
    assert pool.take(130.0, always) == (4000, 4000)


def test_port_that_has_rested_longest_is_used_again_early_where_no_other_is_left() -> None:
    pool = PortPool(4000, 4003, rest_s=30.0, least_rest_s=4.0)
    for _ in range(2):
        assert pool.take(0.0, always) is not None
    pool.release(4002, 100.0)
    pool.release(4000, 103.0)
    assert pool.take(103.9, always) is None
    assert pool.take(104.0, always) == (4002, 4002)
    assert pool.take(106.9, always) is None
    assert pool.take(107.0, lambda port: None) is None, "another program holds it"
    assert pool.take(107.1, always) == (4000, 4000)


def test_ports_in_use_elsewhere_are_skipped_and_tried_again_later() -> None:
    pool = PortPool(4000, 4005)
    held = {4000}
    assert pool.take(0.0, lambda port: None if port in held else port) == (4002, 4002)
    held.clear()
    assert pool.take(0.0, always) == (4004, 4004)
    assert pool.take(0.0, always) == (4000, 4000)


def test_ports_split_between_workers_are_disjoint_whole_pairs() -> None:
    parts = split_ports((10_001, 10_020), 3)
    pairs = [port for first, last in parts for port in range(first, last, 2)]
    assert pairs == sorted(set(pairs))
    assert all(first % 2 == 0 and last % 2 == 1 for first, last in parts)
    assert max(last for _, last in parts) <= 10_020
