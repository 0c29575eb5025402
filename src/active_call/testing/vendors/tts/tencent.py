"""Tencent Cloud's synthesis on loopback: the streaming API and the basic one.

Source: https://cloud.tencent.com/document/api/1073/108595 and https://cloud.tencent.com/document/product/1073/37995. Like the vendor, the
simulator speaks what a line break or a mark of `ENDS` ends at once, and the rest at `ACTION_COMPLETE`; and it refuses: a wrong signature
or account (10003; AuthFailure), no quota (10002; UnsupportedOperation), missing or unknown parameters (10001; InvalidParameter), a text
before `ready` or of another session, more than 10,000 characters in a session, a basic text that is too long.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from active_call.testing.vendors.wire.server import Request, Response, VendorServer
from active_call.testing.vendors.wire.socket import VendorSocket, order_in
from active_call.testing.vendors.wire.speaking import MS_PER_CHAR, pieces_of, sound_of, words_of

NEEDED: Final = frozenset(
    {"Action", "AppId", "SecretId", "Timestamp", "Expired", "SessionId", "VoiceType", "Codec", "SampleRate", "Signature"}
)
RATES: Final = (8_000, 16_000, 24_000)
MAX_CHARS: Final = 500
MAX_SESSION_CHARS: Final = 10_000
ENDS: Final = re.compile(r"(?<=[。；？！;?!\n])")
"""After these the vendor speaks what it has; a full stop is not among them."""
MAX_WIDE_CHARS: Final = 150


def subtitles_of(said: str, from_ms: int = 0) -> list[dict[str, Any]]:
    """The words of `said` in the format of both APIs."""
    return [
        {
            "Text": word,
            "BeginTime": from_ms + round(begin * 1000),
            "EndTime": from_ms + round(end * 1000),
            "BeginIndex": 0,
            "EndIndex": 0,
            "Phoneme": "",
        }
        for word, begin, end in words_of(said)
    ]


class TencentSpeechServer(VendorServer):
    """`/stream_wsv2`. `spoken` holds each synthesised sentence, in order.

    `times_are_of_sentences`: word times are relative to the start of the sentence. `has_subtitles`: some voices have none.
    `subtitles_first`: they come before the sound of their sentence.
    """

    app_id = "1250000000"
    secret_id = "AKID-simulated"

    def __init__(
        self, *, times_are_of_sentences: bool = False, has_subtitles: bool = True, subtitles_first: bool = True, **settings: Any
    ) -> None:
        super().__init__(**settings)
        self.times_are_of_sentences = times_are_of_sentences
        self.has_subtitles = has_subtitles
        self.subtitles_first = subtitles_first
        self.spoken: list[str] = []

    def check_handshake(self, request: Request) -> None:
        if request.path != "/stream_wsv2":
            super().check_handshake(request)

    async def serve(self, socket: VendorSocket, request: Request) -> None:
        query = request.query
        wrong = self._wrong(query)
        if wrong:
            self.complain(wrong)
            await self._report(socket, query, code=10_001, message=wrong)
        elif self.faults.wrong_key or not self._is_signed(request):
            await self._report(socket, query, code=10_003, message="signature check failed")
        elif self.faults.quota:
            await self._report(socket, query, code=10_002, message="resource pack exhausted")
        else:
            await self._report(socket, query, ready=1)
            await self._listen(socket, query)

    def _wrong(self, query: Mapping[str, str]) -> str:
        if missing := sorted(NEEDED - set(query)):
            return f"missing: {missing[0]}"
        if query["Action"] != "TextToStreamAudioWSv2" or query["Codec"] not in ("pcm", "mp3"):
            return "Action or Codec"
        if not query["VoiceType"].isdecimal() or int(query["SampleRate"]) not in RATES:
            return "VoiceType or SampleRate"
        if not (-2 <= float(query.get("Speed", 0)) <= 6 and -10 <= float(query.get("Volume", 0)) <= 10):
            return "Speed or Volume"
        return ""

    def _is_signed(self, request: Request) -> bool:
        query = {name: value for name, value in request.query.items() if name != "Signature"}
        text = "&".join(f"{name}={value}" for name, value in sorted(query.items()))
        expected = hmac.new(self.key.encode(), f"GET{request.headers['host']}{request.path}?{text}".encode(), hashlib.sha1).digest()
        return (
            request.query["Signature"] == base64.b64encode(expected).decode()
            and (query["AppId"], query["SecretId"]) == (self.app_id, self.secret_id)
            and int(query["Timestamp"]) - 60 <= time.time() <= int(query["Expired"])
        )

    async def _listen(self, socket: VendorSocket, query: Mapping[str, str]) -> None:
        said, n_chars, spoken_ms = "", 0, 0
        while True:
            order = order_in(await socket.receive(60))
            if order.get("session_id") != query["SessionId"] or not order.get("message_id"):
                self.complain(f"not of this session: {order}")
                await self._report(socket, query, code=10_001, message="session_id")
                return
            match order.get("action"):
                case "ACTION_SYNTHESIS":
                    n_chars += len(str(order.get("data", "")))
                    if n_chars > MAX_SESSION_CHARS:
                        self.complain("more than 10,000 characters in a session")
                        await self._report(socket, query, code=10_001, message="too many characters")
                        return
                    *complete, said = ENDS.split(said + str(order.get("data", "")))
                    for sentence in complete:
                        spoken_ms += await self._say(socket, query, sentence.rstrip("\n"), spoken_ms)
                case "ACTION_RESET":
                    said = ""
                case "ACTION_COMPLETE":
                    break
                case _:
                    self.complain(f"unknown action {order}")
                    await self._report(socket, query, code=10_001, message="action")
                    return
        await self._say(socket, query, said, spoken_ms)
        await self._report(socket, query, final=1)

    async def _say(self, socket: VendorSocket, query: Mapping[str, str], said: str, from_ms: int) -> int:
        """Speak one sentence; returns how long its sound is, in ms."""
        if not said.strip():
            return 0
        self.spoken.append(said)
        subtitles = {"subtitles": subtitles_of(said, 0 if self.times_are_of_sentences else from_ms) if self.has_subtitles else None}
        if self.subtitles_first:
            await self._report(socket, query, result=subtitles)
        for piece in pieces_of(said, int(query["SampleRate"])):
            await socket.send(piece)
            await asyncio.sleep(0)
        if not self.subtitles_first:
            await self._report(socket, query, result=subtitles)
        return len(said) * MS_PER_CHAR

    async def _report(
        self, socket: VendorSocket, query: Mapping[str, str], *, code: int = 0, message: str = "success", **more: Any
    ) -> None:
        ids = {"session_id": query.get("SessionId", ""), "request_id": "r", "message_id": "m"}
        await socket.send_json({"code": code, "message": message, **ids, **more})
        if code:
            await socket.close(1000)


class TencentBasicServer(VendorServer):
    """`POST /` with the action `TextToVoice`."""

    secret_id = "AKID-simulated"

    async def respond(self, request: Request) -> Response:
        if self.faults.wrong_key or not self._is_signed(request):
            return self._error("AuthFailure.SignatureFailure", "The provided credentials could not be validated.")
        if self.faults.quota:
            return self._error("UnsupportedOperation.PkgExhausted", "The resource pack is exhausted.")
        body = request.json()
        wide = sum(1 for char in str(body.get("Text", "")) if char >= "\u2000")
        if not body.get("Text") or not body.get("SessionId") or request.headers.get("x-tc-action") != "TextToVoice":
            return self._refuse("MissingParameter", "Text, SessionId")
        if wide > MAX_WIDE_CHARS or len(body["Text"]) > MAX_CHARS:
            return self._refuse("InvalidParameterValue.Text", "the text is too long")
        if body.get("Codec") != "pcm" or body.get("SampleRate") not in RATES or not isinstance(body.get("VoiceType"), int):
            return self._refuse("InvalidParameterValue", "Codec, SampleRate, VoiceType")
        sound = base64.b64encode(sound_of(body["Text"], body["SampleRate"])).decode()
        answer = {"Audio": sound, "SessionId": body["SessionId"], "Subtitles": subtitles_of(body["Text"]), "RequestId": "r"}
        return Response(200, {"Response": answer})

    def _refuse(self, code: str, message: str) -> Response:
        self.complain(f"{code}: {message}")
        return self._error(code, message)

    def _error(self, code: str, message: str) -> Response:
        return Response(200, {"Response": {"Error": {"Code": code, "Message": message}, "RequestId": "r"}})

    def _is_signed(self, request: Request) -> bool:
        """Verify TC3-HMAC-SHA256 over the received request."""
        headers = request.headers
        stamp = headers.get("x-tc-timestamp", "0")
        date = datetime.fromtimestamp(int(stamp), UTC).strftime("%Y-%m-%d")
        listed = f"content-type:{headers.get('content-type', '')}\nhost:{headers.get('host', '')}\n"
        canonical = f"POST\n/\n\n{listed}\ncontent-type;host\n{hashlib.sha256(request.body).hexdigest()}"
        scope = f"{date}/tts/tc3_request"
        text = f"TC3-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = f"TC3{self.key}".encode()
        for part in (date, "tts", "tc3_request", text):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        expected = f"TC3-HMAC-SHA256 Credential={self.secret_id}/{scope}, SignedHeaders=content-type;host, Signature={key.hex()}"
        return headers.get("authorization") == expected and abs(time.time() - int(stamp)) < 300
