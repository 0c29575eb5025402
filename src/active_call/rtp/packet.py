"""The fixed header of RTP packets (RFC 3550 §5.1), parsed and written without objects, because this runs for every packet.

Bytes go in, numbers and payload bounds come out. This module knows no stream, no key and no payload format.
"""

from __future__ import annotations

import struct
from typing import Final

from active_call.base.errors import ParseError

HEADER_BYTES = 12
PLAIN_HEADER = 0x80
"""The first byte of nearly every packet: version 2, no padding, no extension, no contributing source."""
RTCP_KINDS: Final = (192, 223)
"""First and last value of the second byte of RTCP on a shared port (RFC 5761 §4)."""
_HEADER = struct.Struct("!BBHII")
unpack_header = _HEADER.unpack_from
"""(first byte, marker and payload type, sequence, timestamp, SSRC) of at least 12 bytes, for the loop over all packets."""
_pack_header = _HEADER.pack


def payload_bounds(data: bytes | memoryview, flags: int) -> tuple[int, int]:
    """The start and end of the payload in a packet of at least 12 bytes whose first byte is `flags`. Raises ParseError."""
    if flags >> 6 != 2:
        raise ParseError("RTP version", expected="2", found=str(flags >> 6))
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
    """Return the 12 bytes of a header without options. Raises `struct.error` for numbers out of range."""
    return _pack_header(0x80, payload_type | 0x80 if marker else payload_type, sequence, timestamp, ssrc)


def is_rtcp(data: bytes | memoryview) -> bool:
    """Whether a packet on a shared port is RTCP."""
    return len(data) > 1 and RTCP_KINDS[0] <= data[1] <= RTCP_KINDS[1]
