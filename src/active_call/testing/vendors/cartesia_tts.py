"""Cartesia's synthesis over a WebSocket on loopback, by https://docs.cartesia.ai/api-reference/tts/websocket.

Refused as there: a missing version or key (400, 401), unknown or missing fields, a context that is used again (an `error` message).
"""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any, Final

from active_call.testing.vendors.server import Refused, Request, VendorServer, require
from active_call.testing.vendors.socket import VendorSocket
from active_call.testing.vendors.speaking import pieces_of, words_of

_FIELDS: Final = {
    "model_id", "transcript", "voice", "language", "context_id", "output_format", "add_timestamps", "add_phoneme_timestamps", "continue",
    "generation_config", "max_buffer_delay_ms", "flush", "pronunciation_dict_id", "duration", "speed",
}  # fmt: skip


class CartesiaSpeechServer(VendorServer):
    """`/tts/websocket`."""

    def check_handshake(self, request: Request) -> None:
        require(request.path == "/tts/websocket", 404, {"title": "Not found"})
        require(request.query.get("cartesia_version") or request.headers.get("cartesia-version"), 400, {"title": "version is missing"})
        if self.faults.wrong_key or request.headers.get("x-api-key") != self.key:
            raise Refused(401, {"title": "Invalid API key"})
        if self.faults.quota:
            raise Refused(402, {"title": "Credit limit reached"})

    async def serve(self, socket: VendorSocket, request: Request) -> None:
        used: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                message = json.loads(await socket.receive(60))
                context = message.get("context_id", "")
                if message.get("cancel"):
                    if context in used:
                        used[context].cancel()
                elif wrong := self._wrong(message, context in used):
                    self.complain(wrong)
                    await socket.send_json({"type": "error", "error": wrong, "status_code": 400, "done": True, "context_id": context})
                else:
                    used[context] = asyncio.create_task(self._say(message, socket))
        finally:
            for task in used.values():
                task.cancel()
            await asyncio.gather(*used.values(), return_exceptions=True)

    def _wrong(self, message: dict[str, Any], is_used: bool) -> str:
        wanted = message.get("output_format", {})
        if unknown := sorted(set(message) - _FIELDS):
            return f"unknown field {unknown[0]}"
        if is_used:
            return "the context has expired"
        if message.get("voice", {}).get("mode") != "id" or not message["voice"].get("id"):
            return "voice: mode and id are required"
        if wanted.get("container") != "raw" or wanted.get("encoding") != "pcm_s16le":
            return "output_format is invalid"
        return "" if message.get("transcript") and message.get("model_id") else "transcript and model_id are required"

    async def _say(self, message: dict[str, Any], socket: VendorSocket) -> None:
        context, text, rate_hz = message["context_id"], message["transcript"], message["output_format"]["sample_rate"]
        more = {"context_id": context, "status_code": 206, "done": False}
        if message.get("add_timestamps"):
            words = words_of(text)
            lists = {"words": [word[0] for word in words], "start": [word[1] for word in words], "end": [word[2] for word in words]}
            await socket.send_json({"type": "timestamps", "word_timestamps": lists, **more})
        for piece in pieces_of(text, rate_hz):
            await socket.send_json({"type": "chunk", "data": base64.b64encode(piece).decode(), "step_time": 12.0, **more})
            await asyncio.sleep(0)
        await socket.send_json({"type": "done", "context_id": context, "status_code": 200, "done": True})
