"""Reads the config file, with the settings of the command line and the environment.

A path, the command line's overrides and the environment enter; a frozen `Config` leaves. Raises ConfigError with file, line and dotted key.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from active_call.base.errors import ConfigError
from active_call.server.config.checks import check
from active_call.server.config.config import Config
from active_call.server.config.document import Document, expand_variables, read_document, read_environment
from active_call.server.config.errors import to_config_error
from active_call.server.config.origins import origins_of
from active_call.server.config.values import parse_host_port
from active_call.server.config.warnings import config_warnings

DEFAULT_FILE = Path("active-call.toml")


def load_config(
    path: Path | None,
    overrides: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    *,
    starter_playbook: bool = False,
) -> Config:
    """Read and check the configuration. Raises ConfigError.

    `path` None: no file, defaults only. `overrides` are top-level keys that replace those of the file; None values are skipped.
    `environment` provides `${VAR}`, together with a `.env` file next to the config file (or in the working directory without one).
    `starter_playbook`: a missing `greeting.md` is not a mistake, because it will be written.
    """
    variables = read_environment(path.parent if path else Path(), environment or {})
    document = read_document(path) if path else Document("", {})
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    kept = {key: value for key, value in document.values.items() if key not in given}
    lines = {place: line for place, line in document.lines.items() if place[0] not in given}
    origins = origins_of(Document(document.file, kept, lines), given)
    document = expand_variables(Document(document.file, kept, lines), variables)
    document = Document(document.file, document.values | given, lines)
    try:
        config = Config.model_validate(document.values)
    except ValidationError as error:
        raise to_config_error(error, document, Config) from error
    check(config, document, starter_playbook=starter_playbook)
    config._warnings = config_warnings(document)
    config._origins = origins
    return config


def overrides_from_flags(
    *,
    http: str | None = None,
    sip: str | None = None,
    handler: str | None = None,
    external_ip: str | None = None,
    codecs: str | None = None,
) -> dict[str, Any]:
    """The command line's flags as overrides for `load_config`. Raises ConfigError naming the flag."""
    overrides: dict[str, Any] = {"http_addr": http, "external_ip": external_ip}
    if sip is not None:
        try:
            overrides["addr"], overrides["udp_port"] = parse_host_port(sip)
        except ValueError as error:
            raise ConfigError("--sip", str(error)) from error
    if codecs is not None:
        overrides["codecs"] = [name.strip() for name in codecs.split(",") if name.strip()]
    if handler is not None:
        overrides["handler"] = _handler_table(handler)
    return {key: value for key, value in overrides.items() if value is not None}


def _handler_table(text: str) -> dict[str, Any]:
    if text.startswith(("http://", "https://")):
        return {"type": "webhook", "url": text}
    if text.endswith(".md"):
        return {"type": "playbook", "default": text}
    if ":" in text:
        return {"type": "python", "target": text}
    raise ConfigError("--handler", f"expected a URL, a playbook file (.md) or 'module:function', found {text!r}")
