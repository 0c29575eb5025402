"""Decides which files may be played: those in sound folders, never those in folders of records and recordings.

A name enters, a path that may be opened leaves. Symbolic links count as what they lead to. Blocks: for a thread.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from active_call.base.errors import MediaError


@dataclass(frozen=True, slots=True)
class SoundFolders:
    """`base`: where relative names begin. Of all folders that hold a file, the innermost decides."""

    base: Path
    roots: set[Path] = field(default_factory=set)
    kept_out: set[Path] = field(default_factory=set)

    def open_path(self, path: Path, trusted: Iterable[Path] = ()) -> Path:
        """`path`, resolved, where it is a file that may be played; those in `trusted` may be, too. Raises MediaError, or OSError when
        there is none.
        """
        try:
            real = path.resolve(strict=True)
        except (ValueError, RuntimeError) as error:  # NUL in the name; links that lead to each other
            raise MediaError(f"{str(path)!r}: {error}") from error
        if not self._may_play(real, trusted):
            raise MediaError(f"{path}: not inside a folder that may be played from ([files] roots)")
        if not real.is_file():
            raise MediaError(f"{path}: not a file")
        return real

    def _may_play(self, real: Path, trusted: Iterable[Path]) -> bool:
        best, may_play = -1, False
        for folders, verdict in (({*self.roots, *trusted}, True), (self.kept_out, False)):
            for folder in folders:
                place = (self.base / folder).resolve()
                depth = len(place.parts)
                if real.is_relative_to(place) and depth >= best and not (depth == best and verdict):
                    best, may_play = depth, verdict
        return may_play
