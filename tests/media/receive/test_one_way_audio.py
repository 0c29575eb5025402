"""One-way audio: each direction, each reason that the packets give away, and that it is told once and ends."""

from __future__ import annotations

from active_call.media.receive.one_way_audio import NOTHING_S, STOPPED_S, OneWayWatch, Problem, Refused


def look(watch: OneWayWatch, now: float, *, n: int = 0, last: float = 0.0, wanted: bool = True, **refused: int) -> list[Problem]:
    return watch.look(now, wanted=wanted, n_received=n, last_arrival=last, refused=Refused(**refused))


def test_watch_without_any_packet_names_the_firewall_once() -> None:
    watch = OneWayWatch()
    assert look(watch, 100.0) == []
    assert look(watch, 100.0 + NOTHING_S - 0.5) == []
    (problem,) = look(watch, 100.0 + NOTHING_S)
    assert problem.name == "nothing_received"
    assert "external_ip" in problem.detail
    assert look(watch, 110.0) == []


def test_watch_with_refused_packets_names_why() -> None:
    for refused, word in (({"unauthentic": 9}, "not authentic"), ({"unknown_type": 9}, "payload type"), ({"wrong_source": 9}, "address")):
        watch = OneWayWatch()
        look(watch, 0.0)
        (problem,) = look(watch, NOTHING_S, **refused)
        assert word in problem.detail
        assert "9" in problem.detail
        assert "external_ip" not in problem.detail


def test_watch_the_first_packet_ends_it() -> None:
    watch = OneWayWatch()
    look(watch, 0.0)
    look(watch, NOTHING_S)
    assert look(watch, NOTHING_S + 1, n=1, last=NOTHING_S + 0.9) == [Problem("nothing_received", "", over=True)]


def test_watch_sound_that_stops_is_told_and_its_return_too() -> None:
    watch = OneWayWatch()
    assert look(watch, 1.0, n=10, last=0.9) == []
    (problem,) = look(watch, 1.0 + STOPPED_S, n=10, last=0.9)
    assert problem.name == "receiving_stopped"
    assert look(watch, 12.0, n=11, last=11.9) == [Problem("receiving_stopped", "", over=True)]


def test_watch_hold_misses_nothing_and_time_counts_from_its_end() -> None:
    watch = OneWayWatch()
    look(watch, 0.0)
    look(watch, NOTHING_S)
    assert look(watch, 10.0, wanted=False) == [Problem("nothing_received", "", over=True)]
    assert look(watch, 50.0, wanted=False) == []
    assert look(watch, 60.0) == []
    assert look(watch, 60.0 + NOTHING_S - 0.1) == []
    assert len(look(watch, 60.0 + NOTHING_S)) == 1


def test_watch_two_reports_of_total_loss_mean_that_we_are_not_heard() -> None:
    watch = OneWayWatch()
    assert watch.take_report(255, 500) == []
    (problem,) = watch.take_report(240, 750)
    assert problem.name == "not_heard"
    assert watch.take_report(255, 900) == []
    assert watch.take_report(3, 1000) == [Problem("not_heard", "", over=True)]


def test_watch_a_single_bad_report_between_good_ones_is_nothing() -> None:
    watch = OneWayWatch()
    assert [watch.take_report(fraction, 500) for fraction in (255, 0, 255, 0)] == [[], [], [], []]
