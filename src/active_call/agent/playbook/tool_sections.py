"""Read the parts of a playbook's front matter that define tools: `tools`, `mcp`, `knowledge`, `dtmfCollectors`, `languages`.

In: plain values by key, their lines, and whether the text is a file of the operator. Out: options, and findings. A text received over HTTP
may name no MCP servers (they are programs of this machine) and no folders.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from msgspec import Struct

from active_call.agent.playbook.findings import Findings
from active_call.agent.playbook.option_reading import kind_of, read_group, refuse_unknown_keys
from active_call.agent.playbook.scenes import CollectorOption, KnowledgeOption, LlmOption, McpOption
from active_call.agent.playbook.tool_reading import read_tools
from active_call.agent.tools.builtins import NAMES as RESERVED
from active_call.agent.tools.registry import Tool

T = TypeVar("T")

KNOWLEDGE_MODES = ("tool", "context", "both")
INPUTS = ("both", "dtmf", "speech")
VALIDATION_KEYS = ("pattern", "error_message")


class ToolSections(Struct, frozen=True):
    """The sections of one playbook. `data`: by key, in snake case."""

    _data: Mapping[str, Any]
    _line_of: Callable[[str], int]
    _findings: Findings
    _is_file: bool

    def collectors(self, entries: Mapping[Any, Any]) -> dict[str, CollectorOption]:
        """Read `dtmfCollectors`."""
        collectors: dict[str, CollectorOption] = {}
        for name, entry in entries.items():
            path = f"dtmfCollectors.{name}"
            collector = self._group(entry or {}, CollectorOption, path)
            if collector is not None:
                self._check_collector(collector, path)
                collectors[str(name)] = collector
        return collectors

    def _check_collector(self, collector: CollectorOption, path: str) -> None:
        if collector.input not in INPUTS:
            self._error(path, f"{path}.input: unknown kind {collector.input!r} (known: {', '.join(INPUTS)})")
        if (collector.min_digits or 1) > (collector.max_digits or collector.min_digits or 1):
            self._error(path, f"{path}: minDigits is more than maxDigits")
        if collector.finish_key and not re.fullmatch(r"[0-9*#A-D]", collector.finish_key):
            self._error(path, f"{path}.finishKey: {collector.finish_key!r} is not a key (0-9, *, #, A-D)")
        validation = collector.validation or {}
        refuse_unknown_keys(validation, VALIDATION_KEYS, f"{path}.validation", self._line_of(f"{path}.validation"), self._findings)
        try:
            re.compile(str(validation.get("pattern") or ""))
        except re.error as error:
            self._error(path, f"{path}.validation.pattern cannot be read: {error}")

    def tools(self, llm: LlmOption) -> tuple[Tool, ...]:
        """Read `tools`, and those under `llm`. The names of the agent's own actions are reserved."""
        found = [
            *read_tools(self._data.get("tools"), "tools", self._line_of, self._findings),
            *read_tools(llm.tools or None, "llm.tools", self._line_of, self._findings),
        ]
        names: set[str] = set()
        for tool in found:
            if tool.name in names or tool.name in RESERVED:
                whose = "an action of the agent" if tool.name in RESERVED else "a tool of `tools`"
                self._error("llm.tools" if tool.name in names else "tools", f"tools: {tool.name!r} is already {whose}")
            names.add(tool.name)
        return tuple(found)

    def knowledge(self) -> KnowledgeOption | None:
        """Read `knowledge`: a folder, or a folder with options."""
        data = self._data.get("knowledge")
        if data is not None and not self._is_file:
            self._error("knowledge", "knowledge: only the operator's playbook files may name a folder, not a text that came over HTTP")
            return None
        found = self._group({"folder": data} if isinstance(data, str) else data, KnowledgeOption, "knowledge")
        if found is not None and found.mode not in KNOWLEDGE_MODES:
            self._error("knowledge.mode", f"knowledge.mode: unknown mode {found.mode!r} (known: {', '.join(KNOWLEDGE_MODES)})")
        return found

    def mcp(self, llm: LlmOption) -> tuple[McpOption, ...]:
        """Read `mcp`, and those under `llm`.

        A server starts programs of this machine, so a text that came with a request may not name one.
        """
        found: list[McpOption] = []
        own = self._data.get("mcp")
        for key, data in (("mcp", own), ("llm.mcp", llm.mcp or None)):
            if data is None:
                continue
            if not self._is_file:
                self._error(key, f"{key}: only the operator's playbook files may name MCP servers, not a text that came over HTTP")
                continue
            for index, entry in enumerate(data if isinstance(data, list) else [data]):
                path = f"{key}[{index}]" if isinstance(data, list) else key
                option = self._group({"name": entry} if isinstance(entry, str) else entry, McpOption, path)
                if option is not None and option.command and option.url:
                    self._error(path, f"{path}: expected either `command` or `url`, not both")
                elif option is not None and not (option.command or option.url or option.name):
                    self._error(path, f"{path}: expected the name of a server of the configuration, a `command` or a `url`")
                elif option is not None:
                    found.append(option)
        return tuple(found)

    def languages(self) -> dict[str, str]:
        """Read `languages`: a list of codes, or codes with their voices."""
        data = self._data.get("languages")
        if isinstance(data, list) and all(isinstance(code, str) for code in data):
            return dict.fromkeys(data, "")
        if isinstance(data, dict) and all(isinstance(voice, str | None) for voice in data.values()):
            return {str(code): voice or "" for code, voice in data.items()}
        if data is not None:
            self._error("languages", "languages: expected codes such as `[en, de]` or `{en: amy, de: thorsten}`")
        return {}

    def _group(self, data: Any, cls: type[T], path: str) -> T | None:
        if data is None:
            return None
        if not isinstance(data, dict):
            self._error(path, f"{path}: expected `key: value` lines, found {kind_of(data)}")
            return None
        return read_group(data, cls, path, self._line_of, self._findings)

    def _error(self, path: str, reason: str) -> None:
        self._findings.error(self._line_of(path), reason)
