"""What the engine tells of a stream every five seconds: each report is about its own seconds, and the sum is what the end tells."""

from __future__ import annotations

from itertools import pairwise

from engine_box import TICK_S, box

from active_call.media.link import messages as link
from active_call.media.link.messages import QUALITY_EVERY_S, QualityReported
from active_call.testing.fakes.net import Conditions

SPAN = int(QUALITY_EVERY_S / TICK_S)


def test_each_report_is_about_its_own_five_seconds() -> None:
    with box() as made:
        far_end = made.call(Conditions(), 1)
        made.run(2 * SPAN + 60)
        far_end.network.conditions = Conditions(loss=0.2)
        made.run(2 * SPAN)
        reports = [report for report in far_end.reports if isinstance(report, QualityReported)]
        closed = made.close(far_end)
    assert len(reports) == 4
    for before, after in pairwise(reports):
        assert QUALITY_EVERY_S <= after.at - before.at <= QUALITY_EVERY_S + 1.0
    assert [report.packets_lost for report in reports[:2]] == [0, 0]
    assert min(report.mos for report in reports[:2]) > 4.3
    assert all(report.packets_lost > 0.1 * SPAN for report in reports[3:])
    assert reports[3].mos < 3.5 < closed.mos + 1.0
    assert sum(report.packets_received for report in reports) <= closed.packets_received
    assert all(200 <= report.packets_received <= SPAN + 60 for report in reports[:2])
    assert (reports[0].round_trip_ms, reports[0].peer_loss_percent) == (-1.0, -1.0)  # the far end sends no RTCP


def test_stream_that_hears_nothing_is_told_without_a_judgement() -> None:
    with box() as made:
        far_end = made.call(Conditions(loss=1.0), 1)
        made.run(2 * SPAN + 60)
        reports = [report for report in far_end.reports if isinstance(report, link.QualityReported)]
    assert [(report.packets_received, report.mos) for report in reports] == [(0, -1.0), (0, -1.0)]
