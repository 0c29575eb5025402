"""When a media process takes no more calls: by its own figures, second by second."""

from __future__ import annotations

import msgspec

from active_call.media.link.messages import Load
from active_call.media.pool.admission import CLOSE_AFTER, MAX_LATE_MS, MAX_SHARE, MIN_TICKS, Admission


def load(streams: int, cpu_ms: float, late_ms: float = 0.1, n_ticks: int = 50) -> Load:
    return Load(
        streams=streams,
        tick_late_ms_p50=late_ms,
        tick_late_ms_p90=late_ms,
        tick_late_ms_p99=late_ms,
        tick_late_ms_max=late_ms,
        tick_cpu_ms_mean=cpu_ms,
        skipped_ticks=0,
        rss_mb=1.0,
        tick_late_ms=(late_ms,) * n_ticks,
    )


def test_admission_without_any_report_has_room() -> None:
    assert Admission().has_room(0)


def test_admission_at_moderate_load_has_room_until_the_next_streams_would_fill_the_tick() -> None:
    admission = Admission()
    admission.take(load(200, 8.0))
    assert admission.has_room(200)
    n_full = int(MAX_SHARE / (8.0 / 20 / 200))
    assert admission.has_room(n_full - 2)
    assert not admission.has_room(n_full)


def test_admission_one_late_second_does_not_close_it_and_two_do() -> None:
    admission = Admission()
    assert not admission.take(load(100, 5.0, late_ms=MAX_LATE_MS + 1))
    assert admission.has_room(100)
    for _ in range(CLOSE_AFTER - 1):
        changed = admission.take(load(100, 5.0, late_ms=MAX_LATE_MS + 1))
    assert changed
    assert not admission.has_room(100)


def test_admission_opens_again_after_one_good_second() -> None:
    admission = Admission()
    for _ in range(CLOSE_AFTER):
        admission.take(load(100, 19.0))
    assert not admission.is_open
    assert admission.take(load(80, 10.0))
    assert admission.has_room(80)


def test_admission_without_streams_is_open_however_late_the_machine_is() -> None:
    admission = Admission()
    for _ in range(5):
        admission.take(load(0, 0.1, late_ms=100.0))
    assert admission.has_room(0)


def test_admission_is_not_misled_by_a_second_that_was_mostly_the_start_of_the_process() -> None:
    admission = Admission()
    for n_streams, n_ticks in ((0, 0), (1, 2), (4, MIN_TICKS - 1)):
        for _ in range(CLOSE_AFTER):
            admission.take(load(n_streams, 400.0, late_ms=300.0, n_ticks=n_ticks))
        assert admission.has_room(n_streams)


def test_admission_after_the_last_stream_has_room_whatever_the_last_second_was_like() -> None:
    admission = Admission()
    admission.take(load(300, 18.0))
    assert not admission.has_room(300)
    for _ in range(CLOSE_AFTER):
        admission.take(load(300, 25.0))
    admission.take(load(0, 0.0, n_ticks=0))
    assert admission.has_room(0)


def test_admission_sees_an_overload_in_which_most_ticks_are_skipped() -> None:
    admission = Admission()
    for _ in range(CLOSE_AFTER):
        admission.take(msgspec.structs.replace(load(300, 90.0, n_ticks=10), skipped_ticks=40))
    assert not admission.is_open


def test_admission_few_streams_do_not_make_the_idle_cost_look_like_theirs() -> None:
    admission = Admission()
    admission.take(load(2, 2.0))
    assert admission.has_room(100)
