"""`active-call serve`, and the options that it shares with the program itself: without a command the program serves.

A start loads this module, but not the other commands (`main`): they take a twentieth of its time.
"""

from __future__ import annotations

import gc
import importlib
import os
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from active_call.base.numeric_threads import single_threaded
from active_call.base.version import __version__
from active_call.server.config.loading import DEFAULT_FILE, overrides_from_flags
from active_call.server.terminal import Terminal
from active_call.server.user_errors import UserErrors

PROGRAM: Final[dict[str, Any]] = {
    "name": "active-call",
    "help": "Answers and places phone calls over SIP, and holds the conversation.",
    "no_args_is_help": False,
    "add_completion": False,
    "pretty_exceptions_enable": False,
}
"""The settings of the program."""

app = typer.Typer(**PROGRAM)
"""The program with `serve` as its only command."""
out = Terminal()

ConfFlag = Annotated[Path | None, typer.Option("--conf", help="Config file (default: active-call.toml).")]
HttpFlag = Annotated[str | None, typer.Option("--http", help="HOST:PORT of the HTTP API.")]
SipFlag = Annotated[str | None, typer.Option("--sip", help="HOST:PORT for SIP over UDP and TCP.")]
HandlerFlag = Annotated[str | None, typer.Option("--handler", help="Who takes calls: a URL, a playbook (.md) or module:function.")]
ExternalIpFlag = Annotated[str | None, typer.Option("--external-ip", help="Public address for Contact, Via and SDP.")]
CodecsFlag = Annotated[str | None, typer.Option("--codecs", help="Codecs to offer, in order: pcmu,pcma")]
CallFlag = Annotated[str | None, typer.Option("--call", help="Place a call to this SIP URI once the server is ready.")]
DownloadFlag = Annotated[
    str | None, typer.Option("--download-models", help="Download sensevoice, supertonic or all, unless installed, before the start.")
]
ModelsFlag = Annotated[Path | None, typer.Option("--models-dir", help="The folder of downloaded models; as OFFLINE_MODELS_DIR.")]
ExitFlag = Annotated[bool, typer.Option("--exit-after-download", help="Do not serve: end after --download-models.")]


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    conf: ConfFlag = None,
    http: HttpFlag = None,
    sip: SipFlag = None,
    handler: HandlerFlag = None,
    call: CallFlag = None,
    external_ip: ExternalIpFlag = None,
    codecs: CodecsFlag = None,
    download_models: DownloadFlag = None,
    models_dir: ModelsFlag = None,
    exit_after_download: ExitFlag = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Without a command: serve."""
    if version:
        out.print(f"active-call {__version__}", highlight=False)
        raise typer.Exit
    if context.invoked_subcommand is None:
        serve(
            context,
            conf=conf,
            http=http,
            sip=sip,
            handler=handler,
            call=call,
            external_ip=external_ip,
            codecs=codecs,
            download_models=download_models,
            models_dir=models_dir,
            exit_after_download=exit_after_download,
        )


@app.command()
def serve(
    context: typer.Context,
    conf: ConfFlag = None,
    http: HttpFlag = None,
    sip: SipFlag = None,
    handler: HandlerFlag = None,
    call: CallFlag = None,
    external_ip: ExternalIpFlag = None,
    codecs: CodecsFlag = None,
    download_models: DownloadFlag = None,
    models_dir: ModelsFlag = None,
    exit_after_download: ExitFlag = False,
) -> None:
    """Answer and place calls until stopped."""
    from active_call.server.starter_files import prepare_start

    with UserErrors():
        _get_models(download_models, models_dir)
        if download_models and exit_after_download:
            raise typer.Exit
        flags = overrides_from_flags(http=http, sip=sip, handler=handler, external_ip=external_ip, codecs=codecs)
        config, written = prepare_start(conf, flags, os.environ, callee=call, meanwhile=_load_server)
        _load_server()
        from active_call.server import launching
        from active_call.server.reloading import ConfigSource

        for path in written:
            typer.echo(f"wrote {path}", err=True)
        file = conf or DEFAULT_FILE
        launching.serve(config, ConfigSource(file, flags, os.environ, had_file=file.exists()), call=call, children=context.obj)


def _get_models(names: str | None, folder: Path | None) -> None:
    """Use `folder` for models from now on, and download those of `names` that are not installed. Raises ConfigError, TransportError."""
    if folder is not None:
        from active_call.providers.models.folders import FOLDER_VARIABLE

        os.environ[FOLDER_VARIABLE] = str(folder.absolute())
    if names is not None:
        from active_call.server.commands.models import download_missing

        download_missing(names)


def _load_server() -> None:
    """Import the server, then enable the garbage collector; it skips the objects that exist by then."""
    with single_threaded():
        importlib.import_module("active_call.server.launching")
    gc.freeze()
    gc.enable()
