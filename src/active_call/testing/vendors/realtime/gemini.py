"""A simulator of Gemini's Live API. Source: ai.google.dev/api/live, /gemini-api/docs/live-guide and /live-session.

It refuses what the service refuses: a first message other than setup, unknown fields, sound in another format, the result of an unknown
call, an unknown handle. Its turn detector classifies loud sound as speech, and interrupts a reply without a request.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections import deque
from collections.abc import Mapping
from itertools import count
from typing import Any, Final

import numpy as np

from active_call.testing.vendors.wire.faults import Faults
from active_call.testing.vendors.wire.server import Refused, Request, VendorServer
from active_call.testing.vendors.wire.socket import SocketClosed, VendorSocket

Json = dict[str, Any]

PATH: Final = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
OUTPUT_HZ: Final = 24_000
PIECE_MS: Final = 100
MS_PER_CHAR: Final = 60
LOUD: Final = 500
"""Mean absolute sample value of speech."""
SILENCE_MS: Final = 200
_SETUP: Final = {
    "model", "generationConfig", "systemInstruction", "tools", "realtimeInputConfig", "sessionResumption", "contextWindowCompression",
    "inputAudioTranscription", "outputAudioTranscription", "proactivity",
}  # fmt: skip
_URL_SAFE: Final = str.maketrans("-_", "+/")
"""Protobuf's JSON takes both alphabets of Base64."""
_OPAQUE: Final = frozenset({"args", "response", "parameters"})
_MESSAGES: Final = {"setup", "clientContent", "realtimeInput", "toolResponse"}


class GeminiLiveServer(VendorServer):
    """`script` holds the replies: a text, or `call NAME {json}`. `heard` is the transcript of the caller's speech."""

    def __init__(self, *, faults: Faults | None = None, resumes: bool = True) -> None:
        super().__init__(faults=faults)
        self.script: deque[str] = deque()
        self.heard = "What are your opening hours?"
        self.piece_s = 0.0
        """The interval between two pieces of a reply."""
        self.resumes = resumes
        self.handles: dict[str, list[tuple[str, str]]] = {}
        """The history that each handle resumes."""
        self.conversations: list[LiveConversation] = []
        self.numbers = count(1)

    def check_handshake(self, request: Request) -> None:
        if request.path != PATH:
            raise Refused(404, b"not found")
        key = request.headers.get("x-goog-api-key") or request.query.get("key")
        if key != self.key or self.faults.wrong_key:
            raise Refused(400, {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": f"API key not valid: {key}"}})

    async def serve(self, socket: VendorSocket, request: Request) -> None:
        conversation = LiveConversation(self, socket)
        self.conversations.append(conversation)
        await conversation.run()


class LiveConversation:
    """One connection. `history`: pairs of role and text, with the service's role names."""

    def __init__(self, server: GeminiLiveServer, socket: VendorSocket) -> None:
        self.setup: Json = {}
        self.history: list[tuple[str, str]] = []
        self.calls: set[str] = set()
        self._server = server
        self._socket = socket
        self._reply: asyncio.Task[None] | None = None
        self._is_speech = False
        self._silent_ms = 0.0

    async def run(self) -> None:
        """Serve until the client disconnects."""
        try:
            await self._begin(in_json_names(json.loads(await self._socket.receive())))
            while True:
                await self._take(in_json_names(json.loads(await self._socket.receive())))
        except SocketClosed:
            pass
        finally:
            if self._reply is not None:
                self._reply.cancel()
                await asyncio.gather(self._reply, return_exceptions=True)

    async def go_away(self) -> None:
        """Announce the end of the connection."""
        await self._socket.send_json({"goAway": {"timeLeft": "10s"}})

    async def _refuse(self, why: str) -> None:
        """Close with the reason in the close frame, as the service does."""
        self._server.complain(why)
        await self._socket.close(1007, why[:120])
        raise SocketClosed

    async def _begin(self, message: Json) -> None:
        setup = message.get("setup")
        if not isinstance(setup, dict) or not str(setup.get("model", "")).startswith("models/"):
            await self._refuse("setup must be the first message and name a model")
            return
        if wrong := sorted(set(setup) - _SETUP):
            await self._refuse(f'Invalid JSON payload received. Unknown name "{wrong[0]}" at "setup"')
        handle = setup.get("sessionResumption", {}).get("handle")
        if handle:
            if handle not in self._server.handles:
                await self._refuse("session resumption handle is not valid")
            self.history = list(self._server.handles[handle])
        self.setup = setup
        if self._server.faults.quota:
            await self._socket.close(1011, "You exceeded your current quota")
            raise SocketClosed
        await self._socket.send_json({"setupComplete": {}})

    async def _take(self, message: Json) -> None:
        if len(message) != 1 or not set(message) <= _MESSAGES:
            await self._refuse(f"one of {sorted(_MESSAGES)} is expected")
        if content := message.get("clientContent"):
            self.history += [(turn["role"], turn["parts"][0]["text"]) for turn in content["turns"]]
            if content.get("turnComplete"):
                await self._begin_reply()
        elif sound := message.get("realtimeInput", {}).get("audio"):
            await self._hear(sound)
        elif responses := message.get("toolResponse", {}).get("functionResponses"):
            await self._take_results(responses)

    async def _take_results(self, responses: list[Json]) -> None:
        for response in responses:
            if response["id"] not in self.calls or not isinstance(response["response"], dict):
                await self._refuse(f"no function call with the id {response['id']}")
            self.history.append(("tool", response["response"]["result"]))
        await self._begin_reply()

    async def _hear(self, sound: Mapping[str, Any]) -> None:
        if sound.get("mimeType") != "audio/pcm;rate=16000":
            await self._refuse(f"the audio must be 16 kHz PCM, not {sound.get('mimeType')}")
        pcm = base64.b64decode(sound["data"].translate(_URL_SAFE), validate=True)
        is_loud = bool(pcm) and float(np.abs(np.frombuffer(pcm, "<i2").astype(float)).mean()) > LOUD
        self._silent_ms = 0.0 if is_loud else self._silent_ms + len(pcm) / 32
        if is_loud and not self._is_speech:
            self._is_speech = True
            await self._interrupt()
        elif self._is_speech and self._silent_ms >= SILENCE_MS:
            self._is_speech = False
            half = len(self._server.heard) // 2
            for piece in (self._server.heard[:half], self._server.heard[half:]):
                await self._content({"inputTranscription": {"text": piece}})
            self.history.append(("user", self._server.heard))
            await self._begin_reply()

    async def _content(self, content: Json, **more: Any) -> None:
        await self._socket.send_json({"serverContent": content, **more})

    async def _interrupt(self) -> None:
        if self._reply is None or self._reply.done():
            return
        self._reply.cancel()
        await asyncio.gather(self._reply, return_exceptions=True)
        await self._content({"interrupted": True})

    async def _begin_reply(self) -> None:
        await self._interrupt()
        text = self._server.script.popleft() if self._server.script else "All right."
        self._reply = asyncio.create_task(self._speak(text), name="simulated reply")

    async def _speak(self, text: str) -> None:
        if text.startswith("call "):
            name, _, arguments = text.removeprefix("call ").partition(" ")
            call_id = f"function-call-{next(self._server.numbers)}"
            self.calls.add(call_id)
            call = {"id": call_id, "name": name, "args": json.loads(arguments or "{}")}
            await self._socket.send_json({"toolCall": {"functionCalls": [call]}})
        else:
            for start in range(0, len(text) * MS_PER_CHAR, PIECE_MS):
                pcm = np.full(OUTPUT_HZ * PIECE_MS // 1000, 1000, "<i2").tobytes()
                data = {"mimeType": f"audio/pcm;rate={OUTPUT_HZ}", "data": base64.b64encode(pcm).decode()}
                await self._content({"modelTurn": {"parts": [{"inlineData": data}]}})
                letters = text[start // MS_PER_CHAR : (start + PIECE_MS) // MS_PER_CHAR]
                await self._content({"outputTranscription": {"text": letters}})
                await asyncio.sleep(self._server.piece_s)
            self.history.append(("model", text))
            await self._content({"generationComplete": True})
        usage = {
            "promptTokenCount": 120,
            "responseTokenCount": 40,
            "totalTokenCount": 160,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 80}, {"modality": "AUDIO", "tokenCount": 40}],
            "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 40}],
        }
        await self._content({"turnComplete": True}, usageMetadata=usage)
        if self._server.resumes:
            handle = f"handle-{next(self._server.numbers)}"
            self._server.handles[handle] = list(self.history)
            await self._socket.send_json({"sessionResumptionUpdate": {"newHandle": handle, "resumable": True}})


def in_json_names(value: Any) -> Any:
    """`value` with field names such as `mimeType`. Like every parser of protobuf's JSON, the vendor also accepts `mime_type`.

    Values below names of the user's own (`args`, `response`, `parameters`) are left as they are.
    """
    if isinstance(value, list):
        return [in_json_names(each) for each in value]
    if not isinstance(value, dict):
        return value
    named = {re.sub(r"_([a-z])", lambda found: found[1].upper(), name): each for name, each in value.items()}
    return {name: each if name in _OPAQUE else in_json_names(each) for name, each in named.items()}
