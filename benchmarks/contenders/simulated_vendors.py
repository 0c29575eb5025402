"""Simulated Deepgram, OpenAI and Cartesia at the speed of real ones, in a separate process.

Reads `{"model_s", "token_s", "voice_s"}` (until the first token, from token to token, until the first sound), says `{"deepgram", "openai",
"cartesia", "key"}`: ports, and the key of all three. On each further line it reports `connections` and `complaints`. The simulators are
those of the tests (`active_call.testing.vendors`): strict, and speaking the documented protocols over real sockets.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import uvloop
from common import leave, listen, say

from active_call.testing.vendors.stt.deepgram import DeepgramServer
from active_call.testing.vendors.tts.cartesia import CartesiaSpeechServer, _Context
from active_call.testing.vendors.wire.server import Refused, Request, Response, VendorServer
from active_call.testing.vendors.wire.socket import VendorSocket

ANSWER = "Yes, we are open today, your number is {number}, and we close at six in the evening. What else can I do for you?"
"""Every answer is different, like a model's, so that no sound is cached."""


class Chat(VendorServer):
    """`POST /v1/chat/completions`, streamed."""

    model_s = token_s = 0.0

    async def respond(self, request: Request) -> Response:
        if request.method != "POST":  # a connection opened in advance
            raise Refused(404, {"error": {"message": "unknown path"}})
        if request.path != "/v1/chat/completions" or not request.json().get("stream"):
            self.complain(f"not a streamed chat completion: {request.path}")
            raise Refused(400, {"error": {"message": "stream"}})
        if request.headers.get("authorization") != f"Bearer {self.key}":
            raise Refused(401, {"error": {"message": "Incorrect API key provided"}})
        return Response(200, self._tokens(request.json().get("model", "")), {"content-type": "text/event-stream"})

    async def _tokens(self, model: str) -> AsyncGenerator[bytes, None]:
        def event(delta: dict[str, str], reason: str | None = None) -> bytes:
            choice = {"index": 0, "delta": delta, "finish_reason": reason}
            chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": [choice]}
            return f"data: {json.dumps(chunk)}\n\n".encode()

        await asyncio.sleep(self.model_s)
        yield event({"role": "assistant", "content": ""})
        for word in ANSWER.format(number=1000 + len(self.requests)).split(" "):
            yield event({"content": word + " "})
            await asyncio.sleep(self.token_s)
        yield event({}, "stop")
        yield b"data: [DONE]\n\n"


class Voice(CartesiaSpeechServer):
    """Cartesia that begins to speak after `voice_s`."""

    voice_s = 0.0

    async def _say(self, said: str, begun_ms: float, context: _Context, socket: VendorSocket, more: Mapping[str, Any]) -> float:
        await asyncio.sleep(self.voice_s)
        return await super()._say(said, begun_ms, context, socket, more)


async def main() -> None:
    task = listen()
    Chat.model_s, Chat.token_s, Voice.voice_s = task["model_s"], task["token_s"], task["voice_s"]
    async with DeepgramServer() as deepgram, Chat() as chat, Voice() as voice:
        say({"deepgram": deepgram.port, "openai": chat.port, "cartesia": voice.port, "key": chat.key})
        servers = {"deepgram": deepgram, "openai": chat, "cartesia": voice}
        while not (await asyncio.get_running_loop().run_in_executor(None, listen)).get("is_over"):
            say(
                {
                    "complaints": [f"{name}: {what}"[:200] for name, server in servers.items() for what in server.complaints[:5]],
                    "connections": {"deepgram": deepgram.n_sockets, "cartesia": voice.n_sockets, "openai": len(chat.requests)},
                }
            )
    leave()


uvloop.run(main())
