"""Cartesia's synthesis over a WebSocket on loopback. Source: https://docs.cartesia.ai/api-reference/tts/websocket.

A context takes one text, or its parts while it is written (…/tts/working-with-web-sockets/contexts): a part is spoken when it is flushed
(with `max_buffer_delay_ms` 0 each one is), when it ends a sentence, or with the last one. Like the vendor, the simulator refuses: a missing
version or key (400, 401), unknown or missing fields, a context that has ended or expired a second after its last sound, other settings
within a context, a flush with a text (an `error` message).
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from typing import Any, Final

from active_call.testing.vendors.wire.server import Refused, Request, VendorServer, require
from active_call.testing.vendors.wire.socket import VendorSocket
from active_call.testing.vendors.wire.speaking import MS_PER_CHAR, pieces_of, words_of

_FIELDS: Final = {
    "model_id", "transcript", "voice", "language", "context_id", "output_format", "add_timestamps", "add_phoneme_timestamps", "continue",
    "generation_config", "max_buffer_delay_ms", "flush", "pronunciation_dict_id", "duration", "speed", "use_normalized_timestamps",
}  # fmt: skip
_MAY_DIFFER: Final = frozenset({"transcript", "continue", "duration", "flush"})
EXPIRES_S: Final = 1.0


class _Context:
    """One text in progress."""

    def __init__(self, first: Mapping[str, Any]) -> None:
        self.settings = {name: value for name, value in first.items() if name not in _MAY_DIFFER}
        self.orders: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
        self.task: asyncio.Task[None] | None = None
        self.is_over = False
        self.spoken_at: float | None = None
        """When its last sound was sent; None while text is left to speak."""

    def is_forgotten(self, now: float) -> bool:
        return self.spoken_at is not None and now - self.spoken_at > EXPIRES_S


class CartesiaSpeechServer(VendorServer):
    """`/tts/websocket`. `n_contexts` counts the texts; `spoken` holds each synthesised part, in order."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.n_contexts = 0
        self.spoken: list[str] = []

    def check_handshake(self, request: Request) -> None:
        require(request.path == "/tts/websocket", 404, {"title": "Not found"})
        require(request.query.get("cartesia_version") or request.headers.get("cartesia-version"), 400, {"title": "version is missing"})
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        key = request.headers.get("x-api-key") or bearer or request.query.get("api_key")
        if self.faults.wrong_key or key != self.key:
            raise Refused(401, {"title": "Invalid API key"})
        if self.faults.quota:
            raise Refused(402, {"title": "Credit limit reached"})

    async def serve(self, socket: VendorSocket, request: Request) -> None:
        contexts: dict[str, _Context] = {}
        try:
            while True:
                await self._take(json.loads(await socket.receive(60)), contexts, socket)
        finally:
            tasks = [context.task for context in contexts.values() if context.task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _take(self, message: dict[str, Any], contexts: dict[str, _Context], socket: VendorSocket) -> None:
        name = message.get("context_id", "")
        context = contexts.get(name)
        if message.get("cancel"):
            if context is not None and context.task is not None:
                context.is_over = True
                context.task.cancel()
            return
        if wrong := self._wrong(message, context):
            self.complain(wrong)
            await socket.send_json({"type": "error", "error": wrong, "status_code": 400, "done": True, "context_id": name})
            return
        if context is None:
            self.n_contexts += 1
            context = contexts[name] = _Context(message)
            context.task = asyncio.create_task(self._work(context, socket))
        context.is_over = not message.get("continue")
        context.spoken_at = None
        context.orders.put_nowait(message)

    def _wrong(self, message: dict[str, Any], context: _Context | None) -> str:
        wanted = message.get("output_format", {})
        if unknown := sorted(set(message) - _FIELDS):
            return f"unknown field {unknown[0]}"
        if context is not None and (context.is_over or context.is_forgotten(asyncio.get_running_loop().time())):
            return "the context has expired"
        if message.get("voice", {}).get("mode") != "id" or not message["voice"].get("id"):
            return "voice: mode and id are required"
        if wanted.get("container") != "raw" or wanted.get("encoding") != "pcm_s16le":
            return "output_format is invalid"
        if context is not None and context.settings != {name: value for name, value in message.items() if name not in _MAY_DIFFER}:
            return "all fields but transcript, continue and duration stay the same within a context"
        if message.get("flush") and (message.get("transcript") or not message.get("continue")):
            return "a flush has an empty transcript, and continues"
        has_text = bool(message.get("transcript")) or context is not None
        return "" if has_text and message.get("model_id") else "transcript and model_id are required"

    async def _work(self, context: _Context, socket: VendorSocket) -> None:
        pending, begun_ms, n_flushed = "", 0.0, 1
        more = {"context_id": context.settings["context_id"], "status_code": 206, "done": False}
        while True:
            order = await context.orders.get()
            pending += order.get("transcript") or ""
            is_last = not order.get("continue")
            is_flush = bool(order.get("flush")) or (order.get("max_buffer_delay_ms") == 0 and bool(pending.strip()) and not is_last)
            if pending.strip() and (is_last or is_flush or pending.rstrip()[-1:] in (".", "!", "?")):
                begun_ms += await self._say(pending, begun_ms, context, socket, {**more, "flush_id": n_flushed})
                pending = ""
            if is_flush:
                await socket.send_json({"type": "flush_done", "flush_done": True, **more, "flush_id": n_flushed})
                n_flushed += 1
            if is_last:
                await socket.send_json({"type": "done", **more, "status_code": 200, "done": True})
                return
            if context.orders.empty() and not pending:
                context.spoken_at = asyncio.get_running_loop().time()

    async def _say(self, said: str, begun_ms: float, context: _Context, socket: VendorSocket, more: Mapping[str, Any]) -> float:
        """Send the sound of `said`; returns its duration."""
        self.spoken.append(said)
        rate_hz = context.settings["output_format"]["sample_rate"]
        if context.settings.get("add_timestamps"):
            words = words_of(said)
            lists = {
                "words": [word[0] for word in words],
                "start": [word[1] + begun_ms / 1000 for word in words],
                "end": [word[2] + begun_ms / 1000 for word in words],
            }
            await socket.send_json({"type": "timestamps", "word_timestamps": lists, **more})
        for piece in pieces_of(said, rate_hz):
            await socket.send_json({"type": "chunk", "data": base64.b64encode(piece).decode(), "step_time": 12.0, **more})
            await asyncio.sleep(0)
        return len(said) * MS_PER_CHAR
