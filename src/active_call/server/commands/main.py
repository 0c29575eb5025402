"""The commands. They parse arguments, set up logging and the event loop, and print; the work is done in other modules."""

from __future__ import annotations

import json
import os
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from active_call.client.connection import DEFAULT_URL
from active_call.contract.options import CallOption, SipOption
from active_call.server.commands.calls import JsonFlag, TokenFlag, add_call_commands, place
from active_call.server.commands.models import models_app
from active_call.server.commands.playbook import playbook_app
from active_call.server.commands.providers import providers
from active_call.server.commands.records import records
from active_call.server.commands.serve import PROGRAM, ConfFlag, ExternalIpFlag, root, serve
from active_call.server.commands.show import show
from active_call.server.config.document import read_environment
from active_call.server.config.loading import DEFAULT_FILE, load_config, overrides_from_flags
from active_call.server.doctor.report import doctor, trunk_app
from active_call.server.terminal import Terminal
from active_call.server.user_errors import UserErrors

app = typer.Typer(**PROGRAM)
app.add_typer(playbook_app, name="playbook")
app.add_typer(models_app, name="models")
app.add_typer(trunk_app, name="trunk")
out = Terminal()
err = Terminal(stderr=True)

app.callback(invoke_without_command=True)(root)


def call(
    uri: Annotated[
        str, typer.Argument(metavar="URI", help="Whom to call: sip:user@host[;transport=tls], or `browser`: a running server's console.")
    ],
    playbook: Annotated[
        str, typer.Option("--playbook", help="The playbook of the conversation; with --url, one of the server's.")
    ] = "greeting.md",
    conf: ConfFlag = None,
    caller: Annotated[str | None, typer.Option(help="Our number or SIP address.")] = None,
    username: Annotated[str | None, typer.Option(help="Digest user name.")] = None,
    password: Annotated[str | None, typer.Option(help="Digest password.", envvar="SIP_PASSWORD")] = None,
    srtp: Annotated[bool | None, typer.Option("--srtp/--rtp", help="Encrypt the sound; default: as configured.")] = None,
    external_ip: ExternalIpFlag = None,
    handler: Annotated[Path | None, typer.Option("--handler", help="A playbook file of this machine, instead of --playbook.")] = None,
    url: Annotated[str | None, typer.Option("--url", help="Let a running server place the call.", envvar="ACTIVE_CALL_URL")] = None,
    token: TokenFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Place a call, let a playbook talk, and print the conversation. Exit code 0 if the call was answered."""
    if url or uri == "browser":
        login = SipOption(username=username, password=password, enable_srtp=srtp)
        option = CallOption(caller=caller, sip=login if login != SipOption() else None)
        place(uri, option, playbook, handler, url=url or DEFAULT_URL, token=token, as_json=as_json)
        return
    playbook = str(handler) if handler is not None else playbook
    from active_call.call.opening.routing import Playbooks
    from active_call.server import launching
    from active_call.server.commands.placing import CallRequest, place_one_call
    from active_call.server.playbook_files import find_playbook
    from active_call.server.setup.trunks import dial_plan
    from active_call.server.starter_files import write_starter_playbook

    with UserErrors():
        file = conf or (DEFAULT_FILE if DEFAULT_FILE.exists() else None)
        config = load_config(file, overrides_from_flags(external_ip=external_ip), os.environ, starter_playbook=True)
        environment = read_environment(file.parent if file else Path(), os.environ)
        dial_plan(config).callee_uri(uri)
        for path in write_starter_playbook(config, playbook):
            err.print(f"wrote {path}", highlight=False)
        Playbooks(lambda name: find_playbook(name, config), environment).load(playbook)
        with launching.logged(config, level="warn"):
            request = CallRequest(uri, playbook, caller=caller, username=username, password=password, srtp=srtp, as_json=as_json)
            answered = launching.run_loop(place_one_call(config, environment, launching.queued_console(), request))
    raise typer.Exit(0 if answered else 1)


def chat(
    playbook: Annotated[str, typer.Argument(metavar="PLAYBOOK", help="A playbook file, or a name in the playbook folders.")],
    conf: ConfFlag = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print only JSON, one event per line.")] = False,
) -> None:
    """Talk to a playbook by typing: a line is the caller's speech, `#5` a digit, `:state` shows variables, an empty line ends the call."""
    from active_call.server.commands.chat import chat as talk

    talk(playbook, conf, as_json)


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the new project.")],
    is_python: Annotated[bool, typer.Option("--python", help="Write a Python bot instead of a playbook.")] = False,
) -> None:
    """Write a small working project: configuration, playbook or bot, and a test. Never overwrites a file."""
    from active_call.server.commands.init_project import init_project, start_command

    with UserErrors():
        for path in init_project(folder, is_python=is_python):
            out.print(f"wrote {path}", highlight=False, markup=False, soft_wrap=True)
        install = "" if find_spec("pytest") else "pip install pytest; "
        out.print(
            f"Next: cd {shlex.quote(str(folder))}; {install}python -m pytest; {start_command(is_python=is_python)}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


def demo(
    as_json: Annotated[bool, typer.Option("--json", help="Print only one JSON object, at the end.")] = False,
    folder: Annotated[Path, typer.Option(help="Folder for the recording and the record.")] = Path("demo-output"),
    verbose: Annotated[bool, typer.Option("--verbose", help="Show the server's log.")] = False,
    model: Annotated[bool, typer.Option("--model", help="Let a small language model answer (downloaded once, 125 MB).")] = False,
) -> None:
    """Run a whole call on this machine, over TLS and SRTP: a simulated caller talks to the agent."""
    from rich.console import Console

    from active_call.server import launching
    from active_call.server.demo.run import run_demo
    from active_call.server.logs import set_up_logging

    set_up_logging("info" if verbose else "error")
    with UserErrors():
        result = launching.run_loop(run_demo(folder, Console(quiet=as_json), with_model=model))
        if result is None:
            raise typer.Exit(130)
        if as_json:
            sys.stdout.write(json.dumps(result.as_json(), ensure_ascii=False) + "\n")
    raise typer.Exit(0 if result.ok else 1)


for command in (serve, demo, init, call, chat, doctor, providers):  # in the order of `--help`
    app.command()(command)
add_call_commands(app)
app.command()(records)
app.command()(show)

bench_app = typer.Typer(no_args_is_help=True)
app.add_typer(bench_app, name="bench")
PASSED_ON: Final[dict[str, Any]] = {
    "context_settings": {"allow_extra_args": True, "ignore_unknown_options": True},
    "add_help_option": False,
}
"""A command whose arguments, `--help` included, go to a module of its own, so that its imports and measurements start afresh."""


@bench_app.callback()
def bench() -> None:
    """Measure this machine."""


@bench_app.command("media", **PASSED_ON)
def bench_media(context: typer.Context) -> None:
    """Measure the media process: `bench media --calls 200 --srtp --vad`."""
    _become("active_call.bench.media", context)


@bench_app.command("server", **PASSED_ON)
def bench_server(context: typer.Context) -> None:
    """Measure the whole server: `bench server --calls 200 --srtp`."""
    _become("active_call.bench.server", context)


@bench_app.command("sip", **PASSED_ON)
def bench_sip(context: typer.Context) -> None:
    """Measure call set-up: `bench sip --transport tls`."""
    _become("active_call.bench.sip", context)


@app.command("eval", **PASSED_ON)
def evaluate(context: typer.Context) -> None:
    """Test an agent with synthetic callers over real SIP: `eval --quick`, `eval caller.yaml --sip sip:a@127.0.0.1:5060 --junit out.xml`."""
    _become("active_call.bench.evals", context)


def _become(module: str, context: typer.Context) -> None:
    os.execv(sys.executable, [sys.executable, "-m", module, *context.args])  # noqa: S606
