"""Where recordings lie and what they are called.

In: a folder, a pattern, the facts of a call. Out: a path in that folder, which exists by then. Opens no recording itself: the media
process writes them.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from active_call.base.errors import ConfigError
from active_call.store.names import safe_name, safe_part

FIELDS = ("id", "date", "time", "caller", "callee")

_FIELD = re.compile(r"\{([^{}]*)\}")


def check_pattern(pattern: str) -> None:
    """Raise ConfigError when `pattern` has a field in braces that recordings do not have."""
    for name in _FIELD.findall(pattern):
        if name not in FIELDS:
            known = ", ".join(f"{{{field}}}" for field in FIELDS)
            raise ConfigError("recording.filename_pattern", f"expected {known}, found {{{name}}}")


def recording_path(root: Path, pattern: str, *, session_id: str, caller: str, callee: str, at: datetime, ending: str = "wav") -> Path:
    """The path for one call's recording inside `root`; its folder is made. Raises OSError when it cannot be, ConfigError for a bad pattern.

    `pattern` is the file's name without ending; `{id}`, `{date}` (YYYYMMDD), `{time}` (HHMMSS, both UTC), `{caller}` and `{callee}` are
    filled in. A `/` in it makes sub-folders. A pattern without `{id}` gets the id added, so that no recording overwrites another.
    """
    check_pattern(pattern)
    at = at.astimezone(UTC)
    values = {
        "id": safe_name(session_id),
        "date": at.strftime("%Y%m%d"),
        "time": at.strftime("%H%M%S"),
        "caller": safe_part(caller),
        "callee": safe_part(callee),
    }
    named = pattern.removesuffix(f".{ending}")
    named = named if "{id}" in named else f"{named}-{{id}}"
    parts = [part for part in named.split("/") if part not in ("", ".", "..")]
    names = [_FIELD.sub(lambda match: values[match[1]], part) for part in parts]
    path = root.joinpath(*names[:-1], f"{names[-1]}.{ending}")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
