"""The location and names of recordings.

A folder, a pattern and the facts of a call enter; a path in that folder leaves, with its parent folder created. Opens no recording: the
media process writes them.
"""

from __future__ import annotations

import os
import re
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from active_call.base.errors import ConfigError, MediaError
from active_call.media.record.files import ENDINGS
from active_call.store.names import safe_name, safe_part
from active_call.store.private_files import private_folder

FIELDS = ("id", "date", "time", "caller", "callee")

PROBE_BYTES = 64 * 1024
"""One second of stereo at 16 kHz."""

_KNOWN_ENDINGS = (".pcmu.wav", ".pcma.wav", ".wav", ".ogg", ".opus", ".mp3", ".pcm", ".g722")
_FIELD = re.compile(r"\{([^{}]*)\}")


def check_pattern(pattern: str) -> None:
    """Raise ConfigError if `pattern` has a field in braces that recordings do not support."""
    for name in _FIELD.findall(pattern):
        if name not in FIELDS:
            known = ", ".join(f"{{{field}}}" for field in FIELDS)
            raise ConfigError("recording.filename_pattern", f"expected {known}, found {{{name}}}")


def with_ending(path: str, format_name: str | None) -> str:
    """`path` with the suffix that selects `format_name`; without a format, its own suffix or `.wav`. Raises MediaError."""
    ending = _ending_of(path)
    if format_name is None:
        return path if ending else f"{path}.wav"
    if format_name not in ENDINGS:
        raise MediaError(f"recordings cannot be written as {format_name!r}; expected {', '.join(ENDINGS)}")
    return path[: len(path) - len(ending)] + ENDINGS[format_name]


def numbered(path: Path, n: int) -> Path:
    """The path of a call's `n`th recording, if the first is `path`: `call-2.ogg`."""
    ending = _ending_of(path.name)
    return path if n == 1 else path.with_name(f"{path.name[: len(path.name) - len(ending)]}-{n}{ending}")


def _ending_of(path: str) -> str:
    return next((ending for ending in _KNOWN_ENDINGS if path.lower().endswith(ending)), "")


def path_inside(root: Path, name: str) -> Path:
    """The file `name`, chosen by a call, inside `root`; its folder is created. Raises MediaError for a path outside `root`, OSError.

    `name` may also be relative to the working directory, or absolute, if that is inside `root`.
    """
    if "\0" in name or ".." in Path(name).parts:
        raise MediaError(f"recorderFile: {name!r} is not inside the recordings folder")
    whole, real_root = Path(name), root.resolve()
    is_whole = whole.is_absolute() or whole.resolve().is_relative_to(real_root)
    path = whole if is_whole else root / name
    if not path.resolve().is_relative_to(real_root) or path.resolve() == real_root:
        raise MediaError(f"recorderFile: {name!r} is not inside the recordings folder ({root})")
    private_folder(path.parent)
    return path


def why_not_written(folder: Path) -> str:
    """Why a recording cannot be written in `folder` now; empty if it can. Writes a little and removes it. Blocks."""
    try:
        private_folder(folder)
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            n_written = file.write(bytes(PROBE_BYTES))
            os.fsync(file.fileno())
    except OSError as error:
        return error.strerror or str(error)
    return "" if n_written == PROBE_BYTES else "the disk is full"


def recorded_rate_hz(wanted_hz: int) -> int:
    """The rate of a recording for the requested `wanted_hz`: a line has at most 16 kHz."""
    return 8000 if wanted_hz <= 8000 else 16_000


def recording_path(root: Path, pattern: str, *, session_id: str, caller: str, callee: str, at: datetime, format_name: str = "wav") -> Path:
    """The path for one call's recording inside `root`; its folder is created. Raises OSError if that fails, ConfigError for an invalid
    pattern.

    `pattern` is the file's name without suffix; `{id}`, `{date}` (YYYYMMDD), `{time}` (HHMMSS, both UTC), `{caller}` and `{callee}` are
    filled in. A `/` in it creates sub-folders. A pattern without `{id}` gets the id added, so that no recording overwrites another.
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
    ending = ENDINGS[format_name]
    named = with_ending(pattern, format_name).removesuffix(ending)
    named = named if "{id}" in named else f"{named}-{{id}}"
    parts = [part for part in named.split("/") if part not in ("", ".", "..")]
    names = [_FIELD.sub(lambda match: values[match[1]], part) for part in parts]
    path = root.joinpath(*names[:-1], f"{names[-1]}{ending}")
    private_folder(path.parent)
    return path
