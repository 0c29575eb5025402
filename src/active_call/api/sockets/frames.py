"""Cuts what a WebSocket client sends into whole frames (RFC 6455, section 5.2). Bytes go in, frames come out; it knows no sockets.

A frame that is a whole message can be taken without the state machine of the library, which costs more than the sound in it. Everything
else is passed to the library frame by frame: control frames, fragments, and whatever violates the protocol, which the library answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

try:
    from websockets.speedups import apply_mask
except ImportError:
    from websockets.utils import apply_mask

TEXT: Final = 0x81
BINARY: Final = 0x82
"""The first byte of a message in one frame: final, without extensions."""
_OPCODES: Final = (0x00, 0x01, 0x02, 0x08, 0x09, 0x0A)
"""The first byte of all valid frames, without the final bit."""
_FINAL: Final = 0x80
_MASKED: Final = 0x80
_CONTROL: Final = 0x08
_LONGEST_CONTROL: Final = 125
_MASK_BYTES: Final = 4
_LENGTH_BYTES: Final = {126: 2, 127: 8}
_LENGTH_IN_TWO: Final = 126
_SHORT_HEAD: Final = 2 + _MASK_BYTES


class ClientFrame(NamedTuple):
    """A frame, or what follows a frame that the library must refuse. `first` is 0 if it is not a masked message in one frame."""

    data: bytes
    first: int = 0
    head_bytes: int = 0

    def payload(self) -> bytes:
        """The message. Only if `first` is not 0."""
        return apply_mask(self.data[self.head_bytes :], self.data[self.head_bytes - _MASK_BYTES : self.head_bytes])


class FrameCutter:
    """The frames of one client. `max_bytes`: a longer frame is passed on as it arrives, with all that follows."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._rest = bytearray()
        self._needed = 2
        """Bytes in `_rest` with which something can be cut off."""
        self._is_fragmented = self._is_given_up = False

    def whole(self, data: bytes) -> tuple[int, bytes] | None:
        """The first byte and the message, if `data` is exactly one message in one frame: the usual case, without a general parser.

        None, with nothing changed: pass `data` to `feed`.
        """
        n_bytes = len(data)
        if self._rest or self._is_fragmented or self._is_given_up or n_bytes < _SHORT_HEAD or data[0] not in (TEXT, BINARY):
            return None
        length, head_bytes = data[1] - _MASKED, _SHORT_HEAD
        if length == _LENGTH_IN_TWO:
            length, head_bytes = data[2] << 8 | data[3], _SHORT_HEAD + 2
        elif not 0 <= length < _LENGTH_IN_TWO:
            return None
        if n_bytes != head_bytes + length or length > self._max_bytes:
            return None
        return data[0], apply_mask(data[head_bytes:], data[head_bytes - _MASK_BYTES : head_bytes])

    def feed(self, data: bytes) -> Iterator[ClientFrame]:
        """Take received bytes. Yields the frames that are complete; every one must be taken before the next call."""
        if self._is_given_up:
            yield ClientFrame(data)
            return
        if self._rest:
            self._rest += data
            if len(self._rest) < self._needed:
                return
            data, self._rest = bytes(self._rest), bytearray()
        at, n_bytes = 0, len(data)
        while (size := self._size(data, at)) <= n_bytes - at:
            if size == 0:
                self._is_given_up = True
                yield ClientFrame(data[at:])
                return
            yield self._frame(data[at : at + size])
            at += size
        self._needed = size
        self._rest = bytearray(data[at:])

    def _size(self, data: bytes, at: int) -> int:
        """The size of the frame at `at`, as far as it is known. 0: the library refuses it as soon as it sees its head."""
        n_bytes = len(data) - at
        if n_bytes < 2:
            return 2
        first, second = data[at], data[at + 1]
        length = second & 0x7F
        if first & 0x7F not in _OPCODES or second < _MASKED or (first & _CONTROL and (first < _FINAL or length > _LONGEST_CONTROL)):
            return 0
        n_length = _LENGTH_BYTES.get(length, 0)
        if n_length:
            if n_bytes < 2 + n_length:
                return 2 + n_length
            length = int.from_bytes(data[at + 2 : at + 2 + n_length], "big")
        return 0 if length > self._max_bytes else 2 + n_length + _MASK_BYTES + length

    def _frame(self, data: bytes) -> ClientFrame:
        first, second = data[0], data[1]
        if first in (TEXT, BINARY) and not self._is_fragmented:
            return ClientFrame(data, first, 2 + _LENGTH_BYTES.get(second & 0x7F, 0) + _MASK_BYTES)
        if not first & _CONTROL:
            self._is_fragmented = first < _FINAL
        return ClientFrame(data)
