"""Gladia's live recognition (v2) on loopback: a session by HTTP, then its WebSocket.

Source: https://docs.gladia.io/api-reference/v2/live/init and …/live/websocket. Like the vendor, the simulator refuses: a wrong key (401),
no credit (402), unknown settings (422), an unknown token (4004), an unknown text message.
"""

from __future__ import annotations

from typing import Any, Final

from active_call.testing.vendors.wire.hearing import Hearing
from active_call.testing.vendors.wire.server import Refused, Request, Response, VendorServer, require
from active_call.testing.vendors.wire.socket import VendorSocket, order_in

ENCODINGS: Final = {"wav/pcm": (16, 24, 32), "wav/ulaw": (8,), "wav/alaw": (8,)}
RATES: Final = frozenset({8_000, 16_000, 32_000, 44_100, 48_000})
KNOWN: Final = frozenset(
    {
        "model", "encoding", "bit_depth", "sample_rate", "channels", "endpointing", "maximum_duration_without_endpointing",
        "language_config",
        "pre_processing", "realtime_processing", "post_processing", "messages_config", "callback", "callback_config", "custom_metadata",
        "region",
    }
)  # fmt: skip


class GladiaServer(VendorServer):
    """`POST /v2/live`, and the WebSocket of its response."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self._sessions: dict[str, dict[str, Any]] = {}

    async def respond(self, request: Request) -> Response:
        require((request.method, request.path) == ("POST", "/v2/live"), 404, {"message": "Not found"})
        if self.faults.wrong_key or request.headers.get("x-gladia-key") != self.key:
            raise Refused(401, {"statusCode": 401, "message": "gladia key not found"})
        if self.faults.quota:
            raise Refused(402, {"statusCode": 402, "message": "You have no credit left"})
        settings = request.json()
        is_known = (
            set(settings) <= KNOWN
            and settings.get("bit_depth") in ENCODINGS.get(settings.get("encoding"), ())
            and settings.get("sample_rate") in RATES
            and 0.01 <= settings.get("endpointing", 0.05) <= 10
        )
        require(is_known, 422, {"statusCode": 422, "message": f"settings: {sorted(set(settings) - KNOWN)}"})
        token = f"session-{len(self._sessions)}"
        self._sessions[token] = settings
        return Response(201, {"id": token, "created_at": "2026-01-01T00:00:00Z", "url": f"{self.ws_url}/v2/live?token={token}"})

    def check_handshake(self, request: Request) -> None:
        if request.path != "/v2/live" or request.query.get("token") not in self._sessions:
            raise Refused(404, {"message": "session not found"})

    async def serve(self, socket: VendorSocket, request: Request) -> None:
        settings = self._sessions[request.query["token"]]
        hearing = Hearing(settings["sample_rate"], is_mulaw=settings["encoding"] == "wav/ulaw")
        messages = settings.get("messages_config", {})
        n_segments, is_speaking = 0, False
        while True:
            message = await socket.receive()
            if isinstance(message, str):
                if order_in(message).get("type") != "stop_recording":
                    self.complain(f"not a message of this API: {message[:100]}")
                    await socket.close(4400, "invalid message")
                return
            new = hearing.feed(message)
            if hearing.is_speaking and not is_speaking and messages.get("receive_speech_events"):
                is_speaking = True
                await socket.send_json({"type": "speech_start", "session_id": "s", "data": {"time": hearing.heard_s, "channel": 0}})
            if new and messages.get("receive_partial_transcripts"):
                await self._report(socket, hearing, n_segments, is_final=False)
            if hearing.words and hearing.silence_s >= settings.get("endpointing", 0.05):
                await socket.send_json({"type": "speech_end", "session_id": "s", "data": {"time": hearing.heard_s, "channel": 0}})
                await self._report(socket, hearing, n_segments, is_final=True)
                hearing.take()
                n_segments, is_speaking = n_segments + 1, False

    async def _report(self, socket: VendorSocket, hearing: Hearing, n_segments: int, *, is_final: bool) -> None:
        words = [
            {"word": f" {word.text}", "start": word.start_s, "end": word.end_s, "confidence": word.confidence} for word in hearing.words
        ]
        utterance = {
            "text": hearing.text,
            "start": hearing.words[0].start_s,
            "end": hearing.words[-1].end_s,
            "language": "en",
            "confidence": 0.9,
            "channel": 0,
            "words": words,
        }
        data = {"id": f"00_{n_segments:08}", "is_final": is_final, "utterance": utterance}
        await socket.send_json({"type": "transcript", "session_id": "s", "created_at": "2026-01-01T00:00:00Z", "data": data})
