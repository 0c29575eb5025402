"""Whether the web page that opens a WebSocket may: by the `Origin` and `Host` of its handshake (RFC 6454, RFC 6455 §10.2). Pure.

A browser on a network whose addresses a trunk allows would open it for any page in the world. Programs that are no browsers send no
`Origin`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from active_call.base.addresses import parse_address

_PLACE: Final = re.compile(r"(?:[a-z][a-z0-9+.-]*://)?(\[[0-9a-f:.]+\]|[^\s:/@\[\]]+)(?::[0-9]{1,5})?", re.IGNORECASE)


def may_open(origin: str, host: str, listed: Sequence[str], *, is_secure: bool) -> bool:
    """Whether a page of `origin` may open a WebSocket to `host`, the value of `Host`.

    It may if its own host, on any port, is in `listed` (`*.example.com` for all names below), or is the one it asks. The latter does not
    count for a name without TLS, because any name can lead to this server (DNS rebinding).
    """
    page, asked = _host_of(origin), _host_of(host)
    if not page:
        return False  # also `null`, of a file or a sandboxed page
    if any(page == name or (name.startswith("*.") and page.endswith(name[1:])) for name in map(str.lower, listed)):
        return True
    return page == asked and (is_secure or page == "localhost" or parse_address(page) is not None)


def _host_of(text: str) -> str:
    match = _PLACE.fullmatch(text.strip())
    return "" if match is None or text.strip() == "null" else match[1].strip("[]").lower().rstrip(".")
