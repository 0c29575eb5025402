"""Models that are downloaded: the table, and bringing an archive here over a line that breaks, from a server that errs, or by hand."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from active_call.base.errors import ConfigError, RemoteProtocolError, TransportError
from active_call.providers.models import catalogue, download
from active_call.providers.models.catalogue import ALL_MODELS, MODELS, SpeechModel, model_named
from active_call.providers.models.download import fetch_model, install_archive
from active_call.providers.models.folders import installed_models, is_installed, models_folder
from active_call.server.commands.main import app

CONTENT = {"model.int8.onnx": b"\x01" * 300_000 + b"weights", "tokens.txt": b"a 0\n"}


def archive_of(files: dict[str, bytes], folder: str = "sherpa-onnx-test") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:bz2") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


ARCHIVE = archive_of({**CONTENT, "test_wavs/zh.wav": b"RIFF" * 100})
MODEL = replace(model_named("sensevoice"), sha256=hashlib.sha256(ARCHIVE).hexdigest(), archive="test.tar.bz2")


@dataclass
class Mirror:
    """A web server with one file, that does as the test says."""

    body: bytes = ARCHIVE
    cut_after: int | None = None
    """The connection ends after so many bytes of one answer; once."""
    knows_ranges: bool = True
    status: int = 0
    ranges: list[str | None] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    state = Mirror()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            state.ranges.append(asked)
            if state.status:
                self.send_error(state.status)
                return
            first = int(re.findall(r"\d+", asked)[0]) if asked and state.knows_ranges else 0
            if first >= len(state.body):
                self.send_error(416)
                return
            self.send_response(206 if first else 200)
            if first:
                self.send_header("Content-Range", f"bytes {first}-{len(state.body) - 1}/{len(state.body)}")
            self.send_header("Content-Length", str(len(state.body) - first))
            self.end_headers()
            end = len(state.body) if state.cut_after is None else first + state.cut_after
            state.cut_after = None
            self.wfile.write(state.body[first:end])

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}/test.tar.bz2"
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


def fetch(mirror: Mirror, folder: Path, model: SpeechModel = MODEL) -> tuple[Path, list[tuple[int, int]]]:
    progress: list[tuple[int, int]] = []
    with httpx.Client() as client:
        return fetch_model(model, folder, client, lambda n, n_all: progress.append((n, n_all)), url=mirror.url), progress


# -- the table


def test_table_is_complete_and_its_names_are_single() -> None:
    assert len({model.name for model in ALL_MODELS}) == len(ALL_MODELS)
    for model in ALL_MODELS:
        assert re.fullmatch(r"[0-9a-f]{64}", model.sha256) and model.url.startswith("https://") and model.url.endswith(".tar.bz2")
        assert model.licence and model.licence_url.startswith("https://") and model.size_mb > 0
        assert "tokens" in model.files or model not in MODELS
    assert {model.kind for model in ALL_MODELS} == set(catalogue.ModelKind)


def test_unknown_model_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"unknown model 'gpt'; known: .*sensevoice"):
        model_named("gpt")


def test_models_know_their_languages() -> None:
    assert model_named("sensevoice").speaks("zh-CN") and not model_named("sensevoice").speaks("de")
    assert model_named("parakeet-v3").speaks("de_AT") and model_named("whisper-tiny").speaks("sw")
    assert all(model.speaks(None) and model.speaks("auto") for model in MODELS)


def test_folder_is_the_environments_or_the_users() -> None:
    assert models_folder({"OFFLINE_MODELS_DIR": "/srv/models"}) == Path("/srv/models")
    assert models_folder({"XDG_DATA_HOME": "/data"}) == Path("/data/active-call/models")
    assert models_folder({"HOME": "/home/me"}) == Path("/home/me/.local/share/active-call/models")


# -- downloading


def test_model_is_downloaded_checked_and_unpacked_without_what_nobody_needs(mirror: Mirror, tmp_path: Path) -> None:
    folder, progress = fetch(mirror, tmp_path)
    assert folder == tmp_path / "sensevoice"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["sensevoice"]
    assert progress[-1] == (len(ARCHIVE), len(ARCHIVE))
    assert fetch(mirror, tmp_path)[0] == folder and len(mirror.ranges) == 1, "what is there is not downloaded again"


def test_broken_download_is_continued_where_it_stopped(mirror: Mirror, tmp_path: Path) -> None:
    mirror.cut_after = 100
    with pytest.raises(TransportError):
        fetch(mirror, tmp_path)
    assert (tmp_path / "test.tar.bz2.part").stat().st_size == 100 and not (tmp_path / "sensevoice").exists()
    folder, progress = fetch(mirror, tmp_path)
    assert mirror.ranges == [None, "bytes=100-"] and is_installed(MODEL, tmp_path)
    assert folder.is_dir() and progress[0][0] > 100 and progress[-1] == (len(ARCHIVE), len(ARCHIVE))


def test_server_without_ranges_sends_all_of_it_again(mirror: Mirror, tmp_path: Path) -> None:
    mirror.knows_ranges = False
    (tmp_path / "test.tar.bz2.part").write_bytes(b"x" * 77)
    fetch(mirror, tmp_path)
    assert mirror.ranges == ["bytes=77-"] and is_installed(MODEL, tmp_path)


def test_whole_archive_that_lies_here_is_only_checked(mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / "test.tar.bz2.part").write_bytes(ARCHIVE)
    fetch(mirror, tmp_path)
    assert is_installed(MODEL, tmp_path)


def test_wrong_archive_is_deleted_and_nothing_of_it_used(mirror: Mirror, tmp_path: Path) -> None:
    mirror.body = archive_of({**CONTENT, "model.int8.onnx": b"evil"})
    with pytest.raises(RemoteProtocolError, match=f"SHA-256 is [0-9a-f]+, expected {MODEL.sha256}"):
        fetch(mirror, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("status", [403, 404, 500])
def test_refusal_says_what_to_do_without_internet(mirror: Mirror, tmp_path: Path, status: int) -> None:
    mirror.status = status
    with pytest.raises(
        TransportError, match=rf"{status}.*active-call models download sensevoice --file.*or put model.int8.onnx, tokens.txt into"
    ):
        fetch(mirror, tmp_path)


def test_machine_without_internet_is_told_where_to_put_the_files(tmp_path: Path) -> None:
    with pytest.raises(TransportError, match=f"put model.int8.onnx, tokens.txt into {tmp_path}/sensevoice"):
        fetch(Mirror(url="http://127.0.0.1:1/test.tar.bz2"), tmp_path)


# -- an archive brought by hand


def test_archive_brought_by_hand_is_checked_like_a_downloaded_one(tmp_path: Path) -> None:
    archive = tmp_path / "from-a-stick.tar.bz2"
    archive.write_bytes(ARCHIVE)
    install_archive(MODEL, archive, tmp_path / "models")
    assert is_installed(MODEL, tmp_path / "models") and archive.exists()
    archive.write_bytes(ARCHIVE + b"x")
    with pytest.raises(RemoteProtocolError, match="not the archive"):
        install_archive(MODEL, archive, tmp_path / "others")
    with pytest.raises(ConfigError, match="no file"):
        install_archive(MODEL, tmp_path / "absent", tmp_path)


def test_paths_and_links_in_an_archive_lead_nowhere(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:bz2") as tar:
        link = tarfile.TarInfo("x/tokens.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        outside = tarfile.TarInfo("../../model.int8.onnx")
        outside.size = 3
        tar.addfile(outside, io.BytesIO(b"abc"))
    archive = tmp_path / "a.tar.bz2"
    archive.write_bytes(buffer.getvalue())
    model = replace(MODEL, sha256=hashlib.sha256(buffer.getvalue()).hexdigest())
    with pytest.raises(RemoteProtocolError, match=r"a.tar.bz2 does not contain tokens.txt"):
        install_archive(model, archive, tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == [] and not (tmp_path / "model.int8.onnx").exists()


def test_folder_with_files_missing_is_no_model_and_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "sensevoice").mkdir()
    (tmp_path / "sensevoice" / "tokens.txt").write_bytes(b"old")
    assert installed_models(tmp_path) == []
    archive = tmp_path / "a.tar.bz2"
    archive.write_bytes(ARCHIVE)
    install_archive(MODEL, archive, tmp_path)
    assert (tmp_path / "sensevoice" / "tokens.txt").read_bytes() == CONTENT["tokens.txt"]


# -- the command


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("OFFLINE_MODELS_DIR", str(tmp_path))
    monkeypatch.setattr(catalogue, "ALL_MODELS", (MODEL, *(model for model in ALL_MODELS if model.name != MODEL.name)))
    return CliRunner()


def test_command_downloads_from_a_mirror_and_names_the_licence(command: CliRunner, mirror: Mirror, tmp_path: Path) -> None:
    result = command.invoke(app, ["models", "download", "sensevoice", "--url", mirror.url])
    assert result.exit_code == 0, result.output
    assert "FunASR Model Open Source License 1.1" in result.output and "asr: {provider: sherpa, model: sensevoice}" in result.output
    assert is_installed(MODEL, tmp_path)
    listed = {entry["name"]: entry for entry in json.loads(command.invoke(app, ["models", "list", "--json"]).stdout)}
    assert listed["sensevoice"]["installed"] and not listed["whisper-tiny"]["installed"]


def test_command_says_plainly_what_is_wrong(command: CliRunner, mirror: Mirror) -> None:
    mirror.body = b"<html>no such page</html>"
    result = command.invoke(app, ["models", "download", "sensevoice", "--url", mirror.url])
    assert result.exit_code == 2 and "SHA-256" in result.output and "Traceback" not in result.output
    assert "unknown model" in command.invoke(app, ["models", "download", "nothing"]).output
    assert "sensevoice" in command.invoke(app, ["models", "list"]).output


def test_folder_that_cannot_be_written_is_an_error_and_no_traceback(
    command: CliRunner, mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("OFFLINE_MODELS_DIR", str(tmp_path / "file"))
    result = command.invoke(app, ["models", "download", "sensevoice", "--url", mirror.url])
    assert result.exit_code == 2 and "cannot store" in result.output


def test_download_waits_for_no_server_for_ever() -> None:
    assert download.TIMEOUT.read is not None and download.TIMEOUT.connect is not None
