"""Deepgram's streaming synthesis on loopback. Source: https://developers.deepgram.com/reference/text-to-speech/speak-streaming.

Like the vendor, the simulator refuses: a wrong key (401), no credit (402), an unknown encoding or rate (400), an unknown text message
(1008), a text of more than 2000 characters and more than 20 flushes in a minute (a warning, and no sound).
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

from active_call.testing.vendors.wire.server import Refused, Request, VendorServer, require
from active_call.testing.vendors.wire.socket import VendorSocket
from active_call.testing.vendors.wire.speaking import pieces_of

MAX_FLUSHES: Final = 20
"""Per minute and connection."""


class DeepgramSpeechServer(VendorServer):
    """`/v1/speak`. `spoken` holds each synthesised part, in order."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.spoken: list[str] = []

    def check_handshake(self, request: Request) -> None:
        if self.faults.wrong_key or request.headers.get("authorization") != f"Token {self.key}":
            raise Refused(401, {"err_code": "INVALID_AUTH", "err_msg": "Invalid credentials.", "request_id": "r"})
        if self.faults.quota:
            raise Refused(402, {"err_code": "ASR_PAYMENT_REQUIRED", "err_msg": "Project does not have enough credits.", "request_id": "r"})
        query = request.query
        require(request.path == "/v1/speak", 404, {"err_msg": "not found"})
        require(query.get("model", "").startswith("aura-"), 400, {"err_msg": "No such model."})
        require(query.get("encoding") == "linear16", 400, {"err_msg": "encoding"})
        require(query.get("sample_rate") in ("8000", "16000", "24000", "32000", "48000"), 400, {"err_msg": "sample_rate"})

    async def serve(self, socket: VendorSocket, request: Request) -> None:
        rate_hz, pending, number = int(request.query["sample_rate"]), "", 0
        flushes: list[float] = []
        now = asyncio.get_running_loop().time
        await socket.send_json({"type": "Metadata", "request_id": "r", "model_name": request.query["model"]})
        while True:
            message = json.loads(await socket.receive(60))
            match message.get("type"):
                case "Speak":
                    pending += message["text"]
                    if len(pending) > 2000:
                        self.complain("more than 2000 characters")
                        await socket.send_json({"type": "Warning", "code": "TEXT_LENGTH_EXCEEDED", "description": "too long"})
                        pending = ""
                case "Flush":
                    flushes = [at for at in flushes if now() - at < 60]
                    if len(flushes) >= MAX_FLUSHES:
                        about = f"The maximum number of Flush messages is {MAX_FLUSHES} in 60 seconds."
                        await socket.send_json({"type": "Warning", "code": "EXCESSIVE_FLUSH", "description": about})
                        continue
                    flushes.append(now())
                    self.spoken.append(pending)
                    for piece in pieces_of(pending, rate_hz):
                        await socket.send(piece)
                        await asyncio.sleep(0)
                    await socket.send_json({"type": "Flushed", "sequence_id": number})
                    pending, number = "", number + 1
                case "Clear":
                    pending = ""
                    await socket.send_json({"type": "Cleared", "sequence_id": number})
                case "Close":
                    return
                case _:
                    self.complain(f"unknown message {message}")
                    await socket.close(1008, "DATA-0000")
                    return
