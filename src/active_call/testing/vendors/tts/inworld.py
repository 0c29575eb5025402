"""Inworld's synthesis on loopback. Source: https://docs.inworld.ai/api-reference/ttsAPI/texttospeech/synthesize-speech-websocket.

A context receives text and synthesises it when it is flushed or closed (with `autoMode` also at sentence ends). Like the vendor, the
simulator refuses: a wrong credential (401), no credit (402), a context without a voice or a model, text or a flush for an unknown context,
a duplicate context id, more than five contexts at a time, a text of more than 1000 characters (a status with a gRPC code). Each piece has a
WAV header.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from typing import Any, Final

from active_call.testing.vendors.tts.google import wav_of
from active_call.testing.vendors.wire.server import Refused, Request, VendorServer, require
from active_call.testing.vendors.wire.socket import VendorSocket, order_in
from active_call.testing.vendors.wire.speaking import PIECE_MS, pieces_of, words_of

MAX_CONTEXTS: Final = 5
MAX_CHARS: Final = 1_000
ORDERS: Final = frozenset({"create", "send_text", "flush_context", "close_context", "update_config"})


class InworldServer(VendorServer):
    """`/tts/v1/voice:streamBidirectional`. `n_contexts` counts the texts; `spoken` holds each synthesised part, in order."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.n_contexts = 0
        self.spoken: list[str] = []

    def check_handshake(self, request: Request) -> None:
        require(request.path == "/tts/v1/voice:streamBidirectional", 404, {"code": 5, "message": "Not Found"})
        if self.faults.wrong_key or request.headers.get("authorization") != f"Basic {self.key}":
            raise Refused(401, {"code": 16, "message": "Unauthenticated"})
        if self.faults.quota:
            raise Refused(402, {"code": 8, "message": "Insufficient credits"})

    async def serve(self, socket: VendorSocket, request: Request) -> None:
        contexts: dict[str, tuple[Mapping[str, Any], list[str]]] = {}
        used: set[str] = set()
        while True:
            order = order_in(await socket.receive(60))
            name = str(order.get("contextId", ""))
            (kind,) = set(order) - {"contextId"} if len(set(order) - {"contextId"}) == 1 else ("",)
            wrong = self._wrong(kind, order, name, contexts, used)
            if wrong:
                self.complain(wrong)
                await socket.send_json({"result": {"contextId": name, "status": {"code": 3, "message": wrong, "details": []}}})
                continue
            match kind:
                case "create":
                    self.n_contexts += 1
                    used.add(name)
                    contexts[name] = (order["create"], [])
                    await self._report(socket, name, contextCreated={})
                case "send_text":
                    settings, pending = contexts[name]
                    pending.append(order["send_text"]["text"])
                    if settings.get("autoMode", True) and "".join(pending).rstrip()[-1:] in (".", "!", "?"):
                        await self._say(socket, name, settings, pending)
                        await self._report(socket, name, flushCompleted={})
                case "flush_context":
                    await self._say(socket, name, *contexts[name])
                    await self._report(socket, name, flushCompleted={})
                case "close_context":
                    await self._say(socket, name, *contexts.pop(name))
                    await self._report(socket, name, contextClosed={})

    def _wrong(self, kind: str, order: Mapping[str, Any], name: str, contexts: Mapping[str, Any], used: set[str]) -> str:
        if kind not in ORDERS or not name:
            return f"not a message of this API: {str(dict(order))[:200]}"
        if kind == "create":
            settings = order["create"]
            if not (settings.get("voiceId") and settings.get("modelId") and settings.get("audioConfig", {}).get("sampleRateHertz")):
                return "create: a field is missing"
            return "create: the context exists" if name in used else "create: 5 contexts at most" if len(contexts) >= MAX_CONTEXTS else ""
        if name not in contexts:
            return f"{kind}: there is no such context"
        if kind == "send_text" and not 0 < len(order["send_text"].get("text", "")) <= MAX_CHARS:
            return "send_text: 1 to 1000 characters"
        return ""

    async def _say(self, socket: VendorSocket, name: str, settings: Mapping[str, Any], pending: list[str]) -> None:
        said = "".join(pending)
        pending.clear()
        if not said.strip():
            return
        self.spoken.append(said)
        rate_hz, words = settings["audioConfig"]["sampleRateHertz"], words_of(said)
        for number, piece in enumerate(pieces_of(said, rate_hz)):
            begin, end = number * PIECE_MS / 1000, (number + 1) * PIECE_MS / 1000
            mine = [word for word in words if begin <= word[1] < end]
            times = {
                "words": [word[0] for word in mine],
                "wordStartTimeSeconds": [word[1] for word in mine],
                "wordEndTimeSeconds": [word[2] for word in mine],
            }
            sound = base64.b64encode(wav_of(piece, rate_hz)).decode()
            await self._report(socket, name, audioChunk={"audioContent": sound, "timestampInfo": {"wordAlignment": times}})
            await asyncio.sleep(0)

    async def _report(self, socket: VendorSocket, name: str, **what: Any) -> None:
        await socket.send_json({"result": {"contextId": name, **what, "status": {"code": 0, "message": "", "details": []}}})
