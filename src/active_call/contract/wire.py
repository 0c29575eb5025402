"""The JSON of the contract: the only place that knows it.

Keys are camelCase and accepted in snake_case too, at every level where the contract names them; keys of free maps (`headers`, `extra`,
`vars`) are left alone. Unknown keys are either an error that names the nearest known one (`strict`: config and playbook), or collected
and ignored (commands, where old clients send extra ones).
"""

from __future__ import annotations

import difflib
import re
import types
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, Union, get_args, get_origin

import msgspec

from active_call.base.errors import ActiveCallError
from active_call.base.repair import encode_json
from active_call.contract import commands, events
from active_call.contract.durations import in_unit

T = TypeVar("T")

COMMAND_TYPES: dict[str, type[msgspec.Struct]] = {cls.__struct_config__.tag: cls for cls in get_args(commands.Command)}


class ContractError(ActiveCallError):
    """JSON that does not follow the contract. `path` names the place (`option.sip.headers`)."""

    code = "bad_request"

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path}: {reason}" if path else reason)


@dataclass(slots=True)
class Decoded(Generic[T]):
    """A decoded value and the dotted paths of the keys that nobody knows."""

    value: T
    unknown: list[str] = field(default_factory=list)


def decode_command(data: bytes | str | dict[str, Any]) -> Decoded[commands.Command]:
    """Read one command from JSON text or a decoded object. Raises ContractError; unknown keys are only collected."""
    obj = _decode_json(data)
    if not isinstance(obj, dict):
        raise ContractError("", f"a command is a JSON object, found {type(obj).__name__}")
    name = obj.get("command")
    if not isinstance(name, str):
        raise ContractError("command", "missing; it names the command")
    cls = COMMAND_TYPES.get(name) or COMMAND_TYPES.get(_camel(name))
    if cls is None:
        raise ContractError("command", f"unknown command {name!r}{_did_you_mean(name, COMMAND_TYPES)}")
    body = {key: value for key, value in obj.items() if key != "command"}
    return convert(body, cls)  # type: ignore[arg-type]


def encode_event(event: events.Event) -> bytes:
    """One event as JSON: absent fields are left out, all others stand there even when they are zero or false."""
    obj = {key: value for key, value in msgspec.to_builtins(event).items() if value is not None}
    if not event.refer:
        del obj["refer"]
    return encode_json(obj)


def encode_command(command: commands.Command) -> bytes:
    """One command as JSON."""
    return msgspec.json.encode(command)


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

    With `strict`, a key that nobody knows is an error too.
    """
    unknown: list[str] = []
    prepared = _prepare(data, cls, path, unknown)
    if strict and unknown:
        where, _, key = unknown[0].rpartition(".")
        names = _known_names_at(cls, where[len(path) :].strip(".") if path else where)
        raise ContractError(unknown[0], f"unknown key{_did_you_mean(key, names)}")
    try:
        return Decoded(msgspec.convert(prepared, cls, strict=False), unknown)
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at `$")
        inner = re.sub(r"\[\.\.\.\]", "", place.strip("`")).strip(".")
        raise ContractError(".".join(p for p in (path, inner) if p), text.lower()) from error


def known_names(cls: Any, path: str = "") -> list[str]:
    """The wire names of the keys that the object at the dotted `path` inside `cls` may have."""
    return _known_names_at(cls, path)


def struct_in(cls: Any) -> type[msgspec.Struct] | None:
    """The contract type in an annotation such as `AsrOption | None`."""
    return _struct_in(cls)


def _decode_json(data: bytes | str | dict[str, Any]) -> Any:
    if isinstance(data, dict):
        return data
    try:
        return msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        raise ContractError("", f"not JSON: {error}") from error


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


def _names_of(struct: type[msgspec.Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    names: dict[str, msgspec.structs.FieldInfo] = {}
    infos = {info.name: info for info in msgspec.structs.fields(struct)}
    for info in infos.values():
        names[info.encode_name] = info
        names[info.name] = info
    for alias, target in getattr(struct, "aliases", {}).items():
        names[alias] = names[_camel(alias)] = infos[target]
    return names


def _known_names_at(cls: Any, path: str) -> list[str]:
    struct = _struct_in(cls)
    for part in (p for p in path.split(".") if p):
        if struct is None:
            return []
        info = _names_of(struct).get(part.partition("[")[0])
        struct = _struct_in(info.type) if info else None
    return [info.encode_name for info in msgspec.structs.fields(struct)] if struct else []


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
