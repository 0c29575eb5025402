"""The text of the config file: TOML to plain values, the line of every key, and `${VAR}` from the environment.

A path and an environment enter; a `Document` leaves: plain values with their lines. Raises ConfigError only. Knows no key by name.
The grammar of keys, tables and values is TOML 1.0; `tomllib` validates it first, so the line scanner gets valid TOML.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from msgspec import Struct, field

from active_call.base.errors import ConfigError

KeyPath = tuple[str | int, ...]

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)+")
_KEY_PART = re.compile(r"""[ \t]*(?:"((?:[^"\\\n]|\\.)*)"|'([^'\n]*)'|([A-Za-z0-9_-]+))[ \t]*""")
_VALUE_TOKEN = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|#[^\n]*|[\[\]{}\n]|[^\[\]{}\n"\'#]+', re.S
)


class Document(Struct, frozen=True):
    """A config file as plain values. `lines` holds the line, counted from 1, of every table and key that has its own line."""

    file: str
    values: dict[str, Any]
    lines: Mapping[KeyPath, int] = field(default_factory=dict)

    def line_of(self, path: KeyPath) -> int:
        """The line of the key at `path`, or of the nearest enclosing table; 0 if none of them is in the file."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return 0

    def error(self, path: KeyPath, reason: str) -> ConfigError:
        """A ConfigError about the key at `path`."""
        line = self.line_of(path)
        return ConfigError(dotted(path), reason, file=self.file if line else "", line=line)


def dotted(path: KeyPath) -> str:
    """`("trunks", 1, "allow")` as `trunks[1].allow`; entries count from 0."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def why_unreadable(error: OSError | UnicodeDecodeError) -> str:
    """Why a file cannot be read, in words for its owner."""
    if isinstance(error, UnicodeDecodeError):
        line = error.object.count(b"\n", 0, error.start) + 1
        return f"it is not UTF-8 (line {line}: byte 0x{error.object[error.start]:02x}); save it as UTF-8 text"
    return (error.strerror or str(error)).lower()


def read_document(path: Path) -> Document:
    """Read a config file. Raises ConfigError when it cannot be read or is not TOML."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ConfigError("", f"there is no such file (looked for {path.absolute()})", file=str(path)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("", f"cannot be read: {why_unreadable(error)}", file=str(path)) from error
    return parse_document(text, str(path))


def parse_document(text: str, file: str) -> Document:
    """Parse the text of a config file. Raises ConfigError with the line of a syntax error."""
    text = text.replace("\r\n", "\n")
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
        line = int(place[1]) if place else text.count("\n") + 1
        reason = re.sub(r"\s*\(at [^)]*\)", "", str(error))
        written = text.split("\n")[line - 1].strip() if line <= text.count("\n") + 1 else ""
        raise ConfigError("", f"not valid TOML: {reason}" + (f", in {written[:80]!r}" if written else ""), file=file, line=line) from error
    return Document(file, values, find_lines(text))


def find_lines(text: str) -> dict[KeyPath, int]:
    """The line of every key, table and entry of an array of tables in valid TOML. Keys inside inline tables have no line of their own."""
    lines: dict[KeyPath, int] = {}
    counts: dict[KeyPath, int] = {}
    table: KeyPath = ()
    pos = 0
    while (pos := _skip(_BLANK, text, pos)) < len(text):
        line = text.count("\n", 0, pos) + 1
        if text[pos] == "[":
            is_array = text.startswith("[[", pos)
            parts, pos = _key(text, pos + (2 if is_array else 1))
            table = _enter(parts, is_array, counts)
            for length in range(1, len(table) + 1):
                lines.setdefault(table[:length], line)
            pos = _end_of_line(text, pos)
        else:
            parts, pos = _key(text, pos)
            for length in range(1, len(parts) + 1):
                lines.setdefault((*table, *parts[:length]), line)
            pos = _end_of_value(text, pos + 1)
    return lines


def _enter(parts: tuple[str, ...], is_array: bool, counts: dict[KeyPath, int]) -> KeyPath:
    """The full path of a table header: every array of tables in it means its last entry."""
    path: KeyPath = ()
    for index, part in enumerate(parts):
        path = (*path, part)
        if index == len(parts) - 1 and is_array:
            counts[path] = counts.get(path, 0) + 1
        if path in counts:
            path = (*path, counts[path] - 1)
    return path


def _key(text: str, pos: int) -> tuple[tuple[str, ...], int]:
    """A dotted key at `pos`, and the position after it."""
    parts = []
    while match := _KEY_PART.match(text, pos):
        parts.append(match[1] if match[1] is not None else match[2] if match[2] is not None else match[3])
        pos = match.end()
        if not text.startswith(".", pos):
            break
        pos += 1
    return tuple(parts), pos


def _end_of_value(text: str, pos: int) -> int:
    depth = 0
    while (match := _VALUE_TOKEN.match(text, pos)) is not None:
        mark = match[0]
        pos = match.end()
        if mark in ("[", "{"):
            depth += 1
        elif mark in ("]", "}"):
            depth -= 1
        elif mark == "\n" and depth == 0:
            break
    return pos


def _end_of_line(text: str, pos: int) -> int:
    end = text.find("\n", pos)
    return len(text) if end < 0 else end


def _skip(pattern: re.Pattern[str], text: str, pos: int) -> int:
    match = pattern.match(text, pos)
    return match.end() if match else pos


# -- environment -------------------------------------------------------------------------------------------------------------------------


def read_environment(folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` merged over the variables of `folder/.env`; the process's own environment is not changed."""
    try:
        found = dotenv_values(folder / ".env", interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("", f"cannot be read: {why_unreadable(error)}", file=str(folder / ".env")) from error
    return {name: value for name, value in found.items() if value is not None} | dict(environment)


def expand_variables(document: Document, environment: Mapping[str, str]) -> Document:
    """Replaces `${VAR}` and `${VAR:-default}` in every text of the document. Raises ConfigError naming a missing variable and its key."""

    def expand(value: Any, path: KeyPath) -> Any:
        if isinstance(value, str):
            return _VARIABLE.sub(lambda match: look_up(match, path), value)
        if isinstance(value, dict):
            return {key: expand(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [expand(item, (*path, index)) for index, item in enumerate(value)]
        return value

    def look_up(match: re.Match[str], path: KeyPath) -> str:
        name, default = match[1], match[2]
        value = environment.get(name)
        if default is not None:
            return value or default
        if value is None:
            raise document.error(
                path, f"the environment variable {name} is not set; set it, put it into .env, or write ${{{name}:-default}}"
            )
        return value

    return Document(document.file, expand(document.values, ()), document.lines)
