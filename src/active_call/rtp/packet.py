"""The fixed header of RTP packets (RFC 3550 section 5.1), read and written without objects: this runs for every packet.

Bytes enter, numbers and payload bounds leave. It knows no stream, no key and no payload format.
"""

from __future__ import annotations

import struct

from active_call.base.errors import ParseError

HEADER_BYTES = 12
_HEADER = struct.Struct("!BBHII")
_unpack_header = _HEADER.unpack_from
_pack_header = _HEADER.pack


def parse_header(data: bytes | memoryview) -> tuple[int, bool, int, int, int, int, int]:
    """Return `(payload_type, marker, sequence, timestamp, ssrc, payload_start, payload_end)` of one RTP packet.

    The payload is `data[payload_start:payload_end]`: behind contributing sources and header extension, before padding. Raises ParseError.
    """
    size = len(data)
    if size < HEADER_BYTES:
        raise ParseError("RTP packet", expected=f"at least {HEADER_BYTES} bytes", found=str(size))
    flags, kind, sequence, timestamp, ssrc = _unpack_header(data)
    if flags == 0x80:  # version 2 and nothing optional: nearly every packet
        return kind & 0x7F, kind > 0x7F, sequence, timestamp, ssrc, HEADER_BYTES, size
    if flags >> 6 != 2:
        raise ParseError("RTP version", expected="2", found=str(flags >> 6))
    start, end = _payload_bounds(data, flags)
    return kind & 0x7F, kind > 0x7F, sequence, timestamp, ssrc, start, end


def _payload_bounds(data: bytes | memoryview, flags: int) -> tuple[int, int]:
    start, end = HEADER_BYTES + 4 * (flags & 0x0F), len(data)
    if flags & 0x10:
        if end < start + 4:
            raise ParseError("RTP header extension", expected="4 bytes", found=f"{end - start} bytes")
        start += 4 + 4 * int.from_bytes(data[start + 2 : start + 4], "big")
    if flags & 0x20:
        if not data[-1]:
            raise ParseError("RTP padding", expected="a count of at least 1", found="0")
        end -= data[-1]
    if start > end:
        raise ParseError("RTP packet", expected="header and padding inside the packet", found=f"{len(data)} bytes")
    return start, end


def pack_header(payload_type: int, marker: bool, sequence: int, timestamp: int, ssrc: int) -> bytes:
    """Return the 12 bytes of a header without options. The numbers must be within their fields; `struct.error` says they are not."""
    return _pack_header(0x80, payload_type | 0x80 if marker else payload_type, sequence, timestamp, ssrc)


def is_rtcp(data: bytes) -> bool:
    """Whether a packet on a shared port is RTCP: its second byte is 192 to 223 (RFC 5761 section 4)."""
    return len(data) > 1 and 192 <= data[1] <= 223
