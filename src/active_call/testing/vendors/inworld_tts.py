"""Inworld's synthesis on loopback, by https://docs.inworld.ai/api-reference/ttsAPI/texttospeech/synthesize-speech-stream.

Refused as there: a wrong credential (401), missing fields, a text of more than 2000 characters (400). Each piece has a WAV header.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator
from typing import Any

from active_call.testing.vendors.faults import with_wrong_types
from active_call.testing.vendors.google_tts import wav_of
from active_call.testing.vendors.server import Refused, Request, Response, VendorServer, require
from active_call.testing.vendors.speaking import PIECE_MS, pieces_of, words_of


class InworldServer(VendorServer):
    """`POST /tts/v1/voice:stream`."""

    async def respond(self, request: Request) -> Response:
        if self.faults.wrong_key or request.headers.get("authorization") != f"Basic {self.key}":
            raise Refused(401, {"code": 16, "message": "Unauthenticated"})
        if self.faults.quota:
            raise Refused(402, {"code": 8, "message": "Insufficient credits"})
        body = request.json()
        require(request.path == "/tts/v1/voice:stream", 404, {"code": 5, "message": "Not Found"})
        require(body.get("text") and body.get("voiceId") and body.get("modelId"), 400, {"code": 3, "message": "a field is missing"})
        require(len(body["text"]) <= 2000, 400, {"code": 3, "message": "text: 2000 characters at most"})
        return Response(200, self._say(body), {"content-type": "application/json"})

    async def _say(self, body: dict[str, Any]) -> AsyncGenerator[bytes, None]:
        rate_hz, words = body["audioConfig"]["sampleRateHertz"], words_of(body["text"])
        for number, piece in enumerate(pieces_of(body["text"], rate_hz)):
            begin, end = number * PIECE_MS / 1000, (number + 1) * PIECE_MS / 1000
            mine = [word for word in words if begin <= word[1] < end]
            times = {
                "words": [word[0] for word in mine],
                "wordStartTimeSeconds": [word[1] for word in mine],
                "wordEndTimeSeconds": [word[2] for word in mine],
            }
            sound = base64.b64encode(wav_of(piece, rate_hz)).decode()
            yield self.line({"result": {"audioContent": sound, "timestampInfo": {"wordAlignment": times}}})
            await asyncio.sleep(0)

    def line(self, message: dict[str, Any]) -> bytes:
        """One line of the answer, spoilt as the faults say."""
        if self.faults.is_garbage:
            return b"<html>not what you expect\n"
        return json.dumps(with_wrong_types(message) if self.faults.wrong_types else message).encode() + b"\n"
