"""What the doctor says of MCP servers and folders of knowledge."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from active_call.agent.playbook.parser import parse_playbook
from active_call.providers.mcp.settings import McpSettings
from active_call.server.doctor import tools
from active_call.server.doctor.findings import Finding
from active_call.server.doctor.tools import tool_findings


def found(matter: str, folder: Path, **configured: McpSettings) -> list[tuple[str, str]]:
    book = parse_playbook(f"---\n{matter}\n---\nHi.\n", file=str(folder / "own.md"), environment={})
    return [(finding.level, finding.text) for finding in tool_findings({"own.md": book}, configured)]


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "find_spec", lambda _: object())


def test_program_that_is_there_and_one_that_is_not(tmp_path: Path) -> None:
    (first, second) = found(f"mcp: [{{name: a, command: {sys.executable}}}, {{name: b, command: no-such-program}}]", tmp_path)
    assert first == ("ok", f"MCP server a: {sys.executable}")
    assert second == ("fail", "MCP server b: there is no program no-such-program")


def test_server_that_the_configuration_has_not_got_and_one_that_it_has(tmp_path: Path) -> None:
    crm = McpSettings("crm", url="https://crm.example/mcp?key=secret")
    lines = found("mcp: [crm, shop]", tmp_path, crm=crm)
    assert ("fail", "own.md: there is no [mcp.shop] in the configuration (known: crm)") in lines
    assert ("ok", "MCP server crm at https://crm.example/mcp (not asked here)") in lines


def test_extra_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "find_spec", lambda _: None)
    lines = found("mcp: [{url: 'https://x.example/'}]", tmp_path)
    assert lines[0] == ("fail", "MCP servers need the extra 'mcp': pip install 'active-call[mcp]'")
    assert found("greeting: Hi.", tmp_path) == []


def test_folder_of_knowledge_that_is_there_and_one_that_is_not(tmp_path: Path) -> None:
    assert found("knowledge: docs", tmp_path) == [("fail", f"own.md: the knowledge folder {tmp_path / 'docs'} does not exist")]
    (tmp_path / "docs").mkdir()
    assert found("knowledge: docs", tmp_path) == [("ok", f"own.md: knowledge in {tmp_path / 'docs'}")]
    assert Finding("tools", "ok", "x").check == "tools"
