"""`--download-models`, `--models-dir` and `--exit-after-download`, as the original program has them."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from active_call.providers.models.catalogue import SpeechModel, model_named
from active_call.providers.models.folders import FOLDER_VARIABLE
from active_call.server.commands import models
from active_call.server.commands.main import app


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Path]]:
    """The models that were downloaded, and to where."""
    found: list[tuple[str, Path]] = []

    def fetch(model: SpeechModel, folder: Path, url: str | None) -> Path:
        assert url is None
        found.append((model.name, folder))
        return folder / model.name

    monkeypatch.setattr(models, "_fetch", fetch)
    monkeypatch.setenv(FOLDER_VARIABLE, "")  # set by the option, and restored after the test
    return found


@pytest.mark.parametrize("command", [[], ["serve"]])
@pytest.mark.parametrize(("wanted", "names"), [("all", ["sensevoice", "supertonic"]), ("supertonic", ["supertonic"])])
def test_models_are_downloaded_into_the_named_folder_and_the_program_ends(
    tmp_path: Path, fetched: list[tuple[str, Path]], command: list[str], wanted: str, names: list[str]
) -> None:
    arguments = [*command, "--download-models", wanted, "--models-dir", str(tmp_path), "--exit-after-download"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert fetched == [(name, tmp_path) for name in names]


def test_installed_model_is_not_downloaded_again(tmp_path: Path, fetched: list[tuple[str, Path]]) -> None:
    for path in model_named("sensevoice").files_in(tmp_path / "sensevoice").values():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"model")
    result = CliRunner().invoke(app, ["--download-models", "all", "--models-dir", str(tmp_path), "--exit-after-download"])
    assert result.exit_code == 0 and fetched == [("supertonic", tmp_path)]


def test_unknown_model_is_refused_with_the_known_names(tmp_path: Path, fetched: list[tuple[str, Path]]) -> None:
    result = CliRunner().invoke(app, ["--download-models", "whisper", "--models-dir", str(tmp_path), "--exit-after-download"])
    assert result.exit_code == 2 and "sensevoice, supertonic, all" in result.output
    assert fetched == []
