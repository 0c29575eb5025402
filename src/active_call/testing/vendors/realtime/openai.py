"""A simulator of OpenAI's Realtime API (generally available version).

Source: platform.openai.com/docs/api-reference/realtime-client-events and /realtime-server-events. It refuses what the service refuses: a
session of another type, sound in another format, a second reply while one is in progress, the result of an unknown call, a truncation
after the end of the sound. Its turn detector classifies loud sound as speech. It sends a reply as fast as it can, as the service does.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections import deque
from collections.abc import Mapping
from itertools import count
from typing import Any, Final

import numpy as np

from active_call.testing.vendors.wire.faults import Faults
from active_call.testing.vendors.wire.server import Refused, Request, VendorServer
from active_call.testing.vendors.wire.socket import SocketClosed, VendorSocket

Json = dict[str, Any]

RATE_HZ: Final = 24_000
BYTES_PER_MS: Final = RATE_HZ * 2 // 1000
PIECE_MS: Final = 100
MS_PER_CHAR: Final = 60
LOUD: Final = 500
"""Mean absolute sample value of speech."""
SILENCE_MS: Final = 200
_SESSION: Final = {
    "type",
    "instructions",
    "output_modalities",
    "audio",
    "tools",
    "tool_choice",
    "max_output_tokens",
    "tracing",
    "truncation",
    "reasoning",
    "parallel_tool_calls",
}
_INPUT: Final = {"format", "transcription", "noise_reduction", "turn_detection"}
_EVENTS: Final = {
    "session.update", "input_audio_buffer.append", "input_audio_buffer.commit", "input_audio_buffer.clear", "conversation.item.create",
    "conversation.item.truncate", "conversation.item.delete", "response.create", "response.cancel",
}  # fmt: skip


class OpenAiRealtimeServer(VendorServer):
    """`script`: the replies, each a text or `call NAME {json}`. `heard`: the transcript of the caller. `is_azure`: the key's header."""

    def __init__(self, *, faults: Faults | None = None, is_azure: bool = False) -> None:
        super().__init__(faults=faults)
        self.script: deque[str] = deque()
        self.heard = "What are your opening hours?"
        self.piece_s = 0.0
        """The interval between two pieces of a reply."""
        self.conversations: list[Conversation] = []
        self._is_azure = is_azure

    def check_handshake(self, request: Request) -> None:
        path, name = ("/openai/v1/realtime", "api-key") if self._is_azure else ("/v1/realtime", "authorization")
        if request.path != path:
            raise Refused(404, b"not found")
        key = request.headers.get(name, "").removeprefix("Bearer ")
        if key != self.key or self.faults.wrong_key:
            raise Refused(401, {"error": {"message": f"Incorrect API key provided: {key[:4]}", "code": "invalid_api_key"}})
        if not request.query.get("model"):
            raise Refused(400, {"error": {"message": "You must provide a model parameter."}})

    async def serve(self, socket: VendorSocket, request: Request) -> None:
        conversation = Conversation(self, socket)
        self.conversations.append(conversation)
        await conversation.run()


class Conversation:
    """One session. `items` are its history by id: kind, role and text; `truncated` holds the ends of truncated items, in ms."""

    def __init__(self, server: OpenAiRealtimeServer, socket: VendorSocket) -> None:
        self.session: Json = {}
        self.items: dict[str, Json] = {}
        self.truncated: dict[str, int] = {}
        self.sound_bytes = 0
        self.instructions: list[str] = []
        """The instructions of each requested reply."""
        self._server = server
        self._socket = socket
        self._numbers = count(1)
        self._reply: asyncio.Task[None] | None = None
        self._is_speech = False
        self._silent_ms = 0.0

    async def run(self) -> None:
        """Serve until the client disconnects."""
        try:
            await self._send({"type": "session.created", "session": {"type": "realtime", "id": "sess_1"}})
            if self._server.faults.quota:
                await self._error("insufficient_quota", "You exceeded your current quota.")
                await self._socket.close(1000)
                return
            while True:
                message = json.loads(await self._socket.receive())
                await self._take(message)
        except SocketClosed:
            pass
        finally:
            if self._reply is not None:
                self._reply.cancel()
                await asyncio.gather(self._reply, return_exceptions=True)

    async def expire(self) -> None:
        """The session reaches its time limit: report it, and close."""
        await self._error("session_expired", "Your session hit the maximum duration of 60 minutes.")
        await self._socket.close(1001)

    async def _send(self, message: Json) -> None:
        await self._socket.send_json({"event_id": f"event_{next(self._numbers)}", **message})

    async def _error(self, code: str, message: str, kind: str = "invalid_request_error") -> None:
        await self._send({"type": "error", "error": {"type": kind, "code": code, "message": message, "param": None, "event_id": None}})

    async def _refuse(self, code: str, message: str) -> None:
        self._server.complain(f"{code}: {message}")
        await self._error(code, message)

    async def _take(self, message: Json) -> None:
        match message.get("type"):
            case "session.update":
                await self._update(message.get("session") or {})
            case "input_audio_buffer.append":
                await self._hear(message)
            case "conversation.item.create":
                await self._create(message.get("item") or {})
            case "conversation.item.truncate":
                await self._truncate(message)
            case "response.create":
                await self._begin_reply(message.get("response") or {})
            case "response.cancel":
                await self._cancel_reply()
            case "input_audio_buffer.commit" | "input_audio_buffer.clear" | "conversation.item.delete":
                pass
            case other:
                await self._refuse("invalid_value", f"Invalid value: {other!r}. Supported values are: {sorted(_EVENTS)}")

    async def _update(self, session: Json) -> None:
        audio = session.get("audio", {})
        wrong = sorted(set(session) - _SESSION) + sorted(set(audio.get("input", {})) - _INPUT)
        formats = [audio.get(side, {}).get("format", {"type": "audio/pcm", "rate": RATE_HZ}) for side in ("input", "output")]
        detection = audio.get("input", {}).get("turn_detection")
        if session.get("type") != "realtime":
            await self._refuse("missing_required_parameter", "Missing required parameter: 'session.type'.")
        elif wrong:
            await self._refuse("unknown_parameter", f"Unknown parameter: 'session.{wrong[0]}'.")
        elif formats != [{"type": "audio/pcm", "rate": RATE_HZ}] * 2:
            await self._refuse("invalid_value", "Invalid value: 'session.audio.input.format.rate'. Expected 24000.")
        elif detection is not None and detection.get("type") not in ("server_vad", "semantic_vad"):
            await self._refuse("invalid_value", "Invalid value: 'session.audio.input.turn_detection.type'.")
        else:
            self.session = session
            await self._send({"type": "session.updated", "session": session})

    # -- the caller

    async def _hear(self, message: Mapping[str, Any]) -> None:
        pcm = base64.b64decode(message["audio"], validate=True)
        if len(pcm) % 2:
            await self._refuse("invalid_value", "Invalid 'audio': not a whole number of samples.")
            return
        begin_ms = self.sound_bytes // BYTES_PER_MS
        self.sound_bytes += len(pcm)
        is_loud = bool(pcm) and float(np.abs(np.frombuffer(pcm, "<i2").astype(float)).mean()) > LOUD
        detection = self.session.get("audio", {}).get("input", {}).get("turn_detection")
        if detection is None:
            return
        self._silent_ms = 0.0 if is_loud else self._silent_ms + len(pcm) / BYTES_PER_MS
        if is_loud and not self._is_speech:
            self._is_speech = True
            await self._send({"type": "input_audio_buffer.speech_started", "audio_start_ms": begin_ms, "item_id": "item_next"})
            if detection.get("interrupt_response", True):
                await self._cancel_reply(is_asked=False)
        elif self._is_speech and self._silent_ms >= SILENCE_MS:
            self._is_speech = False
            await self._end_turn(detection)

    async def _end_turn(self, detection: Mapping[str, Any]) -> None:
        await self._send({"type": "input_audio_buffer.speech_stopped", "audio_end_ms": self.sound_bytes // BYTES_PER_MS, "item_id": ""})
        await self._send({"type": "input_audio_buffer.committed", "item_id": ""})
        content = [{"type": "input_audio", "transcript": None}]
        item = await self._add({"type": "message", "role": "user", "content": content}, self._server.heard)
        half = len(self._server.heard) // 2
        for piece in (self._server.heard[:half], self._server.heard[half:]):
            await self._send({"type": "conversation.item.input_audio_transcription.delta", "item_id": item, "delta": piece})
        done = {"type": "conversation.item.input_audio_transcription.completed", "item_id": item, "transcript": self._server.heard}
        await self._send(done)
        if detection.get("create_response", True):
            await self._begin_reply({})

    # -- the conversation

    async def _add(self, item: Json, text: str) -> str:
        name, previous = f"item_{next(self._numbers)}", next(reversed(self.items), None)
        self.items[name] = {"kind": item["type"], "role": item.get("role", ""), "text": text, "call_id": item.get("call_id", ""), "ms": 0}
        await self._send({"type": "conversation.item.added", "previous_item_id": previous, "item": {"id": name, **item}})
        return name

    async def _create(self, item: Json) -> None:
        kind = item.get("type")
        if kind == "function_call_output":
            known = {one["call_id"] for one in self.items.values() if one["kind"] == "function_call"}
            if item.get("call_id") not in known:
                await self._refuse("invalid_tool_call_id", f"Tool call ID '{item.get('call_id')}' not found in conversation.")
                return
            await self._add(item, item["output"])
            return
        role, content = item.get("role"), item.get("content") or [{}]
        wanted = {"user": "input_text", "system": "input_text", "assistant": "output_text"}.get(str(role))
        if kind != "message" or content[0].get("type") != wanted:
            await self._refuse("invalid_value", f"Invalid value: 'item.content[0].type' for the role {role}. Expected {wanted!r}.")
            return
        await self._add(item, content[0]["text"])

    async def _truncate(self, message: Mapping[str, Any]) -> None:
        item, end_ms = message.get("item_id", ""), message.get("audio_end_ms")
        if item not in self.items:
            await self._refuse("item_truncate_invalid_item_id", f"Error truncating item: item with id {item!r} does not exist.")
        elif not isinstance(end_ms, int) or end_ms > self.items[item]["ms"]:
            await self._refuse("invalid_value", f"Audio content of {self.items[item]['ms']}ms is already shorter than {end_ms}ms")
        else:
            self.truncated[item] = end_ms
            await self._send({"type": "conversation.item.truncated", "item_id": item, "content_index": 0, "audio_end_ms": end_ms})

    # -- replies

    async def _begin_reply(self, wanted: Mapping[str, Any]) -> None:
        if self._reply is not None and not self._reply.done():
            await self._refuse("conversation_already_has_active_response", "Conversation already has an active response in progress.")
            return
        self.instructions.append(str(wanted.get("instructions", "")))
        text = self._server.script.popleft() if self._server.script else "All right."
        await self._send({"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}})
        self._reply = asyncio.create_task(self._speak(text), name="simulated reply")

    async def _cancel_reply(self, *, is_asked: bool = True) -> None:
        if self._reply is None or self._reply.done():
            if is_asked:
                await self._error("response_cancel_not_active", "Cancellation failed: no active response found")
            return
        self._reply.cancel()
        await asyncio.gather(self._reply, return_exceptions=True)
        await self._send({"type": "response.done", "response": {"id": "resp_1", "status": "cancelled"}})

    async def _speak(self, text: str) -> None:
        if text.startswith("call "):
            await self._call(*text.removeprefix("call ").split(" ", 1))
        elif text == "fail":
            error = {"type": "server_error", "code": None, "message": "The server had an error."}
            await self._send({"type": "response.done", "response": {"status": "failed", "status_details": {"error": error}}})
            return
        else:
            await self._say(text)
        usage = {
            "total_tokens": 160,
            "input_tokens": 120,
            "output_tokens": 40,
            "input_token_details": {
                "text_tokens": 80,
                "audio_tokens": 40,
                "cached_tokens": 64,
                "cached_tokens_details": {"text_tokens": 64, "audio_tokens": 0},
            },
            "output_token_details": {"text_tokens": 10, "audio_tokens": 30},
        }
        await self._send({"type": "response.done", "response": {"id": "resp_1", "status": "completed", "usage": usage}})

    async def _call(self, name: str, arguments: str = "{}") -> None:
        item = {"type": "function_call", "name": name, "call_id": f"call_{next(self._numbers)}", "arguments": ""}
        item_id = await self._add(item, name)
        done = {"type": "response.function_call_arguments.done", "item_id": item_id, "output_index": 0, "name": name}
        await self._send({**done, "call_id": item["call_id"], "arguments": arguments})

    async def _say(self, text: str) -> None:
        item = await self._add({"type": "message", "role": "assistant", "content": []}, text)
        for start in range(0, len(text) * MS_PER_CHAR, PIECE_MS):
            pcm = np.full(RATE_HZ * PIECE_MS // 1000, 1000, "<i2").tobytes()
            self.items[item]["ms"] += PIECE_MS
            await self._send({"type": "response.output_audio.delta", "item_id": item, "delta": base64.b64encode(pcm).decode()})
            letters = text[start // MS_PER_CHAR : (start + PIECE_MS) // MS_PER_CHAR]
            await self._send({"type": "response.output_audio_transcript.delta", "item_id": item, "delta": letters})
            await asyncio.sleep(self._server.piece_s)
        await self._send({"type": "response.output_audio_transcript.done", "item_id": item, "transcript": text})
