"""Files and folders with personal content: accessible to this server's own user only (0600 and 0700)."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import BinaryIO, Final

FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600


def private_folder(folder: Path) -> None:
    """Create `folder` and its missing parents. An existing folder keeps the mode that the operator set. Raises OSError."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for one in reversed(missing):
        with contextlib.suppress(FileExistsError):
            one.mkdir(mode=FOLDER_MODE)


def create_private(path: Path) -> BinaryIO:
    """A new file for reading and writing, unbuffered. Raises OSError, also if `path` exists."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
    return os.fdopen(descriptor, "w+b", buffering=0)
