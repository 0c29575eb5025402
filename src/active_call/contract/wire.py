"""The JSON of the contract: the only place that knows it.

Keys are camelCase and accepted in snake_case too, at every level where the contract names them; keys of free maps (`headers`, `extra`,
`vars`) are left alone. Unknown keys are either an error that names the nearest known one (`strict`: config and playbook), or collected
and ignored (commands, where old clients send extra ones).
"""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Generic, TypeVar, Union, get_args, get_origin

import msgspec

from active_call.base.repair import encode_json
from active_call.contract import commands, events
from active_call.contract.checks import first_fault
from active_call.contract.durations import in_unit
from active_call.contract.errors import ContractError as ContractError
from active_call.contract.json_text import check_value, decode_json, type_name
from active_call.contract.secrets import without_secrets

T = TypeVar("T")

COMMAND_TYPES: dict[str, type[msgspec.Struct]] = {cls.__struct_config__.tag: cls for cls in get_args(commands.Command)}


@dataclass(slots=True)
class Decoded(Generic[T]):
    """A decoded value and the dotted paths of its unknown keys."""

    value: T
    unknown: list[str] = field(default_factory=list)


def decode_command(data: bytes | str | dict[str, Any]) -> Decoded[commands.Command]:
    """Read one command from JSON text or a decoded object. Raises ContractError; unknown keys are only collected."""
    obj = decode_json(data) if isinstance(data, bytes | str) else data
    if not isinstance(obj, dict):
        raise ContractError("", f"a command is a JSON object, found {type_name(obj)}")
    name = obj.get("command")
    if not isinstance(name, str):
        raise ContractError("command", "missing; it names the command")
    cls = COMMAND_TYPES.get(name) or COMMAND_TYPES.get(_camel(name))
    if cls is None:
        raise ContractError("command", f"unknown command {name!r}{_did_you_mean(name, COMMAND_TYPES)}")
    body = {key: value for key, value in obj.items() if key != "command"}
    decoded: Decoded[commands.Command] = convert(body, cls)  # type: ignore[arg-type]
    if isinstance(decoded.value, commands.Tts) and "text" not in body and not (decoded.value.end_of_stream or decoded.value.auto_hangup):
        raise ContractError("text", "missing; expected the text to speak, or endOfStream or autoHangup without one")
    return decoded


def encode_event(event: events.Event) -> bytes:
    """One event as JSON: absent fields are left out; all others are written even if they are zero or false."""
    obj = {key: value for key, value in msgspec.to_builtins(event).items() if value is not None}
    if not event.refer:
        del obj["refer"]
    return encode_json(obj)


def encode_command(command: commands.Command) -> bytes:
    """One command as JSON."""
    return msgspec.json.encode(command)


def encode_command_for_watchers(command: commands.Command) -> bytes:
    """One command as JSON for followers of a call: stars replace credentials and the keys in SDP."""
    return encode_json(without_secrets(msgspec.to_builtins(command)))


def decode_event(data: bytes | str) -> events.Event:
    """Read one event from JSON, as a client would. Raises ContractError."""
    try:
        event: events.Event = msgspec.json.decode(data, type=events.Event)
        return event
    except msgspec.MsgspecError as error:
        raise ContractError("", str(error)) from error


def to_builtins(value: Any) -> Any:
    """A contract value as plain dicts and lists with wire names, for records and templates."""
    return msgspec.to_builtins(value)


def convert(data: Any, cls: type[T], *, path: str = "", strict: bool = False) -> Decoded[T]:
    """Turn a decoded JSON/YAML object into the contract type `cls`. Raises ContractError with the dotted path.

    With `strict`, an unknown key is an error, too.
    """
    unknown: list[str] = []
    prepared = _prepare(data, cls, path, unknown)
    if strict and unknown:
        where, _, key = unknown[0].rpartition(".")
        names = known_names(cls, where[len(path) :].strip(".") if path else where)
        raise ContractError(unknown[0], f"unknown key{_did_you_mean(key, names)}")
    check_value(prepared, path)
    try:
        value = msgspec.convert(prepared, cls, strict=False)
    except msgspec.ValidationError as error:
        raise _mismatch(error, prepared, cls, path) from error
    _check_forms(value, path)
    return Decoded(value, unknown)


def known_names(cls: Any, path: str = "") -> list[str]:
    """The wire names of the keys that the object at the dotted `path` inside `cls` may have."""
    struct = struct_at(cls, path)
    return [info.encode_name for info in msgspec.structs.fields(struct)] if struct else []


def struct_at(cls: Any, path: str) -> type[msgspec.Struct] | None:
    """The contract type of the object at the dotted `path` inside `cls`."""
    struct = _struct_in(cls)
    for part in (p for p in path.split(".") if p):
        info = _names_of(struct).get(part.partition("[")[0]) if struct is not None else None
        kind = info.type if info is not None else None
        struct = _struct_in(_list_item(kind) if "[" in part else kind)
    return struct


def struct_in(cls: Any) -> type[msgspec.Struct] | None:
    """The contract type in an annotation such as `AsrOption | None`."""
    return _struct_in(cls)


def check_command(command: commands.Command) -> None:
    """Check a command of this process for the same types, bounds and forms as one from outside. Raises ContractError.

    The target of a transfer is judged by the transfer itself, which tells how it ended.
    """
    try:
        msgspec.convert(msgspec.to_builtins(command), type(command), strict=True)
    except TypeError as error:
        raise ContractError("", f"not a value that JSON has: {error}") from error
    except msgspec.ValidationError as error:
        raise _mismatch(error, msgspec.to_builtins(command), type(command), "") from error
    if not isinstance(command, commands.Refer):
        _check_forms(command, "")


def _check_forms(value: Any, path: str) -> None:
    fault = first_fault(value)
    if fault is not None:
        raise ContractError(".".join(part for part in (path, *fault[0]) if part), fault[1])


def _mismatch(error: msgspec.ValidationError, data: Any, cls: Any, path: str) -> ContractError:
    """msgspec's error with the whole of the range, and what was found there."""
    text, _, place = str(error).partition(" - at `$")
    inner = re.sub(r"\[\.\.\.\]", "", place.strip("`")).strip(".")
    place = ".".join(part for part in (path, inner) if part)
    missing = re.fullmatch(r"Object missing required field `(\w+)`", text)
    if missing is not None:
        return ContractError(f"{place}.{missing[1]}" if place else missing[1], "missing")
    found, expected, is_known = data, cls, True
    for part in re.findall(r"[^.\[\]]+", inner):
        found, expected, is_known = _step(found, expected, part, is_known)
    span = _range_of(expected)
    if not is_known or not re.search(r"[<>]=|of length|regex", text):
        return ContractError(place, text[:1].lower() + text[1:])
    said = len(found) if isinstance(found, str) and "of length" in text else repr(found)[:80]
    return ContractError(place, f"expected {span}, found {said}" if span else f"{text[:1].lower()}{text[1:]}, found {said}")


def _step(data: Any, cls: Any, part: str, is_known: bool) -> tuple[Any, Any, bool]:
    """The value at the name or number `part`, and its type."""
    struct = _struct_in(cls)
    info = _names_of(struct).get(part) if struct is not None else None
    if isinstance(data, dict) and part in data:
        return data[part], info.type if info is not None else None, is_known
    if isinstance(data, list) and part.isdigit() and int(part) < len(data):
        return data[int(part)], _list_item(cls), is_known
    return None, None, False


def _range_of(cls: Any) -> str:
    """The bounds that an annotated type sets, in words."""
    for meta in _metas_in(cls):
        if meta.ge is not None and meta.le is not None:
            return f"{meta.ge} to {meta.le}"
        if meta.max_length is not None:
            return f"at most {meta.max_length} characters"
    return ""


def _metas_in(cls: Any) -> Iterator[msgspec.Meta]:
    for candidate in (cls, *get_args(cls)):
        yield from (meta for meta in getattr(candidate, "__metadata__", ()) if isinstance(meta, msgspec.Meta))


def _prepare(data: Any, cls: Any, path: str, unknown: list[str]) -> Any:
    """Rename the keys of every struct in `data` to wire names; leave free maps alone."""
    struct = _struct_in(cls)
    if struct is None or not isinstance(data, dict):
        item = _list_item(cls)
        if item is not None and isinstance(data, list):
            return [_prepare(entry, item, f"{path}[{i}]", unknown) for i, entry in enumerate(data)]
        return data
    names = _names_of(struct)
    result: dict[str, Any] = {}
    for key, value in data.items():
        place = f"{path}.{key}" if path else str(key)
        info = names.get(str(key)) or names.get(_snake(str(key)))
        if info is None:
            unknown.append(place)
        else:
            unit = getattr(struct, "durations", {}).get(info.name)
            result[info.encode_name] = in_unit(value, unit) if unit else _prepare(value, info.type, place, unknown)
    return result


@cache
def _names_of(struct: type[msgspec.Struct]) -> Mapping[str, msgspec.structs.FieldInfo]:
    """The fields of a contract type by every accepted name. Kept: msgspec reads the annotations anew each time, a millisecond a type."""
    names: dict[str, msgspec.structs.FieldInfo] = {}
    infos = {info.name: info for info in msgspec.structs.fields(struct)}
    for info in infos.values():
        names[info.encode_name] = info
        names[info.name] = info
    for alias, target in getattr(struct, "aliases", {}).items():
        names[alias] = names[_camel(alias)] = infos[target]
    return names


def _struct_in(cls: Any) -> type[msgspec.Struct] | None:
    if isinstance(cls, type) and issubclass(cls, msgspec.Struct):
        return cls
    if get_origin(cls) in (Union, types.UnionType):
        for arg in get_args(cls):
            if isinstance(arg, type) and issubclass(arg, msgspec.Struct):
                return arg
    return None


def _list_item(cls: Any) -> Any:
    for candidate in (cls, *get_args(cls)):
        if get_origin(candidate) is list:
            return get_args(candidate)[0]
    return None


def _did_you_mean(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in rest)


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda m: "_" + m.group(1).lower(), name).lower()
