"""Soniox' realtime recognition on loopback.

Source: https://soniox.com/docs/api-reference/stt/websocket-api. Like the vendor, the simulator refuses by an error response and a close: a
wrong key (401), no credit (402), an invalid configuration (400), and 20 s without sound or `keepalive` (408).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from active_call.testing.vendors.wire.hearing import HeardWord, Hearing
from active_call.testing.vendors.wire.server import Request, VendorServer
from active_call.testing.vendors.wire.socket import VendorSocket, order_in

FORMATS: Final = frozenset({"pcm_s16le", "mulaw"})
IDLE_S: Final = 20.0
SILENCE_S: Final = 0.6


class SonioxServer(VendorServer):
    """`/transcribe-websocket`."""

    def check_handshake(self, request: Request) -> None:
        if request.path != "/transcribe-websocket":
            super().check_handshake(request)

    async def serve(self, socket: VendorSocket, request: Request) -> None:
        config = order_in(await socket.receive(10.0))
        given = request.headers.get("authorization", "").removeprefix("Bearer ") or config.get("api_key")
        if self.faults.wrong_key or given != self.key:
            await self._refuse(socket, 401, "Invalid API key.")
        elif self.faults.quota:
            await self._refuse(socket, 402, "Organization balance exhausted.")
        elif not _is_known(config):
            self.complain(f"not a configuration: {str(config)[:200]}")
            await self._refuse(socket, 400, "Invalid request.")
        else:
            await self._listen(socket, config)

    async def _listen(self, socket: VendorSocket, config: Mapping[str, Any]) -> None:
        hearing = Hearing(config["sample_rate"], is_mulaw=config["audio_format"] == "mulaw")
        while True:
            try:
                message = await socket.receive(IDLE_S)
            except TimeoutError:
                self.complain("no sound and no keepalive for 20 s")
                await self._refuse(socket, 408, "Request timeout.")
                return
            if not message:
                await self._report(socket, _tokens(hearing.take(), is_final=True), hearing, finished=True)
                return
            if isinstance(message, bytes):
                if hearing.feed(message):
                    await self._report(socket, _tokens(hearing.words, is_final=False), hearing)
                if hearing.words and config.get("enable_endpoint_detection") and hearing.silence_s >= SILENCE_S:
                    await self._report(socket, [*_tokens(hearing.take(), is_final=True), _mark("<end>")], hearing)
                continue
            match order_in(message).get("type"):
                case "finalize":
                    await self._report(socket, [*_tokens(hearing.take(), is_final=True), _mark("<fin>")], hearing)
                case "keepalive":
                    pass
                case _:
                    self.complain(f"not a message of this API: {message[:100]}")
                    await self._refuse(socket, 400, "Control request invalid type.")
                    return

    async def _report(self, socket: VendorSocket, tokens: Sequence[Mapping[str, Any]], hearing: Hearing, *, finished: bool = False) -> None:
        milliseconds = round(hearing.heard_s * 1000)
        response = {"tokens": list(tokens), "final_audio_proc_ms": milliseconds, "total_audio_proc_ms": milliseconds}
        await socket.send_json(response | ({"finished": True} if finished else {}))

    async def _refuse(self, socket: VendorSocket, code: int, message: str) -> None:
        await socket.send_json({"tokens": [], "error_code": code, "error_message": message})


def _is_known(config: Mapping[str, Any]) -> bool:
    return (
        str(config.get("model", "")).startswith("stt-rt-")
        and config.get("audio_format") in FORMATS
        and isinstance(config.get("sample_rate"), int)
        and config.get("num_channels") == 1
    )


def _tokens(words: Sequence[HeardWord], *, is_final: bool) -> list[Mapping[str, Any]]:
    """Each word as two tokens; the first begins with a space."""
    tokens: list[Mapping[str, Any]] = []
    for word in words:
        middle = (word.start_s + word.end_s) / 2
        for piece, start_s, end_s in ((f" {word.text[:2]}", word.start_s, middle), (word.text[2:], middle, word.end_s)):
            times = {"start_ms": round(start_s * 1000), "end_ms": round(end_s * 1000)}
            tokens.append({"text": piece, **times, "confidence": word.confidence, "is_final": is_final})
    return tokens


def _mark(text: str) -> Mapping[str, Any]:
    return {"text": text, "is_final": True}
