"""Commands about the calls of a running server: `calls`, `tail`, `say`, `hangup`, `listen`, and `call --url`.

They use its HTTP API, with `--url` and `--token`.

Exit codes: 0 done, 1 no such call (or it has ended meanwhile), 2 the server is unreachable or refuses.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final, NoReturn

import typer

from active_call.base.log_lines import escaped
from active_call.client.call import ClientCall
from active_call.client.client import Client
from active_call.client.connection import DEFAULT_URL
from active_call.client.errors import CallOver, ClientError
from active_call.contract import commands, events, wire
from active_call.contract.errors import ContractError
from active_call.contract.options import CallOption
from active_call.server.config.document import why_unreadable
from active_call.server.terminal import Terminal, plain_line

out = Terminal()
err = Terminal(stderr=True)

NO_CALL: Final = 1
REFUSED: Final = 2

UrlFlag = Annotated[str, typer.Option("--url", help="The server's HTTP API.", envvar="ACTIVE_CALL_URL")]
TokenFlag = Annotated[str | None, typer.Option("--token", help="A token of the HTTP API.", envvar="ACTIVE_CALL_TOKEN")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print only JSON, one value per line.")]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The id of a call, as `calls` lists it.")]


def add_call_commands(app: typer.Typer) -> None:
    """Add the commands to the program."""
    for command in (calls, tail, say, hangup, listen):
        app.command()(command)


def calls(url: UrlFlag = DEFAULT_URL, token: TokenFlag = None, as_json: JsonFlag = False) -> None:
    """List the live calls. `active-call records` lists finished ones."""

    async def work(client: Client) -> None:
        found = await client.list()
        for one in found:
            print_line(json.dumps(one, ensure_ascii=False) if as_json else _call_line(one))
        if not found and not as_json:
            err.print("there are no live calls", highlight=False)

    run(url, token, work)


def tail(session_id: IdArgument, url: UrlFlag = DEFAULT_URL, token: TokenFlag = None, as_json: JsonFlag = False) -> None:
    """Follow a call until its end: print what is said and all events."""

    async def work(client: Client) -> None:
        async for item in client.follow(session_id):
            if isinstance(item, commands.CommandBase):
                if as_json:
                    print_line(wire.encode_command(item).decode())
                continue
            line = wire.encode_event(item).decode() if as_json else event_line(item)
            if line:
                print_line(line)

    run(url, token, work)


def say(
    session_id: IdArgument,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The text to speak with the agent's voice.")],
    url: UrlFlag = DEFAULT_URL,
    token: TokenFlag = None,
    whisper: Annotated[bool, typer.Option("--whisper", help="Only tell the agent; the caller does not hear it.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Say something in a call after the current speech; returns when it was heard, and prints the words that were heard."""

    async def work(client: Client) -> None:
        async with client.join(session_id) as call:
            heard = await _spoken(call, text, whisper=whisper)
        print_line(json.dumps({"heard": heard, "whole": heard == text}) if as_json else plain_line(heard))

    run(url, token, work)


async def _spoken(call: ClientCall, text: str, *, whisper: bool) -> str:
    if whisper:
        await call.whisper(text)
        return text
    return await call.say(text)


def hangup(session_id: IdArgument, url: UrlFlag = DEFAULT_URL, token: TokenFlag = None, as_json: JsonFlag = False) -> None:
    """End a call."""

    async def work(client: Client) -> None:
        await client.kill(session_id)
        print_line(json.dumps({"status": "killed", "id": session_id}) if as_json else f"{session_id} was hung up")

    run(url, token, work)


def listen(
    session_id: IdArgument,
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="A WAV file; without it, or with `-`: standard output.")] = None,
    url: UrlFlag = DEFAULT_URL,
    token: TokenFlag = None,
    pcm: Annotated[bool, typer.Option("--pcm", help="Write samples without a header: s16le, 16 kHz, stereo.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print at the end, as JSON, what was written; needs a file.")] = False,
) -> None:
    """Listen to a call until its end, the caller on the left channel. `active-call listen ID | ffplay -` plays it."""
    is_piped = file is None or str(file) == "-"
    if is_piped and (as_json or sys.stdout.isatty()):
        fail("--json needs a file for the sound" if as_json else "sound would go to the terminal: give a file name, or pipe it", REFUSED)

    async def work(client: Client) -> None:
        n_bytes = 0
        with ExitStack() as stack:
            target: BinaryIO | None = None
            async for piece in client.listen(session_id, format="pcm" if pcm else "wav"):
                if target is None:  # a call that does not exist leaves no file
                    target = sys.stdout.buffer if file is None or is_piped else stack.enter_context(file.open("wb"))
                target.write(piece)
                target.flush()
                n_bytes += len(piece)
        if as_json:
            print_line(json.dumps({"id": session_id, "file": str(file), "bytes": n_bytes}))

    run(url, token, work)


def place(uri: str, option: CallOption, playbook: str, handler: Path | None, *, url: str, token: str | None, as_json: bool) -> None:
    """Place a call by a running server and follow it to its end. `playbook`: one of the server's; `handler`: a local file instead."""
    if uri == "browser":
        page = f"{url.rstrip('/')}/"
        print_line(json.dumps({"url": page}) if as_json else f"open {page} in a browser to talk to a playbook of the server")
        typer.launch(url)
        return

    try:
        content = handler.read_text(encoding="utf-8") if handler is not None else None
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{handler} cannot be read: {why_unreadable(error)}", REFUSED)

    async def work(client: Client) -> None:
        async with client.call(uri, playbook=playbook if content is None else None, content=content, option=option) as call:
            async for event in call.events():
                line = wire.encode_event(event).decode() if as_json else event_line(event)
                if line:
                    print_line(line)

    run(url, token, work)


def run(url: str, token: str | None, work: Callable[[Client], Awaitable[None]]) -> None:
    """Do `work` with a client; a refusal prints a line and sets the exit code."""

    async def go() -> None:
        async with Client(url, token=token) as client:
            await work(client)

    try:
        asyncio.run(go())
    except CallOver as error:
        fail(f"{error}{_advice(error)}", NO_CALL)
    except ClientError as error:
        fail(f"{error}{_advice(error)}", REFUSED)
    except ContractError as error:  # an argument that no call can have
        fail(str(error), REFUSED)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise typer.Exit(0) from None  # the listener has stopped
        fail(str(error), REFUSED)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def fail(reason: str, code: int) -> NoReturn:
    """Print the reason, and exit."""
    err.print(reason, style="bold red", highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(code)


def _advice(error: ClientError) -> str:
    if error.status == 401:
        return "; give a token with --token or ACTIVE_CALL_TOKEN"
    if error.code == "not_found" and isinstance(error, CallOver):
        return "; `active-call calls` lists the live calls"
    return "; is `active-call serve` running there? Use --url for another server" if error.code == "unreachable" else ""


def print_line(text: str) -> None:
    """Print one line at once: text, or JSON. It is external text, and moves no cursor."""
    typer.echo(escaped(text))
    sys.stdout.flush()


def _call_line(one: dict[str, Any]) -> str:
    option = one.get("cs.option") or {}
    state = "answered" if one.get("answerTime") else "ringing" if one.get("ringTime") else "new"
    ends = f"{option.get('caller') or '?'} -> {option.get('callee') or '?'}"
    return plain_line(f"{one['id']}  {one.get('direction', ''):<8}  {state:<8}  {ends}  {one.get('playbook') or ''}".rstrip())


def event_line(event: events.Event) -> str:
    """An event as one line of plain text; empty for events that only programs need."""
    return plain_line(_text_of(event))


def _text_of(event: events.Event) -> str:
    match event:
        case events.AddHistory(speaker=speaker, text=text):
            return f"{ {'assistant': 'agent', 'user': 'caller'}.get(speaker, speaker):>9}  {text}"
        case events.Turn(latency=latency, model=model) if latency is not None:
            return f"{'':>9}  ({latency:.0f} ms{'' if model is None else f', model {model:.0f}'})"
        case events.Dtmf(digit=digit):
            return f"{'digit':>9}  {digit}"
        case events.Interruption():
            return f"{'':>9}  (interrupted)"
        case events.Transfer(state=state, target=target):
            return f"{'transfer':>9}  {state} {target}"
        case events.FunctionCall(name=name, arguments=arguments):
            return f"{'tool':>9}  {name} {arguments}"
        case events.Error(sender=sender, error=error):
            return f"{'error':>9}  {sender}: {error}"
        case events.Incoming() | events.Ringing() | events.Answer():
            return f"{'':>9}  ({type(event).__name__.lower()})"
        case events.Hangup(reason=reason, initiator=initiator):
            return f"{'':>9}  (over: {reason}, by {initiator})"
        case _:
            return ""
