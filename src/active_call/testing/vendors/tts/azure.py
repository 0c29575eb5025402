"""Azure's synthesis on loopback. Source: https://learn.microsoft.com/azure/ai-services/speech-service/rest-text-to-speech.

Like the vendor, the simulator refuses: a wrong key (401), an unknown format, SSML that is not XML or has no voice (400), a missing
User-Agent (400).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from xml.etree import ElementTree

from active_call.testing.vendors.wire.server import Refused, Request, Response, VendorServer
from active_call.testing.vendors.wire.speaking import pieces_of

_RATES = {
    "raw-8khz-16bit-mono-pcm": 8_000,
    "raw-16khz-16bit-mono-pcm": 16_000,
    "raw-22050hz-16bit-mono-pcm": 22_050,
    "raw-24khz-16bit-mono-pcm": 24_000,
    "raw-44100hz-16bit-mono-pcm": 44_100,
    "raw-48khz-16bit-mono-pcm": 48_000,
}


class AzureSpeechServer(VendorServer):
    """`POST /cognitiveservices/v1`."""

    async def respond(self, request: Request) -> Response:
        if self.faults.wrong_key or request.headers.get("ocp-apim-subscription-key") != self.key:
            raise Refused(401, b"Access denied due to invalid subscription key.")
        if self.faults.quota:
            raise Refused(403, b"Out of call volume quota.")
        rate_hz = _RATES.get(request.headers.get("x-microsoft-outputformat", ""))
        is_ssml = request.headers.get("content-type") == "application/ssml+xml" and request.path == "/cognitiveservices/v1"
        if rate_hz is None or not is_ssml or not request.headers.get("user-agent"):
            self.complain("format, type, path or User-Agent")
            raise Refused(400, b"Bad Request")
        return Response(200, self._say(self._text_of(request.body), rate_hz), {"content-type": "audio/basic"})

    def _text_of(self, ssml: bytes) -> str:
        try:
            speak = ElementTree.fromstring(ssml)
        except ElementTree.ParseError as error:
            self.complain(f"no XML: {error}")
            raise Refused(400, b"Ssml should be well-formed") from error
        voice = speak.find("{http://www.w3.org/2001/10/synthesis}voice")
        if voice is None or not voice.get("name"):
            self.complain("no voice")
            raise Refused(400, b"Ssml should contain a voice")
        return "".join(voice.itertext())

    async def _say(self, text: str, rate_hz: int) -> AsyncGenerator[bytes, None]:
        for piece in pieces_of(text, rate_hz):
            yield piece
            await asyncio.sleep(0)
