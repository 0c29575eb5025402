"""A VoiceAPI server on loopback, by https://github.com/ruzhila/voiceapi (`app.py`): a text on a WebSocket, its sound, and a summary.

Like the vendor, the simulator refuses: an invalid voice number, rate or pace (the server checks the types of its parameters: 403).
"""

from __future__ import annotations

import asyncio

from active_call.testing.vendors.wire.server import Refused, Request, VendorServer
from active_call.testing.vendors.wire.socket import VendorSocket
from active_call.testing.vendors.wire.speaking import pieces_of


class VoiceApiServer(VendorServer):
    """`/tts`. It has no keys; a proxy in front of it may require one."""

    def check_handshake(self, request: Request) -> None:
        if request.path != "/tts":
            super().check_handshake(request)
        if self.faults.wrong_key or self.faults.quota or request.headers.get("authorization") not in (None, f"Bearer {self.key}"):
            raise Refused(401 if self.faults.wrong_key else 402)
        try:
            int(request.query.get("sid", "0")), int(request.query.get("samplerate", "16000")), float(request.query.get("speed", "1"))
        except ValueError:
            self.complain("parameters that are no numbers")
            raise Refused(403) from None

    async def serve(self, socket: VendorSocket, request: Request) -> None:
        rate_hz, size = int(request.query.get("samplerate", "16000")), int(request.query.get("chunk_size", "1024"))
        said = await socket.receive(60)
        if not isinstance(said, str) or not said:
            self.complain("the first message is no text")
            return
        n_bytes = 0
        for whole in pieces_of(said, rate_hz):
            for start in range(0, len(whole), size):
                await socket.send(whole[start : start + size])
                await asyncio.sleep(0)
            n_bytes += len(whole)
        summary = {"progress": 1.0, "elapsed": "12ms", "duration": f"{n_bytes / 2 / rate_hz:.2f}s", "size": n_bytes // 2}
        await socket.send_json(summary)
