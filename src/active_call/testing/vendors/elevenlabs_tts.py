"""ElevenLabs' multi-context synthesis on loopback.

By https://elevenlabs.io/docs/api-reference/text-to-speech/v-1-text-to-speech-voice-id-multi-stream-input. Refused as there: a wrong key and
an empty account (closed with 1008), a context whose first text is no space, text that ends without a space, more than five contexts.
"""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any, Final

from active_call.testing.vendors.server import Refused, Request, VendorServer, require
from active_call.testing.vendors.socket import VendorSocket
from active_call.testing.vendors.speaking import MS_PER_CHAR, PIECE_MS, pieces_of

MOST_CONTEXTS: Final = 5
FORMATS: Final = ("pcm_8000", "pcm_16000", "pcm_22050", "pcm_24000", "pcm_44100", "ulaw_8000")


class ElevenLabsSpeechServer(VendorServer):
    """`/v1/text-to-speech/{voice}/multi-stream-input`."""

    def check_handshake(self, request: Request) -> None:
        parts = request.path.split("/")
        if request.path.count("/") != 4 or parts[4] != "multi-stream-input":
            raise Refused(404, {"detail": "Not Found"})
        if self.faults.wrong_key or request.headers.get("xi-api-key") != self.key:
            raise Refused(401, {"detail": {"status": "invalid_api_key", "message": "Invalid API key"}})
        require(request.query.get("output_format") in FORMATS, 400, {"detail": "output_format"})
        require(request.query.get("model_id", "").startswith("eleven_"), 400, {"detail": "model_id"})

    async def serve(self, socket: VendorSocket, request: Request) -> None:
        if self.faults.quota:
            message = "This request exceeds your quota."
            await socket.send_json({"message": message, "error": "quota_exceeded", "code": 1008})
            await socket.close(1008, message)
            return
        rate_hz = int(request.query["output_format"].partition("_")[2])
        contexts: dict[str, str] = {}
        speaking: set[asyncio.Task[None]] = set()
        try:
            while True:
                message = json.loads(await socket.receive(60))
                await self._take(message, contexts, speaking, socket, rate_hz)
        finally:
            for task in speaking:
                task.cancel()
            await asyncio.gather(*speaking, return_exceptions=True)

    async def _take(
        self, message: dict[str, Any], contexts: dict[str, str], speaking: set[asyncio.Task[None]], socket: VendorSocket, rate_hz: int
    ) -> None:
        context, text = str(message.get("context_id", "default")), message.get("text")
        if message.get("close_context"):
            if context in contexts:
                task = asyncio.create_task(self._say(context, contexts.pop(context), socket, rate_hz))
                speaking.add(task)
                task.add_done_callback(speaking.discard)
            return
        if context not in contexts:
            if text != " ":
                self.complain(f"the first text of a context is {text!r}, no space")
            if len(contexts) >= MOST_CONTEXTS:
                await socket.close(1008, "too many contexts")
                return
            contexts[context] = ""
            speed = message.get("voice_settings", {}).get("speed", 1.0)
            if not 0.7 <= speed <= 1.2:
                self.complain(f"speed {speed}")
            return
        if not str(text).endswith(" "):
            self.complain("a text must end with a space")
        contexts[context] += str(text)

    async def _say(self, context: str, text: str, socket: VendorSocket, rate_hz: int) -> None:
        per_piece = PIECE_MS // MS_PER_CHAR
        for number, piece in enumerate(pieces_of(text, rate_hz)):
            letters = text[number * per_piece : (number + 1) * per_piece]
            alignment = {
                "chars": list(letters),
                "charStartTimesMs": [(number * per_piece + place) * MS_PER_CHAR for place in range(len(letters))],
                "charDurationsMs": [MS_PER_CHAR] * len(letters),
            }
            sound = base64.b64encode(piece).decode()
            await socket.send_json({"audio": sound, "isFinal": None, "contextId": context, "alignment": alignment})
            await asyncio.sleep(0)
        await socket.send_json({"audio": None, "isFinal": True, "contextId": context})
