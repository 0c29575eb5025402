"""Speechmatics' realtime recognition on loopback.

Source: https://docs.speechmatics.com/api-ref/realtime-transcription-websocket. Like the vendor, the simulator refuses: a wrong key (401),
no quota (error `quota_exceeded`), sound before `StartRecognition`, an unknown message (`protocol_error`), a wrong `last_seq_no`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from active_call.testing.vendors.wire.hearing import HeardWord, Hearing
from active_call.testing.vendors.wire.server import Refused, Request, VendorServer
from active_call.testing.vendors.wire.socket import VendorSocket, order_in

ENCODINGS: Final = frozenset({"pcm_s16le", "pcm_f32le", "mulaw"})


class SpeechmaticsServer(VendorServer):
    """`/v2`."""

    def check_handshake(self, request: Request) -> None:
        if request.path.rstrip("/") not in ("/v2", "/v2/en"):
            super().check_handshake(request)
        if self.faults.wrong_key or request.headers.get("authorization") != f"Bearer {self.key}":
            raise Refused(401, {"code": 401, "error": "Permission Denied", "mode": "rt"})

    async def serve(self, socket: VendorSocket, request: Request) -> None:
        if self.faults.quota:
            await self._refuse(socket, "quota_exceeded", "Concurrent Quota Exceeded", 4005)
            return
        start = order_in(await socket.receive(10.0))
        form, config = start.get("audio_format", {}), start.get("transcription_config", {})
        is_known = form.get("type") == "raw" and form.get("encoding") in ENCODINGS and isinstance(form.get("sample_rate"), int)
        if start.get("message") != "StartRecognition" or not is_known or not isinstance(config.get("language"), str):
            self.complain(f"not StartRecognition: {str(start)[:200]}")
            await self._refuse(socket, "invalid_message", "expected StartRecognition", 1003)
            return
        hearing = Hearing(form["sample_rate"], is_mulaw=form["encoding"] == "mulaw")
        pause_s = config.get("conversation_config", {}).get("end_of_utterance_silence_trigger", 0.0)
        await socket.send_json({"message": "RecognitionStarted", "id": "s"})
        n_packets = 0
        while True:
            message = await socket.receive()
            if isinstance(message, bytes):
                n_packets += 1
                if n_packets % 50 == 0:
                    await socket.send_json({"message": "AudioAdded", "seq_no": n_packets})
                if hearing.feed(message) and config.get("enable_partials"):
                    await self._report(socket, "AddPartialTranscript", hearing.words)
                if pause_s and hearing.words and hearing.silence_s >= pause_s:
                    await self._end(socket, hearing)
                continue
            order = order_in(message)
            match order.get("message"):
                case "ForceEndOfUtterance":
                    await self._end(socket, hearing)
                case "SetRecognitionConfig":
                    pass
                case "EndOfStream":
                    if order.get("last_seq_no") != n_packets:
                        self.complain(f"last_seq_no {order.get('last_seq_no')}, but {n_packets} packets came")
                    await self._report(socket, "AddTranscript", hearing.take())
                    await socket.send_json({"message": "EndOfTranscript"})
                    return
                case _:
                    self.complain(f"not a message of this API: {message[:100]}")
                    await self._refuse(socket, "protocol_error", "unknown message", 1003)
                    return

    async def _end(self, socket: VendorSocket, hearing: Hearing) -> None:
        words = hearing.take()
        if words:
            await self._report(socket, "AddTranscript", words)
        times = {"start_time": words[-1].end_s if words else hearing.heard_s, "end_time": hearing.heard_s}
        await socket.send_json({"message": "EndOfUtterance", "metadata": times})

    async def _report(self, socket: VendorSocket, kind: str, words: Sequence[HeardWord]) -> None:
        results: list[Mapping[str, Any]] = [
            {
                "type": "word",
                "start_time": word.start_s,
                "end_time": word.end_s,
                "alternatives": [{"content": word.text, "confidence": word.confidence, "language": "en"}],
            }
            for word in words
        ]
        if results and kind == "AddTranscript":
            at_s = words[-1].end_s
            mark = {"content": ".", "confidence": 1.0, "language": "en"}
            results.append({"type": "punctuation", "start_time": at_s, "end_time": at_s, "is_eos": True, "alternatives": [mark]})
        metadata = {
            "start_time": words[0].start_s if words else 0.0,
            "end_time": words[-1].end_s if words else 0.0,
            "transcript": " ".join(word.text for word in words),
        }
        await socket.send_json({"message": kind, "format": "2.9", "metadata": metadata, "results": results})

    async def _refuse(self, socket: VendorSocket, kind: str, reason: str, code: int) -> None:
        await socket.send_json({"message": "Error", "type": kind, "reason": reason})
        await socket.close(code, kind)
