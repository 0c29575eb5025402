"""Which runs an interruption cancels, and which outlive it."""

from __future__ import annotations

from active_call.agent.tools.runs import ToolRun, ToolRuns


def started(*runs: ToolRun) -> ToolRuns:
    found = ToolRuns()
    for run in runs:
        found.start(run)
    return found


def test_interruption_cancels_cancellable_runs_and_detaches_the_others():
    runs = started(ToolRun("a", "look_up", 5, is_cancellable=True), ToolRun("b", "book", 9))
    assert runs.is_waited_for and runs.patience_s == 9
    assert [run.id for run in runs.interrupt()] == ["a"]
    assert not runs.is_waited_for
    assert runs.finish("a") is None
    assert runs.finish("b") is not None


def test_interruption_spares_runs_of_earlier_replies():
    runs = started(ToolRun("a", "look_up", 5, is_cancellable=True))
    runs.detach()
    assert runs.interrupt() == []
    assert runs.finish("a") is not None


def test_runs_that_are_waited_for_too_long_are_given_up():
    runs = started(ToolRun("a", "slow", 5))
    runs.detach()
    runs.start(ToolRun("b", "slow", 5))
    assert [run.id for run in runs.give_up()] == ["b"]
    assert runs.finish("a") is not None


def test_result_is_taken_once():
    runs = started(ToolRun("a", "x", 5))
    assert runs.finish("a") is not None
    assert runs.finish("a") is None


def test_end_of_the_call_takes_out_all_runs():
    runs = started(ToolRun("a", "x", 5), ToolRun("b", "x", 5))
    assert [run.id for run in runs.clear()] == ["a", "b"]
    assert runs.finish("a") is None
