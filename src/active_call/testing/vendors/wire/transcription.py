"""Transcription by HTTP on loopback: OpenAI's protocol (Groq, any Whisper server), and Google's `speech:recognize`.

Source: https://platform.openai.com/docs/api-reference/audio/createTranscription and
https://cloud.google.com/speech-to-text/docs/reference/rest/v1/speech/recognize. Like the vendor, the simulator refuses: a wrong key, no
quota (429), a form or config with missing fields, sound other than 16 kHz WAV.
"""

from __future__ import annotations

import base64
import binascii
import email
import io
import wave
from collections.abc import Mapping, Sequence
from typing import Any

from active_call.testing.vendors.wire.hearing import HeardWord, Hearing
from active_call.testing.vendors.wire.server import Refused, Request, Response, VendorServer, require


def _words_in(pcm: bytes, rate_hz: int) -> Sequence[HeardWord]:
    hearing = Hearing(rate_hz)
    hearing.feed(pcm)
    return hearing.take()


class TranscriptionServer(VendorServer):
    """`POST …/audio/transcriptions`."""

    async def respond(self, request: Request) -> Response:
        require((request.method, request.path) == ("POST", "/v1/audio/transcriptions"), 404, _error("unknown path"))
        if self.faults.wrong_key or request.headers.get("authorization") != f"Bearer {self.key}":
            raise Refused(401, _error(f"Incorrect API key provided: {request.headers.get('authorization')}"))
        if self.faults.quota:
            raise Refused(429, _error("You exceeded your current quota, please check your plan and billing details."))
        fields, lists = _form(request)
        form = str(fields.get("response_format", "json"))
        require(fields.get("model"), 400, _error("you must provide a model parameter"))
        require(form in ("json", "verbose_json"), 400, _error(f"response_format {form!r}"))
        require(len(str(fields.get("language", "en"))) == 2, 400, _error("language: ISO 639-1"))
        try:
            with wave.open(io.BytesIO(fields["file"])) as sound:
                words = _words_in(sound.readframes(sound.getnframes()), sound.getframerate())
        except (KeyError, TypeError, wave.Error, EOFError):
            raise Refused(400, _error("the audio file could not be decoded")) from None
        transcript = " ".join(word.text for word in words)
        if form == "json":
            return Response(200, {"text": f" {transcript}"})
        answer: dict[str, Any] = {"task": "transcribe", "language": "english", "duration": 1.0, "text": f" {transcript}"}
        answer["segments"] = [{"id": 0, "start": 0.0, "end": 1.0, "text": transcript, "avg_logprob": -0.1, "no_speech_prob": 0.0}]
        if "word" in lists.get("timestamp_granularities[]", ()):
            answer["words"] = [{"word": word.text, "start": word.start_s, "end": word.end_s} for word in words]
        return Response(200, answer)


class GoogleServer(VendorServer):
    """`POST /v1/speech:recognize`."""

    async def respond(self, request: Request) -> Response:
        require((request.method, request.path) == ("POST", "/v1/speech:recognize"), 404, _error("unknown path"))
        given = request.headers.get("x-goog-api-key") or request.query.get("key")
        if self.faults.wrong_key or given != self.key:
            raise Refused(400, _google_error(400, "API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT"))
        if self.faults.quota:
            raise Refused(429, _google_error(429, "Quota exceeded for quota metric.", "RESOURCE_EXHAUSTED"))
        body = request.json()
        try:
            config = body["config"]
            pcm = base64.b64decode(body["audio"]["content"], validate=True)
            if config["encoding"] != "LINEAR16" or config["sampleRateHertz"] != 16_000 or "-" not in config["languageCode"]:
                raise ValueError(config)
        except (KeyError, TypeError, ValueError, binascii.Error):
            raise Refused(400, _google_error(400, "Invalid JSON payload received.", "INVALID_ARGUMENT")) from None
        require(len(pcm) < 60 * 32_000, 400, _google_error(400, "Inline audio exceeds duration limit.", "INVALID_ARGUMENT"))
        words = _words_in(pcm, 16_000)
        if not words:
            return Response(200, {"totalBilledTime": "1s", "requestId": "1"})
        told = [
            {"startTime": f"{word.start_s:.3f}s", "endTime": f"{word.end_s:.3f}s", "word": word.text, "confidence": 0.9} for word in words
        ]
        alternative = {"transcript": " ".join(word.text for word in words), "confidence": 0.9, "words": told}
        result = {"alternatives": [alternative], "resultEndTime": "1s", "languageCode": "en-us"}
        return Response(200, {"results": [result], "totalBilledTime": "1s", "requestId": "1"})


def _error(message: str) -> Mapping[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}


def _google_error(code: int, message: str, status: str) -> Mapping[str, Any]:
    return {"error": {"code": code, "message": message, "status": status}}


def _form(request: Request) -> tuple[Mapping[str, Any], Mapping[str, list[str]]]:
    """The fields of a multipart form (RFC 7578): the last value of each field, and all text values of each."""
    head = f"Content-Type: {request.headers.get('content-type', '')}\r\n\r\n".encode()
    fields: dict[str, Any] = {}
    lists: dict[str, list[str]] = {}
    for part in email.message_from_bytes(head + request.body).walk():
        name = part.get_param("name", header="content-disposition")
        if not isinstance(name, str):
            continue
        value = part.get_payload(decode=True)
        fields[name] = value if name == "file" or not isinstance(value, bytes) else value.decode()
        if isinstance(fields[name], str):
            lists.setdefault(name, []).append(fields[name])
    return fields, lists
