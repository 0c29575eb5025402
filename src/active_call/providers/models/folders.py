"""The folders of downloaded models: one for each model, in a folder that the environment may name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from active_call.providers.models.catalogue import MODELS, SpeechModel

FOLDER_VARIABLE = "OFFLINE_MODELS_DIR"


def models_folder(environment: Mapping[str, str]) -> Path:
    """`OFFLINE_MODELS_DIR`, else `active-call/models` in the user's data folder (XDG_DATA_HOME)."""
    if named := environment.get(FOLDER_VARIABLE):
        return Path(named).expanduser()
    data = environment.get("XDG_DATA_HOME") or Path(environment.get("HOME") or "~").expanduser() / ".local" / "share"
    return Path(data) / "active-call" / "models"


def is_installed(model: SpeechModel, folder: Path) -> bool:
    """Whether all files of `model` are in its own folder under `folder`, the folder of all models."""
    return all(path.is_file() and path.stat().st_size > 0 for path in model.files_in(folder / model.name).values())


def installed_models(folder: Path) -> list[SpeechModel]:
    """The installed models, in the order of the table."""
    return [model for model in MODELS if is_installed(model, folder)]
