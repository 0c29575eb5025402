"""Deepgram's streaming recognition on loopback: `/v1/listen` and Flux, `/v2/listen`.

Source: https://developers.deepgram.com/reference/speech-to-text/listen-streaming and …/listen-flux, …/docs/errors, …/docs/keyterm and
…/docs/configure. Like the vendor, the simulator refuses: a missing or wrong key (401), no credit (402), an unknown model or encoding, too
many keyterms (400), an unknown text message (1008, DATA-0000), and 10 s without sound or KeepAlive (1011, NET-0001).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from active_call.testing.vendors.wire.hearing import HeardWord, Hearing
from active_call.testing.vendors.wire.server import Refused, Request, VendorServer, all_of, require
from active_call.testing.vendors.wire.socket import VendorSocket

IDLE_S: Final = 10.0
RATES: Final = frozenset({8_000, 16_000, 24_000, 44_100, 48_000})
ENCODINGS: Final = frozenset({"linear16", "mulaw"})
MODELS: Final = frozenset({"nova-3", "nova-3-general", "nova-3-medical", "nova-2", "nova-2-phonecall", "nova", "enhanced", "base"})
FLUX_MODELS: Final = frozenset({"flux-general-en", "flux-general-multi"})
TERMS: Final = 100
TOKENS_OF_TERMS: Final = 500
ENDPOINTING_MS: Final = "10"
"""The vendor's default: a pause of this length ends a segment."""
SILENCE_S: Final = 0.5
"""The pause after which the simulated Flux ends a turn; after half of it, it sends an eager end."""


class DeepgramServer(VendorServer):
    """Both recognition APIs. `keyterms`: those of the last `Configure`."""

    keyterms: Sequence[str] = ()

    def check_handshake(self, request: Request) -> None:
        given = request.headers.get("authorization", "")
        if self.faults.wrong_key or given not in (f"Token {self.key}", f"Bearer {self.key}"):
            raise Refused(401, {"err_code": "INVALID_AUTH", "err_msg": "Invalid credentials.", "request_id": "r"})
        if self.faults.quota:
            raise Refused(402, {"err_code": "ASR_PAYMENT_REQUIRED", "err_msg": "Project does not have enough credits.", "request_id": "r"})
        query = request.query
        models = {"/v1/listen": MODELS, "/v2/listen": FLUX_MODELS}.get(request.path)
        require(models is not None, 404, {"err_code": "NOT_FOUND", "err_msg": "unknown path"})
        assert models is not None
        require(query.get("model") in models, 400, _bad("No such model/language/tier combination found."))
        require(query.get("encoding") in ENCODINGS, 400, _bad("encoding"))
        require(query.get("sample_rate", "").isdigit() and int(query["sample_rate"]) in RATES, 400, _bad("sample_rate"))
        require(query["encoding"] != "mulaw" or query["sample_rate"] == "8000", 400, _bad("mulaw has 8000 Hz"))
        terms = all_of(request.pairs, "keyterm")
        require(_are_few(terms), 400, _bad("keyterm limit exceeded"))
        if models is FLUX_MODELS:
            require(0.5 <= float(query.get("eot_threshold", 0.7)) <= 1.0, 400, _bad("eot_threshold"))
            require(500 <= float(query.get("eot_timeout_ms", 5000)) <= 60_000, 400, _bad("eot_timeout_ms"))
            require("language" not in query, 400, _bad("language is no parameter of this API"))
        else:
            require(not ("keyterm" in query and not query["model"].startswith("nova-3")), 400, _bad("keyterm needs nova-3"))

    async def serve(self, socket: VendorSocket, request: Request) -> None:
        query = request.query
        hearing = Hearing(int(query["sample_rate"]), is_mulaw=query["encoding"] == "mulaw")
        if request.path == "/v2/listen":
            await _Flux(self, socket, hearing, is_eager="eager_eot_threshold" in query, eot=float(query.get("eot_threshold", 0.7))).run()
        else:
            await _Listen(self, socket, hearing, query).run()


def _are_few(terms: Sequence[str]) -> bool:
    return len(terms) <= TERMS and sum(len(re.findall(r"\w{1,4}", term)) for term in terms) <= TOKENS_OF_TERMS


def _bad(what: str) -> Mapping[str, Any]:
    return {"err_code": "INVALID_QUERY_PARAMETER", "err_msg": f"Failed to deserialize query parameters: {what}", "request_id": "r"}


class _Listen:
    def __init__(self, server: DeepgramServer, socket: VendorSocket, hearing: Hearing, query: Mapping[str, str]) -> None:
        self._server = server
        self._socket = socket
        self._hearing = hearing
        self._has_interim = query.get("interim_results") == "true"
        self._has_terms = query["model"].startswith("nova-3")
        self._has_vad = query.get("vad_events") == "true"
        endpointing = query.get("endpointing", ENDPOINTING_MS)
        self._endpointing_s = float(endpointing) / 1000 if endpointing != "false" else float("inf")
        self._from_s = 0.0

    async def run(self) -> None:
        while True:
            try:
                message = await self._socket.receive(IDLE_S)
            except TimeoutError:
                self._server.complain("no sound and no KeepAlive for 10 s")
                await self._socket.close(1011, "NET-0001: Deepgram did not receive audio data or a text message within the timeout window.")
                return
            if isinstance(message, bytes):
                await self._hear(message)
            elif not await self._handle_control(message):
                return

    async def _hear(self, sound: bytes) -> None:
        was_speaking = self._hearing.is_speaking
        new = self._hearing.feed(sound)
        if self._has_vad and self._hearing.is_speaking and not was_speaking:
            await self._socket.send_json({"type": "SpeechStarted", "channel": [0], "timestamp": self._hearing.heard_s})
        if new and self._has_interim:
            await self._send(self._hearing.words, is_final=False)
        if self._hearing.words and self._hearing.silence_s >= self._endpointing_s:
            await self._send(self._hearing.take(), is_final=True, speech_final=True)

    async def _handle_control(self, message: str) -> bool:
        """Handle a control message. False: the connection closes."""
        try:
            order = json.loads(message)
            kind = order.get("type")
        except (ValueError, AttributeError):
            kind = None
        match kind:
            case "KeepAlive":
                return True
            case "Configure" if self._has_terms and _are_few(order.get("keyterms", ())):
                self._server.keyterms = order["keyterms"]
                await self._socket.send_json({"type": "ConfigureSuccess", "request_id": "r", "keyterms": order["keyterms"]})
                return True
            case "Configure":
                self._server.complain("keyterms that this stream does not take")
                await self._socket.send_json({"type": "ConfigureFailure", "request_id": "r"})
                return True
            case "Finalize":
                await self._send(self._hearing.take(), is_final=True, from_finalize=True)
                return True
            case "CloseStream":
                await self._send(self._hearing.take(), is_final=True)
                await self._socket.send_json(
                    {"type": "Metadata", "request_id": "r", "duration": self._hearing.heard_s, "channels": 1, "sha256": "", "created": ""}
                )
                return False
            case _:
                self._server.complain(f"not a message of this API: {message[:100]}")
                await self._socket.close(1008, "DATA-0000: the payload cannot be decoded as audio")
                return False

    async def _send(self, words: Sequence[HeardWord], *, is_final: bool, speech_final: bool = False, from_finalize: bool = False) -> None:
        transcript = " ".join(word.text for word in words)
        alternative = {
            "transcript": transcript,
            "confidence": 0.98 if words else 0.0,
            "words": [
                {
                    "word": word.text,
                    "start": word.start_s,
                    "end": word.end_s,
                    "confidence": word.confidence,
                    "punctuated_word": word.text,
                }
                for word in words
            ],
        }
        await self._socket.send_json(
            {
                "type": "Results",
                "channel_index": [0, 1],
                "duration": self._hearing.heard_s - self._from_s,
                "start": self._from_s,
                "is_final": is_final,
                "speech_final": speech_final,
                "from_finalize": from_finalize,
                "channel": {"alternatives": [alternative]},
                "metadata": {"request_id": "r", "model_info": {"name": "general", "version": "v", "arch": "nova-3"}, "model_uuid": "u"},
            }
        )
        if is_final:
            self._from_s = self._hearing.heard_s


class _Flux:
    """The state machine of https://developers.deepgram.com/docs/flux/state."""

    def __init__(self, server: DeepgramServer, socket: VendorSocket, hearing: Hearing, *, is_eager: bool, eot: float) -> None:
        self._server = server
        self._socket = socket
        self._hearing = hearing
        self._is_eager = is_eager
        self._eot = eot
        self._turn = 0
        self._sequence = 0
        self._state = "initial"
        self._from_s = 0.0

    async def run(self) -> None:
        await self._socket.send_json({"type": "Connected", "request_id": "r", "sequence_id": 0})
        while True:
            message = await self._socket.receive()
            if isinstance(message, bytes):
                await self._hear(message)
            elif not await self._handle_control(message):
                return

    async def _hear(self, sound: bytes) -> None:
        hearing = self._hearing
        new = hearing.feed(sound)
        if new and self._state == "initial":
            self._state = "ongoing"
            self._from_s = new[0].start_s
            await self._send("StartOfTurn", 0.05)
        elif new and self._state == "awaiting":
            self._state = "ongoing"
            await self._send("TurnResumed", 0.2)
        elif new:
            await self._send("Update", 0.1)
        if self._state == "ongoing" and self._is_eager and hearing.silence_s >= SILENCE_S / 2:
            self._state = "awaiting"
            await self._send("EagerEndOfTurn", 0.5)
        if self._state != "initial" and hearing.silence_s >= SILENCE_S and self._eot < 1.0:
            await self._end(0.9, "model")

    async def _end(self, confidence: float, trigger: str) -> None:
        await self._send("EndOfTurn", confidence, trigger)
        self._hearing.take()
        self._state = "initial"
        self._turn += 1

    async def _handle_control(self, message: str) -> bool:
        try:
            order = json.loads(message)
            kind = order.get("type")
        except (ValueError, AttributeError):
            kind = None
        match kind:
            case "ForceEndTurn":
                if self._state != "initial":
                    await self._end(0.3, "force_end_turn")
                return True
            case "Configure":
                self._server.keyterms = order.get("keyterms", self._server.keyterms)
                await self._socket.send_json({"type": "ConfigureSuccess", "request_id": "r", "sequence_id": self._next()})
                return True
            case "CloseStream":
                return False
            case _:
                self._server.complain(f"not a message of this API: {message[:100]}")
                error = {
                    "type": "Error",
                    "sequence_id": self._next(),
                    "code": "UNPARSABLE_CLIENT_MESSAGE",
                    "description": "no such message",
                }
                await self._socket.send_json(error)
                await self._socket.close(1008, "UNPARSABLE_CLIENT_MESSAGE")
                return False

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence

    async def _send(self, event: str, confidence: float, trigger: str | None = None) -> None:
        words = self._hearing.words
        message = {
            "type": "TurnInfo",
            "request_id": "r",
            "sequence_id": self._next(),
            "event": event,
            "turn_index": self._turn,
            "audio_window_start": self._from_s,
            "audio_window_end": words[-1].end_s if words else self._hearing.heard_s,
            "transcript": self._hearing.text,
            "words": [{"word": word.text, "start": word.start_s, "end": word.end_s, "confidence": word.confidence} for word in words],
            "end_of_turn_confidence": confidence,
        }
        await self._socket.send_json(message if trigger is None else {**message, "trigger": trigger})
