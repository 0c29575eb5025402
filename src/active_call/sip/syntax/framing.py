"""Split a TCP or TLS byte stream into SIP messages by Content-Length (RFC 3261 §18.3), with CRLF keep-alive (RFC 5626 §3.5.1, §4.4.1).

Bytes go in, cut anywhere. Whole raw messages, pings and pongs come out, independent of the cuts. Only Content-Length is parsed; `message`
does the rest. The work is linear in the number of bytes.

Between messages, CRLF CRLF is a ping. A single CRLF is the pong that `expect_pong` announced, else it is ignored. If the start of the next
message cannot be found, the stream is lost: `failure` says why, and the connection must be closed.
"""

from __future__ import annotations

import re

from msgspec import Struct

from active_call.base.errors import ParseError

MAX_HEADER_BYTES = 65_536
MAX_BODY_BYTES = 262_144
_CONTENT_LENGTH = re.compile(rb"(?:^|\r\n)(?:content-length|l)[ \t]*:((?:[^\r\n]|\r\n[ \t])*)", re.IGNORECASE)
_LENGTH = re.compile(rb"[0-9]{1,10}\Z")


class Ping(Struct, frozen=True):
    """The peer's CRLF CRLF. Answer it with one CRLF."""


class Pong(Struct, frozen=True):
    """The CRLF that answers our own ping."""


class MessageTooLarge(ParseError):
    """A message that exceeds the limits, even if it is well-formed."""


PING_BYTES = b"\r\n\r\n"
PONG_BYTES = b"\r\n"


class StreamFramer:
    """The receiving side of one connection."""

    def __init__(self, *, max_header_bytes: int = MAX_HEADER_BYTES, max_body_bytes: int = MAX_BODY_BYTES) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._message_bytes = 0
        self._pongs_due = 0
        self._max_header_bytes = max_header_bytes
        self._max_body_bytes = max_body_bytes
        self.failure: ParseError | None = None
        """Why the stream cannot be parsed any further; None while it can."""
        self.rejected = b""
        """After a failure: the readable part of the message that caused it, for `message.parse_leniently` and a last 400."""

    @property
    def is_half_read(self) -> bool:
        """Whether a message has started and is not complete."""
        return bool(self._buffer)

    def expect_pong(self) -> None:
        """We have sent a ping: the next single CRLF is its pong."""
        self._pongs_due += 1

    def feed(self, data: bytes) -> list[bytes | Ping | Pong]:
        """Take bytes. Return each message that is now complete, from start line to end of body, and each ping and pong, in order.

        Raises ParseError if the stream is lost. Messages that were complete before the fault are returned first: then `failure` is set and
        the next call raises.
        """
        if self.failure is not None:
            raise self.failure
        self._buffer += data
        found: list[bytes | Ping | Pong] = []
        try:
            while (item := self._next()) is not None:
                found.append(item)
        except ParseError as error:
            self.failure = error
            self.rejected = bytes(self._buffer[: self._max_header_bytes])
            self._buffer.clear()
            if not found:
                raise
        return found

    def _next(self) -> bytes | Ping | Pong | None:
        if not self._message_bytes:
            if (keepalive := self._keepalive()) is not None:
                return keepalive
            self._message_bytes = self._measure()
        if not self._message_bytes or len(self._buffer) < self._message_bytes:
            return None
        message = bytes(self._buffer[: self._message_bytes])
        self._drop(self._message_bytes)
        return message

    def _keepalive(self) -> Ping | Pong | None:
        buffer = self._buffer
        while buffer.startswith(PONG_BYTES):
            if self._pongs_due:
                self._pongs_due -= 1
                self._drop(2)
                return Pong()
            if buffer.startswith(PING_BYTES):
                self._drop(4)
                return Ping()
            if len(buffer) < 4 and PING_BYTES.startswith(buffer):
                return None
            self._drop(2)
        return None

    def _measure(self) -> int:
        """Size in bytes of the message at the front; 0 while its headers are incomplete."""
        buffer = self._buffer
        if not buffer or PING_BYTES.startswith(buffer):
            return 0
        end = buffer.find(b"\r\n\r\n", self._scanned)
        if end < 0 or end > self._max_header_bytes:
            if end > 0 or len(buffer) - 3 > self._max_header_bytes:
                raise MessageTooLarge("headers", expected=f"at most {self._max_header_bytes} bytes")
            self._scanned = max(0, len(buffer) - 3)
            return 0
        return end + 4 + self._content_length(bytes(buffer[:end]))

    def _content_length(self, head: bytes) -> int:
        values = {match.group(1).strip() for match in _CONTENT_LENGTH.finditer(head)}
        if len(values) != 1:
            raise ParseError("Content-Length", expected="one on a stream", found=b", ".join(sorted(values)).decode("ascii", "replace"))
        text = values.pop()
        if not _LENGTH.match(text):
            raise ParseError("Content-Length", expected="a number", found=text.decode("ascii", "replace"))
        if int(text) > self._max_body_bytes:
            raise MessageTooLarge("Content-Length", expected=f"at most {self._max_body_bytes}", found=text.decode("ascii"))
        return int(text)

    def _drop(self, n_bytes: int) -> None:
        del self._buffer[:n_bytes]
        self._scanned = 0
        self._message_bytes = 0
