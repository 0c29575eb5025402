"""The client against a server that the test plays: real HTTP and sockets, and every answer in the test's hands."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from active_call import CallOption, Client
from active_call.client import call as client_call
from active_call.client.errors import CallOver, ClientError, CommandFailed
from active_call.contract import events

Serve = Callable[["Line"], Awaitable[None]]


class Line:
    """One socket of the server."""

    def __init__(self, socket: ServerConnection, seq: list[int]) -> None:
        self.socket = socket
        self._seq = seq
        self.commands: list[dict[str, Any]] = []

    @property
    def query(self) -> str:
        assert self.socket.request is not None
        return self.socket.request.path

    async def gets(self, name: str) -> dict[str, Any]:
        command: dict[str, Any] = json.loads(await self.socket.recv())
        self.commands.append(command)
        assert command["command"] == name, command
        return command

    async def tells(self, name: str, **fields: Any) -> None:
        self._seq[0] += 1
        event = {"seq": self._seq[0], "event": name, "timestamp": 1, "trackId": "c.1", **fields}
        await self.socket.send(json.dumps(event))

    async def hangs_up(self) -> None:
        await self.tells("hangup", reason="caller", initiator="caller", startTime="", hangupTime="")


@asynccontextmanager
async def a_server(*lines: Serve) -> AsyncIterator[Client]:
    waiting, seq, failures = list(lines), [0], []  # type: ignore[var-annotated]

    async def handle(socket: ServerConnection) -> None:
        try:
            await waiting.pop(0)(Line(socket, seq))
        except BaseException as error:
            failures.append(error)
            raise

    def refuse(socket: ServerConnection, request: Request) -> Response | None:
        del request
        return None if waiting else socket.respond(404, "no call")

    async with serve(handle, "127.0.0.1", 0, process_request=refuse) as server:
        port = server.sockets[0].getsockname()[1]
        async with Client(f"http://127.0.0.1:{port}", token="t0ken") as client, asyncio.timeout(20):
            yield client
    assert not failures and not waiting


def test_call_is_placed_spoken_to_and_hung_up() -> None:
    async def line(line: Line) -> None:
        assert "linger=" in line.query and "id=c.1" in line.query
        assert line.socket.request is not None and line.socket.request.headers["Authorization"] == "Bearer t0ken"
        invite = await line.gets("invite")
        assert invite["option"]["callee"] == "sip:bob@example.com" and invite["option"]["asr"] == {}
        await line.tells("ringing", earlyMedia=False)
        await line.tells("answer", sdp="v=0")
        said = await line.gets("tts")
        await line.tells("trackEnd", playId=said["playId"], duration=900, ssrc=0)
        cut = await line.gets("tts")
        await line.tells("interruption", playId=cut["playId"], subtitle="We open", totalDuration=2, current=1)
        await line.tells("asrFinal", index=1, text="thanks")
        await line.gets("hangup")
        await line.hangs_up()

    async def story() -> None:
        async with a_server(line) as client, client.call("sip:bob@example.com", session_id="c.1") as call:
            assert await call.say("Hello.") == "Hello."
            assert await call.say("We open at nine.") == "We open"
            assert await call.heard(5) == "thanks"
        assert call.ended is not None and call.ended.reason == "caller"
        kinds = [type(event).__name__ async for event in call.events()]
        assert kinds == ["Ringing", "Answer", "TrackEnd", "Interruption", "AsrFinal", "Hangup"]
        with pytest.raises(CallOver):
            await call.say("Anybody there?")

    asyncio.run(story())


def test_broken_socket_is_opened_again_from_the_last_number_and_nothing_is_missed() -> None:
    async def first(line: Line) -> None:
        await line.gets("invite")
        await line.tells("answer", sdp="v=0")
        await line.tells("dtmf", digit="1")
        line.socket.transport.abort()

    async def second(line: Line) -> None:
        assert "since=2" in line.query and "id=c.1" in line.query
        await line.tells("dtmf", digit="2")
        assert (await line.gets("tts"))["text"] == "Still here."
        await line.gets("hangup")
        await line.hangs_up()

    async def story() -> None:
        async with a_server(first, second) as client, client.call("sip:bob@example.com", session_id="c.1") as call:
            digits = []
            async for event in call.events():
                if isinstance(event, events.Dtmf):
                    digits.append(event.digit)
                if digits == ["1", "2"]:
                    break
            await call.say("Still here.", wait=False)
        assert call.lost is None and call.ended is not None

    asyncio.run(story())


def test_call_that_has_ended_while_the_socket_was_broken_is_over_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_call, "RECONNECT_S", (0.01, 1.0))

    async def line(line: Line) -> None:
        await line.gets("invite")
        await line.tells("answer", sdp="v=0")
        line.socket.transport.abort()

    async def story() -> None:
        async with a_server(line) as client, client.call("sip:bob@example.com", session_id="c.1") as call:
            with pytest.raises(CallOver, match="ended meanwhile"):
                async for _ in call.events():
                    pass
        assert isinstance(call.lost, CallOver) and call.lost.status == 404

    asyncio.run(story())


def test_server_that_reports_no_answer_is_a_client_error_after_the_calls_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_call, "MARGIN_S", 0.05)

    async def line(line: Line) -> None:
        await line.gets("invite")
        await line.socket.wait_closed()

    async def story() -> None:
        async with a_server(line) as client:
            with pytest.raises(ClientError, match=r"no answer within 1\.05 s"):
                async with client.call("sip:bob@example.com", session_id="c.1", option=CallOption(handshake_timeout=1)):
                    raise AssertionError

    asyncio.run(story())


def test_call_that_is_refused_says_with_what() -> None:
    async def line(line: Line) -> None:
        await line.gets("invite")
        await line.tells("reject", code=486, reason="Busy Here")
        await line.hangs_up()

    async def story() -> None:
        async with a_server(line) as client:
            with pytest.raises(CallOver, match="486 Busy Here") as refused:
                async with client.call("sip:bob@example.com", session_id="c.1"):
                    raise AssertionError
            assert refused.value.status == 486

    asyncio.run(story())


def test_command_that_the_call_cannot_carry_out_is_raised_where_it_was_given() -> None:
    async def line(line: Line) -> None:
        await line.gets("invite")
        await line.tells("answer", sdp="v=0")
        await line.gets("refer")
        await line.tells("error", sender="command", error="refer: 'x' is no address")
        await line.gets("hangup")
        await line.hangs_up()

    async def story() -> None:
        async with a_server(line) as client, client.call("sip:bob@example.com", session_id="c.1") as call:
            with pytest.raises(CommandFailed, match="no address"):
                await call.transfer("x")

    asyncio.run(story())


def test_server_that_is_not_there_or_no_url_is_said_in_words() -> None:
    async def story() -> None:
        async with Client("http://127.0.0.1:9") as client:
            with pytest.raises(ClientError, match=r"127\.0\.0\.1:9.* cannot be reached"):
                await client.list()
            with pytest.raises(ClientError, match="cannot be reached"):
                async with client.call("sip:bob@example.com"):
                    raise AssertionError
        with pytest.raises(ClientError, match="not the URL of a server"):
            Client("localhost:8080")
        with pytest.raises(ClientError, match="async with"):
            await Client().list()

    asyncio.run(story())


def test_reference_in_the_documentation_is_that_of_the_code() -> None:
    tool = Path(__file__).parents[2] / "tools" / "client_reference.py"
    checked = subprocess.run([sys.executable, str(tool), "--check"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
