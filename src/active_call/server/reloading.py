"""SIGHUP: reads the config file again and applies the settings that can change during calls. Live calls keep their settings.

The source of the configuration and the running server's parts enter; new settings leave, and a log line. A configuration or playbook with a
mistake is logged, and nothing changes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct

from active_call.base.errors import ActiveCallError, ConfigError
from active_call.server.config.config import Config
from active_call.server.config.document import read_document, read_environment
from active_call.server.config.loading import load_config
from active_call.server.logs import LogOutput, settings_of

log = logging.getLogger("active_call.server")

AT_ONCE = frozenset(
    {
        "trunks", "admission", "trunk_rules", "rewrites", "sip_registrations", "register_users", "enable_srtp", "handler", "accept_timeout",
        "ambiance", "vad", "agc", "asr", "tts", "eou", "ringback_detection", "denoise", "recording", "log_level", "log_file", "log_format",
        "log_personal", "http_token", "http_tokens", "http_rate",
    }
)  # fmt: skip
"""Keys that take effect with the next call. All others are read once, at the start; a changed one is logged."""


class ConfigSource(Struct, frozen=True):
    """The source of the configuration: file, flags of the command line, environment."""

    file: Path
    flags: Mapping[str, Any]
    process_environment: Mapping[str, str]

    had_file: bool
    """The server started with this file: without it there is nothing to reload, because the defaults would be less strict than the file."""

    def load(self) -> Config:
        """Read the current configuration. Raises ConfigError.

        A file that is empty is being written by somebody: it must not count as one with defaults. A pipe would block.
        """
        if self.had_file and self.file.exists():
            if not self.file.is_file():
                raise ConfigError("", "is not a regular file", file=str(self.file))
            if not read_document(self.file).values:
                raise ConfigError("", "has no settings", file=str(self.file))
        return load_config(self.file if self.had_file or self.file.exists() else None, self.flags, self.process_environment)

    def environment(self) -> dict[str, str]:
        """The variables for playbooks and providers."""
        return read_environment(self.file.parent, self.process_environment)


class Reloadable(Protocol):
    """The changeable part of the running server."""

    config: Config

    async def prepare(self, config: Config, environment: Mapping[str, str]) -> None:
        """Read the playbooks that `config` names and create their engines. Raises ActiveCallError."""
        ...

    def reconfigure(self, config: Config) -> None:
        """Use `config` from the next call on."""
        ...


class Reloader:
    """Reloads on request; one reload at a time, and once more if requested meanwhile."""

    def __init__(self, source: ConfigSource, server: Reloadable, output: LogOutput | None) -> None:
        self._source = source
        self._server = server
        self._output = output
        self._wanted = asyncio.Event()

    def request(self) -> None:
        """Request a reload; for a signal handler."""
        self._wanted.set()

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                await self._reload()
            except ActiveCallError as error:
                log.error("configuration not reloaded; the old one stays in use", extra={"reason": str(error)})
            except Exception:
                log.exception("configuration not reloaded; the old one stays in use")

    async def _reload(self) -> None:
        before = self._server.config
        config = await asyncio.to_thread(self._source.load)
        await self._server.prepare(config, await asyncio.to_thread(self._source.environment))
        if self._output is not None:
            await asyncio.to_thread(self._output.change, settings_of(config))
        self._server.reconfigure(config)
        for warning in config.warnings:
            log.warning("configuration", extra={"warning": warning})
        changed = changed_keys(before, config)
        later = sorted(changed - AT_ONCE)
        if later:
            log.warning("these changed keys take effect at the next start", extra={"keys": later})
        log.info("configuration reloaded", extra={"changed": sorted(changed & AT_ONCE) or "nothing"})


def changed_keys(before: Config, after: Config) -> set[str]:
    """The top-level keys whose values differ."""
    return {name for name in Config.model_fields if getattr(before, name) != getattr(after, name)}
