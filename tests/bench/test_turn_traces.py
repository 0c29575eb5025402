"""The held-out turns and overlaps of the benchmarks, recorded once, through the rules of today: no more cut off, no later than measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    if not (BENCHMARKS / "traces").is_dir():
        pytest.skip("the traces are in the repository only")
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_held_out_turns_are_taken_as_soon_and_as_seldom_too_soon_as_measured():
    import turns

    wanted = {name: entry for name, entry in turns.entries() if entry["set"] == "held-out"}
    recorded = turns.load(turns.FOLDER / "turns-held-out.json.gz", wanted, turns.say, record=False)
    played = [(turn, turns.replay_turn(turn.trace, turn.entry["ask"])) for turn in recorded]
    delays = [turn.delay_s for _, turn in played if turn.delay_s is not None]
    cut = [(each, turn) for each, turn in played if turn.is_cut_off]
    assert len(played) >= 190 and all(turn.answers for _, turn in played)
    for reply_s, share in ((0.15, 0.045), (0.3, 0.02)):
        n_heard = sum(turns.sounds(each.trace, turn.answers[0], reply_s) for each, turn in cut)
        assert n_heard <= share * len(played), f"the agent is heard in the turn, with a reply that takes {reply_s} s"
    assert len(cut) <= 0.1 * len(played), "decided in a pause, and merged before anything sounded"
    assert np.median(delays) <= 0.5 and np.percentile(delays, 95) <= 0.9


def test_held_out_listeners_seldom_stop_the_agent_and_interruptions_are_heard():
    import overlaps

    wanted = {name: entry for name, entry in overlaps.entries() if entry["set"] == "held-out"}
    recorded = overlaps.load(overlaps.FOLDER / "overlaps-held-out.json.gz", wanted, overlaps.say, record=False)
    played = [(each.entry["kind"], overlaps.is_given_up(overlaps.replay_overlap(each.trace, overlaps.SAYS))) for each in recorded]
    listens = [is_given_up for kind, is_given_up in played if kind != "interrupts"]
    interrupts = [is_given_up for kind, is_given_up in played if kind == "interrupts"]
    assert len(listens) >= 50 and len(interrupts) >= 36
    assert sum(listens) <= 2 and interrupts.count(False) <= 1
