"""Compares a persona's expectations with the call, and formats the run: JUnit XML and one JSON object."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from active_call.agent.matching.spoken_form import spoken_words
from active_call.agent.turn.interruption import is_filler
from active_call.bench.evals.call import Played
from active_call.bench.evals.measuring import figures_of, out_of_bounds, with_given_up_replies, word_errors
from active_call.bench.evals.persona import Persona


@dataclass(frozen=True, slots=True)
class Verdict:
    """One evaluated call. `heard`: the agent's words as recognised from its sound. `words`: wrong and total words of the caller."""

    persona: Persona
    played: Played
    failures: tuple[str, ...]
    heard: str
    turns: tuple[Mapping[str, Any], ...] = ()
    words: tuple[int, int] = (0, 0)


def words_of(text: str) -> list[str]:
    """Words for comparison: numbers as digits, homophones unified (`agent/matching/spoken_form`), without fillers such as "um"."""
    return [word for word in spoken_words(text) if not is_filler(word)]


def judge(persona: Persona, played: Played, record: Mapping[str, Any] | None, heard: str) -> Verdict:
    """All expectations of `persona` that were not met. Expectations about the record fail if there is none."""
    failures = list(played.failures)
    lines = list(record.get("turns", ())) if record else []
    caller = " ".join(str(line.get("text", "")) for line in lines if line.get("speaker") == "caller")
    events = list(record.get("events", ())) if record else []
    names = [str(event.get("event", "")) for event in events]
    tools = [str(event.get("name", "")) for event in events if event.get("event") == "functionCall"]
    needs_record = {"understood", "events", "tools"} & persona.expect.keys()
    if needs_record and record is None:
        failures.append(f"{', '.join(sorted(needs_record))}: there is no record of the call; give --url")
        needs_record = set()
    played.findings = with_given_up_replies(played.findings, names.count("interruption"))
    failures += _missing("heard", persona, words_of(heard), phrases=True)
    if needs_record:
        failures += _missing("understood", persona, words_of(caller), phrases=True)
        failures += _missing("events", persona, names) + _missing("tools", persona, tools)
    failures += _different(persona, played) + _over_limits(persona, played)
    words = (0, 0)
    if record is not None:
        said = words_of(" ".join(act.text for act in played.acts if act.kind in ("say", "interrupt")))
        words = (word_errors(said, words_of(caller)), len(said))
    turns = tuple({"endOfTurnWait": line.get("endOfTurnWaitMs"), "added": line.get("addedMs"), **line} for line in lines)
    return Verdict(persona, played, tuple(failures), heard, turns, words)


def _missing(name: str, persona: Persona, found: Sequence[str], *, phrases: bool = False) -> list[str]:
    text = f" {' '.join(found)} "
    wanted = persona.expect.get(name, ())
    lost = [one for one in wanted if (f" {' '.join(words_of(one))} " not in text if phrases else one not in found)]
    return [f"{name}: expected {one!r} in {' '.join(found) or 'nothing'!r}" for one in lost]


def _different(persona: Persona, played: Played) -> list[str]:
    expect = persona.expect
    wrong = []
    if "ended_by" in expect and expect["ended_by"] != played.ended_by:
        wrong.append(f"ended_by: expected {expect['ended_by']}, was {played.ended_by or 'nobody'}")
    if "digits" in expect and expect["digits"] != played.digits:
        wrong.append(f"digits: expected {expect['digits']!r} from the agent, heard {played.digits!r}")
    if "transfer" in expect and not any(expect["transfer"] in target for target in played.transfers):
        wrong.append(f"transfer: expected a REFER to {expect['transfer']!r}, saw {played.transfers or 'none'}")
    return wrong


def _over_limits(persona: Persona, played: Played) -> list[str]:
    worst = {
        "max_reply_ms": max((one.reply_ms for one in played.findings if one.reply_ms is not None), default=0.0),
        "max_stop_ms": max((one.stop_ms for one in played.findings if one.stop_ms is not None), default=0.0),
        "max_seconds": played.seconds,
    }
    return [f"{name}: {worst[name]:.0f} over {limit:g}" for name, limit in persona.limits.items() if worst[name] > limit]


def summary(verdicts: Sequence[Verdict], *, bounded: bool) -> dict[str, Any]:
    """The final object of `--json`: each figure by name, calls, failures, `ok`. `bounded`: figures are compared with their bounds."""
    findings = [finding for one in verdicts for finding in one.played.findings]
    words, words_in_noise = (_words([one for one in verdicts if bool(one.persona.noise) is noisy]) for noisy in (False, True))
    figures = figures_of(findings, [dict(turn) for one in verdicts for turn in one.turns], words, words_in_noise)
    outside = out_of_bounds(figures) if bounded else []
    failed = {one.persona.name: list(one.failures) for one in verdicts if one.failures}
    late = max((one.played.own_late_ms_p99 for one in verdicts), default=0.0)
    return {
        **figures,
        "calls": len(verdicts),
        "own_late_ms_p99": late,
        "failures": failed,
        "out_of_bounds": outside,
        "ok": bool(verdicts) and not failed and not outside,
    }


def _words(verdicts: Sequence[Verdict]) -> tuple[int, int]:
    return sum(one.words[0] for one in verdicts), sum(one.words[1] for one in verdicts)


def junit(verdicts: Sequence[Verdict], outside: Sequence[str]) -> bytes:
    """The run as JUnit XML: a test case for each persona, and one for the figures."""
    suite = ElementTree.Element("testsuite", name="active-call eval", tests=str(len(verdicts) + 1))
    suite.set("failures", str(sum(bool(one.failures) for one in verdicts) + bool(outside)))
    cases = [(one.persona.name, one.played.seconds, one.failures) for one in verdicts]
    for name, seconds, failures in [*cases, ("figures", 0.0, tuple(outside))]:
        case = ElementTree.SubElement(suite, "testcase", classname="eval", name=name, time=f"{seconds:.1f}")
        if failures:
            ElementTree.SubElement(case, "failure", message=_xml_text(failures[0])).text = _xml_text("\n".join(failures))
    octets: bytes = ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True)
    return octets


def _xml_text(text: str) -> str:
    """Without characters that XML cannot contain."""
    return re.sub(r"[^\t\n\r\x20-\uD7FF\uE000-\uFFFD]", "?", text)
