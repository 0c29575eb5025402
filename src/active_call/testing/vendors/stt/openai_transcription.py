"""OpenAI's realtime transcription on loopback.

Source: https://developers.openai.com/api/docs/guides/realtime-transcription and …/api/reference/resources/realtime. Like the vendor, the
simulator refuses: a wrong key (401), a model in the URL, sound before the session is configured, rates other than 24 kHz, an unknown event,
a commit of less than 100 ms. The texts of items arrive in sequence; a live model also sends them before the commit.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, Final

from active_call.testing.vendors.wire.hearing import Hearing
from active_call.testing.vendors.wire.server import Refused, Request, VendorServer, require
from active_call.testing.vendors.wire.socket import VendorSocket

MODELS: Final = frozenset({"gpt-4o-transcribe", "gpt-4o-mini-transcribe", "gpt-live-transcribe", "whisper-1"})
LEAST_COMMIT_S: Final = 0.1


class OpenAiTranscriptionServer(VendorServer):
    """`/v1/realtime?intent=transcription`."""

    def check_handshake(self, request: Request) -> None:
        require(request.path == "/v1/realtime", 404, _error("invalid_request_error", "", "unknown path"))
        if self.faults.wrong_key or request.headers.get("authorization") != f"Bearer {self.key}":
            raise Refused(401, _error("invalid_request_error", "invalid_api_key", f"Incorrect API key provided: {self.key[:4]}***"))
        require(request.query.get("intent") == "transcription", 400, _error("invalid_request_error", "", "missing intent or model"))
        require("model" not in request.query, 400, _error("invalid_request_error", "", "a transcription session has no model here"))

    async def serve(self, socket: VendorSocket, request: Request) -> None:
        await socket.send_json({"type": "session.created", "event_id": "e", "session": {"type": "transcription", "id": "s"}})
        if self.faults.quota:
            await socket.send_json({"type": "error", "event_id": "e", "error": _quota()})
            return
        session = _Session(self, socket)
        while True:
            message = await socket.receive()
            if isinstance(message, bytes):
                self.complain("a binary message")
                await socket.close(1003, "binary messages are not supported")
                return
            await session.take(message)


def _error(kind: str, code: str, message: str) -> Mapping[str, Any]:
    return {"error": {"type": kind, "code": code, "message": message, "param": None}}


def _quota() -> Mapping[str, Any]:
    return {"type": "insufficient_quota", "code": "insufficient_quota", "message": "You exceeded your current quota.", "param": None}


class _Session:
    def __init__(self, server: OpenAiTranscriptionServer, socket: VendorSocket) -> None:
        self._server = server
        self._socket = socket
        self._hearing: Hearing | None = None
        self._model = ""
        self._buffered_s = 0.0
        self._n_items = 0

    async def take(self, message: str) -> None:
        try:
            event = json.loads(message)
            kind = event["type"]
        except (ValueError, KeyError, TypeError):
            await self._refuse("", "an event is a JSON object with a type")
            return
        match kind:
            case "session.update":
                await self._update(event.get("session"))
            case "input_audio_buffer.append":
                await self._append(event.get("audio"))
            case "input_audio_buffer.commit":
                await self._commit()
            case "input_audio_buffer.clear":
                self._buffered_s = 0.0
                await self._socket.send_json({"type": "input_audio_buffer.cleared", "event_id": "e"})
            case _:
                await self._refuse("", f"Invalid value: {kind!r}")

    async def _update(self, session: Any) -> None:
        try:
            sound = session["audio"]["input"]
            form = sound["format"]
            self._model = sound["transcription"]["model"]
            rate_hz = form.get("rate", 8_000)
            is_known = form["type"] in ("audio/pcm", "audio/pcmu", "audio/pcma") and (form["type"] != "audio/pcm" or rate_hz == 24_000)
            if session["type"] != "transcription" or not is_known or self._model not in MODELS or sound["turn_detection"] is not None:
                raise ValueError(session)
        except (ValueError, KeyError, TypeError, AttributeError):
            await self._refuse("", "the session cannot be updated so")
            return
        self._hearing = Hearing(rate_hz, is_mulaw=form["type"] == "audio/pcmu")
        await self._socket.send_json({"type": "session.updated", "event_id": "e", "session": session})

    async def _append(self, audio: Any) -> None:
        if self._hearing is None:
            await self._refuse("", "the session is not configured")
            return
        try:
            data = base64.b64decode(audio, validate=True)
        except (TypeError, ValueError, binascii.Error):
            await self._refuse("", "audio is base64")
            return
        before_s = self._hearing.heard_s
        new = self._hearing.feed(data)
        self._buffered_s += self._hearing.heard_s - before_s
        if self._model == "gpt-live-transcribe":
            for word in new:
                await self._report("delta", f"item{self._n_items}", delta=f"{word.text} ")

    async def _commit(self) -> None:
        if self._hearing is None or self._buffered_s < LEAST_COMMIT_S - 1e-6:
            reason = f"Error committing input audio buffer: buffer too small, {self._buffered_s * 1000:.2f}ms of audio."
            await self._refuse("input_audio_buffer_commit_empty", reason, is_complaint=False)
            return
        item, self._n_items, self._buffered_s = f"item{self._n_items}", self._n_items + 1, 0.0
        await self._socket.send_json({"type": "input_audio_buffer.committed", "event_id": "e", "item_id": item, "previous_item_id": None})
        words = self._hearing.take()
        if self._model != "gpt-live-transcribe":
            for word in words:
                await self._report("delta", item, delta=f"{word.text} ")
        transcript = " ".join(word.text for word in words)
        usage = {"type": "duration", "seconds": 1}
        await self._report("completed", item, transcript=transcript, usage=usage)

    async def _report(self, event: str, item: str, **more: Any) -> None:
        kind = f"conversation.item.input_audio_transcription.{event}"
        await self._socket.send_json({"type": kind, "event_id": "e", "item_id": item, "content_index": 0, **more})

    async def _refuse(self, code: str, message: str, *, is_complaint: bool = True) -> None:
        if is_complaint:
            self._server.complain(message)
        error = {"type": "invalid_request_error", "code": code or None, "message": message, "param": None, "event_id": None}
        await self._socket.send_json({"type": "error", "event_id": "e", "error": error})
