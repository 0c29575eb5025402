"""The commands about calls, against a server that the test plays, and a chat with a playbook."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from active_call.client.client import Client
from active_call.client.errors import ClientError
from active_call.contract import events, wire
from active_call.contract.options import CallOption, SipOption
from active_call.server.commands import calls, placing
from active_call.server.commands.calls import event_line, fail, print_line
from active_call.server.commands.main import app
from active_call.server.config.config import Config

runner = CliRunner()
CALL = {
    "id": "s.1",
    "direction": "inbound",
    "answerTime": "x",
    "cs.option": {"caller": "sip:a@b", "callee": "sip:c@d"},
    "playbook": "sales.md",
}
EVENTS = [
    {"event": "command", "data": {"command": "tts", "text": "Hello."}},
    {"event": "event", "data": {"event": "addHistory", "timestamp": 1, "speaker": "assistant", "text": "Hello\x1b[2J."}},
    {"event": "event", "data": {"event": "turn", "timestamp": 1, "index": 1, "latency": 812.4, "model": 300.0}},
    {"event": "event", "data": {"event": "fromTheFuture", "timestamp": 1}},
    {
        "event": "event",
        "data": {"event": "hangup", "timestamp": 2, "reason": "caller", "initiator": "caller", "startTime": "", "hangupTime": ""},
    },
]


class Handler(BaseHTTPRequestHandler):
    def _answer(self, status: int, body: bytes, kind: str = "application/json") -> None:
        if self.headers.get("Authorization") != "Bearer t0ken":
            status, body, kind = 401, b'{"error": "expected a token", "code": "unauthorized"}', "application/json"
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        stream = "".join(f"event: {one['event']}\ndata: {json.dumps(one['data'])}\n\n" for one in EVENTS)
        known = {
            "/list": (json.dumps({"active_calls": [CALL]}).encode(), "application/json"),
            "/events/s.1": (stream.encode(), "text/event-stream"),
            "/listen/s.1": (b"RIFFsound", "audio/wav"),
            "/api/records/s.1": (b'{"sessionId": "s.1"}', "application/json"),
        }
        if path in known:
            self._answer(200, *known[path])
        else:
            self._answer(404, b'{"error": "no call", "code": "not_found"}')

    def do_DELETE(self) -> None:
        self._answer(200 if self.path == "/call/s.1" else 404, b'{"status": "x"}')

    def log_message(self, *args: object) -> None: ...


@pytest.fixture(scope="module")
def flags() -> Iterator[list[str]]:
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield ["--url", f"http://127.0.0.1:{http.server_port}", "--token", "t0ken"]
    http.shutdown()
    http.server_close()


def test_calls_are_listed_for_people_and_for_programs(flags: list[str]) -> None:
    listed = runner.invoke(app, ["calls", *flags])
    assert listed.exit_code == 0 and listed.stdout == "s.1  inbound   answered  sip:a@b -> sip:c@d  sales.md\n"
    assert json.loads(runner.invoke(app, ["calls", "--json", *flags]).stdout) == CALL


def test_call_is_followed_to_its_end(flags: list[str]) -> None:
    told = runner.invoke(app, ["tail", "s.1", *flags])
    assert told.exit_code == 0
    assert told.stdout.splitlines() == ["    agent  Hello [2J.", "           (812 ms, model 300)", "           (over: caller, by caller)"]
    lines = [json.loads(line) for line in runner.invoke(app, ["tail", "s.1", "--json", *flags]).stdout.splitlines()]
    assert [line.get("event") or line.get("command") for line in lines] == ["tts", "addHistory", "turn", "hangup"]


HOSTILE = "\x1b[2J\x9b31m\u202e\r[red]x[/]"
HOSTILE_EVENTS: list[events.Event] = [
    events.AddHistory(timestamp=1, speaker=HOSTILE, text=HOSTILE),
    events.Dtmf(timestamp=1, track_id="t", digit=HOSTILE),
    events.FunctionCall(timestamp=1, call_id="1", name=HOSTILE, arguments=HOSTILE),
    events.Error(timestamp=1, track_id="t", sender=HOSTILE, error=HOSTILE),
    events.Transfer(timestamp=1, track_id="t", state="calling", target=HOSTILE),
    events.Hangup(timestamp=1, track_id="t", reason=HOSTILE, initiator=HOSTILE, start_time="", hangup_time=""),
]


@pytest.mark.parametrize("event", HOSTILE_EVENTS, ids=lambda event: type(event).__name__)
def test_text_of_a_caller_or_a_model_moves_no_cursor(event: events.Event, capsys: pytest.CaptureFixture[str]) -> None:
    print_line(event_line(event))
    placing._show(event, Console(file=sys.stdout, force_terminal=True, color_system=None, width=200))
    print_line(wire.encode_event(event).decode())
    *texts, as_json = capsys.readouterr().out.splitlines()
    assert texts and all(line.isprintable() for line in (*texts, as_json))
    assert all("[red]x[/]" in line for line in texts if line)  # it is no markup either
    assert wire.decode_event(as_json) == event


def test_reason_for_which_a_command_fails_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        fail(f"the server says {HOSTILE}\nand more", 2)
    assert all(line.isprintable() for line in capsys.readouterr().err.splitlines())


def test_call_is_hung_up_and_listened_to(flags: list[str], tmp_path: Path) -> None:
    assert runner.invoke(app, ["hangup", "s.1", *flags]).stdout == "s.1 was hung up\n"
    assert runner.invoke(app, ["listen", "s.1", str(tmp_path / "a.wav"), *flags]).exit_code == 0
    assert (tmp_path / "a.wav").read_bytes() == b"RIFFsound"


@pytest.mark.parametrize("command", [["tail", "s.9"], ["hangup", "s.9"], ["say", "s.9", "hi"], ["listen", "s.9", "x.wav"]])
def test_call_that_is_not_there_is_exit_code_1(
    flags: list[str], command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(app, [*command, *flags])
    assert result.exit_code == 1 and "no such call; `active-call calls` lists the live calls" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [["calls"], ["tail", "s.9"], ["hangup", "s.9"], ["say", "s.9", "hi"], ["listen", "s.9", "x.wav"]])
def test_server_that_does_not_answer_is_exit_code_2_with_advice(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(app, [*command, "--url", "http://127.0.0.1:9"])
    assert result.exit_code == 2
    assert result.stderr.startswith("http://127.0.0.1:9 cannot be reached: ")
    assert "is `active-call serve` running there?" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_address_that_no_call_can_have_is_one_line_and_exit_code_2(flags: list[str]) -> None:
    result = runner.invoke(app, ["call", "not a uri", *flags])
    assert result.exit_code == 2
    assert result.stderr == "callee: expected a SIP address such as sip:+15551234567@example.com, or a number, found 'not a uri'\n"


def test_call_of_a_running_server_has_its_playbook_and_the_flags(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    placed: list[tuple[str, dict[str, Any]]] = []

    class Recorded:
        """A client that notes what it would place, and cannot."""

        def __init__(self, url: str, *, token: str | None) -> None:
            pass

        async def __aenter__(self) -> Recorded:
            return self

        async def __aexit__(self, *_: object) -> None: ...

        def call(self, uri: str, **given: Any) -> Any:
            placed.append((uri, given))
            raise ClientError("noted")

    monkeypatch.setattr(calls, "Client", Recorded)
    (tmp_path / "mine.md").write_text("Hello.", encoding="utf-8")
    flags = ["--url", "http://127.0.0.1:9"]
    options = ["--playbook", "sales.md", "--caller", "sip:me@b", "--username", "u", "--srtp"]
    for more in ([], options, ["--handler", str(tmp_path / "mine.md")]):
        assert runner.invoke(app, ["call", "sip:a@b", *flags, *more]).exit_code == 2
    given = [(one["playbook"], one["content"], one["option"]) for _, one in placed]
    assert given == [
        ("greeting.md", None, CallOption()),
        ("sales.md", None, CallOption(caller="sip:me@b", sip=SipOption(username="u", enable_srtp=True))),
        (None, "Hello.", CallOption()),
    ]


def test_list_without_calls_says_so_but_not_to_programs(flags: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(_: Client) -> list[dict[str, Any]]:
        return []

    monkeypatch.setattr(Client, "list", nothing)
    people, programs = runner.invoke(app, ["calls", *flags]), runner.invoke(app, ["calls", "--json", *flags])
    assert (people.stdout, people.stderr, people.exit_code) == ("", "there are no live calls\n", 0)
    assert (programs.output, programs.exit_code) == ("", 0)


def test_record_is_shown_by_a_running_server(flags: list[str]) -> None:
    assert json.loads(runner.invoke(app, ["show", "s.1", "--json", *flags]).stdout) == {"sessionId": "s.1"}
    missing = runner.invoke(app, ["show", "s.9", *flags])
    assert missing.exit_code == 1 and "there is no record 's.9'" in missing.stderr
    assert runner.invoke(app, ["show", "s.1", *flags[:2]]).exit_code == 2


def test_file_that_cannot_be_read_is_named_with_the_reason(tmp_path: Path, flags: list[str]) -> None:
    (tmp_path / "latin.md").write_bytes(b"Hello\nGr\xfc\xdfe")
    for command in (["call", "sip:a@b", *flags, "--handler"], ["playbook", "check"]):
        result = runner.invoke(app, [*command, str(tmp_path / "latin.md")])
        assert result.exit_code != 0
        assert "it is not UTF-8 (line 2: byte 0xfc); save it as UTF-8 text" in result.output


def test_refusal_and_silence_are_exit_code_2_with_advice(flags: list[str]) -> None:
    wrong = runner.invoke(app, ["calls", *flags[:2], "--token", "wrong"])
    assert wrong.exit_code == 2 and "401: expected a token; give a token with --token" in wrong.stderr
    silent = runner.invoke(app, ["calls", "--url", "http://127.0.0.1:9"])
    assert silent.exit_code == 2 and "is `active-call serve` running there?" in silent.stderr
    nonsense = runner.invoke(app, ["calls", "--url", "nonsense"])
    assert nonsense.exit_code == 2 and "active-call serve" not in nonsense.stderr  # no server would help


PLAYBOOK = """---
llm: {provider: script, greeting: Welcome to the bakery.}
---
# Scene: main
## opening hours
We open at nine. <set_var key="asked" value="hours"/>
## bye
Goodbye. <hangup/>
"""


def test_playbook_is_talked_to_by_typing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bakery.md").write_text(PLAYBOOK, encoding="utf-8")
    talked = runner.invoke(app, ["chat", "bakery.md"], input="opening hours\n:state\nbye\n")
    assert talked.exit_code == 0, talked.stderr
    said = [line.strip() for line in talked.stdout.splitlines()]
    words = [line for line in said if line.startswith(("agent", "caller"))]
    assert words == ["agent  Welcome to the bakery.", "caller  opening hours", "agent  We open at nine.", "caller  bye", "agent  Goodbye."]
    assert '{"asked": "hours"}' in said and any(" ms" in line for line in said) and said[-1].startswith("(over:")


def test_chat_ends_quietly_when_the_reader_of_its_pipe_has_left(tmp_path: Path) -> None:
    (tmp_path / "menu.md").write_text(PLAYBOOK, encoding="utf-8")
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "active_call.server.cli", "chat", "menu.md"]
    try:
        done = subprocess.run(command, cwd=tmp_path, input=b"opening hours\nbye\n", stdout=writer, stderr=subprocess.PIPE, timeout=60)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_playbook_with_a_mistake_is_said_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.md").write_text(PLAYBOOK + "## bye\nAgain.\n", encoding="utf-8")
    result = runner.invoke(app, ["chat", "bad.md"])
    assert result.exit_code == 2 and "bad.md:" in result.stderr and "given twice" in result.stderr


def test_chat_prints_events_and_state_as_json_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bakery.md").write_text(PLAYBOOK, encoding="utf-8")
    talked = runner.invoke(app, ["chat", "bakery.md", "--json"], input="opening hours\n:state\nbye\n")
    values = [json.loads(line) for line in talked.stdout.splitlines()]
    assert [one["text"] for one in values if one.get("event") == "addHistory"][-1] == "Goodbye."
    assert {"asked": "hours"} in values
    assert values[-1]["event"] == "hangup"


def test_each_command_about_calls_takes_json() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for name in ("call", "calls", "show", "tail", "say", "hangup", "listen", "chat"):
        assert any("--json" in option.opts for option in commands[name].params), name


def test_what_is_written_and_done_is_told_as_json(flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.wav"
    told = runner.invoke(app, ["listen", "s.1", str(file), "--json", *flags])
    assert json.loads(told.stdout) == {"id": "s.1", "file": str(file), "bytes": len(b"RIFFsound")}
    assert file.read_bytes() == b"RIFFsound"
    piped = runner.invoke(app, ["listen", "s.1", "--json", *flags])
    assert piped.exit_code == 2 and piped.stdout == "" and "needs a file" in piped.stderr
    assert json.loads(runner.invoke(app, ["hangup", "s.1", "--json", *flags]).stdout) == {"status": "killed", "id": "s.1"}
    monkeypatch.setattr(typer, "launch", lambda url: 0)
    assert json.loads(runner.invoke(app, ["call", "browser", "--json", *flags]).stdout) == {"url": f"{flags[1]}/"}


def test_call_that_this_machine_places_prints_its_events_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    told = [
        events.Ringing(timestamp=1),
        events.AddHistory(timestamp=2, speaker="assistant", text=":smile: [red]hi"),
        events.Hangup(timestamp=3),
    ]

    class Subscription:
        async def __aiter__(self) -> AsyncIterator[Any]:
            for event in told:
                yield SimpleNamespace(event=event)

    call = SimpleNamespace(
        subscribe=Subscription, describe=lambda: SimpleNamespace(answered_at=None, error="", sip_code=486, end_reason="rejected")
    )
    server = SimpleNamespace(playbooks=SimpleNamespace(load=str), registry=SimpleNamespace(place=lambda option, playbook: call))

    @asynccontextmanager
    async def running(*_: object) -> AsyncIterator[Any]:
        yield server

    monkeypatch.setattr(placing, "running", running)
    for as_json in (True, False):
        out = Console(file=io.StringIO(), width=20)
        wish = placing.CallRequest("sip:a@b", "main.md", as_json=as_json)
        assert asyncio.run(placing.place_one_call(Config(), {}, out, wish)) is False
        lines = out.file.getvalue().splitlines()  # type: ignore[attr-defined]
        if as_json:
            assert [json.loads(line)["event"] for line in lines] == ["ringing", "addHistory", "hangup"]
            assert json.loads(lines[1])["text"] == ":smile: [red]hi"
        else:
            assert lines[0] == "calling sip:a@b …" and lines[-1] == "not answered: 486 rejected"
            assert "  agent  :smile: [red]hi" in lines


def test_call_that_this_machine_places_is_hung_up_when_the_command_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent:
        async def __aiter__(self) -> AsyncIterator[Any]:
            await asyncio.sleep(60)
            yield

    done: list[str] = []
    registry = SimpleNamespace(
        place=lambda option, playbook: SimpleNamespace(subscribe=Silent), end_calls_now=lambda: done.append("calls are ended")
    )

    @asynccontextmanager
    async def running(*_: object) -> AsyncIterator[Any]:
        try:
            yield SimpleNamespace(playbooks=SimpleNamespace(load=str), registry=registry)
        finally:
            done.append("server stops")

    async def story() -> None:
        out = Console(file=io.StringIO())
        work = asyncio.create_task(placing.place_one_call(Config(), {}, out, placing.CallRequest("sip:a@b", "main.md")))
        await asyncio.sleep(0.01)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    monkeypatch.setattr(placing, "running", running)
    asyncio.run(story())
    assert done == ["calls are ended", "server stops"]
