"""Cartesia's Ink on loopback: the vendor detects the end of turns.

Source: https://docs.cartesia.ai/api-reference/stt/turns/websocket, …/use-the-api/stt/turns (`turn.start` and `turn.resume` carry no
text) and …/use-the-api/stt/keyterms. Like the vendor, the simulator refuses: a wrong key (401), no credit (402), a missing version, an
unknown model, encoding or rate, too many keyterms (400), an unknown text message.
"""

from __future__ import annotations

from typing import Final

from active_call.testing.vendors.wire.hearing import Hearing
from active_call.testing.vendors.wire.server import Refused, Request, VendorServer, all_of, require
from active_call.testing.vendors.wire.socket import VendorSocket, order_in

ENCODINGS: Final = frozenset({"pcm_s16le", "pcm_mulaw"})
TERMS: Final = 100
CHARS_OF_TERMS: Final = 1_200
EAGER_S: Final = 0.2
END_S: Final = 0.5


class InkServer(VendorServer):
    """`/stt/turns/websocket`."""

    def check_handshake(self, request: Request) -> None:
        query, headers = request.query, request.headers
        require(request.path == "/stt/turns/websocket", 404, {"error": "unknown path"})
        given = headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")
        if self.faults.wrong_key or given != self.key:
            raise Refused(401, {"title": "Unauthorized", "message": "Invalid API key", "error_code": "unauthorized"})
        if self.faults.quota:
            raise Refused(402, {"title": "Payment required", "message": "You have run out of credits", "error_code": "quota_exceeded"})
        require(headers.get("cartesia-version") or query.get("cartesia_version"), 400, {"message": "missing cartesia version"})
        require(query.get("model") == "ink-2", 400, {"message": "unknown model"})
        terms = all_of(request.pairs, "keyterm")
        require(len(terms) <= TERMS and sum(map(len, terms)) <= CHARS_OF_TERMS, 400, {"message": "keyterm"})
        require(query.get("encoding") in ENCODINGS and query.get("sample_rate", "").isdigit(), 400, {"message": "encoding, sample_rate"})

    async def serve(self, socket: VendorSocket, request: Request) -> None:
        hearing = Hearing(int(request.query["sample_rate"]), is_mulaw=request.query["encoding"] == "pcm_mulaw")
        await socket.send_json({"type": "connected", "request_id": "r"})
        state = "idle"
        while True:
            message = await socket.receive()
            if isinstance(message, str):
                if order_in(message).get("type") != "close":
                    self.complain(f"not a message of this API: {message[:100]}")
                    error = {"type": "error", "status_code": 400, "title": "Bad request", "message": "unknown message"}
                    await socket.send_json(error)
                return
            new = hearing.feed(message)
            if new and state == "idle":
                await socket.send_json({"type": "turn.start", "request_id": "r"})
            elif new and state == "eager":
                await socket.send_json({"type": "turn.resume", "request_id": "r"})
            if new:
                state = "speaking"
                await self._report(socket, "turn.update", hearing)
            if state == "speaking" and hearing.silence_s >= EAGER_S:
                state = "eager"
                await self._report(socket, "turn.eager_end", hearing)
            if state == "eager" and hearing.silence_s >= END_S:
                state = "idle"
                await self._report(socket, "turn.end", hearing)
                hearing.take()

    async def _report(self, socket: VendorSocket, kind: str, hearing: Hearing) -> None:
        await socket.send_json({"type": kind, "request_id": "r", "transcript": hearing.text})
