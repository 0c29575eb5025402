"""Hume's synthesis on loopback. Source: https://dev.hume.ai/reference/text-to-speech-tts/synthesize-json-streaming.

Like the vendor, the simulator refuses: a wrong key (401), no credit (402), a voice without a name or an id, instant mode without a voice
(422).
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator
from typing import Any

from active_call.testing.vendors.wire.faults import with_wrong_types
from active_call.testing.vendors.wire.server import Refused, Request, Response, VendorServer, require
from active_call.testing.vendors.wire.speaking import pieces_of

RATE_HZ = 48_000


class HumeServer(VendorServer):
    """`POST /v0/tts/stream/json`."""

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
