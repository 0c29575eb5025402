"""Azure's Speech recognition over WebSocket on loopback.

Source: https://learn.microsoft.com/previous-versions/azure/cognitive-services/Speech-Service/API-Reference-REST/websocketprotocol. Like the
vendor, the simulator refuses: a wrong key (401), no quota (429), a language without a region (400), messages without their headers, sound
before `speech.config` or without the header of a WAV file (1007).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

from active_call.testing.vendors.wire.hearing import HeardWord, Hearing
from active_call.testing.vendors.wire.server import Refused, Request, VendorServer, require
from active_call.testing.vendors.wire.socket import VendorSocket

PATH: Final = "/speech/recognition/conversation/cognitiveservices/v1"
HEADER_BYTES: Final = 44
TICKS_PER_S: Final = 10_000_000


class AzureSpeechServer(VendorServer):
    """One connection, with one turn per request id."""

    def check_handshake(self, request: Request) -> None:
        require(request.path == PATH, 404, {"error": "Resource not found"})
        if self.faults.wrong_key or request.headers.get("ocp-apim-subscription-key") != self.key:
            raise Refused(401, b"Access denied due to invalid subscription key or wrong API endpoint.")
        if self.faults.quota:
            raise Refused(429, b"Quota exceeded.")
        require("-" in request.query.get("language", ""), 400, {"error": "language"})
        require(len(request.headers.get("x-connectionid", "")) == 32, 400, {"error": "X-ConnectionId"})

    async def serve(self, socket: VendorSocket, request: Request) -> None:
        is_configured, turn, hearing, n_words = False, "", None, 0
        while True:
            message = await socket.receive()
            try:
                headers, body = _split(message)
                path, request_id = headers["path"], headers["x-requestid"]
                if len(request_id) != 32 or "x-timestamp" not in headers:
                    raise ValueError("headers")
                if isinstance(message, str):
                    json.loads(body)
                    is_configured = is_configured or path == "speech.config"
                    if path not in ("speech.config", "speech.context"):
                        raise ValueError(path)
                    continue
                if path != "audio" or not is_configured:
                    raise ValueError("audio before speech.config")
                if request_id != turn:
                    turn, hearing = request_id, _hearing_of(body, n_words)
                    await self._report(socket, turn, "turn.start", {"context": {"serviceTag": "t"}})
                    continue
                if hearing is None:
                    raise ValueError("audio after the end of its turn")
            except (KeyError, ValueError, struct.error) as error:
                self.complain(f"not a message of this API: {error}")
                await socket.close(1007, "invalid message")
                return
            if not body:
                words = hearing.take()
                n_words += len(words)
                await self._report(socket, turn, "speech.phrase", _phrase(words))
                await self._report(socket, turn, "turn.end", {})
                hearing = None
            elif hearing.feed(body):
                span = _span(hearing.words[0].start_s, hearing.words[-1].end_s)
                await self._report(socket, turn, "speech.hypothesis", {"Text": hearing.text, **span})

    async def _report(self, socket: VendorSocket, turn: str, path: str, body: Mapping[str, Any]) -> None:
        head = f"X-RequestId:{turn}\r\nContent-Type:application/json; charset=utf-8\r\nPath:{path}\r\n\r\n"
        await socket.send_json(body, head=head)


def _split(message: str | bytes) -> tuple[Mapping[str, str], bytes]:
    """Headers (names in lower case) and body. Raises ValueError."""
    if isinstance(message, str):
        head, separator, body = message.partition("\r\n\r\n")
        if not separator:
            raise ValueError("no headers")
        data = body.encode()
    else:
        (length,) = struct.unpack_from(">H", message)
        head, data = message[2 : 2 + length].decode("ascii"), message[2 + length :]
    pairs = (line.partition(":") for line in head.split("\r\n") if line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}, data


def _hearing_of(header: bytes, n_words: int) -> Hearing:
    """The format in the header of a WAV file. Raises ValueError if it is not one."""
    if len(header) != HEADER_BYTES or header[:4] != b"RIFF" or header[8:16] != b"WAVEfmt ":
        raise ValueError("a turn begins with the header of a WAV file")
    tag, channels, rate_hz = struct.unpack_from("<HHI", header, 20)
    if channels != 1 or tag not in (1, 7):
        raise ValueError("mono PCM or mu-law")
    return Hearing(rate_hz, is_mulaw=tag == 7, n_words=n_words)


def _span(start_s: float, end_s: float) -> Mapping[str, int]:
    return {"Offset": round(start_s * TICKS_PER_S), "Duration": round((end_s - start_s) * TICKS_PER_S)}


def _phrase(words: Sequence[HeardWord]) -> Mapping[str, Any]:
    if not words:
        return {"RecognitionStatus": "InitialSilenceTimeout", "Offset": 0, "Duration": 0}
    span = _span(words[0].start_s, words[-1].end_s)
    transcript = " ".join(word.text for word in words)
    told = [{"Word": word.text, **_span(word.start_s, word.end_s)} for word in words]
    best = {"Confidence": 0.9, "Lexical": transcript, "ITN": transcript, "MaskedITN": transcript, "Display": transcript, "Words": told}
    return {"Id": "p", "RecognitionStatus": "Success", **span, "DisplayText": transcript, "NBest": [best]}
