"""SIGHUP: the config file is read again and what can change while calls go on changes. Calls that are alive keep what they began with.

In: where the configuration comes from, and the running server's parts. Out: their new settings, and a line in the log that tells what was
done. A configuration or playbook with a mistake is told, and everything stays as it is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from active_call.base.errors import ActiveCallError
from active_call.server.config.config import Config
from active_call.server.config.document import read_environment
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
"""Keys that count from the next call on. Every other one is read once, at the start; a changed one is told."""


@dataclass(frozen=True, slots=True)
class ConfigSource:
    """Where the configuration comes from: file, flags of the command line, environment."""

    file: Path
    flags: Mapping[str, Any]
    process_environment: Mapping[str, str]

    had_file: bool
    """The server began with this file: without it there is nothing to reload, since the defaults would open what the file has closed."""

    def load(self) -> Config:
        """Read it as it is now. Raises ConfigError."""
        return load_config(self.file if self.had_file or self.file.exists() else None, self.flags, self.process_environment)

    def environment(self) -> dict[str, str]:
        """The variables that playbooks and providers see."""
        return read_environment(self.file.parent, self.process_environment)


class Reloadable(Protocol):
    """The running server, as far as it can change."""

    config: Config

    async def prepare(self, config: Config, environment: Mapping[str, str]) -> None:
        """Read the playbooks that `config` names and start their engines. Raises ActiveCallError."""
        ...

    def reconfigure(self, config: Config) -> None:
        """Go by `config` from the next call on."""
        ...


class Reloader:
    """Reloads when it is asked to; one at a time, and once more when it was asked meanwhile."""

    def __init__(self, source: ConfigSource, server: Reloadable, output: LogOutput | None) -> None:
        self._source = source
        self._server = server
        self._output = output
        self._wanted = asyncio.Event()

    def request(self) -> None:
        """Have the configuration read again; for a signal handler."""
        self._wanted.set()

    async def run(self) -> None:
        """Until cancelled."""
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
