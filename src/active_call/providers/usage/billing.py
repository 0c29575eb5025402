"""Who bills an engine's work: from the engine, and the provider and model of its option. Pure.

Adapters for OpenAI's protocols may use any server. Usage of a server other than OpenAI's is billed under its vendor's name if known, else
under its host. Its operator sets the price; OpenAI's prices never apply.
"""

from __future__ import annotations

import ipaddress
from typing import Final
from urllib.parse import urlsplit

from active_call.providers.usage.units import Billed, Kind

ANY_SERVER: Final = frozenset({"openai", "openai-responses", "whisper"})
"""Adapters whose server may belong to any vendor."""
VENDOR_HOSTS: Final = {
    "openai.com": "openai",
    "groq.com": "groq",
    "deepseek.com": "deepseek",
    "aliyuncs.com": "aliyun",
    "mistral.ai": "mistral",
    "together.xyz": "together",
    "together.ai": "together",
    "anthropic.com": "anthropic",
    "googleapis.com": "gemini",
    "x.ai": "xai",
    "openrouter.ai": "openrouter",
    "azure.com": "azure",
}
PRIVATE_DOMAINS: Final = (".localhost", ".local", ".internal", ".lan", ".home.arpa")
"""Domains that do not exist on the public internet (RFC 6761, 6762, 8375)."""


def billed_by(kind: Kind, engine: object, default_model: str = "") -> Billed:
    """Who bills `engine`. Its attributes `model` and `endpoint` are used if present, else `default_model`."""
    name = str(getattr(engine, "name", "") or type(engine).__name__)
    model, endpoint = getattr(engine, "model", None), getattr(engine, "endpoint", None)
    provider = provider_at(endpoint) if name in ANY_SERVER and isinstance(endpoint, str) else name
    return Billed(kind, provider, model if isinstance(model, str) and model else default_model)


def is_private_host(provider: str) -> bool:
    """Whether `provider` is a host in a private network and not a vendor's name."""
    try:
        return ipaddress.ip_address(provider.strip("[]")).is_private
    except ValueError:
        return provider == "localhost" or provider.endswith(PRIVATE_DOMAINS)


def provider_at(url: str) -> str:
    """The vendor of the server at `url`, else its host."""
    host = (urlsplit(url).hostname or url).lower()
    return next((vendor for suffix, vendor in VENDOR_HOSTS.items() if host == suffix or host.endswith(f".{suffix}")), host)
