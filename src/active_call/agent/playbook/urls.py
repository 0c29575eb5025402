"""Find the URLs that the author has written in a playbook.

In: texts of the playbook. Out: the URLs in them whose host is fixed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_URL = re.compile(r"https?://(?:\[[0-9A-Fa-f:.]+\])?[^\s\"'<>{}()\[\]`\\]*", re.IGNORECASE)
_TEMPLATE = ("{{", "{%", "${")


def urls_in(texts: Iterable[str]) -> tuple[str, ...]:
    """Every http(s) URL in `texts`, each once. A URL whose host contains a template is skipped."""
    found: dict[str, None] = {}
    for text in texts:
        for match in _URL.finditer(text):
            place, _, _ = match[0].partition("://")[2].partition("/")
            is_whole = "/" in match[0].partition("://")[2] or "?" in place or "#" in place
            if place and (is_whole or not text.startswith(_TEMPLATE, match.end())):
                found[match[0]] = None
    return tuple(found)
