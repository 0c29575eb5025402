"""ElevenLabs' multi-context synthesis on loopback.

Source: https://elevenlabs.io/docs/api-reference/text-to-speech/v-1-text-to-speech-voice-id-multi-stream-input. Like the vendor, the
simulator refuses: a wrong key and an empty account (closed with 1008), a context whose first text is not a space, text that ends without a
space, more than five contexts.
"""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any, Final

from active_call.testing.vendors.wire.server import Refused, Request, VendorServer, require
from active_call.testing.vendors.wire.socket import VendorSocket
from active_call.testing.vendors.wire.speaking import MS_PER_CHAR, PIECE_MS, pieces_of

MOST_CONTEXTS: Final = 5
FORMATS: Final = ("pcm_8000", "pcm_16000", "pcm_22050", "pcm_24000", "pcm_44100", "ulaw_8000")


class _Context:
    """One text in progress; None ends it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.orders: asyncio.Queue[tuple[str, bool] | None] = asyncio.Queue()


class ElevenLabsSpeechServer(VendorServer):
    """`/v1/text-to-speech/{voice}/multi-stream-input`. `n_contexts` counts the texts; `spoken` holds each synthesised part, in order.

    `times_are_of_pieces`: character times are relative to the start of each piece of sound.
    """

    def __init__(self, *, times_are_of_pieces: bool = False, **settings: Any) -> None:
        super().__init__(**settings)
        self.times_are_of_pieces = times_are_of_pieces
        self.n_contexts = 0
        self.spoken: list[str] = []

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
        contexts: dict[str, _Context] = {}
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
        self, message: dict[str, Any], contexts: dict[str, _Context], speaking: set[asyncio.Task[None]], socket: VendorSocket, rate_hz: int
    ) -> None:
        name, text = str(message.get("context_id", "default")), message.get("text")
        context = contexts.get(name)
        if message.get("close_context"):
            if context is not None:
                contexts.pop(name).orders.put_nowait(None)
            return
        if context is None:
            if text != " ":
                self.complain(f"the first text of a context is {text!r}, no space")
            if len(contexts) >= MOST_CONTEXTS:
                await socket.close(1008, "too many contexts")
                return
            speed = message.get("voice_settings", {}).get("speed", 1.0)
            if not 0.7 <= speed <= 1.2:
                self.complain(f"speed {speed}")
            self.n_contexts += 1
            context = contexts[name] = _Context(name)
            task = asyncio.create_task(self._work(context, socket, rate_hz))
            speaking.add(task)
            task.add_done_callback(speaking.discard)
            return
        if not str(text).endswith(" "):
            self.complain("a text must end with a space")
        context.orders.put_nowait((str(text), bool(message.get("flush"))))

    async def _work(self, context: _Context, socket: VendorSocket, rate_hz: int) -> None:
        """Synthesise flushed text, and the rest at the end of the context."""
        pending, begun = "", 0
        while (order := await context.orders.get()) is not None:
            pending += order[0]
            if order[1]:
                await self._say(context.name, pending, begun, socket, rate_hz)
                pending, begun = "", begun + len(pending)
        if pending:
            await self._say(context.name, pending, begun, socket, rate_hz)
        await socket.send_json({"audio": None, "isFinal": True, "contextId": context.name})

    async def _say(self, context: str, text: str, begun: int, socket: VendorSocket, rate_hz: int) -> None:
        self.spoken.append(text)
        per_piece = PIECE_MS // MS_PER_CHAR
        for number, piece in enumerate(pieces_of(text, rate_hz)):
            letters = text[number * per_piece : (number + 1) * per_piece]
            first = 0 if self.times_are_of_pieces else begun + number * per_piece
            alignment = {
                "chars": list(letters),
                "charStartTimesMs": [(first + place) * MS_PER_CHAR for place in range(len(letters))],
                "charDurationsMs": [MS_PER_CHAR] * len(letters),
            }
            sound = base64.b64encode(piece).decode()
            await socket.send_json({"audio": sound, "isFinal": None, "contextId": context, "alignment": alignment})
            await asyncio.sleep(0)
