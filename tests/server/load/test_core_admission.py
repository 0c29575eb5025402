"""Whether the cores carry one more call: judged over all our processes, with steal and neighbours, and by the pace of new calls."""

from __future__ import annotations

import asyncio
from math import inf
from pathlib import Path

import pytest
from msgspec.structs import replace

from active_call.server.load import admission_watch
from active_call.server.load.admission_watch import RETRY_DRAINING_S, RETRY_FULL_S, RETRY_SOON_S, AdmissionWatch, CallLoad
from active_call.server.load.core_admission import (
    BURST,
    LATE_BEAT_S,
    MAX_BEHIND_S,
    MAX_SHARE,
    MAX_WAITING,
    MIN_CALLS,
    MIN_WAITING,
    PER_BEAT,
    PER_LATE_BEAT,
    CoreAdmission,
    CoreSample,
    NewCallPace,
)
from active_call.server.load.core_times import core_times, quota_of, read_cores

START = CoreSample(at=100.0, n_cores=1, control_s=3.0, ours_s=10.0, idle_s=50.0, steal_s=1.0)


def after_a_second(*, ours: float, control: float = 0.0, idle: float | None = None, steal: float = 0.0, n_cores: float = 1) -> CoreSample:
    """Shares of a core in the second after `START`; what nobody names is idle."""
    rest = n_cores - ours - steal if idle is None else idle
    return replace(
        START,
        at=101.0,
        n_cores=n_cores,
        control_s=START.control_s + control,
        ours_s=START.ours_s + ours,
        idle_s=START.idle_s + rest,
        steal_s=START.steal_s + steal,
    )


def judged(sample: CoreSample, n_calls: int) -> CoreAdmission:
    admission = CoreAdmission()
    admission.take(START, n_calls)
    admission.take(sample, n_calls)
    return admission


def test_cores_that_nobody_has_looked_at_have_room() -> None:
    assert CoreAdmission().has_room(1000)


def test_control_and_media_on_one_core_are_judged_together() -> None:
    assert judged(after_a_second(ours=0.70, control=0.30), 300).has_room(300)
    assert not judged(after_a_second(ours=0.86, control=0.40), 300).has_room(300)


def test_calls_since_the_last_look_count_with_the_share_of_an_average_one() -> None:
    admission = judged(after_a_second(ours=0.60), 200)
    n_full = int(200 * MAX_SHARE / 0.60)
    assert admission.has_room(n_full - 2)
    assert not admission.has_room(n_full)


def test_number_of_calls_that_still_fit_follows_from_the_load() -> None:
    admission = judged(after_a_second(ours=0.60), 200)
    assert int(admission.n_free(200)) == int(200 * MAX_SHARE / 0.60) - 200
    assert judged(after_a_second(ours=0.90), 200).n_free(200) == 0
    assert admission.n_free(MIN_CALLS - 1) == inf
    assert CoreAdmission().n_free(1000) == inf


def after(first: CoreSample, wall_s: float, *, steady: float, n_new: int = 0, cost_s: float = 0.006) -> CoreSample:
    """One core, `wall_s` later: calls take `steady` of it, and each new one `cost_s` of the control process."""
    new_s = n_new * cost_s
    return replace(
        first,
        at=first.at + wall_s,
        control_s=first.control_s + new_s + steady * wall_s * 0.3,
        ours_s=first.ours_s + new_s + steady * wall_s,
        idle_s=first.idle_s + max(wall_s * (1 - steady) - new_s, 0.0),
    )


def test_calls_that_are_set_up_are_no_reason_to_refuse_calls_that_fit() -> None:
    admission, sample, n_calls = CoreAdmission(), START, 200
    admission.take(sample, n_calls, 0)
    for n_begun in (30, 60, 90):  # 30 new calls a second, and as many end
        sample = after(sample, 1.0, steady=0.7, n_new=30)
        admission.take(sample, n_calls, n_begun)
    assert admission.share > MAX_SHARE
    assert admission.expected_share(n_calls) < 0.76
    assert admission.has_room(n_calls + 10)


def test_calls_begin_in_the_time_that_sound_leaves() -> None:
    admission = CoreAdmission()
    assert admission.new_calls_per_s(0) == inf
    admission.take(START, 200, 0)
    admission.take(after(START, 1.0, steady=0.3), 200, 0)
    assert admission.new_calls_per_s(200) == inf
    admission.take(after(after(START, 1.0, steady=0.3), 1.0, steady=0.75), 200, 0)
    allowed = admission.new_calls_per_s(200)
    assert 20 < allowed < 60
    assert admission.new_calls_per_s(220) < allowed
    assert admission.new_calls_per_s(400) == 0.0
    two = replace(after(START, 1.0, steady=0.75), n_cores=2, idle_s=START.idle_s + 1.25)
    with_two_cores = CoreAdmission()
    with_two_cores.take(replace(START, n_cores=2), 200, 0)
    with_two_cores.take(two, 200, 0)
    assert with_two_cores.new_calls_per_s(200) == inf


def test_pace_is_what_the_cores_allow_and_a_wave_is_small_then() -> None:
    pace, n_begun = NewCallPace(), 0
    for _ in range(50):  # a second
        pace.beat(0.0, n_begun, per_s=20.0, elapsed_s=0.02)
        while pace.may_begin(200, n_begun):
            n_begun += 1
    assert 20 <= n_begun <= 24
    for _ in range(50):
        pace.beat(0.0, n_begun, per_s=20.0, elapsed_s=0.02)
    wave = 0
    while pace.may_begin(200, n_begun + wave):
        wave += 1
    assert wave == 4


def test_calls_that_wait_for_their_first_step_are_enough() -> None:
    pace = NewCallPace()
    assert pace.may_begin(100, 0, MAX_WAITING - 1)
    assert not pace.may_begin(100, 0, MAX_WAITING)
    assert pace.may_begin(MIN_CALLS - 1, 0, MAX_WAITING)


def test_as_many_calls_may_wait_as_are_set_up_in_time() -> None:
    """A pause of 100 ms at 200 calls a second is no reason to refuse calls while the cores have time for them; on a full core it is."""
    idle, full = judged(after_a_second(ours=0.1, control=0.05), 30), judged(after_a_second(ours=0.84, control=0.3), 300)
    assert CoreAdmission().max_waiting(0) >= 20
    assert idle.max_waiting(30) >= 20
    assert full.max_waiting(300) == MIN_WAITING
    for _ in range(40):
        idle.cost.take(1.0, 20, 0, 0.6)  # a slow machine: 30 ms for a new call
    assert MIN_WAITING <= idle.max_waiting(30) <= 6
    pace = NewCallPace()
    pace.beat(0.0, 0, max_waiting=full.max_waiting(300))
    assert pace.may_begin(300, 0, MIN_WAITING - 1)
    assert not pace.may_begin(300, 0, MIN_WAITING)


def test_steal_is_no_room() -> None:
    assert judged(after_a_second(ours=0.60), 200).has_room(200)
    assert not judged(after_a_second(ours=0.60, steal=0.35), 200).has_room(200)


def test_neighbours_take_half_of_what_they_use() -> None:
    assert judged(after_a_second(ours=0.60, idle=0.0), 200).share == pytest.approx(0.60 / 0.80)
    assert not judged(after_a_second(ours=0.75, idle=0.0), 200).has_room(200)


def test_quota_of_a_container_is_all_there_is() -> None:
    sample = replace(after_a_second(ours=1.0, n_cores=8), n_cores=1.1, n_allowed=8)
    assert not judged(sample, 200).has_room(200)
    assert judged(replace(sample, n_cores=2.0), 200).has_room(200)


def test_control_process_alone_is_full_though_other_cores_are_idle() -> None:
    assert not judged(after_a_second(ours=3.0, control=0.96, n_cores=8), 1000).has_room(1000)
    assert judged(after_a_second(ours=2.0, control=0.75, n_cores=8), 100).has_room(110)
    assert not judged(after_a_second(ours=2.0, control=0.75, n_cores=8), 100).has_room(115)  # its thread cannot use the other cores


def test_control_process_has_room_while_set_up_takes_much_of_it() -> None:
    admission = CoreAdmission()
    admission.take(START, 100, 0)
    admission.take(after_a_second(ours=2.0, control=0.9, n_cores=8), 160, 60)
    assert admission.expected_control_share(160) < 0.6
    assert admission.has_room(160)


def test_calls_begin_in_the_time_that_the_thread_of_the_control_process_leaves() -> None:
    busy = judged(after_a_second(ours=2.0, control=0.75, n_cores=8), 100)  # other cores are free
    assert 20 < busy.new_calls_per_s(100) < 60
    assert busy.max_waiting(100) < judged(after_a_second(ours=2.0, control=0.2, n_cores=8), 100).max_waiting(100)


def test_process_that_waits_for_a_core_all_the_time_is_full() -> None:
    """With neighbours it never uses a whole core."""
    waiting = replace(after_a_second(ours=0.4, control=0.35, n_cores=2, idle=0.0), control_wait_s=0.63)
    assert not judged(waiting, 60).has_room(60)
    assert judged(replace(waiting, control_wait_s=0.4), 60).has_room(60)
    assert judged(waiting, MIN_CALLS - 1).has_room(MIN_CALLS - 1)
    in_a_wave = CoreAdmission()
    in_a_wave.take(START, 40, 0)
    in_a_wave.take(waiting, 80, 40)
    assert in_a_wave.has_room(80)  # calls that begin wait as well


def test_loop_with_passes_of_seconds_does_not_count_as_idle() -> None:
    """Measurements then come seconds apart. Only without calls is nothing measured."""
    admission, sample = CoreAdmission(), START
    for _ in range(3):
        admission.take(sample, 90)
        sample = replace(sample, at=sample.at + 6.0, control_s=sample.control_s + 5.9, ours_s=sample.ours_s + 8.0)
    assert admission.control_share > 0.95
    assert not admission.has_room(90)
    admission.forget()
    assert admission.control_share == 0.0


def test_new_calls_are_refused_while_sound_of_calls_waits() -> None:
    class Input:
        behind_s = 0.0

    entering = Input()
    load = CallLoad(entering)
    calls = Calls(load, 60)
    load.beat(0.0, 0.02, calls)
    assert load.has_room(calls)
    entering.behind_s = MAX_BEHIND_S - 0.1  # a pause
    assert load.has_room(calls)
    entering.behind_s = MAX_BEHIND_S
    assert not load.has_room(calls)
    assert load.retry_after_s(calls) == RETRY_FULL_S
    calls.n_calls = MIN_CALLS - 1
    assert load.has_room(calls)


def test_measurements_are_forgotten_without_calls() -> None:
    load = CallLoad()
    load.look(START, 60)
    load.look(after_a_second(ours=0.8, control=0.5), 60)
    assert load.cores.share > 0.5
    watch, told = watch_of(load, Calls(load, 0))

    async def watched() -> None:
        running = asyncio.create_task(watch.run())
        watch.begun.set()
        async with asyncio.timeout(30):
            while not told:
                watch.begun.set()
                await asyncio.sleep(0)
        running.cancel()

    asyncio.run(watched())
    assert load.cores.share == 0.0


def test_less_than_a_second_of_work_after_a_pause_says_nothing() -> None:
    sample = replace(after_a_second(ours=0.5, control=0.5), at=100.5, idle_s=START.idle_s)
    assert judged(sample, 26).has_room(40)
    admission = judged(after_a_second(ours=0.99), 200)
    admission.take(replace(after_a_second(ours=0.99), at=110.0), 200)
    assert admission.has_room(200)


def test_few_calls_are_never_refused_for_the_cores() -> None:
    admission = judged(after_a_second(ours=0.99), MIN_CALLS - 1)
    assert admission.has_room(MIN_CALLS - 1)
    assert not admission.is_strained(MIN_CALLS - 1)


def test_load_is_that_of_the_last_second_and_a_process_that_is_replaced_does_not_lower_it() -> None:
    admission = judged(after_a_second(ours=0.9), 200)
    for step in range(1, 6):
        admission.take(replace(after_a_second(ours=0.9), at=101.0 + step / 4, idle_s=START.idle_s + 0.1 + step / 4), 200)
    assert admission.share == pytest.approx(0.0, abs=0.01)
    fewer = judged(after_a_second(ours=-2.0, idle=0.5), 200)
    assert fewer.share == 0.0


def test_optional_work_is_left_out_later_than_calls_are_refused() -> None:
    assert not judged(after_a_second(ours=0.90), 200).is_strained(200)
    assert judged(after_a_second(ours=0.95), 200).is_strained(200)


def test_wave_of_calls_is_stopped_within_one_pass_of_the_loop_and_goes_on_with_the_beats() -> None:
    pace = NewCallPace()
    n_begun = 0
    while pace.may_begin(n_begun, n_begun):
        n_begun += 1
    assert n_begun == BURST
    pace.beat(0.0, n_begun)
    while pace.may_begin(n_begun, n_begun):
        n_begun += 1
    assert n_begun == BURST + PER_BEAT


def test_one_late_beat_is_a_pause_and_two_are_a_queue() -> None:
    pace = NewCallPace()
    pace.beat(0.0, BURST)
    assert pace.may_begin(100, BURST)
    pace.beat(LATE_BEAT_S * 2, BURST + PER_BEAT)
    assert pace.may_begin(100, BURST + PER_BEAT)
    n_begun = BURST + 2 * PER_BEAT
    pace.beat(LATE_BEAT_S * 2, n_begun)
    assert pace.may_begin(100, n_begun + PER_LATE_BEAT - 1)
    n_begun += PER_LATE_BEAT
    assert not pace.may_begin(100, n_begun)
    assert pace.may_begin(MIN_CALLS - 1, n_begun)
    pace.beat(0.0, n_begun)
    assert pace.may_begin(100, n_begun + PER_BEAT - 1)
    assert not pace.may_begin(100, n_begun + PER_BEAT)


def test_callers_one_after_another_are_taken_by_a_loop_that_is_always_late() -> None:
    pace = NewCallPace()
    for n_begun in range(200):
        pace.beat(LATE_BEAT_S * 3, n_begun)
        assert pace.may_begin(n_begun, n_begun)


STAT = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 10 0 10 500 50 0 5 20 0 0\ncpu1 10 0 10 100 0 0 5 30 0 0\nintr 1 2\n"


def test_idle_and_stolen_time_are_those_of_the_allowed_cores() -> None:
    assert core_times(STAT, {0}) == (5.5, 0.2)
    assert core_times(STAT, {0, 1}) == (6.5, 0.5)


@pytest.mark.parametrize(
    ("text", "cores"), [("150000 100000\n", 1.5), ("max 100000\n", float("inf")), ("", float("inf")), ("1 0", float("inf"))]
)
def test_quota_is_read(text: str, cores: float) -> None:
    assert quota_of(text) == cores


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="only Linux tells")
def test_cores_are_read_and_a_process_that_is_gone_counts_nothing() -> None:
    sample = read_cores([2**22 + 5])
    assert sample is not None
    assert sample.n_allowed >= 1
    assert sample.ours_s == sample.control_s > 0
    assert sample.idle_s > 0


class Calls:
    """Stands in for the registry."""

    def __init__(self, load: CallLoad, n_calls: int) -> None:
        self.load = load
        self.n_calls = self.n_calls_total = n_calls
        self.is_draining = False
        self.n_beginning = 0

    @property
    def takes_invites(self) -> bool:
        return not self.is_draining and self.load.has_room(self)


def watch_of(load: CallLoad, calls: Calls) -> tuple[AdmissionWatch, list[tuple[bool, int]]]:
    told: list[tuple[bool, int]] = []
    return AdmissionWatch(load, calls, lambda: None, lambda *what: told.append(what), lambda: None), told


def test_endpoint_is_told_with_each_call_and_when_to_come_again() -> None:
    load = CallLoad()
    calls = Calls(load, 0)
    watch, told = watch_of(load, calls)

    def take(_leg: object) -> None:
        calls.n_calls += 1
        calls.n_calls_total += 1

    taking = watch.judging(take)
    for leg in range(BURST):
        taking(leg)
    assert [accepting for accepting, _ in told] == [True] * (BURST - 1) + [False]
    assert told[-1] == (False, RETRY_SOON_S)
    load.pace.beat(0.0, BURST)
    load.look(START, 200)
    load.look(after_a_second(ours=0.95), 200)
    calls.n_calls = 200
    watch.refresh()
    assert told[-1] == (False, RETRY_FULL_S)
    assert load.is_strained
    assert load.describe() == {"core_percent": 95, "control_percent": 0, "full": True, "strained": True}
    calls.is_draining = True
    watch.refresh()
    assert told[-1] == (False, RETRY_DRAINING_S)


def test_watch_goes_on_telling_until_it_is_cancelled() -> None:
    load = CallLoad()
    watch, told = watch_of(load, Calls(load, MIN_CALLS))

    async def watched() -> None:
        running = asyncio.create_task(watch.run())
        async with asyncio.timeout(30):
            while len(told) < 2:
                await asyncio.sleep(0)
        running.cancel()

    asyncio.run(watched())
    assert told[0] == (True, RETRY_FULL_S)


def test_first_call_ends_the_rest_of_an_idle_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission_watch, "REST_S", 1e6)
    load = CallLoad()
    calls = Calls(load, 0)
    watch, told = watch_of(load, calls)

    def take(_: object) -> None:
        calls.n_calls = MIN_CALLS

    async def story() -> None:
        running = asyncio.create_task(watch.run())
        for _ in range(100):
            await asyncio.sleep(0)
        assert told == []
        watch.judging(take)(object())
        async with asyncio.timeout(30):
            while len(told) < 3:  # one of the call itself, the others of beats
                await asyncio.sleep(0)
        running.cancel()

    asyncio.run(story())
