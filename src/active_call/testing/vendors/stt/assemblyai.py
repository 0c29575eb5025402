"""AssemblyAI's Universal-Streaming (v3) on loopback.

Source: https://www.assemblyai.com/docs/api-reference/streaming, …/docs/streaming/message-sequence and
…/docs/streaming/common-session-errors-and-closures. Like the vendor, the simulator refuses by an `Error` message and the same close
code: a wrong key (1008), no funds (4002), packets of less than 50 or more than 1,000 ms (3007), an unknown text message (3006).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from active_call.testing.vendors.wire.hearing import Hearing
from active_call.testing.vendors.wire.server import Request, VendorServer, require
from active_call.testing.vendors.wire.socket import VendorSocket

MODELS: Final = frozenset({"universal-streaming-english", "universal-streaming-multilingual", "u3-rt-pro"})
TERMS: Final = 100
TERM_CHARS: Final = 50
LEAST_S: Final = 0.05
MOST_S: Final = 1.0
SILENCE_S: Final = 0.5
CLOSE_CHARS: Final = 123


class AssemblyAiServer(VendorServer):
    """`/v3/ws`. `keyterms`: those of the last `UpdateConfiguration`."""

    keyterms: Sequence[str] = ()

    def check_handshake(self, request: Request) -> None:
        require(request.path == "/v3/ws", 404, {"error": "unknown path"})
        require(request.query.get("sample_rate", "").isdigit(), 400, {"error": "sample_rate"})
        require(request.query.get("encoding", "pcm_s16le") in ("pcm_s16le", "pcm_mulaw"), 400, {"error": "encoding"})
        require(request.query.get("speech_model") in MODELS, 400, {"error": "speech_model"})
        terms = json.loads(request.query.get("keyterms_prompt", "[]"))
        require(
            isinstance(terms, list) and len(terms) <= TERMS and all(len(term) <= TERM_CHARS for term in terms), 400, {"error": "keyterms"}
        )

    async def serve(self, socket: VendorSocket, request: Request) -> None:
        if self.faults.wrong_key or request.headers.get("authorization") != self.key:
            await _refuse(socket, 1008, "Unauthorized Connection: Missing or invalid API key")
            return
        if self.faults.quota:
            await _refuse(socket, 4002, "Insufficient Funds")
            return
        is_mulaw = request.query.get("encoding") == "pcm_mulaw"
        hearing = Hearing(int(request.query["sample_rate"]), is_mulaw=is_mulaw)
        await socket.send_json({"type": "Begin", "id": "s", "expires_at": 1_900_000_000})
        turn = _Turn(socket, hearing)
        while True:
            message = await socket.receive()
            if isinstance(message, bytes):
                seconds = len(message) / hearing.rate_hz / (1 if is_mulaw else 2)
                if not LEAST_S - 1e-6 <= seconds <= MOST_S + 1e-6:
                    self.complain(f"a packet of {seconds * 1000:g} ms")
                    await _refuse(socket, 3007, f"Input duration violation: {seconds * 1000:g} ms. Expected between 50 and 1000 ms")
                    return
                await turn.hear(message)
                continue
            match _kind_of(message):
                case "ForceEndpoint":
                    await turn.end(0.3)
                case "UpdateConfiguration":
                    self.keyterms = json.loads(message).get("keyterms_prompt", self.keyterms)
                case "KeepAlive":
                    pass
                case "Terminate":
                    await turn.end(0.3)
                    await socket.send_json(
                        {"type": "Termination", "audio_duration_seconds": hearing.heard_s, "session_duration_seconds": hearing.heard_s}
                    )
                    return
                case _:
                    self.complain(f"not a message of this API: {message[:100]}")
                    await _refuse(socket, 3006, f"Invalid Message Type: {message[:100]}")
                    return


async def _refuse(socket: VendorSocket, code: int, reason: str) -> None:
    """A close frame has room for 123 bytes; the whole reason is in the message."""
    await socket.send_json({"type": "Error", "error_code": code, "error": reason})
    await socket.close(code, reason if len(reason) <= CLOSE_CHARS else "See Error message for details")


def _kind_of(message: str) -> Any:
    try:
        return json.loads(message).get("type")
    except (ValueError, AttributeError):
        return None


class _Turn:
    def __init__(self, socket: VendorSocket, hearing: Hearing) -> None:
        self._socket = socket
        self._hearing = hearing
        self._order = 0

    async def hear(self, sound: bytes) -> None:
        if self._hearing.feed(sound):
            await self._send(is_end=False, confidence=0.1)
        if self._hearing.words and self._hearing.silence_s >= SILENCE_S:
            await self.end(0.9)

    async def end(self, confidence: float) -> None:
        """End the open turn, if there is one."""
        if not self._hearing.words:
            return
        await self._send(is_end=True, confidence=confidence)
        self._hearing.take()
        self._order += 1

    async def _send(self, *, is_end: bool, confidence: float) -> None:
        words = [
            {
                "text": word.text,
                "start": round(word.start_s * 1000),
                "end": round(word.end_s * 1000),
                "confidence": word.confidence,
                "word_is_final": True,
            }
            for word in self._hearing.words
        ]
        await self._socket.send_json(
            {
                "type": "Turn",
                "turn_order": self._order,
                "turn_is_formatted": False,
                "end_of_turn": is_end,
                "transcript": self._hearing.text,
                "end_of_turn_confidence": confidence,
                "words": words,
            }
        )
