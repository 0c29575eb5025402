"""`active-call models`: the speech models that are available in addition to the package's own, and their download."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from active_call.base.errors import ConfigError
from active_call.providers.models.catalogue import ALL_MODELS, ModelKind, SpeechModel, model_named
from active_call.providers.models.folders import FOLDER_VARIABLE, is_installed, models_folder
from active_call.server.terminal import Terminal
from active_call.server.user_errors import UserErrors

OFFLINE_MODELS: Final = ("sensevoice", "supertonic")
"""What `--download-models` knows: recognition and synthesis without a network."""

out = Terminal()
err = Terminal(stderr=True)
models_app = typer.Typer(help="Speech models for the provider sherpa.", no_args_is_help=True)


@models_app.callback()
def models() -> None:
    """Speech models for the provider `sherpa`."""


@models_app.command("list")
def list_models(as_json: Annotated[bool, typer.Option("--json", help="Print only JSON.")] = False) -> None:
    """List the models with their languages and licences, and which are installed."""
    folder = models_folder(os.environ)
    if as_json:
        typer.echo(json.dumps([_as_json(model, folder) for model in ALL_MODELS]))
        return
    from rich.table import Table

    table = Table("name", "languages", "MB", "licence", "here")
    for model in ALL_MODELS:
        languages = " ".join(model.languages) or "dozens"
        table.add_row(model.name, languages, str(model.size_mb), model.licence, "yes" if is_installed(model, folder) else "")
    out.print(table)
    out.print(f"Folder: {folder} (or {FOLDER_VARIABLE}). To download: active-call models download NAME", highlight=False, soft_wrap=True)


@models_app.command("download")
def download(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name from `active-call models list`.")],
    file: Annotated[Path | None, typer.Option("--file", help="The archive, if you have downloaded it by other means.")] = None,
    url: Annotated[str | None, typer.Option("--url", help="A mirror from which to download the archive.")] = None,
) -> None:
    """Download a model, verify it, and unpack it. Continues an interrupted download."""
    with UserErrors():
        model, folder = model_named(name), models_folder(os.environ)
        err.print(f"{model.name}: licence {model.licence}, {model.licence_url}", highlight=False, soft_wrap=True)
        try:
            target = _fetch(model, folder, url) if file is None else _install(model, file, folder)
        except OSError as error:
            err.print(f"cannot store {model.name} in {folder}: {error}", style="bold red", highlight=False, markup=False, soft_wrap=True)
            raise typer.Exit(2) from None
        out.print(f"{model.name} is in {target}", highlight=False, soft_wrap=True)
        use = "tts: {provider: supertonic}" if model.kind is ModelKind.SUPERTONIC else f"asr: {{provider: sherpa, model: {model.name}}}"
        out.print(f"In a playbook: {use}", highlight=False, markup=False)


def download_missing(names: str) -> None:
    """For `--download-models`: download the model of that name, or `all`, unless installed. Raises ConfigError, TransportError."""
    if names not in (*OFFLINE_MODELS, "all"):
        raise ConfigError("--download-models", f"unknown model {names!r}; known: {', '.join(OFFLINE_MODELS)}, all")
    for name in OFFLINE_MODELS if names == "all" else (names,):
        folder = models_folder(os.environ)
        if is_installed(model_named(name), folder):
            out.print(f"{name} is in {folder / name}", highlight=False, soft_wrap=True)
        else:
            download(name)


def _install(model: SpeechModel, file: Path, folder: Path) -> Path:
    from active_call.providers.models.download import install_archive

    return install_archive(model, file, folder)


def _fetch(model: SpeechModel, folder: Path, url: str | None) -> Path:
    import httpx
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from active_call.providers.models.download import fetch_model

    columns = (TextColumn(model.name), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with httpx.Client() as client, Progress(*columns, console=err.console, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(model.name, total=None)
        return fetch_model(model, folder, client, lambda n, n_all: bar.update(task, completed=n, total=n_all or None), url=url)


def _as_json(model: SpeechModel, folder: Path) -> dict[str, object]:
    return {
        "name": model.name,
        "kind": model.kind.value,
        "languages": list(model.languages),
        "size_mb": model.size_mb,
        "licence": model.licence,
        "licence_url": model.licence_url,
        "url": model.url,
        "sha256": model.sha256,
        "folder": str(folder / model.name),
        "installed": is_installed(model, folder),
    }
