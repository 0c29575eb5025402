"""Evaluates the agent's turn-taking from both recorded sides of a call. Pure: times of voiced sound and of the caller's acts enter, facts
leave.

All times are seconds of one clock. `voiced` are the times at which 20 ms of the agent's speech came, in order.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np

STOPPED_S = 0.4
"""This much silence after an interruption counts as a stop; pauses within a sentence are shorter."""
RESUMED_S = 1.5
"""An agent that pauses for a back-channel resumes within this time."""
MISSED_S = 1.5
"""An agent that still speaks this long after the caller has begun was not interrupted."""
DEAD_AIR_S = 2.0
_CLICK_PACKETS = 3


@dataclass(frozen=True, slots=True)
class Act:
    """An audible act of the caller. `kind`: say, interrupt, backchannel or sound; from its first to its last loud sample."""

    kind: str
    text: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of an act. Times in ms; None: does not apply, or never happened."""

    kind: str
    text: str
    reply_ms: float | None = None
    """From the end of the caller's speech to the agent's first sound."""
    stop_ms: float | None = None
    """From the caller's first sound to the agent's last; None if the agent was silent between two sentences at that time."""
    cut_off: bool = False
    """The agent began to speak before the caller had finished."""
    missed: bool = False
    """The agent continued despite an interruption."""
    falsely_interrupted: bool = False
    """The agent stopped for something other than an interruption."""
    dead_air: bool = False
    void: bool = False
    """The agent was not speaking when it should be interrupted, so the act shows nothing."""


def judge_acts(acts: Sequence[Act], voiced: Sequence[float], end: float) -> list[Finding]:
    """Each act with its result until the next act, the last one until `end` of the call; empty for a caller who only listened."""
    untils = [*(act.start for act in acts[1:]), end]
    return [judge_act(act, voiced, until) for act, until in zip(acts, untils, strict=False)]


def with_given_up_replies(findings: Sequence[Finding], n_interruptions: int) -> list[Finding]:
    """The findings with the replies that the server gave up. `n_interruptions`: how many its record has.

    An agent that says something else at once sounds like one that goes on. So if there were more interruptions than the caller made, the
    last back-channels and sounds that seemed to have no effect have interrupted.
    """
    made = sum(one.kind == "interrupt" or one.cut_off or one.falsely_interrupted for one in findings)
    n_more = n_interruptions - made
    result: list[Finding] = []
    for one in reversed(findings):
        may_have = n_more > 0 and one.kind in ("backchannel", "sound") and not one.void and not one.falsely_interrupted
        n_more -= may_have
        result.append(replace(one, falsely_interrupted=True) if may_have else one)
    return result[::-1]


def judge_act(act: Act, voiced: Sequence[float], until: float) -> Finding:
    """The agent's reaction to `act`; `until` is the next act or the end of the call."""
    if act.kind == "say":
        return _after_speech(act, voiced, until)
    before = bisect_right(voiced, act.start)
    if not before or act.start - voiced[before - 1] > STOPPED_S:
        return Finding(act.kind, act.text, void=True)
    silent_at = silence_after(voiced, act.start, until)
    if act.kind == "interrupt":
        stop_ms = (silent_at - act.start) * 1000 if silent_at > act.start else None  # None: it was between two sentences
        reply = _first_speech(voiced, max(act.end, silent_at + STOPPED_S), until)
        reply_ms = (reply - act.end) * 1000 if reply is not None else None
        dead = until - act.end > DEAD_AIR_S and (reply_ms is None or reply_ms > DEAD_AIR_S * 1000)
        return Finding(act.kind, act.text, reply_ms, stop_ms, missed=silent_at - act.start > MISSED_S, dead_air=dead)
    again = _first_speech(voiced, silent_at + STOPPED_S / 2, until)
    stopped_for_it = act.start <= silent_at <= act.end + STOPPED_S
    gap = (again if again is not None else until) - silent_at
    return Finding(act.kind, act.text, falsely_interrupted=stopped_for_it and gap > RESUMED_S)


def _after_speech(act: Act, voiced: Sequence[float], until: float) -> Finding:
    """The agent's previous speech may still sound when the caller begins, so only speech after a silence counts."""
    begun = act.start
    last = bisect_right(voiced, act.start)
    if last and act.start - voiced[last - 1] < STOPPED_S:
        begun = silence_after(voiced, act.start, until)
    reply = _first_speech(voiced, begun, until)
    if reply is None:
        return Finding(act.kind, act.text, dead_air=until - act.end > DEAD_AIR_S)
    if reply < act.end:
        return Finding(act.kind, act.text, cut_off=True)
    return Finding(act.kind, act.text, (reply - act.end) * 1000, dead_air=reply - act.end > DEAD_AIR_S)


def silence_after(voiced: Sequence[float], after: float, until: float) -> float:
    """The last voiced time before the first silence of `STOPPED_S` after a time; `after` if there is no speech."""
    index = max(bisect_right(voiced, after) - 1, 0)
    for position in range(index, len(voiced) - 1):
        if voiced[position + 1] - max(voiced[position], after) > STOPPED_S:
            return max(voiced[position], after)
    return max(min(voiced[-1], until), after) if voiced else after


def _first_speech(voiced: Sequence[float], after: float, until: float) -> float | None:
    """When the next speech begins: three packets within 100 ms, so that a click does not count."""
    index = bisect_right(voiced, after)
    end = bisect_left(voiced, until)
    for position in range(index, end - _CLICK_PACKETS + 1):
        if voiced[position + _CLICK_PACKETS - 1] - voiced[position] < 0.1:
            return voiced[position]
    return None


def word_errors(said: Sequence[str], heard: Sequence[str]) -> int:
    """Words inserted, omitted or replaced (Levenshtein)."""
    row = list(range(len(heard) + 1))
    for count, word in enumerate(said, 1):
        previous, row[0] = row[0], count
        for index, other in enumerate(heard, 1):
            previous, row[index] = row[index], min(row[index] + 1, row[index - 1] + 1, previous + (word != other))
    return row[-1]


BOUNDS: dict[str, tuple[str, float]] = {
    "cut_off_percent": ("<", 3.0),
    "end_of_turn_ms_median": ("<=", 350.0),
    "end_of_turn_ms_p95": ("<=", 900.0),
    "false_interruptions_percent": ("<", 2.0),
    "missed_barge_ins_percent": ("<", 2.0),
    "stop_ms_p95": ("<=", 200.0),
    "words_right_percent": (">=", 90.0),
    "dead_air": ("<=", 0.0),
    "voice_to_voice_ms_median": ("<=", 900.0),
    "added_ms_p95": ("<=", 60.0),
}
"""The bound of each figure."""


def figures_of(
    findings: Iterable[Finding], turns: Iterable[dict[str, Any]], words: tuple[int, int], words_in_noise: tuple[int, int] = (0, 0)
) -> dict[str, Any]:
    """Each figure by name, None if nothing was measured. `turns` are the server's `turn` events. `words`: wrong and total, on lines
    without and with the persona's noise."""
    found = [one for one in findings if not one.void]
    said = [one for one in found if one.kind == "say"]
    interrupts = [one for one in found if one.kind == "interrupt"]
    others = [one for one in found if one.kind in ("backchannel", "sound")]
    replies = [one.reply_ms for one in said if one.reply_ms is not None]
    measured = list(turns)
    waits = [float(turn["endOfTurnWait"]) for turn in measured if turn.get("endOfTurnWait") is not None]
    added = [float(turn["added"]) for turn in measured if turn.get("added") is not None]
    return {
        "turns": len(said),
        "interruptions": len(interrupts),
        "no_interruptions": len(others),
        "cut_off_percent": _percent(one.cut_off for one in said),
        "end_of_turn_ms_median": _median(waits),
        "end_of_turn_ms_p95": _p95(waits),
        "false_interruptions_percent": _percent(one.falsely_interrupted for one in others),
        "missed_barge_ins_percent": _percent(one.missed for one in interrupts),
        "stop_ms_p95": _p95([one.stop_ms for one in interrupts if one.stop_ms is not None and not one.missed]),
        "words_right_percent": _right_percent(words),
        "words_right_in_noise_percent": _right_percent(words_in_noise),
        "dead_air": sum(one.dead_air for one in found),
        "voice_to_voice_ms_median": _median(replies),
        "voice_to_voice_ms_p95": _p95(replies),
        "added_ms_p95": _p95(added),
    }


def out_of_bounds(figures: dict[str, Any]) -> list[str]:
    """The figures outside their bounds, with value and bound; figures without a measurement are skipped."""
    wrong = []
    for name, (relation, bound) in BOUNDS.items():
        value = figures.get(name)
        holds = value is None or {"<": value < bound, "<=": value <= bound, ">=": value >= bound}[relation]
        if not holds:
            wrong.append(f"{name} is {value:g}, expected {relation} {bound:g}")
    return wrong


def _percent(flags: Iterable[bool]) -> float | None:
    all_flags = list(flags)
    return round(100 * sum(all_flags) / len(all_flags), 1) if all_flags else None


def _right_percent(words: tuple[int, int]) -> float | None:
    wrong, said = words
    return round(max(0.0, 100 * (1 - wrong / said)), 1) if said else None


def _median(values: Sequence[float]) -> float | None:
    return round(median(values), 1) if values else None


def _p95(values: Sequence[float]) -> float | None:
    return round(float(np.percentile(values, 95)), 1) if values else None
