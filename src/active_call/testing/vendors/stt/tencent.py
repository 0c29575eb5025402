"""Tencent Cloud's realtime ASR on loopback.

Source: https://cloud.tencent.com/document/product/1093/48982. Like the vendor, the simulator refuses by a message with a code: a wrong
signature or id (4002), no quota (4004), a missing or unknown parameter (4001), 15 s without sound (4008), an unknown text message (4010).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from typing import Final

from active_call.testing.vendors.wire.hearing import Hearing
from active_call.testing.vendors.wire.server import Request, VendorServer
from active_call.testing.vendors.wire.socket import VendorSocket, order_in

NEEDED: Final = frozenset({"secretid", "timestamp", "expired", "nonce", "engine_model_type", "voice_id", "signature"})
IDLE_S: Final = 15.0
MAX_LIFETIME_S: Final = 90 * 24 * 3_600


class TencentServer(VendorServer):
    """`/asr/v2/{appid}`."""

    app_id = "1250000000"
    secret_id = "AKID-simulated"

    def check_handshake(self, request: Request) -> None:
        if not request.path.startswith("/asr/v2/"):
            super().check_handshake(request)

    async def serve(self, socket: VendorSocket, request: Request) -> None:
        query = request.query
        if not set(query) >= NEEDED or not query["engine_model_type"].startswith(("8k_", "16k_")) or query.get("voice_format") != "1":
            self.complain(f"parameters: {sorted(query)}")
            await self._refuse(socket, 4001, "parameter is invalid")
        elif self.faults.wrong_key or not self._is_signed(request):
            await self._refuse(socket, 4002, "signature check failed")
        elif self.faults.quota:
            await self._refuse(socket, 4004, "resource pack exhausted")
        else:
            await socket.send_json({"code": 0, "message": "success", "voice_id": query["voice_id"]})
            await self._listen(socket, query["voice_id"], query["engine_model_type"], float(query.get("vad_silence_time", 1000)) / 1000)

    def _is_signed(self, request: Request) -> bool:
        query = {name: value for name, value in request.query.items() if name != "signature"}
        text = "&".join(f"{name}={value}" for name, value in sorted(query.items()))
        expected = hmac.new(self.key.encode(), f"{request.headers['host']}{request.path}?{text}".encode(), hashlib.sha1).digest()
        now, begins, ends = time.time(), int(query["timestamp"]), int(query["expired"])
        return (
            request.query["signature"] == base64.b64encode(expected).decode()
            and request.path == f"/asr/v2/{self.app_id}"
            and query["secretid"] == self.secret_id
            and begins - 60 <= now <= ends <= begins + MAX_LIFETIME_S
        )

    async def _listen(self, socket: VendorSocket, voice_id: str, engine: str, pause_s: float) -> None:
        hearing = Hearing(8_000 if engine.startswith("8k_") else 16_000)
        index = 0
        while True:
            try:
                message = await socket.receive(IDLE_S)
            except TimeoutError:
                self.complain("no sound for 15 s")
                await self._refuse(socket, 4008, "no audio data within 15s")
                return
            if isinstance(message, str):
                if order_in(message).get("type") != "end":
                    self.complain(f"not a message of this API: {message[:100]}")
                    await self._refuse(socket, 4010, "unknown text message")
                    return
                await socket.send_json({"code": 0, "message": "success", "voice_id": voice_id, "message_id": "m", "final": 1})
                return
            had_words = bool(hearing.words)
            if hearing.feed(message):
                await self._report(socket, voice_id, hearing, index, 1 if had_words else 0)
            if hearing.words and hearing.silence_s >= pause_s:
                await self._report(socket, voice_id, hearing, index, 2)
                hearing.take()
                index += 1

    async def _report(self, socket: VendorSocket, voice_id: str, hearing: Hearing, index: int, slice_type: int) -> None:
        words = [
            {"word": word.text, "start_time": round(word.start_s * 1000), "end_time": round(word.end_s * 1000), "stable_flag": 1}
            for word in hearing.words
        ]
        result = {
            "slice_type": slice_type,
            "index": index,
            "start_time": round(hearing.words[0].start_s * 1000),
            "end_time": round(hearing.words[-1].end_s * 1000),
            "voice_text_str": hearing.text,
            "word_size": len(words),
            "word_list": words,
        }
        message_id = f"{voice_id}_{index}"
        await socket.send_json({"code": 0, "message": "success", "voice_id": voice_id, "message_id": message_id, "result": result})

    async def _refuse(self, socket: VendorSocket, code: int, message: str) -> None:
        await socket.send_json({"code": code, "message": message})
        await socket.close(1000)
