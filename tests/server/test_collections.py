"""Full passes of the garbage collector in a running server."""

from __future__ import annotations

from active_call.server.serving import COLLECT_EVERY_S, MAX_COLLECT_S, collect_after_s


def test_long_pass_is_followed_by_a_long_pause_and_a_short_one_is_not() -> None:
    assert collect_after_s(0.004) == COLLECT_EVERY_S
    assert 100.0 <= collect_after_s(0.12) <= 130.0
    assert collect_after_s(2.0) == MAX_COLLECT_S
