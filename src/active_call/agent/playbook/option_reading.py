"""Read front matter into option groups. An invalid value is reported and dropped; the rest is used.

In: plain values, the type of the group, and the lines. Out: the group, and findings. Raises nothing.
"""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from itertools import islice
from typing import Any, TypeVar

import msgspec

from active_call.agent.playbook.findings import Findings
from active_call.agent.playbook.front_matter import snake
from active_call.contract import wire
from active_call.contract.options import CallOption
from active_call.contract.unused import WITHOUT_EFFECT

T = TypeVar("T")

MAX_MISTAKES = 100
MAX_COMPARED = 300
"""How many known names a misspelt one is compared with."""


_TYPES = re.compile(r"expected `([\w| ]+)`, got `(\w+)`", re.IGNORECASE)
_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "`key: value` lines",
    "null": "nothing",
}


def read_group(data: dict[str, Any], cls: type[T], path: str, line_of: Callable[[str], int], findings: Findings) -> T | None:
    """`data` as `cls`, without invalid values. None if nothing usable is left."""
    data = copy.deepcopy(data)
    for _ in range(MAX_MISTAKES):
        try:
            decoded = wire.convert(data, cls, path=path)
        except wire.ContractError as error:
            findings.error(line_of(error.path), in_plain_words(str(error)))
            if not _remove(data, error.path.removeprefix(path).strip(".")):
                return None
            continue
        for unknown in decoded.unknown[:MAX_MISTAKES]:
            _refuse_unknown(unknown, cls, path, line_of, findings)
        _warn_without_effect(data, cls, path, line_of, findings)
        return decoded.value
    return None


def in_plain_words(mistake: str) -> str:
    """The types that a mistake names, in words for the author of a playbook: "expected a list, found text"."""
    match = _TYPES.search(mistake)
    if match is None:
        return mistake
    wanted = [_WORDS.get(kind, kind) for kind in match[1].split(" | ") if kind != "null"]
    return f"{mistake[: match.start()]}expected {' or '.join(wanted)}, found {_WORDS.get(match[2], match[2])}{mistake[match.end() :]}"


def nearest(name: str, known: Iterable[str], *, as_written: bool = False) -> str:
    """The text `; did you mean …?`, empty if no known name is similar. `as_written`: the known names are values, not keys."""
    close = difflib.get_close_matches(snake(name) if "_" in name else name, list(islice(known, MAX_COMPARED)), n=1, cutoff=0.6)
    return f"; did you mean {close[0] if as_written else camel(close[0])!r}?" if close else ""


def camel(name: str) -> str:
    """`volume_fade_ms` as `volumeFadeMs`."""
    head, *rest = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)


def kind_of(value: object) -> str:
    """The kind of a YAML value, in words for the author of a playbook."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case dict():
            return "`key: value` lines"
    return "a date"


def refuse_unknown_keys(data: Mapping[Any, Any], known: Iterable[str], path: str, line: int, findings: Findings) -> None:
    """Report the keys of `data` that are not among the `known` names (snake_case). For groups without a type of their own."""
    for key in islice(data, MAX_MISTAKES):
        if snake(str(key)) not in known:
            findings.error(line, f"{path}.{key}: unknown key{nearest(str(key), known)}")


def _refuse_unknown(place: str, cls: type[Any], path: str, line_of: Callable[[str], int], findings: Findings) -> None:
    """Report an unknown key. A name that other programs write and ignore is left to the warnings."""
    where, _, key = place.rpartition(".")
    inside = where.removeprefix(path).strip(".")
    group = wire.struct_at(cls, inside)
    if group is not None and snake(key) in WITHOUT_EFFECT.get(group, {}):
        return
    findings.error(line_of(place), f"{place}: unknown key{nearest(key, wire.known_names(cls, inside))}")


def _warn_without_effect(data: Any, cls: type[Any], path: str, line_of: Callable[[str], int], findings: Findings) -> None:
    if not isinstance(data, dict):
        return
    idle = WITHOUT_EFFECT.get(cls, {})
    groups = _groups_of(cls)
    for key, value in data.items():
        name = snake(str(key))
        place = f"{path}.{camel(name)}" if path else camel(name)
        if name in idle and value not in (None, {}):
            findings.warn(line_of(place), f"{place} has no effect" + (f"; {idle[name]}" if idle[name] else ""))
        elif name in groups:
            _warn_without_effect(value, groups[name], place, line_of, findings)


def _groups_of(cls: type[Any]) -> Mapping[str, type[Any]]:
    """The fields that are option groups themselves."""
    return _groups_of_call() if cls is CallOption else {}


@cache
def _groups_of_call() -> Mapping[str, type[Any]]:
    """Those of a call's options. Kept: msgspec reads the annotations anew each time."""
    found = {}
    for info in msgspec.structs.fields(CallOption):
        inner = wire.struct_in(info.type)
        if inner is not None:
            found[info.name] = inner
    return found


def _remove(data: Any, path: str) -> bool:
    """Remove the key at a dotted path from `data`, or its nearest present ancestor. False if there is nothing to remove."""
    parts = [part.partition("[")[0] for part in path.split(".") if part]
    node, owner, last = data, None, None
    for part in parts:
        key = next((key for key in node if snake(str(key)) == snake(part)), None) if isinstance(node, dict) else None
        if key is None:
            break
        owner, last, node = node, key, node[key]
    if owner is None:
        return False
    del owner[last]
    return True
