"""Where the program keeps what it can make or download again: `$XDG_CACHE_HOME/active-call`, usually `~/.cache/active-call`."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path | None:
    """The folder, which may not exist yet; None for a user without a home folder."""
    named = os.environ.get("XDG_CACHE_HOME")
    if named:
        return Path(named) / "active-call"
    try:
        return Path.home() / ".cache" / "active-call"
    except RuntimeError:
        return None
