"""What the provider tests share: services, and an OpenAI-compatible server on loopback that does as the test says."""

from __future__ import annotations

import asyncio
import email
import socket
import sys
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


@asynccontextmanager
async def _services(environment: dict[str, str] | None = None) -> AsyncIterator[Services]:
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
    """`async with services_with(environment) as services`, real ones."""
    return _services
