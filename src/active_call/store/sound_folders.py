"""Decides which files may be played: those in sound folders, never those in folders of records and recordings.

A name enters; the path to open leaves. Symbolic links are resolved first. Blocks: call it in a thread.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct, field

from active_call.base.errors import MediaError


class SoundFolders(Struct, frozen=True):
    """`base`: the folder of relative names. If several folders contain a file, the innermost decides."""

    base: Path
    roots: set[Path] = field(default_factory=set)
    kept_out: set[Path] = field(default_factory=set)

    def open_path(self, path: Path, trusted: Iterable[Path] = ()) -> Path:
        """`path`, resolved, if it is a file that may be played, by these folders or by `trusted`. Raises MediaError, or OSError if there is
        no file.
        """
        try:
            real = path.resolve(strict=True)
        except (ValueError, RuntimeError) as error:  # NUL in the name; links in a circle
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
