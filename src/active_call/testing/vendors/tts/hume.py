"""Hume's synthesis on loopback: by HTTP and over a WebSocket.

Sources: https://dev.hume.ai/reference/text-to-speech-tts/synthesize-json-streaming and …/stream-input. Like the vendor, the simulator
refuses: a wrong key (401), no credit (402), a voice without a name or an id, instant mode without a voice (422). On the WebSocket it speaks
what it has at `flush`, in snippets of a few words, and at `close`, after which it closes the connection; it refuses a message that has
none of these, and text after `close`.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator
from typing import Any

from active_call.testing.vendors.wire.faults import with_wrong_types
from active_call.testing.vendors.wire.server import Refused, Request, Response, VendorServer, require
from active_call.testing.vendors.wire.socket import VendorSocket, order_in
from active_call.testing.vendors.wire.speaking import pieces_of

RATE_HZ = 48_000


SOCKET_PATH = "/v0/tts/stream/input"
WORDS_OF_SNIPPET = 4


class HumeServer(VendorServer):
    """`POST /v0/tts/stream/json`, and the WebSocket `/v0/tts/stream/input`. `spoken` holds each text, in order."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.spoken: list[str] = []

    def check_handshake(self, request: Request) -> None:
        require(request.path == SOCKET_PATH, 404, {"message": "Not Found"})
        if self.faults.wrong_key or request.query.get("api_key") != self.key:
            raise Refused(401, {"fault": {"faultstring": "Invalid ApiKey"}})
        if self.faults.quota:
            raise Refused(402, {"message": "Exhausted credit balance"})
        wanted = {"format_type": "pcm", "strip_headers": "true", "no_binary": "true"}
        if any(request.query.get(name) != value for name, value in wanted.items()):
            self.complain(f"parameters {request.query}")
            raise Refused(422, {"message": "parameters"})

    async def serve(self, socket: VendorSocket, request: Request) -> None:
        said, has_voice = "", False
        while True:
            order = order_in(await socket.receive(60))
            has_voice = has_voice or set(order.get("voice", {})) in ({"id"}, {"name", "provider"})
            if not (order.keys() & {"text", "flush", "close"}) or not (has_voice or "close" in order):
                self.complain(f"neither text nor flush nor close, or no voice: {order}")
                await socket.send_json({"type": "error", "code": "E0101", "message": "not a message that is possible now"})
                return
            said += str(order.get("text", ""))
            if order.get("flush") or order.get("close"):
                await self._speak(socket, said)
                said = ""
            if order.get("close"):
                return

    async def _speak(self, socket: VendorSocket, said: str) -> None:
        if not said.strip():
            return
        self.spoken.append(said)
        words = said.split()
        for start in range(0, len(words), WORDS_OF_SNIPPET):
            snippet = " ".join(words[start : start + WORDS_OF_SNIPPET]) + " "
            async for line in self._say(snippet):
                await socket.send(line.decode().rstrip())

    async def respond(self, request: Request) -> Response:
        if self.faults.wrong_key or request.headers.get("x-hume-api-key") != self.key:
            raise Refused(401, {"fault": {"faultstring": "Invalid ApiKey"}})
        if self.faults.quota:
            raise Refused(402, {"message": "Exhausted credit balance"})
        body = request.json()
        (said,) = body["utterances"]
        require(request.path == "/v0/tts/stream/json", 404, {"message": "Not Found"})
        require(set(said.get("voice", {})) in ({"id"}, {"name", "provider"}), 422, {"message": "voice"})
        require(body["format"] == {"type": "pcm"} and body.get("strip_headers"), 422, {"message": "format"})
        self.spoken.append(said["text"])
        return Response(200, self._say(said["text"]), {"content-type": "application/json"})

    async def _say(self, text: str) -> AsyncGenerator[bytes, None]:
        pieces = list(pieces_of(text, RATE_HZ))
        for number, piece in enumerate(pieces):
            sound = base64.b64encode(piece).decode()
            message: dict[str, Any] = {
                "type": "audio",
                "audio": sound,
                "audio_format": "pcm",
                "chunk_index": number,
                "is_last_chunk": number == len(pieces) - 1,
                "request_id": "r1",
                "generation_id": "g1",
                "snippet_id": "s1",
                "text": text,
                "utterance_index": 0,
            }
            if self.faults.is_garbage:
                yield b"<html>not what you expect\n"
            else:
                yield json.dumps(with_wrong_types(message) if self.faults.wrong_types else message).encode() + b"\n"
            await asyncio.sleep(0)
