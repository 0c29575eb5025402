"""Converts pydantic's errors to one ConfigError in plain words: file, line, key, what was expected, the nearest known name.

A ValidationError and its document enter; a ConfigError leaves. Knows the models only through their fields.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from active_call.base.errors import ConfigError
from active_call.server.config.document import Document, KeyPath, dotted

RENAMED = {"sip_handler": "handler", "sip_addr": "addr", "sip_port": "udp_port", "sip_accounts": "sip_registrations"}
"""Old keys, and their current names."""

_EXPECTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": 'text in quotes, such as "text"',
    "tuple_type": "a list in square brackets",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "string_too_short": "a text that is not empty",
    "too_short": "at least one entry",
}


def to_config_error(error: ValidationError, document: Document, model: type[BaseModel]) -> ConfigError:
    """The first mistake in file order, and how many more there are."""
    details = error.errors(include_url=False)
    places = [_place(detail, document.values) for detail in details]
    first = min(range(len(details)), key=lambda index: (document.line_of(places[index]) or 1 << 30, index))
    reason = _explain(details[first], places[first], model, document.values)
    others = sorted({dotted(place) for place in places} - {dotted(places[first])})
    if others:
        reason += f" (more mistakes: {', '.join(others)})"
    return document.error(places[first], reason)


def _place(detail: ErrorDetails, values: Mapping[str, Any]) -> KeyPath:
    """pydantic's location as a path of the document: tags of unions are left out, a wrong tag is the key `type`."""
    path: list[str | int] = []
    node: Any = values
    for index, part in enumerate(detail["loc"]):
        is_last = index == len(detail["loc"]) - 1
        if (isinstance(node, dict) and part in node) or (isinstance(node, list) and isinstance(part, int) and part < len(node)):
            node = node[part]  # type: ignore[index]
            path.append(part)
        elif is_last and detail["type"] in ("missing", "extra_forbidden"):
            path.append(part)
    if detail["type"] in ("union_tag_invalid", "union_tag_not_found"):
        path.append("type")
    inner = str(detail.get("ctx", {}).get("path", "")) if detail["type"] == "option" else ""
    path.extend(part for part in inner.split(".") if part)
    return tuple(path)


def _explain(detail: ErrorDetails, place: KeyPath, model: type[BaseModel], values: Mapping[str, Any]) -> str:
    kind, context, found = detail["type"], detail.get("ctx", {}), detail.get("input")
    if kind == "extra_forbidden":
        return "unknown key" + _where(str(place[-1]), _known_names(model, place[:-1], values), model)
    if kind == "missing":
        return "is missing, and it has no default"
    if kind == "union_tag_not_found":
        tags = [repr(tag) for cls in _models_at(model, place[:-1], {}) for tag in get_args(cls.model_fields["type"].annotation)]
        return f"is missing; expected {', '.join(tags[:-1])} or {tags[-1]}"
    if kind == "union_tag_invalid":
        return f"expected one of {context['expected_tags']}, found {context['tag']!r}"
    if kind == "literal_error":
        return f"expected {context['expected']}, found {found!r}"
    if kind == "value_error":
        return str(context["error"])
    if kind == "option":
        reason = str(context["reason"])
        elsewhere = places_of(str(place[-1]), model) if reason.startswith("unknown key") else []
        return f"unknown key; it belongs {_or(elsewhere)}" if elsewhere else reason
    limit = _limit(kind, context)
    expected = limit or _EXPECTED.get(kind)
    if expected is None:
        return detail["msg"][:1].lower() + detail["msg"][1:]
    return f"expected {expected}, found {_shown(place, found)}"


def _shown(place: KeyPath, found: object) -> str:
    """The value, unless it may be a secret."""
    if isinstance(found, dict):
        return "a table"
    name = str(place[-1]) if place else ""
    if place[:1] == ("keys",) or any(word in name for word in ("password", "secret", "credential", "token", "key")):
        return f"a {type(found).__name__}"
    return str(found).lower() if isinstance(found, bool) else repr(found)


def _limit(kind: str, context: Mapping[str, Any]) -> str | None:
    words = {
        "greater_than_equal": ("ge", "at least"),
        "less_than_equal": ("le", "at most"),
        "greater_than": ("gt", "more than"),
        "less_than": ("lt", "less than"),
    }
    if kind not in words:
        return None
    name, text = words[kind]
    return f"{text} {context[name]:g}"


def _nearest(name: str, known: list[str]) -> str:
    if RENAMED.get(name) in known:
        return f"; it is called {RENAMED[name]!r} here"
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known here: {', '.join(sorted(known))}" if len(known) <= 12 else ""


def _where(name: str, known: list[str], model: type[BaseModel]) -> str:
    """The table that knows this unknown key, else the nearest name in its own table."""
    elsewhere = places_of(name, model)
    return f"; it belongs {_or(elsewhere)}" if elsewhere and RENAMED.get(name) not in known else _nearest(name, known)


def places_of(name: str, model: type[BaseModel]) -> list[str]:
    """The tables that know the key `name`, as text: the top of the file first."""
    found = ["at the top of the file, above every [table]"] if name in _names_of(model) else []
    found += [f"in {header}" for header, tables in _tables(model) if any(name in _names_of(table) for table in tables)]
    return found


def _or(places: list[str]) -> str:
    return " or ".join(places[:3])


def _tables(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, list[type[Any]]]]:
    """Every table below `model`, by its header in the file."""
    for key, info in model.model_fields.items():
        path = f"{prefix}{info.alias or key}"
        models = _models_in(info.annotation)
        if models:
            yield (f"[[{path}]]" if _is_list(info.annotation) else f"[{path}]"), list(models)
            for inner in models:
                yield from _tables(inner, f"{path}.")
        elif structs := _structs_in(info.annotation):
            yield f"[{path}]", list(structs)


def _names_of(table: type[Any]) -> set[str]:
    if issubclass(table, BaseModel):
        return {info.alias or key for key, info in table.model_fields.items()}
    return {name for info in msgspec.structs.fields(table) for name in (info.name, info.encode_name)}


def _is_list(annotation: Any) -> bool:
    return get_origin(annotation) is tuple


def _structs_in(annotation: Any) -> list[type[msgspec.Struct]]:
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return [annotation]
    if get_origin(annotation) in (Union, types.UnionType, Annotated):
        return [found for inner in get_args(annotation) for found in _structs_in(inner)]
    return []


def _known_names(model: type[BaseModel], table: KeyPath, values: Any) -> list[str]:
    """The keys that the table at `table` may have."""
    return [info.alias or name for cls in _models_at(model, table, values) for name, info in cls.model_fields.items()]


def _models_at(model: type[BaseModel], table: KeyPath, values: Any) -> list[type[BaseModel]]:
    """The possible models of the table at `table`; one if its `type` in `values` decides."""
    candidates: list[type[BaseModel]] = [model]
    node = values
    for part in table:
        node = node[part] if isinstance(part, int) or part in node else {}
        if isinstance(part, int):
            continue
        fields = [info for cls in candidates for name, info in cls.model_fields.items() if part in (name, info.alias)]
        candidates = [found for info in fields for found in _models_in(info.annotation)]
        tag = node.get("type") if isinstance(node, dict) else None
        tagged = [cls for cls in candidates if "type" in cls.model_fields and tag in get_args(cls.model_fields["type"].annotation)]
        candidates = tagged or candidates
    return candidates


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, types.UnionType, Annotated, tuple):
        return [found for inner in get_args(annotation) for found in _models_in(inner)]
    return []
