"""The facts of this server for the console: settings without secrets, trunks, accounts. Parts of the server enter, plain values leave."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec
from pydantic import BaseModel

from active_call.agent.playbook.check import PlaybookResources
from active_call.api.console_data.facts import ConsoleFacts
from active_call.legs.sip.registrations import Registrations
from active_call.legs.trunks.watch import TrunkWatch
from active_call.server.commands.playbook import known_by_section
from active_call.server.config.config import Config
from active_call.server.setup.trunks import accounts, active_trunks
from active_call.sip.endpoint import Endpoint

DEFAULT: Final = "default"
HIDDEN: Final = "(hidden)"
_SECRET: Final = re.compile(r"pass|secret|token$|key$|credential|headers|\benv\b|\bargs\b|authorization", re.IGNORECASE)
"""Keys whose values may be secret and are not shown."""
_NOT_SECRET: Final = re.compile(r"_key_file$|max_?tokens$|refer_headers$", re.IGNORECASE)
_USER_INFO: Final = re.compile(r"(?<=://)[^/@\s]+@")
_QUERY: Final = re.compile(r"(://[^\s?]*\?)[^\s#,]+")
_VARIABLE: Final = re.compile(r"\$\{(\w+)")
"""In an origin: the variable of the environment that the value has, or contains."""


def console_facts(
    config: Callable[[], Config],
    registrations: Registrations,
    watch: TrunkWatch,
    endpoint: Endpoint,
    refusals: Mapping[str, int],
    environment: Mapping[str, str],
) -> ConsoleFacts:
    """The facts of a running server; `config` returns the current settings."""
    return ConsoleFacts(
        settings=lambda: list(settings_of(config())),
        trunks=lambda: list(_trunks(config(), watch, endpoint)),
        accounts=lambda: list(_accounts(config(), registrations)),
        refusals=lambda: dict(refusals),
        resources=lambda: PlaybookResources(environment, known_by_section(), key_sets=config().keys),
    )


def settings_of(config: Config) -> Iterator[dict[str, Any]]:
    """Each setting: `key`, `value` (as text; secrets hidden), `origin`. Missing optional tables are left out."""
    origins = config.origins
    for key, value in _flat(config, "", is_hidden=False):
        origin = _origin(origins, key)
        has_secret = value and any(_is_secret(name) for name in _VARIABLE.findall(origin))
        yield {"key": key, "value": HIDDEN if has_secret else value, "origin": origin}


def _origin(origins: Mapping[str, str], key: str) -> str:
    """The source of the key itself, or of the table that was set as a whole."""
    parts = re.split(r"(?=[.\[])", key)
    for length in range(len(parts), 0, -1):
        found = origins.get("".join(parts[:length]))
        if found is not None:
            return found
    snake = {re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower(): origin for name, origin in origins.items()}
    return snake.get(key, DEFAULT)


def _flat(value: Any, key: str, *, is_hidden: bool) -> Iterator[tuple[str, str]]:
    dot = f"{key}." if key else ""
    match value:
        case BaseModel():
            for name, info in type(value).model_fields.items():
                is_secret = info.repr is False and info.annotation in (str, str | None)
                yield from _flat(getattr(value, name), f"{dot}{info.alias or name}", is_hidden=is_hidden or is_secret or _is_secret(name))
        case msgspec.Struct():
            for field in msgspec.structs.fields(value):
                entry = getattr(value, field.name)
                if entry is not None and entry != {}:
                    yield from _flat(entry, f"{dot}{field.name}", is_hidden=is_hidden or _is_secret(field.name))
        case dict() if value:
            for name, entry in value.items():
                is_secret = key.startswith("keys.") or _is_secret(str(name))
                yield from _flat(entry, f"{dot}{name}", is_hidden=is_hidden or is_secret)
        case tuple() | list() if any(isinstance(entry, BaseModel | dict) for entry in value):
            for index, entry in enumerate(value):
                yield from _flat(entry, f"{key}[{index}]", is_hidden=is_hidden)
        case None:
            yield key, ""
        case _:
            yield key, HIDDEN if is_hidden and value not in ("", {}) else _text(value)


def _is_secret(name: str) -> bool:
    return _SECRET.search(name) is not None and _NOT_SECRET.search(name) is None


def _text(value: Any) -> str:
    """A value as text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = ", ".join(map(str, value)) if isinstance(value, tuple | list | set | frozenset) else str(value) if value != {} else ""
    return _QUERY.sub(rf"\1{HIDDEN}", _USER_INFO.sub(f"{HIDDEN}@", text))


def _trunks(config: Config, watch: TrunkWatch, endpoint: Endpoint) -> Iterator[dict[str, Any]]:
    for trunk in active_trunks(config):
        yield {
            "name": trunk.name,
            "profile": trunk.profile or "",
            "server": trunk.server or "",
            "state": watch.states.get(trunk.name, "not watched"),
            "calls": endpoint.n_calls_by_trunk.get(trunk.name, 0),
            "maxCalls": trunk.max_calls,
            "srtp": trunk.srtp or "as offered",
            "allow": [str(network) for network in trunk.allow],
        }


def _accounts(config: Config, registrations: Registrations) -> Iterator[dict[str, Any]]:
    for account in accounts(config):
        state = registrations.states.get(account.label, "not registered: credentials only")
        yield {
            "name": account.label,
            "server": account.server,
            "username": account.username,
            "state": state,
            "lastRefusal": registrations.last_refusals.get(account.label, ""),
        }
