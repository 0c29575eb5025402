"""Session timers in their real time: the shortest interval that RFC 4028 allows, refreshed and not, in calls side by side."""

from __future__ import annotations

import time
from contextlib import ExitStack

import pytest

from active_call.testing.trunk import Trunk, generic_pbx
from active_call.testing.trunk.switches import TWILIO_ALLOW
from conftest import Program

pytestmark = pytest.mark.slow

THEY_REFRESH = {
    "by UPDATE": generic_pbx("tcp", session_expires_s=90, supports_media=True, refresher="uas"),
    "by INVITE where UPDATE is not allowed": generic_pbx(
        "udp", session_expires_s=90, supports_media=True, refresher="uas", allow=TWILIO_ALLOW
    ),
    "an INVITE that crosses ours": generic_pbx(
        "tcp", session_expires_s=90, supports_media=True, refresher="uas", allow=TWILIO_ALLOW, glares=True
    ),
}


def test_program_refreshes_in_time_and_ends_a_session_that_nobody_refreshes(program: Program) -> None:
    """RFC 4028 section 10: the refresher acts at half the interval; the other one ends the call min(32, 90/3) s before its end."""
    with ExitStack() as stack:
        calls = {}
        for what, switches in THEY_REFRESH.items():
            trunk = stack.enter_context(Trunk(switches))
            calls[what] = trunk, trunk.call(program.uri(switches.transport))
        forgetful = stack.enter_context(
            Trunk(generic_pbx("tcp", session_expires_s=90, supports_media=True, refresher="uac", refreshes=False))
        )
        left = forgetful.call(program.uri("tcp"))
        started = time.monotonic()
        assert left.wait_answered()
        for what, (trunk, leg) in calls.items():
            assert leg.wait(lambda leg=leg: leg.timer.n_refreshes >= 1 or bool(leg.ended), 56), what
            assert leg.ended == "", what
            if "crosses" not in what:
                trunk.check()
        assert 44 < time.monotonic() - started < 56
        assert left.wait_ended(14) == "peer hung up"
        assert 57 < time.monotonic() - started < 64
        forgetful.check()
        for what, (trunk, leg) in calls.items():
            assert leg.hang_up() == 200, what
            trunk.check()
