"""ElevenLabs' Scribe realtime on loopback.

Source: https://elevenlabs.io/docs/api-reference/speech-to-text/v-1-speech-to-text-realtime, and …/docs/eleven-api/guides/how-to/
speech-to-text/batch/keyterm-prompting. Like the vendor, the simulator refuses: a wrong key (`auth_error`), no quota, an unknown model or
format, keyterms that are too long, a chunk without its fields; a commit of less than 300 ms is throttled.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

from active_call.testing.vendors.wire.hearing import Hearing
from active_call.testing.vendors.wire.server import Request, VendorServer, all_of
from active_call.testing.vendors.wire.socket import VendorSocket, order_in

FORMATS: Final = {"pcm_8000": 8_000, "pcm_16000": 16_000, "pcm_24000": 24_000, "ulaw_8000": 8_000}
LEAST_COMMIT_S: Final = 0.3
TERMS: Final = 50
TERM_CHARS: Final = 20
TERM_WORDS: Final = 5


class ScribeServer(VendorServer):
    """`/v1/speech-to-text/realtime` with manual commits."""

    def check_handshake(self, request: Request) -> None:
        if request.path != "/v1/speech-to-text/realtime":
            super().check_handshake(request)

    async def serve(self, socket: VendorSocket, request: Request) -> None:
        query = request.query
        if self.faults.wrong_key or request.headers.get("xi-api-key") != self.key:
            await self._refuse(socket, "auth_error", "You must be authenticated to use this endpoint.")
            return
        if self.faults.quota:
            await self._refuse(socket, "quota_exceeded", "You have exceeded your quota.")
            return
        form = query.get("audio_format", "pcm_16000")
        terms = all_of(request.pairs, "keyterms")
        if len(terms) > TERMS or any(len(term) > TERM_CHARS or len(term.split()) > TERM_WORDS for term in terms):
            self.complain(f"keyterms: {terms}")
            await self._refuse(socket, "input_error", "keyterms: at most 50, each of 20 characters and 5 words")
            return
        if query.get("model_id") != "scribe_v2_realtime" or form not in FORMATS or query.get("commit_strategy", "manual") != "manual":
            self.complain(f"not a session of this API: {dict(query)}")
            await self._refuse(socket, "input_error", "invalid parameters")
            return
        hearing = Hearing(FORMATS[form], is_mulaw=form == "ulaw_8000")
        await socket.send_json({"message_type": "session_started", "session_id": "s", "config": {"sample_rate": FORMATS[form]}})
        has_times = query.get("include_timestamps") == "true"
        committed_s = 0.0
        while True:
            chunk = order_in(await socket.receive())
            try:
                if (
                    chunk["message_type"] != "input_audio_chunk"
                    or not isinstance(chunk["commit"], bool)
                    or chunk["sample_rate"] != FORMATS[form]
                ):
                    raise ValueError(chunk)
                sound = base64.b64decode(chunk["audio_base_64"], validate=True)
            except (KeyError, TypeError, ValueError, binascii.Error):
                self.complain(f"not a chunk: {str(chunk)[:100]}")
                await self._refuse(socket, "input_error", "not an input_audio_chunk")
                return
            if hearing.feed(sound):
                await socket.send_json({"message_type": "partial_transcript", "text": hearing.text})
            if chunk["commit"] and hearing.heard_s - committed_s < LEAST_COMMIT_S:
                await socket.send_json({"message_type": "commit_throttled", "error": "Commit request ignored: too little audio."})
            elif chunk["commit"]:
                committed_s = hearing.heard_s
                await self._commit(socket, hearing, has_times=has_times)

    async def _commit(self, socket: VendorSocket, hearing: Hearing, *, has_times: bool) -> None:
        words = hearing.take()
        transcript = " ".join(word.text for word in words)
        await socket.send_json({"message_type": "committed_transcript", "text": transcript})
        if has_times:
            told: list[Mapping[str, Any]] = []
            for word in words:
                if told:
                    told.append({"text": " ", "start": word.start_s, "end": word.start_s, "type": "spacing", "logprob": 0.0})
                told.append({"text": word.text, "start": word.start_s, "end": word.end_s, "type": "word", "logprob": -0.1})
            message = {"message_type": "committed_transcript_with_timestamps", "text": transcript, "language_code": "en", "words": told}
            await socket.send_json(message)

    async def _refuse(self, socket: VendorSocket, kind: str, error: str) -> None:
        await socket.send_json({"message_type": kind, "error": error})
        await socket.close(1008, kind)
