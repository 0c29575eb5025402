"""Playbooks that clients and webhooks send as text: reading and checking one takes time in proportion to its length.

The bounds are far above what the texts take, and far below what they took when the time grew with the square of the length.
"""

from __future__ import annotations

import time

import pytest

from active_call.agent.markup import parse_attributes
from active_call.agent.playbook.check import PlaybookResources
from active_call.agent.playbook.findings import MAX_FINDINGS
from active_call.agent.playbook.parser import read_playbook
from active_call.api.console_data.playbook_view import view_of

SCRIPT = "---\nllm: {provider: script, greeting: hi}\n---\n# Scene: main\n## a\n"
MODEL = "---\nllm: {provider: openai}\n---\n"
SECONDS = 8.0


@pytest.mark.parametrize(
    "text",
    [
        SCRIPT + "<!--" * 25_000,
        SCRIPT + "<dtmf " * 12_000,
        SCRIPT + '<goto "' * 12_000,
        SCRIPT + "<dtmf '\"" * 12_000,
        MODEL + "<followup a='1'/>" * 12_000,
        "---\na: '" + "${A:-" * 40_000 + "'\n---\nhi",
        "---\na0: &a0 {k: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 40)}]}}\n" for n in range(1, 5)) + "---\nhi",
        "---\n" + "".join(f"a{n}: &a{n} {{<<: *a{max(n - 1, 0)}, k{n}: 1}}\n" for n in range(4_000)) + "---\nhi",
        "---\na: 1" + ":59" * 200_000 + "\n---\nhi",
        "---\nasr: {" + ", ".join(f"k{n}: 1" for n in range(100_000)) + "}\n---\nhi",
        MODEL + "".join(f"# Scene: s{n}\nx\n" for n in range(400)) + "".join(f'<goto scene="q{n}"/>\n' for n in range(20_000)),
    ],
    ids=lambda text: text.replace("\n", " ")[40:80],
)
def test_hostile_playbook_is_read_in_time(text: str) -> None:
    begun = time.process_time()
    read_playbook(text, file="(inline)", environment=None, is_file=False)
    assert time.process_time() - begun < SECONDS


@pytest.mark.parametrize(
    "text",
    [
        SCRIPT + "<hangup>\n" * 25_000,
        SCRIPT + "<hangup " + "a" * 25_000 + "/>",
        SCRIPT + "".join(f"<x{n}>\n" for n in range(100_000)),
        MODEL + "".join(f"# Scene: s{n}\nhello\n" for n in range(1_500)),
    ],
    ids=lambda text: text.replace("\n", " ")[20:80],
)
def test_hostile_playbook_is_checked_in_time(text: str) -> None:
    begun = time.process_time()
    found = view_of(text, PlaybookResources(None))
    assert time.process_time() - begun < SECONDS
    assert len(found["findings"]) <= 2 * MAX_FINDINGS


def test_attributes_of_a_long_tag_are_read_in_time() -> None:
    begun = time.process_time()
    assert parse_attributes("a" * 40_000 + ' b="1"') == {"b": "1"}
    assert time.process_time() - begun < SECONDS


def test_warnings_do_not_hide_a_mistake() -> None:
    text = "---\nllm: {provider: script, features: [" + ", ".join(f"f{n}" for n in range(900)) + "], thinking: nonsense}\n---\nhi"
    reading = read_playbook(text, file="p.md", environment={})
    assert reading.findings.first_error is not None
    assert len(reading.findings.entries) == MAX_FINDINGS + 1


def test_ordinary_merge_is_read_and_one_with_itself_is_a_mistake() -> None:
    text = "---\nasr: &speech {provider: openai, extra: {a: 1}}\ntts: {<<: *speech, speaker: anna}\n---\nhi"
    reading = read_playbook(text, file="p.md", environment={})
    assert reading.findings.first_error is None
    assert reading.playbook.option.tts is not None and reading.playbook.option.tts.speaker == "anna"
    broken = read_playbook("---\nasr: &a {<<: *a}\n---\nhi", file="p.md", environment={}).findings.first_error
    assert broken is not None and broken.line == 2


def test_comment_that_is_not_closed_is_text_and_the_lines_are_kept() -> None:
    text = "# Scene: a\nx <!-- one\ntwo --> y\n<!-- z\n# Scene: a\n"
    error = read_playbook(text, file="p.md", environment={}).findings.first_error
    assert error is not None and error.line == 5
