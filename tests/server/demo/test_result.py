"""The demo's judgement: both sides put together, and what it says when something is not as the story says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from active_call.agent.playbook.parser import parse_playbook
from active_call.server.commands.playbook import examine
from active_call.server.demo.result import DemoResult, judge
from active_call.server.demo.small_model import SmallModel
from active_call.server.demo.stories import SCRIPTED, WITH_MODEL, DemoStory
from active_call.server.starter_files import starter_text
from active_call.testing.phone.story import Story

ASKED = "Could you tell me when you are open?"


def record(tmp_path: Path, **changes: Any) -> dict[str, Any]:
    (tmp_path / "call.wav").write_bytes(b"RIFF")
    turns = [
        {"speaker": "agent", "text": "Welcome."},
        {"speaker": "caller", "text": "Could you tell me"},
        {"speaker": "caller", "text": "when you're open?"},
        {"speaker": "agent", "text": "From nine", "interrupted": True},
        {"speaker": "caller", "text": "Thank you, goodbye."},
    ]
    facts = {"status": "answered", "hangupBy": "agent", "recordingMs": 60_000, "turns": turns, "events": [{"event": "dtmf", "digit": "2"}]}
    return {**facts, "engines": {"tts": {"provider": "piper", "reason": "installed, English; no key"}}, **changes}


def result_of(tmp_path: Path) -> DemoResult:
    result = DemoResult(recording=str(tmp_path / "call.wav"))
    result.summary = {
        "kind": "summary",
        "failures": [],
        "turns": [
            {"kind": "agent", "text": "Welcome.", "words": "Welcome."},
            {"kind": "caller", "text": ASKED},
            {"kind": "again", "text": "not understood (Pardon?): asks again"},
            {"kind": "agent", "text": "From nine to five.", "words": "From nine"},
            {"kind": "digit", "text": "2"},
            {"kind": "caller", "text": "Thank you, goodbye."},
        ],
    }
    return result


def test_turns_have_what_was_meant_and_what_the_other_side_heard(tmp_path: Path) -> None:
    result = result_of(tmp_path)
    judge(result, SCRIPTED, record(tmp_path))
    assert result.ok, result.failures
    assert [(turn["who"], turn["heard"]) for turn in result.turns] == [
        ("agent", "Welcome."),
        ("caller", "Could you tell me when you're open?"),
        ("agent", "From nine"),
        ("caller", "2"),
        ("caller", "Thank you, goodbye."),
    ]
    assert result.retries == ["not understood (Pardon?): asks again"]
    assert result.engines["tts"]["provider"] == "piper" and result.words_right is not None and 0.75 < result.words_right < 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hangupBy": "caller"}, "caller hung up"),
        ({"status": "failed", "error": "no media"}, "no media"),
        ({"recordingMs": 3_000}, "recording is missing"),
        ({"events": []}, "the caller pressed 2"),
        ({"turns": [{"speaker": "caller", "text": "Something else entirely."}]}, "nothing was interrupted"),
        ({"turns": [{"speaker": "caller", "text": "Something else entirely."}]}, "of the caller's words"),
    ],
)
def test_what_is_not_as_the_story_says_is_told(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    result = result_of(tmp_path)
    judge(result, SCRIPTED, record(tmp_path, **changes))
    assert not result.ok and any(words in failure for failure in result.failures), result.failures


@pytest.mark.parametrize("story", [SCRIPTED, WITH_MODEL])
def test_stories_and_playbooks_of_the_demo_can_be_played(story: DemoStory) -> None:
    played = Story.from_dict(story.as_json())
    book = parse_playbook(starter_text(story.playbook), file=story.playbook, environment={})
    said = starter_text(story.playbook)
    assert played.listening == "open" and book.option.tts is not None and book.option.tts.provider == "local"
    assert all(line in said for line in played.lines.values()), "the agent's lines are those of its playbook"


def test_model_is_watched_for_the_moment_when_it_stops_writing() -> None:
    model = SmallModel("http://127.0.0.1:1/v1", busy=[(10.0, False), (12.0, True), (15.3, False)])
    assert model.was_busy(13.0) and not model.was_busy(11.0) and not model.was_busy(16.0)
    assert model.idle_after(15.0) == pytest.approx(0.3) and model.idle_after(16.0) is None


@pytest.mark.parametrize("name", ["demo.md", "demo_model.md", "greeting.md"])
def test_playbooks_that_are_shipped_have_no_mistakes(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(starter_text(name).replace("MODEL_URL", "http://127.0.0.1:1/v1"), encoding="utf-8")
    reading = examine(file, {})
    assert not isinstance(reading, str) and reading.findings.in_order == []
