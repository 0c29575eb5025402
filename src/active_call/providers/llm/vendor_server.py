"""Where a vendor's own API is, and with which key it is asked. An option or the environment enters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from active_call.base.errors import ConfigError
from active_call.providers.settings import LlmSettings


@dataclass(frozen=True, slots=True)
class VendorServer:
    """A base URL without a slash at its end, and the key."""

    base_url: str
    api_key: str


def vendor_server(
    settings: LlmSettings, environment: Mapping[str, str], *, default_url: str, key_variables: tuple[str, ...]
) -> VendorServer:
    """The server of `settings`. Raises ConfigError without a key.

    The environment's key goes to the vendor itself only, never to another server that `llm.baseUrl` names.
    """
    url = (settings.base_url or default_url).rstrip("/")
    if not url.startswith(("http://", "https://")):
        raise ConfigError("llm.baseUrl", f"an http(s) URL, not {settings.base_url!r}")
    key = settings.api_key
    if not key and url == default_url:
        key = next((environment[name] for name in key_variables if environment.get(name)), None)
    if not key:
        where = f", or {key_variables[0]} in the environment or in .env next to the config file" if url == default_url else ""
        raise ConfigError("llm.apiKey", f"missing: set it{where}")
    return VendorServer(url, key)
