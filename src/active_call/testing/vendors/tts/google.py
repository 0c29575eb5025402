"""Google's synthesis on loopback. Source: https://cloud.google.com/text-to-speech/docs/reference/rest/v1/text/synthesize.

Like the vendor, the simulator refuses: a wrong key (400 API_KEY_INVALID), unknown fields, a voice of another language, a rate out of bounds
(400).
"""

from __future__ import annotations

import base64
from typing import Any

from active_call.testing.vendors.wire.server import Refused, Request, Response, VendorServer, require
from active_call.testing.vendors.wire.speaking import sound_of

_SOUND = {"audioEncoding", "speakingRate", "pitch", "volumeGainDb", "sampleRateHertz", "effectsProfileId"}


class GoogleSpeechServer(VendorServer):
    """`POST /v1/text:synthesize`."""

    async def respond(self, request: Request) -> Response:
        if self.faults.wrong_key or request.headers.get("x-goog-api-key") != self.key:
            raise Refused(400, _error(400, f"API key not valid: {request.headers.get('x-goog-api-key')}"))
        if self.faults.quota:
            raise Refused(403, _error(403, "Billing is disabled for this project."))
        body = request.json()
        sound, voice = body.get("audioConfig", {}), body.get("voice", {})
        require(request.path == "/v1/text:synthesize", 404, _error(404, "not found"))
        require(not set(body) - {"input", "voice", "audioConfig"} and not set(sound) - _SOUND, 400, _error(400, "Unknown name"))
        require(voice.get("name", "").startswith(voice.get("languageCode", "?")), 400, _error(400, "the voice has another language"))
        require(0.25 <= sound.get("speakingRate", 1) <= 2, 400, _error(400, "speakingRate"))
        pcm = sound_of(body["input"]["text"], sound["sampleRateHertz"])
        return Response(200, {"audioContent": base64.b64encode(wav_of(pcm, sound["sampleRateHertz"])).decode()})


def wav_of(pcm: bytes, rate_hz: int) -> bytes:
    """A WAV file with s16le mono sound."""
    numbers = [(16, 4), (1, 2), (1, 2), (rate_hz, 4), (rate_hz * 2, 4), (2, 2), (16, 2)]
    form = b"".join(value.to_bytes(size, "little") for value, size in numbers)
    return b"RIFF" + (36 + len(pcm)).to_bytes(4, "little") + b"WAVEfmt " + form + b"data" + len(pcm).to_bytes(4, "little") + pcm


def _error(code: int, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "status": "INVALID_ARGUMENT"}}
