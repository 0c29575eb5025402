"""What the provider tests share: services, and an OpenAI-compatible server on loopback that does as the test says."""

from __future__ import annotations

import asyncio
import email
import pickle
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

sys.path.insert(0, str(Path(__file__).parent))

from active_call.base.errors import ProviderError
from active_call.base.world import World
from active_call.providers.base import Services
from active_call.providers.local.local_engines import EngineProcesses


@dataclass
class FakeOpenAi:
    """The three endpoints; `answers` (status codes) are used up before success, `received` holds what came in."""

    base_url: str = ""
    answers: list[int] = field(default_factory=list)
    received: list[dict[str, Any]] = field(default_factory=list)
    transcription: str = "I want to speak to sales"
    speech: list[bytes] = field(default_factory=lambda: [b"\x01", b"\x02\x03", b"\x04\x05\x06"])
    speech_type: str = "audio/pcm"
    words: list[str] = field(default_factory=lambda: ["Hello", " there", "."])
    stream_breaks: bool = False
    gate: asyncio.Event | None = None
    refusal_text: str = ""

    def app(self) -> FastAPI:
        app = FastAPI()
        app.post("/v1/audio/transcriptions")(self.transcribe)
        app.post("/v1/audio/speech")(self.speak)
        app.post("/v1/chat/completions")(self.complete)
        return app

    def refusal(self) -> Response | None:
        status = self.answers.pop(0) if self.answers else 200
        return None if status == 200 else JSONResponse({"error": {"message": self.refusal_text or f"told to say {status}"}}, status)

    async def transcribe(self, request: Request) -> Response:
        head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
        fields: dict[str, Any] = {"authorization": request.headers.get("authorization")}
        for part in email.message_from_bytes(head + await request.body()).walk():
            name = part.get_param("name", header="content-disposition")
            if name == "file":
                fields["wav"] = part.get_payload(decode=True)
            elif name:
                fields[str(name)] = part.get_payload()
        self.received.append(fields)
        return self.refusal() or JSONResponse({"text": f" {self.transcription} "})

    async def speak(self, request: Request) -> Response:
        self.received.append({**await request.json(), "authorization": request.headers.get("authorization")})
        return self.refusal() or StreamingResponse(self._speech(), media_type=self.speech_type)

    async def _speech(self) -> AsyncIterator[bytes]:
        for i, chunk in enumerate(self.speech):
            if i and self.gate:
                await self.gate.wait()
            yield chunk

    async def complete(self, request: Request) -> Response:
        self.received.append({**await request.json(), "authorization": request.headers.get("authorization")})
        return self.refusal() or StreamingResponse(self._completion(), media_type="text/event-stream")

    async def _completion(self) -> AsyncIterator[str]:
        for i, word in enumerate(self.words):
            if i and self.gate:
                await self.gate.wait()
            yield chunk_event(word)
            if self.stream_breaks:
                raise ConnectionResetError("told to break")
        yield 'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[]}\n\n'
        yield "data: [DONE]\n\n"


def chunk_event(text: str) -> str:
    """A chunk of a streamed completion, as in OpenAI's API reference."""
    return (
        'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant",'
        f'"content":"{text}"}},"finish_reason":null}}]}}\n\n'
    )


@asynccontextmanager
async def _serving(fake: FakeOpenAi) -> AsyncIterator[FakeOpenAi]:
    listener = socket.create_server(("127.0.0.1", 0))
    fake.base_url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    server = uvicorn.Server(uvicorn.Config(fake.app(), log_level="critical", lifespan="off"))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield fake
    finally:
        server.should_exit = True
        if fake.gate:
            fake.gate.set()
        await task
        listener.close()


class EnginesHere:
    """Engines in a thread of this process, as `base.LocalEngines`: a model is loaded once for all tests. One request at a time, as in an
    engine process; `tests/providers/local` has the processes themselves, `tests/interop` the two together.
    """

    _one_at_a_time = threading.Lock()

    async def run(self, function: Callable[..., Any], *args: Any, background: bool = False, max_wait_s: float | None = None) -> Any:
        """Arguments and result are pickled, as they would be."""
        name = function.__module__.rpartition(".")[2]

        def call() -> bytes:
            _, given = pickle.loads(pickle.dumps((function, args)))
            with self._one_at_a_time:
                return pickle.dumps(function(*given))

        try:
            return pickle.loads(await asyncio.to_thread(call))
        except Exception as error:
            raise ProviderError(name, f"{type(error).__name__}: {error}") from error

    def use_all_cores(self, module: str, warm: Callable[..., Any] | None = None, *args: Any) -> None:
        """There is one."""

    def has_room(self, n_calls: int = 0) -> bool:
        return True

    async def close(self) -> None:
        """What is loaded stays for the next test."""


@asynccontextmanager
async def _services(environment: dict[str, str] | None = None) -> AsyncIterator[Services]:
    async with httpx.AsyncClient() as http:
        yield Services(World(), http, EnginesHere(), environment or {})


@asynccontextmanager
async def _services_in_processes(environment: dict[str, str] | None = None) -> AsyncIterator[Services]:
    local = EngineProcesses()
    try:
        async with httpx.AsyncClient() as http:
            yield Services(World(), http, local, environment or {})
    finally:
        await local.close()


@pytest.fixture
def serving() -> Callable[..., Any]:
    """`async with serving(FakeOpenAi) as fake` runs the server."""
    return lambda: _serving(FakeOpenAi())


@pytest.fixture
def services_with() -> Callable[..., Any]:
    """`async with services_with(environment) as services`, real ones but for the engine processes."""
    return _services


@pytest.fixture
def services_in_processes() -> Callable[..., Any]:
    """The same with engine processes, each of them new."""
    return _services_in_processes
