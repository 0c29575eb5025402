"""Whether a request may be one that a foreign web page has made in a user's browser: its Host, Origin and Sec-Fetch-Site are judged.

A page may send requests to any address that its reader's browser can reach, this server included. It cannot forge these headers: `Origin`
and `Sec-Fetch-Site` tell where the page comes from, `Host` by which name the browser found this server (a name of the page's own that
was made to lead here: DNS rebinding). Programs that are no browsers send neither of the first two. Pure; Fetch Metadata (W3C), RFC 6454.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

PAGES: Final = frozenset({"/", "/docs"})
"""What a link on another page may lead to: opening them does nothing."""
STATUS_PATHS: Final = frozenset({"/health", "/ready"})
"""Asked by monitors under whatever name they know this server by."""

_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.%\w]+\]|[^\s:/@\[\]]+)(?::(\d{1,5}))?")
_ORIGIN: Final = re.compile(r"(https?|wss?)://(.+)")
_DEFAULT_PORTS: Final = {"http": 80, "ws": 80, "https": 443, "wss": 443}
_FORWARDED: Final = ("forwarded", "via", "x-real-ip", "cf-connecting-ip", "true-client-ip")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request says of itself. `headers`: lower-case names, as they came; `local_host`: our address on its connection."""

    method: str
    path: str
    headers: Sequence[tuple[str, str]]
    local_host: str = ""

    def get(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    def get_all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]


@dataclass(frozen=True, slots=True)
class OriginRules:
    """Names of this server: the address it is bound to, and what the operator calls it (`*.example.com` for all below)."""

    bound_host: str = ""
    hosts: tuple[str, ...] = ()
    any_host: bool = False
    """Calls are controlled with a token, which no foreign page knows: by which name it has come here does not matter."""

    def why_not(self, asked: Asked) -> str | None:
        """Why the request is refused; None if it may go on."""
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
            return None  # each of them, where the header comes twice
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
    """Whether `host` is an address of this machine's loopback, also as an IPv4 address within IPv6 (`::ffff:127.0.0.1`)."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def was_forwarded(header_names: Sequence[str]) -> bool:
    """Whether a proxy has passed the request on: the address of its connection is then the proxy's."""
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
