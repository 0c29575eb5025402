"""JSON Schema of the contract, generated from its types: for `/openapi.json` and `/asyncapi.json`. Pure.

Every type is named: commands `TtsCommand`, events `AnswerEvent`, groups of options by their own names.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final, get_args

import msgspec

from active_call.contract import commands, events

PREFIX: Final = "#/components/schemas/"

Schemas = dict[str, Any]


def schemas_of(types: Sequence[Any]) -> tuple[list[Schemas], Schemas]:
    """A schema for each of `types` (structs, or unions of them), and the named ones that these refer to."""
    found, components = msgspec.json.schema_components(types, ref_template=PREFIX + "{name}")
    return json.loads(json.dumps(list(found))), json.loads(json.dumps(components))


def command_schemas() -> tuple[Schemas, Schemas]:
    """The union of all commands, and the schemas that it refers to."""
    return _union(commands.Command, "Command")


def event_schemas() -> tuple[Schemas, Schemas]:
    """The union of all events, and the schemas that it refers to."""
    return _union(events.Event, "Event")


def message_names(union: Any, ending: str) -> dict[str, str]:
    """The names of the members on the wire, and those of their schemas: `{"tts": "TtsCommand"}`."""
    return {str(cls.__struct_config__.tag): f"{cls.__name__}{ending}" for cls in get_args(union)}


def _union(union: Any, ending: str) -> tuple[Schemas, Schemas]:
    (schema,), components = schemas_of([union])
    members = {cls.__name__ for cls in get_args(union)}

    def named(name: str) -> str:
        return name + ending if name in members else name

    return _renamed(schema, named), {named(name): _renamed(entry, named) for name, entry in components.items()}


def _renamed(schema: Any, named: Callable[[str], str]) -> Any:
    """`schema` with the names of all that it refers to changed."""
    if isinstance(schema, dict):
        return {key: _renamed(value, named) for key, value in schema.items()}
    if isinstance(schema, list):
        return [_renamed(entry, named) for entry in schema]
    if isinstance(schema, str) and schema.startswith(PREFIX):
        return PREFIX + named(schema.removeprefix(PREFIX))
    return schema
