"""Installs a model: downloads its archive, or uses a local one; verifies it; unpacks the needed files.

A partial download is kept beside the models, and the next attempt continues it (RFC 9110 §14). An archive whose SHA-256 differs from
the table's is deleted and nothing of it is used. A model's folder appears complete or not at all.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import httpx

from active_call.base.errors import ConfigError, RemoteProtocolError, TransportError
from active_call.providers.models.catalogue import SpeechModel
from active_call.providers.models.folders import is_installed

CHUNK_BYTES = 1 << 18
TIMEOUT = httpx.Timeout(30.0, connect=10.0)
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")

Progress = Callable[[int, int], None]
"""`progress(n_bytes, n_bytes_in_all)`; the second is 0 if the server does not report it."""


def fetch_model(model: SpeechModel, folder: Path, client: httpx.Client, progress: Progress, *, url: str | None = None) -> Path:
    """Download `model` into its folder under `folder`, unless it is installed. Returns that folder. `url`: another source for the archive.

    Raises TransportError if the server cannot be reached, with advice for a machine without internet; RemoteProtocolError if the data is
    not the model; OSError.
    """
    if is_installed(model, folder):
        return folder / model.name
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{model.archive}.part"
    try:
        _download(url or model.url, part, client, progress)
    except httpx.HTTPError as error:
        reason = f"{str(error) or type(error).__name__}. {how_without_internet(model, folder)}"
        raise TransportError(reason, where=url or model.url) from error
    try:
        target = install_archive(model, part, folder)
    except RemoteProtocolError:
        part.unlink()
        raise
    part.unlink()
    return target


def install_archive(model: SpeechModel, archive: Path, folder: Path) -> Path:
    """Verify `archive` and unpack the files that `model` needs into its folder under `folder`. Returns that folder.

    Raises RemoteProtocolError for a different archive, ConfigError if there is none.
    """
    if not archive.is_file():
        raise ConfigError("file", f"there is no file {archive}")
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != model.sha256:
        raise RemoteProtocolError(f"{archive.name} is not the archive of {model.name}: its SHA-256 is {found}, expected {model.sha256}")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{model.name}-", dir=folder) as temporary:
        whole = Path(temporary) / model.name
        whole.mkdir()
        _unpack(model, archive, whole)
        target = folder / model.name
        if target.exists():
            shutil.rmtree(target)  # left by an earlier attempt: files are missing in it
        whole.rename(target)
    return folder / model.name


def how_without_internet(model: SpeechModel, folder: Path) -> str:
    """Advice for a machine that cannot download."""
    files = ", ".join(model.files.values())
    return (
        f"Without internet here: get {model.url} on another machine, then `active-call models download {model.name} --file ARCHIVE`; "
        f"or put {files} into {folder / model.name}"
    )


def _download(url: str, part: Path, client: httpx.Client, progress: Progress) -> None:
    """Download the rest of `url` into `part`, after the bytes it already holds."""
    begun = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={begun}-"} if begun else {})}
    with client.stream("GET", url, headers=headers, timeout=TIMEOUT, follow_redirects=True) as response:
        if response.status_code == 416:  # the file is complete; the checksum tells whether it is the right one
            return
        response.raise_for_status()
        resumed = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", "")) if response.status_code == 206 else None
        if response.status_code == 206 and (resumed is None or int(resumed[1]) != begun):
            raise RemoteProtocolError(f"{url}: the server sent the wrong part of the file")
        n_bytes = begun if resumed else 0
        length = response.headers.get("content-length", "")
        n_all = int(resumed[2]) if resumed else int(length) if length.isdigit() else 0
        with part.open("ab" if resumed else "wb") as file:
            for chunk in response.iter_bytes():
                file.write(chunk)
                n_bytes += len(chunk)
                progress(n_bytes, n_all)
    if n_all and n_bytes < n_all:
        raise httpx.RemoteProtocolError(f"the connection ended after {n_bytes} of {n_all} bytes; run the command again to continue")


def _unpack(model: SpeechModel, archive: Path, target: Path) -> None:
    """The needed files, by base name. Links and paths of the archive are not followed."""
    wanted = set(model.files.values())
    with tarfile.open(archive, "r:*") as tar:
        for member in tar:
            name = Path(member.name).name
            if name in wanted and member.isfile() and (source := tar.extractfile(member)) is not None:
                with source, (target / name).open("wb") as file:
                    shutil.copyfileobj(source, file, CHUNK_BYTES)
                wanted.discard(name)
    if wanted:
        raise RemoteProtocolError(f"{archive.name} does not contain {', '.join(sorted(wanted))}")
