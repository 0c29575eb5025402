"""Finds an adapter's key and server address, and removes keys from messages.

An option and the environment enter; a key or a URL leaves, or a ConfigError that says what is missing and where to get it. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote, quote_plus, urlsplit

from msgspec import Struct
from msgspec.structs import replace

from active_call.base.errors import ConfigError

HIDDEN = "***"
MIN_SECRET_CHARS = 4
"""Shorter texts are not treated as secrets: masking them would garble messages."""


class KeySource(Struct, frozen=True):
    """Where a vendor's key comes from: environment variables, the page that issues it, and the vendor's domains."""

    vendor: str
    variables: tuple[str, ...]
    key_page: str
    domains: tuple[str, ...]
    name: str = "apiKey"
    """The name of the key in the option."""
    servers: tuple[str, ...] = ()
    """Hosts that the environment names, also without TLS."""

    def with_server(self, url: str) -> KeySource:
        """A copy that also accepts the host of `url`, which the environment sets together with the key, as the vendor's."""
        host = urlsplit(url).hostname
        return replace(self, servers=(*self.servers, host.lower())) if host else self

    def is_own(self, url: str) -> bool:
        """Whether `url` belongs to the vendor, and a key sent to it is protected: over http or ws everybody on the way could read it."""
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
        is_vendor = any(host == domain or host.endswith(f".{domain}") for domain in self.domains)
        return host in self.servers or (is_vendor and parts.scheme in ("https", "wss"))


def find_key(section: str, given: str | None, url: str, source: KeySource, environment: Mapping[str, str]) -> str:
    """The key for the server at `url`: from the option, else from the first environment variable that is set. Raises ConfigError.

    The environment's key goes to the vendor only, never to another server that an option names. Such a server may need no key; the answer
    is then empty.
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
    """The error text for a missing key, with what to do."""
    variables = " or ".join(source.variables)
    in_environment = f", or {variables} in the environment or in .env next to the config file" if variables else ""
    return f"missing or empty: {source.vendor} needs it. Set it{in_environment}; it is made at {source.key_page}"


def find_url(section: str, given: str | None, default: str) -> str:
    """The address of a WebSocket or HTTP service, without a trailing slash. Raises ConfigError.

    `default` is the vendor's address with its path. A `given` address without a path gets that path. If `default` is a WebSocket URL, an
    http(s) URL is read as the ws(s) URL of the same host, and vice versa.
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
    """`text` with each of `secrets` replaced by `***`, including the forms they take in a URL."""
    forms = {form for secret in secrets for form in (secret, quote(secret, safe=""), quote_plus(secret))}
    for form in sorted(forms, key=len, reverse=True):
        if len(form) >= MIN_SECRET_CHARS:
            text = text.replace(form, HIDDEN)
    return text
