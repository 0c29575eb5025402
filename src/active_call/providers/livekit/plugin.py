"""A plugin class of LiveKit Agents: finding it, mapping an option to its settings, and its instances.

`livekit/deepgram` is the class `STT` or `TTS` of `livekit.plugins.deepgram`; `extra.class` names another one (`STTv2`). The option's
settings are passed to the constructor under the class's own argument names; the rest of `extra` under its own. Nothing of LiveKit is
imported before first use. Importing the framework takes two seconds of CPU and happens in a thread; the plugin's own module must be
imported on the main thread. The environment's key goes to the plugin's own server only. https://docs.livekit.io/agents/models/
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import socket
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any, Final
from urllib.parse import urlsplit

from msgspec import Struct

from active_call.base.errors import ActiveCallError, ConfigError, ProviderError
from active_call.providers.credentials import without_secrets
from active_call.providers.services import Services

FAMILY: Final = "livekit"
EXTRA: Final = "pip install 'active-call[livekit]'"
DOCUMENTATION: Final = "https://docs.livekit.io/agents/models/"
CONNECT_S: Final = 4.0
MAX_VOICES: Final = 16
"""Instances of one option that differ in voice or speed."""
PORTS: Final = {"https": 443, "wss": 443}


class Wanted(Struct, frozen=True):
    """A setting that an option names: `key` in the section, and the argument names that classes use for it, the usual one first."""

    key: str
    value: Any
    names: tuple[str, ...]


class PluginChoice(Struct, frozen=True):
    """The class and its settings. `secret` is the option's own key, `endpoint` its own server."""

    section: str
    provider: str
    default_class: str
    wanted: tuple[Wanted, ...]
    extra: Mapping[str, Any]
    secret: str | None
    endpoint: str | None

    @property
    def plugin(self) -> str:
        """The name after the slash."""
        return self.provider.partition("/")[2]

    @property
    def module(self) -> str:
        return f"livekit.plugins.{self.plugin.replace('-', '_')}"


class LiveKitPlugin:
    """The instances of one class, created at first use and shared by all calls with this option."""

    def __init__(self, choice: PluginChoice, services: Services) -> None:
        """Raises ConfigError for an unknown name, and if a package is missing."""
        if not choice.plugin.replace("-", "_").isidentifier():
            raise ConfigError(f"{choice.section}.provider", f"expected livekit/NAME, such as livekit/deepgram, found {choice.provider!r}")
        for module, command in (("livekit.agents", EXTRA), (choice.module, f"{EXTRA} livekit-plugins-{choice.plugin}")):
            if not _is_installed(module):
                reason = f"{choice.provider!r} needs the Python package {module!r}, which is not installed: {command}"
                raise ConfigError(f"{choice.section}.provider", reason)
        self.choice = choice
        self.name = choice.provider
        key = choice.secret or (None if choice.endpoint else services.environment.get(f"{choice.plugin.upper().replace('-', '_')}_API_KEY"))
        self._key = key or None
        self._services = services
        self._http: Any = None
        self._instances: dict[tuple[Any, ...], Any] = {}
        self._making = asyncio.Lock()

    async def instance(self, changes: Sequence[Wanted] = ()) -> Any:
        """The instance with the option's settings and `changes`. Raises ConfigError, ProviderError."""
        key = tuple((change.key, change.value) for change in changes)
        async with self._making:
            if key not in self._instances:
                if len(self._instances) >= MAX_VOICES:
                    raise ProviderError(self.name, f"more than {MAX_VOICES} voices are asked for")
                self._instances[key] = await self._make(changes)
            return self._instances[key]

    async def check_endpoint(self) -> None:
        """Raise ActiveCallError if the option's server is not allowed."""
        if self.choice.endpoint:
            parts = urlsplit(self.choice.endpoint)
            await self._services.addresses(parts.hostname or "", parts.port or PORTS.get(parts.scheme, 80))

    async def close(self) -> None:
        """Close all instances."""
        instances = list(self._instances.values())
        self._instances.clear()
        for instance in instances:
            with contextlib.suppress(Exception):  # an error while closing does not matter
                await instance.aclose()
                client = getattr(instance, "_client", None)  # a session of an SDK that some plugins create and do not close
                if client is not None and hasattr(client, "close"):
                    await client.close()
        if self._http is not None:
            await self._http.close()

    def failure(self, error: BaseException) -> ActiveCallError:
        """`error` as an error that callers know, without the key."""
        if isinstance(error, ActiveCallError):
            return error
        reason = getattr(error, "message", "") or str(error) or type(error).__name__
        status = getattr(error, "status_code", -1)
        told = f"HTTP {status}: {reason}" if isinstance(status, int) and 400 <= status < 600 else str(reason)
        secrets = [self._key] if self._key else []
        return ProviderError(self.name, without_secrets(told, secrets), retryable=bool(getattr(error, "retryable", True)))

    async def _make(self, changes: Sequence[Wanted]) -> Any:
        choice, section = self.choice, self.choice.section
        await asyncio.to_thread(importlib.import_module, "livekit.agents")
        try:
            module = importlib.import_module(choice.module)
        except (ImportError, RuntimeError) as error:
            raise ConfigError(f"{section}.provider", f"{choice.provider!r} cannot be loaded: {error}") from error
        name = str(choice.extra.get("class", choice.default_class))
        plugin_class = getattr(module, name, None)
        if not inspect.isclass(plugin_class):
            raise ConfigError(f"{section}.extra.class", f"{choice.module} has no class {name!r}")
        settings = self._settings(inspect.signature(plugin_class).parameters, changes)
        try:
            return plugin_class(**settings)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{section}.provider", f"{choice.provider!r}: {self.failure(error)}") from error

    def _settings(self, parameters: Mapping[str, inspect.Parameter], changes: Sequence[Wanted]) -> dict[str, Any]:
        """The arguments of the constructor. Raises ConfigError for a setting that the class does not have."""
        choice = self.choice
        takes_all = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
        settings: dict[str, Any] = {}
        for wanted in (*choice.wanted, *changes):
            name = next((name for name in wanted.names if name in parameters), None)
            if name is None:
                raise self._not_taken(wanted.key, parameters)
            settings[name] = wanted.value
        for key, value in choice.extra.items():
            if key == "class":
                continue
            if key not in parameters and not takes_all:
                raise self._not_taken(f"extra.{key}", parameters)
            settings[key] = value
        if "api_key" in parameters and "api_key" not in settings:
            if self._key is None and choice.endpoint:
                reason = "missing: the environment's key does not go to a server that the option names"
                raise ConfigError(f"{choice.section}.secretKey", reason)
            if self._key is not None:
                settings["api_key"] = self._key
        if "http_session" in parameters:
            settings.setdefault("http_session", self._session())
        return settings

    def _not_taken(self, key: str, parameters: Mapping[str, inspect.Parameter]) -> ConfigError:
        known = ", ".join(sorted(set(parameters) - {"http_session", "client"}))
        return ConfigError(f"{self.choice.section}.{key}", f"{self.choice.provider!r} has no such setting; it has: {known}")

    def _session(self) -> Any:
        """The HTTP client of all instances. It resolves names under the rules for outgoing connections."""
        if self._http is None:
            import aiohttp

            self._http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=JudgedResolver(self._services), limit=200))
        return self._http


class JudgedResolver:
    """A resolver for aiohttp (`aiohttp.abc.AbstractResolver`) that returns only allowed addresses."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list[dict[str, Any]]:
        """The addresses of `host`. Raises OSError if there is none, or none is allowed."""
        try:
            addresses = await self._services.addresses(host, port)
        except ActiveCallError as error:
            raise OSError(str(error)) from error
        if not addresses:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
            addresses = [str(place[0]) for *_, place in found]
        return [
            {
                "hostname": host,
                "host": address,
                "port": port,
                "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
                "proto": 0,
                "flags": socket.AI_NUMERICHOST,
            }
            for address in addresses
        ]

    async def close(self) -> None:
        """Does nothing."""


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # a parent package is missing
        return False
