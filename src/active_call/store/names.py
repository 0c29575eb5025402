"""File names from what peers and clients send: session ids, phone numbers. Any text enters; a name that stays in its folder leaves."""

from __future__ import annotations

import hashlib
import re

MAX_NAME_LENGTH = 120
"""Well under the 255 bytes of common file systems, with room for suffixes."""

_UNSAFE = re.compile(r"[^A-Za-z0-9._+@=-]+")


def safe_name(text: str) -> str:
    """`text` as one path component: letters, digits and `._+@=-`. A changed name gets a digest, so that names stay distinct."""
    kept = _UNSAFE.sub("_", text).lstrip(".-")[:MAX_NAME_LENGTH]
    if kept and kept == text:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{kept or 'unnamed'}-{digest}"


def safe_part(text: str) -> str:
    """`text` as a readable, not necessarily unique part of a name: a URI's user or number without its scheme and host."""
    user = re.sub(r"^[^<]*<|^(?:sips?|tel):|>.*$", "", text.strip())
    user = re.sub(r"^(?:sips?|tel):", "", user).partition("@")[0].partition(";")[0]
    return _UNSAFE.sub("_", user).strip("._")[:48] or "unknown"
