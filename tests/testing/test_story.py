"""Stories that cannot be played are refused with the place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from active_call.testing.phone.__main__ import main
from active_call.testing.phone.story import Story


def test_story_reads_named_lines_and_success() -> None:
    story = Story.from_dict({"agent": {"hi": "Hello."}, "steps": [{"do": "listen", "expect": ["hi"]}], "success": {"ended_by": "agent"}})
    assert story.lines == {"hi": "Hello."}
    assert story.success.ended_by == "agent"


def test_story_with_a_list_of_lines_names_them_by_themselves() -> None:
    assert Story.from_dict({"agent": ["Hello."], "steps": [{"do": "listen", "expect": ["Hello."]}]}).lines == {"Hello.": "Hello."}


@pytest.mark.parametrize(
    ("story", "place"),
    [
        ({"steps": [{"do": "dance"}]}, r"steps\[0\]\.do"),
        ({"steps": [{"do": "pause", "seconds": 1}, {"do": "say"}]}, r"steps\[1\]"),
        ({"steps": [{"do": "listen", "expects": []}]}, r"steps\[0\]"),
        ({"steps": [{"do": "listen", "expect": ["hi"]}]}, "no line of the agent"),
        ({"steps": [], "success": {"score": 1}}, "success"),
        ({"stepz": []}, "stepz"),
    ],
)
def test_story_that_cannot_be_played_is_refused_with_the_place(story: dict[str, Any], place: str) -> None:
    with pytest.raises(ValueError, match=place):
        Story.from_dict(story)


def test_command_line_exits_2_for_a_story_that_cannot_be_played(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "story.json").write_text(json.dumps({"steps": [{"do": "dance"}]}))
    with pytest.raises(SystemExit) as exit_info:
        main(["--uri", "sip:a@127.0.0.1:9", "--story", str(tmp_path / "story.json")])
    assert exit_info.value.code == 2
    assert "dance" in capsys.readouterr().err
