"""How adapters come to their key and their server's address, and how a key is kept out of messages.

An option and the environment enter; a key or a URL leaves, or a ConfigError that says what is missing and where to get it. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote, quote_plus, urlsplit

from active_call.base.errors import ConfigError

HIDDEN = "***"
MIN_SECRET_CHARS = 4
"""Shorter texts are no secrets: to hide them would only garble messages."""


@dataclass(frozen=True, slots=True)
class KeySource:
    """Where a vendor's key comes from: the environment variables that may hold it, the page where it is made, and the vendor's domains."""

    vendor: str
    variables: tuple[str, ...]
    key_page: str
    domains: tuple[str, ...]
    name: str = "apiKey"
    """What the option calls it."""

    def with_server(self, url: str) -> KeySource:
        """As this, with the host of `url`, which the environment names beside the key, among the vendor's own."""
        host = urlsplit(url).hostname
        return replace(self, domains=(*self.domains, host.lower())) if host else self

    def is_own(self, url: str) -> bool:
        """Whether `url` leads to the vendor."""
        host = (urlsplit(url).hostname or "").lower()
        return any(host == domain or host.endswith(f".{domain}") for domain in self.domains)


def find_key(section: str, given: str | None, url: str, source: KeySource, environment: Mapping[str, str]) -> str:
    """The key for the server at `url`: the option's, else the first that the environment has. Raises ConfigError.

    The environment's key goes to the vendor only, never to another server that an option names; such a server may need no key, and the
    answer is empty then.
    """
    is_own = source.is_own(url)
    key = (given or "").strip()
    if not key and is_own:
        key = next((environment[variable].strip() for variable in source.variables if environment.get(variable, "").strip()), "")
    if not key and is_own:
        raise ConfigError(f"{section}.{source.name}", missing_key(source))
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(f"{section}.{source.name}", "is not a valid key: it has spaces, control characters or non-ASCII characters")
    return key


def missing_key(source: KeySource) -> str:
    """What to do about a key that is missing."""
    variables = " or ".join(source.variables)
    in_environment = f", or {variables} in the environment or in .env next to the config file" if variables else ""
    return f"missing or empty: {source.vendor} needs it. Set it{in_environment}; it is made at {source.key_page}"


def find_url(section: str, given: str | None, default: str) -> str:
    """The address of a WebSocket or HTTP service, without a slash at its end. Raises ConfigError.

    `default` is the vendor's own, with its path; a `given` address without a path gets that path. Where `default` is a WebSocket's, an
    http(s) URL counts as the ws(s) URL of the same host, and the other way round.
    """
    url = (given or default).strip().rstrip("/")
    scheme, _, rest = url.partition("://")
    schemes = {"http": "ws", "https": "wss"} if default.startswith("ws") else {"ws": "http", "wss": "https"}
    scheme = schemes.get(scheme.lower(), scheme.lower())
    url = f"{scheme}://{rest}"
    if scheme not in schemes.values() or not _has_host(url):
        kind = "ws(s)" if default.startswith("ws") else "http(s)"
        raise ConfigError(f"{section}.baseUrl", f"expected a {kind} URL with a host, found {given!r}")
    return url if urlsplit(url).path else url + urlsplit(default).path.rstrip("/")


def _has_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def without_secrets(text: str, secrets: Sequence[str]) -> str:
    """`text` with `***` in place of each of `secrets`, also in the forms that a URL has."""
    forms = {form for secret in secrets for form in (secret, quote(secret, safe=""), quote_plus(secret))}
    for form in sorted(forms, key=len, reverse=True):
        if len(form) >= MIN_SECRET_CHARS:
            text = text.replace(form, HIDDEN)
    return text
