"""Read the YAML front matter of a playbook, substitute environment variables, and keep the line of every key for error messages.

In: the text between the two `---` lines. Out: plain dicts and a `LineOf` that maps a dotted path to its line. Raises nothing. This module
does not know the meaning of any key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml
from msgspec import Struct

from active_call.agent.playbook.findings import Findings

MAX_VALUES = 20_000
"""Keys and values of a front matter, also after merging (`<<`), in which a kilobyte can name billions of them."""
_MERGE = "tag:yaml.org,2002:merge"
MAX_DEPTH = 64
"""Levels of mappings and lists. The front matter of a playbook has six."""
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""With libyaml, which PyYAML's wheels contain, reading takes a tenth of the time."""
_DEEPER = (yaml.BlockMappingStartToken, yaml.BlockSequenceStartToken, yaml.FlowMappingStartToken, yaml.FlowSequenceStartToken)
_HIGHER = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)
_VARIABLE = re.compile(r"\$\{([A-Za-z_]\w*+)(?::-((?:[^}$]|\$(?!\{))*+))?\}")
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
MAX_NUMBER_CHARS = 100
"""YAML reads 1:59:59 as a number to base 60; the time to do so grows with the square of its length."""


class FrontMatter(Struct, frozen=True):
    """The decoded mapping and the lines of its keys."""

    data: dict[str, Any]
    lines: Mapping[tuple[str, ...], int]

    def line_of(self, path: str) -> int:
        """The line of the key at a dotted path such as `sip.headers`, or of its nearest ancestor; 1 if there is none."""
        parts = tuple(snake(part) for part in re.sub(r"\[(\d+)\]", r".\1", path).split(".") if part)
        while parts and parts not in self.lines:
            parts = parts[:-1]
        return self.lines.get(parts, 1)


def snake(name: str) -> str:
    """`volumeFadeMs` as `volume_fade_ms`. Both spellings mean the same option."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda match: "_" + match.group(1), name).lower().replace("-", "_")


def read_front_matter(text: str, *, first_line: int, environment: Mapping[str, str] | None, findings: Findings) -> FrontMatter:
    """Read YAML that starts at line `first_line` of its file. `${VAR}` and `${VAR:-default}` are substituted in values only.

    Without an `environment` the text may not read it: defaults are used, and a variable without one is a mistake.

    Mistakes go to `findings`. Invalid YAML is read as empty.
    """
    try:
        _check_size(text)
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return FrontMatter({}, {})
        if not isinstance(node, yaml.MappingNode):
            findings.error(first_line, "the front matter must be `key: value` lines")
            return FrontMatter({}, {})
        _Merges().count(node)
        reader = _Reader(first_line, environment, findings)
        reader.visit(node, ())
        return FrontMatter(loader.construct_document(node), reader.lines)
    except yaml.MarkedYAMLError as error:
        last = text.rstrip("\n").count("\n")  # libyaml puts the end of the text on a line of its own
        line = first_line + min(error.problem_mark.line, last) if error.problem_mark else first_line
        findings.error(line, f"the front matter is not YAML: {_why(error, text)}")
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        findings.error(first_line, f"the front matter is not YAML: {error}")
    return FrontMatter({}, {})


def _why(error: yaml.MarkedYAMLError, text: str) -> str:
    """What is wrong. A tab at the beginning of a line is named: YAML's own words for it are hard to understand."""
    line = text.split("\n")[error.problem_mark.line :][:1] if error.problem_mark else []
    if line and "\t" in line[0][: len(line[0]) - len(line[0].lstrip())]:
        return "the line begins with a tab; YAML is indented by spaces"
    return str(error.problem or error)


def _check_size(text: str) -> None:
    """Raise MarkedYAMLError where `text` has too many values, or is nested too deep: to build it would overflow the stack, or cost the
    square of its depth.
    """
    depth = n_values = 0
    for token in yaml.scan(text, Loader=_Loader):
        n_values += isinstance(token, yaml.ScalarToken | yaml.AliasToken)
        if n_values > MAX_VALUES:
            raise yaml.MarkedYAMLError(problem=f"more than {MAX_VALUES} keys and values", problem_mark=token.start_mark)
        if isinstance(token, _DEEPER):
            depth += 1
            if depth > MAX_DEPTH:
                raise yaml.MarkedYAMLError(problem=f"nested more than {MAX_DEPTH} levels deep", problem_mark=token.start_mark)
        elif isinstance(token, _HIGHER):
            depth -= 1


class _Merges:
    """Counts the keys of each mapping after merging: a merge copies the keys of what it names, with all that this has merged."""

    def __init__(self) -> None:
        self._n_keys: dict[int, int] = {}
        self._total = 0

    def count(self, node: yaml.Node) -> int:
        """The keys of `node`, which is no mapping if it has none. Raises MarkedYAMLError if all mappings together have too many."""
        known = self._n_keys.get(id(node))
        if known is not None:
            return known
        self._n_keys[id(node)] = MAX_VALUES + 1  # until it is known; it stays for a mapping that merges itself
        n_keys = 0
        if isinstance(node, yaml.MappingNode):
            n_keys = sum(self._added(key, value) for key, value in node.value)
        elif isinstance(node, yaml.SequenceNode):
            for item in node.value:
                self.count(item)
        self._n_keys[id(node)] = n_keys
        self._total += n_keys
        if self._total > MAX_VALUES:
            raise yaml.MarkedYAMLError(problem=f"more than {MAX_VALUES} keys after merging", problem_mark=node.start_mark)
        return n_keys

    def _added(self, key: yaml.Node, value: yaml.Node) -> int:
        n_keys = self.count(value)
        if key.tag != _MERGE:
            return 1
        return sum(map(self.count, value.value)) if isinstance(value, yaml.SequenceNode) else n_keys


class _Reader:
    """Walks the node tree once: substitutes variables, records lines, and reports duplicate keys."""

    def __init__(self, first_line: int, environment: Mapping[str, str] | None, findings: Findings) -> None:
        self.lines: dict[tuple[str, ...], int] = {}
        self._findings = findings
        self._first_line = first_line
        self._environment = environment
        self._seen: set[int] = set()

    def visit(self, node: yaml.Node, path: tuple[str, ...]) -> None:
        """Build the plain value of `node` and record its line and those of its keys."""
        if id(node) in self._seen:
            return  # an alias: its anchor has been visited
        self._seen.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            node.value = _VARIABLE.sub(lambda match: self._fill_in(match, node), node.value)
            if node.tag in _NUMBERS and len(node.value) > MAX_NUMBER_CHARS:
                self._findings.error(self._line(node), f"a number has {len(node.value)} characters; expected at most {MAX_NUMBER_CHARS}")
                node.value = "0"
        elif isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self.lines[(*path, str(index))] = self._line(item)
                self.visit(item, (*path, str(index)))
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                self._note_key(key, path)
                self.visit(value, (*path, snake(str(key.value))))

    def _note_key(self, key: yaml.Node, path: tuple[str, ...]) -> None:
        place = (*path, snake(str(key.value)))
        if place in self.lines and key.value != "<<":
            self._findings.error(self._line(key), f"{key.value!r} is given twice (first in line {self.lines[place]})")
            return
        self.lines[place] = self._line(key)

    def _fill_in(self, match: re.Match[str], node: yaml.Node) -> str:
        name, default = match.group(1), match.group(2)
        if self._environment is None:
            if default is None:
                reason = f"{name}: the environment is for the operator's playbook files, not for a text that came over HTTP"
                self._findings.error(self._line(node), f"{reason}; leave out a vendor's key that the server has, or send the value itself")
            return default or ""
        value = self._environment.get(name)
        if value:
            return value
        if value is None and default is None:
            reason = f"the environment variable {name} is not set; set it, or write `${{{name}:-value}}` for a default"
            self._findings.error(self._line(node), reason)
        return default or ""

    def _line(self, node: yaml.Node) -> int:
        return self._first_line + int(node.start_mark.line)
