"""Checks whether a foreign web page may have made a request in a user's browser: by Host, Origin and Sec-Fetch-Site.

A page may send requests to any address that its reader's browser can reach, including this server. It cannot forge these headers: `Origin`
and `Sec-Fetch-Site` identify the page's origin, `Host` the name by which the browser found this server (which may be the page's own domain
that resolves to this server: DNS rebinding). Programs other than browsers send neither of the first two. Pure; Fetch Metadata (W3C), RFC
6454.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

PAGES: Final = frozenset({"/", "/docs"})
"""Pages that links on other pages may open: opening them has no effect."""
STATUS_PATHS: Final = frozenset({"/health", "/ready"})
"""Requested by monitors under any name of this server."""

_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.%\w]+\]|[^\s:/@\[\]]+)(?::(\d{1,5}))?")
_ORIGIN: Final = re.compile(r"(https?|wss?)://(.+)")
_DEFAULT_PORTS: Final = {"http": 80, "ws": 80, "https": 443, "wss": 443}
_FORWARDED: Final = ("forwarded", "via", "x-real-ip", "cf-connecting-ip", "true-client-ip")


class Asked(Struct, frozen=True):
    """What a request states. `headers`: lower-case names, as received; `local_host`: our address on its connection."""

    method: str
    path: str
    headers: Sequence[tuple[str, str]]
    local_host: str = ""

    def get(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    def get_all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]


class OriginRules(Struct, frozen=True):
    """Names of this server: the bound address, and the operator's names (`*.example.com` for all names below)."""

    bound_host: str = ""
    hosts: tuple[str, ...] = ()
    any_host: bool = False
    """Calls are controlled with a token, which no foreign page knows, so the host name does not matter."""

    def why_not(self, asked: Asked) -> str | None:
        """Why the request is refused; None if it is admitted."""
        if not (self.any_host or asked.path in STATUS_PATHS or self.knows_host(asked)):
            name = str(asked.get("host"))[:80]
            return f"this server is not known as {name!r}; list its names in http_hosts"
        origins = asked.get_all("origin")
        if any(not self._is_own(origin, asked) for origin in origins):
            return "requests of other sites are refused (Origin)"
        if origins:
            return None
        return self._why_not_by_site(asked)

    def knows_host(self, asked: Asked) -> bool:
        """Whether the name in `Host` is one of this server's. Browsers always send one."""
        text = asked.get("host")
        if text is None:
            return True
        parsed = _split(text)
        return parsed is not None and self._is_own_host(parsed[0], asked.local_host)

    def _why_not_by_site(self, asked: Asked) -> str | None:
        sites = {site.strip() for site in asked.get_all("sec-fetch-site")}
        reason = "requests of other sites are refused (Sec-Fetch-Site)"
        changes = asked.path.startswith("/kill/")
        if not sites:
            referer = asked.get("referer")
            is_foreign = referer is not None and not self._is_own(_origin_of(referer), asked)
            return "requests of other sites are refused (Referer)" if is_foreign and (changes or asked.path not in PAGES) else None
        if sites <= ({"same-origin"} if changes else {"same-origin", "none"}):
            return None  # each of them, if the header is repeated
        is_visit = asked.method == "GET" and asked.path in PAGES and asked.get("sec-fetch-mode") == "navigate"
        return None if is_visit and asked.get("sec-fetch-dest") == "document" else reason

    def _is_own(self, origin: str, asked: Asked) -> bool:
        match = _ORIGIN.fullmatch(origin.strip())
        place = _split(match[2]) if match is not None else None
        if match is None or place is None:
            return False  # also `null`, of a sandboxed page or a file
        host = _split(asked.get("host") or "")
        default = _DEFAULT_PORTS[match[1].lower()]
        if host is not None and (place[0], place[1] or default) == (host[0], host[1] or default):
            return True
        return self._is_listed(place[0])

    def _is_own_host(self, host: str, local_host: str) -> bool:
        if host == "localhost" or host.endswith(".localhost") or is_loopback(host):
            return True
        own = {_plain(name) for name in (self.bound_host, local_host) if name}
        return (_plain(host) in own and _is_address(host)) or host == self.bound_host.lower() or self._is_listed(host)

    def _is_listed(self, host: str) -> bool:
        for entry in self.hosts:
            name = entry.lower().strip("[]")
            if host == name or (name.startswith("*.") and host.endswith(name[1:])):
                return True
        return False


def is_loopback(host: str) -> bool:
    """Whether `host` is a loopback address, also as an IPv4 address within IPv6 (`::ffff:127.0.0.1`)."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def was_forwarded(header_names: Sequence[str]) -> bool:
    """Whether a proxy forwarded the request: the connection's address is then the proxy's."""
    return any(name.startswith("x-forwarded") or name in _FORWARDED for name in header_names)


def _split(text: str) -> tuple[str, int | None] | None:
    """Host without brackets, in lower case, and the port."""
    match = _HOST.fullmatch(text.strip())
    if match is None:
        return None
    return match[1].strip("[]").lower().rstrip("."), int(match[2]) if match[2] else None


def _origin_of(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{re.split(r'[/?#]', rest, maxsplit=1)[0]}"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _plain(host: str) -> str:
    """An address in its shortest form, without a zone; IPv4 within IPv6 as IPv4."""
    try:
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return host.lower()
    return str(getattr(address, "ipv4_mapped", None) or address)
