"""Creates missing files for a first start: a config file, a development certificate, a playbook. Never overwrites."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from active_call.base.errors import ConfigError, PlaybookError
from active_call.base.fork_server import done_in_child
from active_call.server.config.config import Config
from active_call.server.config.loading import DEFAULT_FILE, load_config
from active_call.server.config.sections import PlaybookHandler
from active_call.server.playbook_files import PLAYBOOK_FOLDERS, STARTER_PLAYBOOK, find_playbook
from active_call.server.setup.trunks import dial_plan

CERTIFICATE, KEY = Path("certs/cert.pem"), Path("certs/key.pem")


def starter_text(name: str) -> str:
    """A file shipped with the package: `active-call.toml`, `greeting.md`, `demo.md`."""
    return (resources.files("active_call.server") / "starter" / name).read_text(encoding="utf-8")


def prepare_start(
    conf: Path | None,
    flags: Mapping[str, Any],
    environment: Mapping[str, str],
    *,
    callee: str | None = None,
    meanwhile: Callable[[], object] = lambda: None,
) -> tuple[Config, list[Path]]:
    """The configuration of a starting server, and the missing files that were written.

    Flags, config file and callee are checked first: if one of them is invalid, nothing is written. Raises ActiveCallError.
    `meanwhile` is called during the creation of a certificate, if one is missing.
    """
    file = conf or DEFAULT_FILE
    is_first = conf is None and not file.exists()
    config = load_config(None if is_first else file, flags, environment, starter_playbook=True)
    if callee is not None:
        dial_plan(config).callee_uri(callee)
    written = write_starter_files(file, ["localhost", "127.0.0.1"], meanwhile) if is_first else []
    if is_first and config.handler is None:
        config = load_config(file, flags, environment, starter_playbook=True)
    written += write_starter_playbook(config)
    return load_config(file, flags, environment), written


def write_starter_files(config_file: Path, names: list[str], meanwhile: Callable[[], object] = lambda: None) -> list[Path]:
    """Write the missing files for a first start in the working directory; returns them. `names` go into the certificate."""
    written = []
    if not config_file.exists():
        _write(config_file, starter_text("active-call.toml"))
        written.append(config_file)
    if not CERTIFICATE.exists() and not KEY.exists():
        _write_certificate(names, meanwhile)
        written += [CERTIFICATE, KEY]
    return written


def _write_certificate(names: list[str], meanwhile: Callable[[], object]) -> None:
    """Create key and certificate in a child, so that 8 MB of cryptography do not stay in the server's memory. Raises ConfigError."""

    def write() -> None:
        from active_call.server.certificate import write_development_certificate

        write_development_certificate(CERTIFICATE, KEY, names)

    if not done_in_child(write, meanwhile):
        write()


def write_starter_playbook(config: Config, *named: str) -> list[Path]:
    """Write `config/playbook/greeting.md` if the handler, or `named`, names it and it does not exist; returns the written files."""
    handler = config.handler
    rules = (handler.default, *(rule.playbook for rule in handler.rules)) if isinstance(handler, PlaybookHandler) else ()
    if STARTER_PLAYBOOK not in (*rules, *named):
        return []
    try:
        find_playbook(STARTER_PLAYBOOK, config)
    except PlaybookError:
        path = PLAYBOOK_FOLDERS[0] / STARTER_PLAYBOOK
        _write(path, starter_text(STARTER_PLAYBOOK))
        return [path]
    return []


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError("", f"cannot be written: {error.strerror}", file=str(path)) from error
