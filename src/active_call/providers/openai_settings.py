"""Where an OpenAI-compatible server is and with which key it is asked: from an option, or from the environment as OpenAI's own SDK does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from active_call.base.errors import ConfigError

OPENAI_URL = "https://api.openai.com/v1"


@dataclass(frozen=True, slots=True)
class Server:
    """A server's base URL (without a slash at its end) and key; no key for a local server."""

    base_url: str
    api_key: str | None

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}


def find_server(section: str, base_url: str | None, api_key: str | None, environment: Mapping[str, str]) -> Server:
    """The server that option and environment name. Raises ConfigError when OpenAI itself is meant and there is no key.

    The environment's key goes to the environment's server (or OpenAI's) only, never to another one that an option names.
    """
    named = base_url or environment.get("OPENAI_BASE_URL") or OPENAI_URL
    if not named.startswith(("http://", "https://")):
        raise ConfigError(f"{section}.endpoint", f"an http(s) URL, not {named!r}")
    url = named.rstrip("/")
    if api_key is None and url in (OPENAI_URL, (environment.get("OPENAI_BASE_URL") or "").rstrip("/")):
        api_key = environment.get("OPENAI_API_KEY")
    if api_key is None and url == OPENAI_URL:
        raise ConfigError(f"{section}.api_key", "missing: set it, or OPENAI_API_KEY in the environment")
    return Server(url, api_key)
