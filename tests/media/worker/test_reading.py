"""How many datagrams of a socket the engine reads in one call."""

from __future__ import annotations

import pytest
from engine_box import box

from active_call.media.worker.engine import FURTHER_S, MAX_PASSES, USUAL_PASSES
from active_call.testing.fakes.net import Conditions


@pytest.mark.parametrize("is_secured", [False, True])
@pytest.mark.parametrize(("n_waiting", "n_read"), [(1, 1), (3, 3), (MAX_PASSES, MAX_PASSES), (MAX_PASSES + 2, MAX_PASSES)])
def test_datagrams_that_wait_in_a_socket_are_read_together_up_to_the_limit(n_waiting: int, n_read: int, is_secured: bool) -> None:
    with box() as made:
        far_end = made.call(Conditions(), 1, secured=is_secured)
        for _ in range(n_waiting):
            far_end.speak()
        packets = [packet for _, packet in far_end.network.take_arrived(far_end.next_at)]
        assert len(packets) == n_waiting
        made.deliver_together(far_end, packets)
        stream = made.engine._slots.get(far_end.stream)
        assert stream is not None
        assert stream.leg is not None
        assert stream.leg.n_received == n_read


@pytest.mark.parametrize(("pass_s", "n_read"), [(0.0, MAX_PASSES), (FURTHER_S / 2, USUAL_PASSES), (FURTHER_S / 4, 5), (1.0, USUAL_PASSES)])
def test_flood_that_takes_long_to_read_waits_for_the_next_tick(pass_s: float, n_read: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with box() as made:
        far_end = made.call(Conditions(), 1, secured=False)
        for _ in range(MAX_PASSES):
            far_end.speak()
        packets = [packet for _, packet in far_end.network.take_arrived(far_end.next_at)]
        take, clock = made.engine._arrivals.take, made.engine._world.clock
        monkeypatch.setattr(clock, "at", clock.now())
        monkeypatch.setattr(made.engine._arrivals, "take", lambda *given: (setattr(clock, "at", clock.now() + pass_s), take(*given))[1])
        made.deliver_together(far_end, packets)
        stream = made.engine._slots.get(far_end.stream)
        assert stream is not None
        assert stream.leg is not None
        assert stream.leg.n_received == n_read
