"""Rime's JSON WebSocket on loopback, by https://docs.rime.ai/docs/websockets and https://docs.rime.ai/docs/segmentation.

Like the vendor, the simulator refuses: a wrong key (401), no credit (402), an unknown model, format or rate (400), a message that is
neither text nor an operation (an `error` message, then the connection ends). With `segment=never` only `flush` produces sound, otherwise
sentence ends do too. A flush without text has no answer.
"""

from __future__ import annotations

import asyncio
import base64
from typing import Any, Final

from active_call.testing.vendors.wire.server import Refused, Request, VendorServer, require
from active_call.testing.vendors.wire.socket import VendorSocket, order_in
from active_call.testing.vendors.wire.speaking import pieces_of, words_of

MODELS: Final = ("coda", "arcana", "mist", "mistv2", "mistv3")


class RimeServer(VendorServer):
    """`/ws3`. `spoken` holds each synthesised part, in order."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.spoken: list[str] = []

    def check_handshake(self, request: Request) -> None:
        query = request.query
        require(request.path == "/ws3", 404, {"error": "not found"})
        if self.faults.wrong_key or request.headers.get("authorization") != f"Bearer {self.key}":
            raise Refused(401, {"error": "unauthorized"})
        if self.faults.quota:
            raise Refused(402, {"error": "out of credits"})
        require(query.get("speaker"), 400, {"error": "speaker is required"})
        require(query.get("modelId") in MODELS, 400, {"error": "modelId"})
        require(query.get("audioFormat") in ("pcm", "mp3", "mulaw"), 400, {"error": "audioFormat"})
        require(4_000 <= int(query.get("samplingRate", "0")) <= 48_000, 400, {"error": "samplingRate"})
        require(query.get("segment", "bySentence") in ("never", "bySentence", "immediate"), 400, {"error": "segment"})
        require("timeScaleFactor" not in query, 400, {"error": "timeScaleFactor is for HTTP"})

    async def serve(self, socket: VendorSocket, request: Request) -> None:
        rate_hz, pending, context = int(request.query["samplingRate"]), "", ""
        is_never = request.query.get("segment") == "never"
        while True:
            order = order_in(await socket.receive(60))
            match order.get("operation"):
                case None if isinstance(order.get("text"), str) and order["text"]:
                    pending, context = pending + order["text"], str(order.get("contextId", ""))
                    if not is_never and pending.rstrip()[-1:] in (".", "!", "?"):
                        await self._say(socket, pending, context, rate_hz)
                        pending = ""
                case "flush":
                    if pending.strip():
                        await self._say(socket, pending, context, rate_hz)
                    pending = ""
                case "clear":
                    pending = ""
                case "eos":
                    if pending.strip():
                        await self._say(socket, pending, context, rate_hz)
                    return
                case _:
                    self.complain(f"not a message of this API: {order}")
                    await socket.send_json({"type": "error", "message": "invalid message"})
                    return

    async def _say(self, socket: VendorSocket, said: str, context: str, rate_hz: int) -> None:
        self.spoken.append(said)
        words = words_of(said)
        lists = {"words": [word[0] for word in words], "start": [word[1] for word in words], "end": [word[2] for word in words]}
        await socket.send_json({"type": "timestamps", "word_timestamps": lists, "contextId": context})
        for piece in pieces_of(said, rate_hz):
            await socket.send_json({"type": "chunk", "data": base64.b64encode(piece).decode(), "contextId": context})
            await asyncio.sleep(0)
        await socket.send_json({"type": "done", "contextId": context})
