"""Convert SIP text to valid Unicode for everything outside `sip`.

Inside `sip` a byte that is not UTF-8 is kept as a lone surrogate, so that it can be sent back unchanged. Records, events, logs, templates
and webhooks cannot contain those. Here such bytes are read as Windows-1252, which phones and gateways without UTF-8 send. Other lone
surrogates and control characters become U+FFFD.
"""

from __future__ import annotations

import re
from typing import Final

REPLACEMENT: Final = "\ufffd"

_KEPT_BYTE: Final = re.compile("[\udc80-\udcff]")
_CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_CONTROLS_IN_LINES: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def plain(text: str) -> str:
    """Convert a header value, a name or a number to one line of valid Unicode."""
    return text if text.isprintable() else _CONTROLS.sub(REPLACEMENT, _with_bytes_read(text))


def plain_lines(text: str) -> str:
    """Convert a body: like `plain`, but tabs and line breaks stay."""
    return text if text.isprintable() else _CONTROLS_IN_LINES.sub(REPLACEMENT, _with_bytes_read(text))


def plain_body(body: bytes) -> str:
    """Decode a text body: as UTF-8, or as Windows-1252 if it is not UTF-8."""
    return plain_lines(body.decode("utf-8", "surrogateescape"))


def _with_bytes_read(text: str) -> str:
    return _KEPT_BYTE.sub(lambda match: bytes((ord(match.group()) - 0xDC00,)).decode("cp1252", "replace"), text)
