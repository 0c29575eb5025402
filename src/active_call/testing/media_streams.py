"""The carriers' side of media streams, written from their documents (2026-11) and not from `legs.websocket.carriers`.

If a profile says that a fact was not verified at the source yet, the simulator uses the same knowledge and proves nothing about it.

    https://www.twilio.com/docs/voice/media-streams/websocket-messages
    https://developers.telnyx.com/api-reference/websockets/stream-call-media-over-websocket
    https://www.plivo.com/docs/voice-agents/audio-streaming/concepts/audio-streaming-reference
    https://developer.vonage.com/en/voice/voice-api/guides/websockets
    https://developer.exotel.com/docs/agentstream/websocket-protocol

A stream sends messages by `send`, takes ours by `take` and plays them in time: `play_until` says how far. It is strict: a message that the
document does not allow raises AssertionError. Sound stays encoded, as the carrier would pass it on.
"""

from __future__ import annotations

import base64
import json
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

Send = Callable[[str | bytes], None]


class CarrierStream:
    """What the carriers have in common: a buffer that plays, marks in it, and numbers of messages. `network_s`: until the buffer plays."""

    bytes_per_s: ClassVar[int] = 8000

    def __init__(self, send: Send, parameters: Mapping[str, str] | None = None, *, buffer_s: float = 0.0) -> None:
        self._send = send
        self._buffer_s = buffer_s
        self.parameters = dict(parameters or {})
        self.heard = bytearray()
        """What the caller has heard, encoded; silence in between is left out."""
        self.dropped = 0
        """Bytes that were cleared before they were heard."""
        self.n_clears = 0
        self.marks_played: list[str] = []
        self._queue: deque[bytes | str] = deque()
        """Sound, and the names of marks."""
        self._plays_at: float | None = None
        """When the front of the buffer is heard; None while it is empty."""
        self._n_sent = 0
        self._n_chunks = 0
        self.now = 0.0

    # -- what the carrier sends

    def begin(self) -> None:
        """The first messages."""
        raise NotImplementedError

    def say(self, sound: bytes) -> None:
        """Sound of the caller, encoded."""
        raise NotImplementedError

    def press(self, digit: str) -> None:
        """A key of the caller."""
        raise NotImplementedError

    def _played(self, mark: str) -> None:
        raise NotImplementedError

    def _number(self) -> int:
        self._n_sent += 1
        return self._n_sent

    def _say_json(self, body: Mapping[str, Any]) -> None:
        self._send(json.dumps(body))

    # -- what it takes

    def take(self, message: str | bytes) -> None:
        """Take a message of ours. Raises AssertionError if the document does not define it."""
        assert isinstance(message, str), "binary messages are not part of this protocol"
        self._take(json.loads(message))

    def _take(self, body: dict[str, Any]) -> None:
        raise NotImplementedError

    def _queue_sound(self, payload: Any) -> None:
        assert isinstance(payload, str), "payload: expected base64"
        self._queue_bytes(base64.b64decode(payload, validate=True))

    def _queue_bytes(self, sound: bytes) -> None:
        if self._plays_at is None:
            self._plays_at = self.now + self._buffer_s
        self._queue.append(sound)

    def _queue_mark(self, name: Any) -> None:
        assert isinstance(name, str), "mark: expected a name"
        if not self._queue:
            self._return(name)
        else:
            self._queue.append(name)

    def _clear(self) -> list[str]:
        self.n_clears += 1
        marks = [one for one in self._queue if isinstance(one, str)]
        self.dropped += sum(len(one) for one in self._queue if isinstance(one, bytes))
        self._queue.clear()
        self._plays_at = None
        return marks

    def _return(self, mark: str) -> None:
        self.marks_played.append(mark)
        self._played(mark)

    def play_until(self, now: float) -> None:
        """Play what is heard by `now`, in seconds of the test's clock."""
        self.now = now
        while self._queue and self._plays_at is not None:
            front = self._queue[0]
            if isinstance(front, bytes):
                ends_at = self._plays_at + len(front) / self.bytes_per_s
                if ends_at > now + 1e-9:
                    return
                self._plays_at = ends_at
                self.heard += front
            self._queue.popleft()
            if isinstance(front, str):
                self._return(front)
        self._plays_at = None


class TwilioStream(CarrierStream):
    """`<Connect><Stream>`."""

    sid = "MZ18ad3ab5a668481ce02b83e7395059f0"
    call_sid = "CAaf1fcbf2a0bd1d7f0d2fbd23ab1e26a5"
    account_sid = "AC" + 32 * "0"

    def begin(self) -> None:
        self._say_json({"event": "connected", "protocol": "Call", "version": "1.0.0"})
        start = {
            "accountSid": self.account_sid,
            "streamSid": self.sid,
            "callSid": self.call_sid,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": self.parameters,
        }
        self._say_json({"event": "start", "sequenceNumber": str(self._number()), "start": start, "streamSid": self.sid})

    def say(self, sound: bytes) -> None:
        self._n_chunks += 1
        media = {
            "track": "inbound",
            "chunk": str(self._n_chunks),
            "timestamp": str(20 * self._n_chunks),
            "payload": base64.b64encode(sound).decode(),
        }
        self._say_json({"event": "media", "sequenceNumber": str(self._number()), "media": media, "streamSid": self.sid})

    def press(self, digit: str) -> None:
        dtmf = {"track": "inbound_track", "digit": digit}
        self._say_json({"event": "dtmf", "streamSid": self.sid, "sequenceNumber": str(self._number()), "dtmf": dtmf})

    def stop(self) -> None:
        """The caller has hung up, or the call was told to do something else."""
        stop = {"accountSid": self.account_sid, "callSid": self.call_sid}
        self._say_json({"event": "stop", "sequenceNumber": str(self._number()), "streamSid": self.sid, "stop": stop})

    def _played(self, mark: str) -> None:
        number = str(self._number())
        self._say_json({"event": "mark", "sequenceNumber": number, "streamSid": self.sid, "mark": {"name": mark}})

    def _take(self, body: dict[str, Any]) -> None:
        assert body.pop("streamSid", None) == self.sid, f"streamSid: expected {self.sid}"
        match body:
            case {"event": "media", "media": {"payload": payload, **rest}, **more} if not rest and not more:
                self._queue_sound(payload)
            case {"event": "mark", "mark": {"name": name, **rest}, **more} if not rest and not more:
                self._queue_mark(name)
            case {"event": "clear", **more} if not more:
                for mark in self._clear():
                    self._return(mark)
            case _:
                raise AssertionError(f"Twilio knows no message {body}")


class TelnyxStream(CarrierStream):
    """Bidirectional in RTP mode. `encoding`: PCMU, PCMA, G722, OPUS, L16."""

    stream_id = "32DE0DEA-53CB-4B21-89A4-9E1819C043BC"
    encoding = "PCMU"
    rate_hz = 8000

    def begin(self) -> None:
        self._say_json({"event": "connected", "version": "1.0.0"})
        start = {
            "user_id": "3E6F995F-85F7-4705-9741-53B116D28237",
            "call_control_id": "v2:T02llQxIyaRkhfRKxgAP8nY511EhFLizdvdUKJiSw8d6A9BborherQ",
            "from": "+13122010094",
            "to": "+13122123456",
            "custom_parameters": self.parameters,
            "media_format": {"encoding": self.encoding, "sample_rate": self.rate_hz, "channels": 1},
        }
        self._say_json({"event": "start", "sequence_number": str(self._number()), "start": start, "stream_id": self.stream_id})

    def say(self, sound: bytes, chunk: int | None = None) -> None:
        self._n_chunks = chunk if chunk is not None else self._n_chunks + 1
        media = {"track": "inbound", "chunk": str(self._n_chunks), "timestamp": "5", "payload": base64.b64encode(sound).decode()}
        self._say_json({"event": "media", "sequence_number": str(self._number()), "media": media, "stream_id": self.stream_id})

    def press(self, digit: str) -> None:
        number = str(self._number())
        self._say_json(
            {
                "event": "dtmf",
                "stream_id": self.stream_id,
                "occurred_at": "2026-11-01T10:00:00Z",
                "sequence_number": number,
                "dtmf": {"digit": digit},
            }
        )

    def stop(self) -> None:
        """The stream ends."""
        self._say_json({"event": "stop", "sequence_number": str(self._number()), "stop": {}, "stream_id": self.stream_id})

    def _played(self, mark: str) -> None:
        self._say_json({"event": "mark", "sequence_number": str(self._number()), "stream_id": self.stream_id, "mark": {"name": mark}})

    def _take(self, body: dict[str, Any]) -> None:
        match body:
            case {"event": "media", "media": {"payload": payload, **rest}, **more} if not rest and not more:
                self._queue_sound(payload)
            case {"event": "mark", "mark": {"name": name, **rest}, **more} if not rest and not more:
                self._queue_mark(name)
            case {"event": "clear", **more} if not more:
                for mark in self._clear():
                    self._return(mark)
            case _:
                raise AssertionError(f"Telnyx knows no message {body}")


class PlivoStream(CarrierStream):
    """Bidirectional, audio/x-mulaw at 8000 Hz."""

    stream_id = "87654321-4321-4321-4321-cba987654321"

    def begin(self) -> None:
        start = {
            "callId": "12345678-1234-1234-1234-123456789abc",
            "streamId": self.stream_id,
            "accountId": "MAXXXXXXXXXXXXXXXXXX",
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000},
        }
        self._say_json({"event": "start", "sequenceNumber": self._number(), "start": start, "extra_headers": self._headers})

    @property
    def _headers(self) -> str:
        return ";".join(f"{name}={value}" for name, value in self.parameters.items())

    def say(self, sound: bytes) -> None:
        self._n_chunks += 1
        media = {
            "track": "inbound",
            "timestamp": "1705312200000",
            "chunk": self._n_chunks,
            "payload": base64.b64encode(sound).decode(),
        }
        body = {"event": "media", "sequenceNumber": self._number(), "streamId": self.stream_id, "media": media}
        self._say_json({**body, "extra_headers": self._headers})

    def press(self, digit: str) -> None:
        dtmf = {"track": "inbound", "digit": digit, "timestamp": "1705312200000"}
        self._say_json({"event": "dtmf", "sequenceNumber": self._number(), "streamId": self.stream_id, "dtmf": dtmf})

    def _played(self, mark: str) -> None:
        self._say_json({"event": "playedStream", "sequenceNumber": self._number(), "streamId": self.stream_id, "name": mark})

    def _take(self, body: dict[str, Any]) -> None:
        match body:
            case {"event": "playAudio", "media": {"contentType": "audio/x-mulaw", "sampleRate": 8000, "payload": payload}, **more} if (
                not more
            ):
                self._queue_sound(payload)
            case {"event": "checkpoint", "streamId": self.stream_id, "name": name, **more} if not more:
                self._queue_mark(name)
            case {"event": "clearAudio", "streamId": self.stream_id, **more} if not more:
                self._clear()
                self._say_json({"event": "clearedAudio", "sequenceNumber": self._number(), "streamId": self.stream_id})
            case _:
                raise AssertionError(f"Plivo knows no message {body}")


class VonageStream(CarrierStream):
    """An endpoint of type `websocket`, audio/l16 at 16000 Hz in binary messages of 640 bytes."""

    bytes_per_s = 32_000

    def begin(self) -> None:
        self._say_json({"event": "websocket:connected", "content-type": "audio/l16;rate=16000", **self.parameters})

    def say(self, sound: bytes) -> None:
        assert len(sound) == 640
        self._send(sound)

    def press(self, digit: str) -> None:
        self._say_json({"event": "websocket:dtmf", "digit": digit, "duration": 260})

    def _played(self, mark: str) -> None:
        self._say_json({"event": "websocket:notify", "payload": json.loads(mark)})

    def take(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            assert len(message) == 640, f"a binary message of {len(message)} bytes; expected 640"
            self._queue_bytes(message)
        else:
            self._take(json.loads(message))

    def _take(self, body: dict[str, Any]) -> None:
        match body:
            case {"action": "notify", "payload": payload, **more} if not more:
                self._queue_mark(json.dumps(payload))
            case {"action": "clear", **more} if not more:
                self._clear()
                self._say_json({"event": "websocket:cleared"})
            case _:
                raise AssertionError(f"Vonage knows no message {body}")


class ExotelStream(CarrierStream):
    """The Voicebot applet, linear PCM at 8000 Hz. Numbers are texts."""

    bytes_per_s = 16_000
    sid = "MZ0123456789abcdef"

    def begin(self) -> None:
        self._say_json({"event": "connected"})
        start = {
            "stream_sid": self.sid,
            "call_sid": "CA0123456789abcdef",
            "account_sid": "AC0123456789abcdef",
            "from": "+919876543210",
            "to": "+918047491899",
            "custom_parameters": self.parameters,
            "media_format": {"encoding": "audio/x-raw", "sample_rate": "8000", "bit_rate": "16"},
        }
        self._say_json({"event": "start", "sequence_number": str(self._number()), "stream_sid": self.sid, "start": start})

    def say(self, sound: bytes) -> None:
        self._n_chunks += 1
        media = {"chunk": str(self._n_chunks), "timestamp": str(100 * self._n_chunks), "payload": base64.b64encode(sound).decode()}
        self._say_json({"event": "media", "sequence_number": str(self._number()), "stream_sid": self.sid, "media": media})

    def press(self, digit: str) -> None:
        number = str(self._number())
        self._say_json(
            {"event": "dtmf", "sequence_number": number, "stream_sid": self.sid, "dtmf": {"digit": digit, "duration": "100"}},
        )

    def _played(self, mark: str) -> None:
        self._say_json({"event": "mark", "sequence_number": str(self._number()), "stream_sid": self.sid, "mark": {"name": mark}})

    def _take(self, body: dict[str, Any]) -> None:
        assert body.pop("stream_sid", None) == self.sid, f"stream_sid: expected {self.sid}"
        match body:
            case {"event": "media", "media": {"payload": payload, **rest}, **more} if not rest and not more:
                n_bytes = len(base64.b64decode(payload, validate=True))
                assert n_bytes in range(3200, 100_001, 320), f"a piece of {n_bytes} bytes; expected 3200 to 100 K, by 320"
                self._queue_sound(payload)
            case {"event": "mark", "mark": {"name": name, **rest}, **more} if not rest and not more:
                self._queue_mark(name)
            case {"event": "clear", **more} if not more:
                self._clear()
            case _:
                raise AssertionError(f"Exotel knows no message {body}")


STREAMS: dict[str, type[CarrierStream]] = {
    "twilio": TwilioStream,
    "telnyx": TelnyxStream,
    "plivo": PlivoStream,
    "vonage": VonageStream,
    "exotel": ExotelStream,
}
