"""A media process whose ticks are late leaves out what calls can do without, and does it again once it has been in time for a while."""

from __future__ import annotations

import numpy as np

from active_call.media.enhance.pipeline import EnhancePipeline
from active_call.media.worker.shedding import CALM, CALM_OPUS, LATE_S, LEVEL_OPUS, MANY, WINDOW, Shedding


def changes(shedding: Shedding, late_s: list[float]) -> list[int]:
    return [number for number, late in enumerate(late_s) if shedding.note_tick(late)]


def test_a_few_late_ticks_change_nothing() -> None:
    shedding = Shedding()
    assert changes(shedding, ([LATE_S * 2] + [0.0] * (WINDOW // (MANY - 1) + 1)) * 20) == []


def test_many_late_ticks_shed_until_the_ticks_are_in_time_for_a_while() -> None:
    shedding = Shedding()
    assert changes(shedding, [LATE_S * 2] * MANY) == [MANY - 1]
    assert changes(shedding, [0.0] * (CALM - 1) + [LATE_S * 2] + [0.0] * CALM) == [2 * CALM - 1]
    assert not shedding.is_shedding


def test_ticks_that_stay_late_shed_more_and_it_is_taken_up_again_in_the_reverse_order() -> None:
    shedding = Shedding()
    assert changes(shedding, [LATE_S * 2] * (3 * MANY)) == [MANY - 1, 2 * MANY - 1]
    assert shedding.level == LEVEL_OPUS
    assert changes(shedding, [0.0] * (CALM_OPUS + CALM)) == [CALM_OPUS - 1, CALM_OPUS + CALM - 1]
    assert shedding.level == 0


def test_sound_passes_as_it_came_while_improving_is_left_out() -> None:
    noise = np.random.default_rng(3).normal(0, 0.05, (60, 320)).astype(np.float32)
    improving, slots = EnhancePipeline(4), np.array([2])
    improving.use(2, denoise=True, gain=None)
    assert not improving.is_idle
    improving.set_shedding(True)
    assert improving.is_idle
    improving.use(1, denoise=True, gain=None)
    assert improving.is_idle
    improving.set_shedding(False)
    assert not improving.is_idle
    fresh = EnhancePipeline(4)
    fresh.use(2, denoise=True, gain=None)
    for frame in noise:  # as if it had just begun
        assert np.array_equal(improving.process(frame[None], slots), fresh.process(frame[None], slots))
