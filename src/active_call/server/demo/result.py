"""The result of the demo, from both sides: the intended words and the recognised ones. Values and their evaluation only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from active_call.server.demo.stories import DemoStory
from active_call.testing.sound.open_listening import plain_words, share_heard

MIN_SHARE = 0.3
"""The agent's recognised text belongs to a sentence of the caller if more than this share of either's words agrees."""
MAX_PIECES = 4
"""How many pieces a sentence may be recognised in."""


@dataclass(slots=True)
class DemoResult:
    """The demo's outcome. `turns`: who, text (intended), heard (by the other side), latency_ms. `retries`: repeated questions, with
    reasons.
    """

    ok: bool = False
    failures: list[str] = field(default_factory=list)
    turns: list[dict[str, Any]] = field(default_factory=list)
    retries: list[str] = field(default_factory=list)
    engines: dict[str, Any] = field(default_factory=dict)
    recording: str = ""
    record: str = ""
    barge_in_ms: float | None = None
    model_stopped_ms: float | None = None
    """How long after the interruption the language model stopped writing; None without a model, or if it had finished before."""
    words_right: float | None = None
    """Share of the caller's words that the agent recognised."""
    summary: dict[str, Any] = field(default_factory=dict)
    bye_line: str = ""
    """The line that says who hung up; it comes before the last sentence is recognised, and is printed after it."""

    def as_json(self) -> dict[str, Any]:
        """The object printed by `--json`."""
        return {
            "ok": self.ok,
            "turns": self.turns,
            "retries": self.retries,
            "engines": self.engines,
            "words_right": self.words_right,
            "recording": self.recording,
            "record": self.record,
            "barge_in_ms": self.barge_in_ms,
            "model_stopped_ms": self.model_stopped_ms,
            "failures": self.failures,
            "latency_ms": self.summary.get("latency_ms", {}),
            "setup_ms": self.summary.get("setup_ms", {}),
            "audio": self.summary.get("audio", {}),
            "violations": self.summary.get("violations", []),
        }


def judge(result: DemoResult, story: DemoStory, record: Mapping[str, Any]) -> None:
    """Fill in the turns, and list the differences from the story."""
    result.failures += result.summary.get("failures", [])
    result.engines = dict(record.get("engines", {}))
    meant = [line["text"] for line in record.get("turns", []) if line["speaker"] == "agent"]
    heard = [line["text"] for line in record.get("turns", []) if line["speaker"] == "caller"]
    # An interruption is reported before the interrupted turn ends: the table is sorted by start.
    for turn in sorted(result.summary.get("turns", []), key=lambda turn: turn.get("at", 0.0)):
        match turn["kind"]:
            case "agent":
                said = meant.pop(0) if meant else ""
                words = turn.get("words") or turn["text"]
                result.turns.append({"who": "agent", "text": said, "heard": words, "latency_ms": turn.get("latency_ms")})
            case "caller":
                result.turns.append({"who": "caller", "text": turn["text"], "heard": _taken(turn["text"], heard), "latency_ms": None})
            case "digit":
                _judge_digit(result, turn["text"], record)
            case "again":
                result.retries.append(turn["text"])
            case _:
                pass
    _judge_words(result, story)
    if record:
        _judge_record(result, story, record)
    result.ok = not result.failures


def _taken(text: str, heard: list[str]) -> str:
    """The agent's text of one sentence, removed from the list; it may be in several pieces, and earlier text may be missing."""
    words = plain_words(text)
    best, best_end, best_text = MIN_SHARE, 0, ""
    for start in range(len(heard)):
        for end in range(start + 1, min(len(heard), start + MAX_PIECES) + 1):
            joined = " ".join(heard[start:end])
            share = min(share_heard(text, plain_words(joined))[0], share_heard(joined, words)[0])
            if share > best:
                best, best_end, best_text = share, end, joined
    del heard[:best_end]
    return best_text.strip()


def _judge_digit(result: DemoResult, digit: str, record: Mapping[str, Any]) -> None:
    pressed = [event["digit"] for event in record.get("events", []) if event.get("event") == "dtmf"]
    result.turns.append({"who": "caller", "text": digit, "heard": "".join(pressed), "latency_ms": None})
    if pressed != [digit]:
        result.failures.append(f"the caller pressed {digit}, the agent received {pressed}")


def _judge_words(result: DemoResult, story: DemoStory) -> None:
    """Over the whole call, because a misunderstood caller repeats once."""
    spoken = [turn for turn in result.turns if turn["who"] == "caller" and len(turn["text"]) > 1]
    total, right = 0, 0.0
    for turn in spoken:
        words = plain_words(turn["text"])
        total += len(words)
        right += share_heard(turn["text"], plain_words(turn["heard"]))[0] * len(words)
    result.words_right = round(right / total, 3) if total else None
    if result.words_right is None or result.words_right < story.min_words_right:
        result.failures.append(f"the agent recognised {result.words_right} of the caller's words, expected {story.min_words_right}")


def _judge_record(result: DemoResult, story: DemoStory, record: Mapping[str, Any]) -> None:
    turns: Sequence[Mapping[str, Any]] = record.get("turns", [])
    if record.get("status") != "answered" or record.get("error"):
        result.failures.append(f"the record says {record.get('status')}: {record.get('error')}")
    if record.get("hangupBy") != story.ended_by:
        result.failures.append(f"the record says that {record.get('hangupBy')} hung up, expected {story.ended_by}")
    if (record.get("recordingMs") or 0) < story.min_recording_s * 1000 or not Path(result.recording).is_file():
        result.failures.append("the recording is missing or incomplete")
    if not any(turn.get("interrupted") for turn in turns):
        result.failures.append("nothing was interrupted")
