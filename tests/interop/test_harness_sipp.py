"""The SIPp harness against itself: what it counts is what happened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from peers.sipp import Sipp
from peers.sipp_steps import Steps, sdp

PAIRS = [
    ("agent_hangs_up", "answers_and_hangs_up"),
    ("caller_hangs_up", "answers_until_bye"),
    ("caller_cancels", "rings_until_cancelled"),
]


@pytest.mark.parametrize(("caller", "called"), PAIRS)
@pytest.mark.parametrize("transport", ["u1", "t1"])
def test_sipp_scenarios_against_their_counterparts_all_succeed(tmp_path: Path, caller: str, called: str, transport: str) -> None:
    with Sipp(called, tmp_path / "called", calls=2, transport=transport, timeout_s=15) as server:
        server.start()
        with Sipp(caller, tmp_path / "caller", target=f"127.0.0.1:{server.port}", calls=2, transport=transport, timeout_s=15) as client:
            result = client.result()
        assert server.result().successful == 2
    assert (result.successful, result.failed, result.exit_code) == (2, 0, 0), result.errors
    assert len(result.first_ms) == 2
    assert len(result.answer_ms) == (0 if caller == "caller_cancels" else 2)


def test_sipp_counts_a_call_that_goes_wrong_as_failed(tmp_path: Path) -> None:
    with Sipp("rings_until_cancelled", tmp_path / "called", calls=1, timeout_s=20) as server:
        server.start()
        # the caller hangs up an answered call, but this side never answers: SIPp's own time is over first
        with Sipp("caller_hangs_up", tmp_path / "caller", target=f"127.0.0.1:{server.port}", timeout_s=3) as client:
            result = client.result()
    assert result.successful == 0
    assert result.exit_code != 0


def test_sipp_caller_that_vanishes_ends_with_the_bye_it_does_not_answer(tmp_path: Path) -> None:
    with Sipp("answers_and_hangs_up", tmp_path / "called", calls=1, timeout_s=20) as server:
        server.start()
        with Sipp("caller_vanishes", tmp_path / "caller", target=f"127.0.0.1:{server.port}", timeout_s=10) as client:
            result = client.result()
    assert (result.successful, result.failed) == (1, 0), result.errors


@pytest.mark.parametrize(
    ("expected", "successful"),
    [({"has": {"CSeq": "1 INVITE"}}, 1), ({"has": {"CSeq": "7 INVITE"}}, 0), ({"body": "m=audio"}, 1), ({"body": "m=video"}, 0)],
    ids=["right header", "wrong header", "right body", "wrong body"],
)
def test_steps_are_judged_by_what_they_expect(tmp_path: Path, expected: dict[str, Any], successful: int) -> None:
    called = Steps("called").is_asked("INVITE", **expected).answer(200, body=sdp()).is_asked("ACK").is_asked("BYE").answer(200, within=True)
    calling = Steps("calls").invite().gets(100, optional=True).gets(200, makes_route=True).ack().ask("BYE", cseq=2).gets(200)
    with Sipp(called.write(tmp_path / "called.xml"), tmp_path / "called", timeout_s=10) as server:
        server.start()
        target = f"127.0.0.1:{server.port}"
        with Sipp(calling.write(tmp_path / "caller.xml"), tmp_path / "caller", target=target, timeout_s=6) as caller:
            caller.start()
            assert server.result().successful == successful
