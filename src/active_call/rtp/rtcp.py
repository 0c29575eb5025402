"""RTCP compound packets: sender and receiver reports, source descriptions, BYE (RFC 3550 §6).

Bytes go in and typed blocks come out; reports go in and bytes come out. This module knows no clock: the caller passes NTP times. Unknown
packet types become `OtherPacket`. A compound that begins with neither SR nor RR is accepted, as in RFC 5506, because peers send them.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from active_call.base.errors import ParseError

_SENDER_REPORT: Final = 200
_RECEIVER_REPORT: Final = 201
_SOURCE_DESCRIPTION: Final = 202
_GOODBYE: Final = 203
_CNAME: Final = 1
_NTP_EPOCH_S: Final = 2_208_988_800
"""From 1900 (NTP) to 1970 (Unix), RFC 5905."""

_REPORT_BLOCK = struct.Struct("!IIIIII")
_SENDER_INFO = struct.Struct("!IQIII")
_COMMON = struct.Struct("!BBH")


class ReportBlock(Struct, frozen=True):
    """Reception of one source (§6.4.1). Jitter in timestamp units; the last two fields in 1/65536 s; `fraction_lost` in 1/256."""

    ssrc: int
    fraction_lost: int
    cumulative_lost: int
    highest_sequence: int
    jitter: int
    last_sender_report: int
    delay_since_last_sender_report: int


class SenderReport(Struct, frozen=True):
    """§6.4.1. `ntp_time` is the 64-bit NTP time at which the media clock was `rtp_timestamp`."""

    ssrc: int
    ntp_time: int
    rtp_timestamp: int
    n_packets: int
    n_octets: int
    reports: tuple[ReportBlock, ...] = ()


class ReceiverReport(Struct, frozen=True):
    """§6.4.2."""

    ssrc: int
    reports: tuple[ReportBlock, ...] = ()


class SourceDescription(Struct, frozen=True):
    """§6.5: SSRC and CNAME (empty if the chunk has none) of each chunk. Other items are ignored."""

    chunks: tuple[tuple[int, str], ...]


class Goodbye(Struct, frozen=True):
    """§6.6."""

    ssrcs: tuple[int, ...]
    reason: str = ""


class OtherPacket(Struct, frozen=True):
    """A packet of a type that is not parsed here (APP, feedback, extended reports). `count` is the five-bit field."""

    packet_type: int
    count: int
    body: bytes


RtcpPacket = SenderReport | ReceiverReport | SourceDescription | Goodbye | OtherPacket


def ntp_time(unix_s: float) -> int:
    """Return the 64-bit NTP time of Unix seconds."""
    return (int(unix_s * (1 << 32)) + (_NTP_EPOCH_S << 32)) & 0xFFFFFFFFFFFFFFFF


def round_trip_s(report: ReportBlock, arrival_ntp: int) -> float | None:
    """The round-trip time in seconds from a report about us (§6.4.1). None if it refers to no sender report of ours."""
    if not report.last_sender_report:
        return None
    units = ((arrival_ntp >> 16) - report.delay_since_last_sender_report - report.last_sender_report) & 0xFFFFFFFF
    return max(0.0, (units if units < 1 << 31 else units - (1 << 32)) / 65536)


# -- building ----------------------------------------------------------------------------------------------------------------------------


def build_sender_report(report: SenderReport, cname: str) -> bytes:
    """Return a compound packet: SR and SDES CNAME."""
    counts = report.n_packets & 0xFFFFFFFF, report.n_octets & 0xFFFFFFFF
    info = _SENDER_INFO.pack(report.ssrc, report.ntp_time, report.rtp_timestamp, *counts)
    blocks = b"".join(map(_build_block, report.reports))
    return _packet(_SENDER_REPORT, len(report.reports), info + blocks) + build_source_description(report.ssrc, cname)


def build_receiver_report(report: ReceiverReport, cname: str) -> bytes:
    """Return a compound packet: RR and SDES CNAME."""
    blocks = b"".join(map(_build_block, report.reports))
    body = report.ssrc.to_bytes(4, "big") + blocks
    return _packet(_RECEIVER_REPORT, len(report.reports), body) + build_source_description(report.ssrc, cname)


def build_source_description(ssrc: int, cname: str) -> bytes:
    """Return one SDES packet with a CNAME of at most 255 bytes. It must follow a report (§6.1)."""
    name = cname.encode()[:255]
    chunk = ssrc.to_bytes(4, "big") + bytes((_CNAME, len(name))) + name
    return _packet(_SOURCE_DESCRIPTION, 1, chunk + bytes(4 - len(chunk) % 4))


def build_goodbye(ssrcs: Sequence[int], reason: str = "") -> bytes:
    """Return one BYE packet. It must follow a report and a description (§6.1)."""
    body = b"".join(ssrc.to_bytes(4, "big") for ssrc in ssrcs)
    if reason:
        text = reason.encode()[:255]
        body += bytes((len(text),)) + text
        body += bytes(-len(body) % 4)
    return _packet(_GOODBYE, len(ssrcs), body)


def _packet(packet_type: int, count: int, body: bytes) -> bytes:
    return _COMMON.pack(0x80 | count, packet_type, len(body) // 4) + body


def _build_block(block: ReportBlock) -> bytes:
    return _REPORT_BLOCK.pack(
        block.ssrc,
        block.fraction_lost << 24 | (block.cumulative_lost & 0xFFFFFF),
        block.highest_sequence,
        block.jitter,
        block.last_sender_report,
        block.delay_since_last_sender_report,
    )


# -- parsing -----------------------------------------------------------------------------------------------------------------------------


def parse_compound(data: bytes) -> list[RtcpPacket]:
    """Return the packets of a compound in order. Raises ParseError for invalid lengths, counts or versions (appendix A.2)."""
    if not data:
        raise ParseError("RTCP compound", expected="at least one packet", found="nothing")
    packets: list[RtcpPacket] = []
    position, size = 0, len(data)
    while position < size:
        if size - position < 4:
            raise ParseError("RTCP header", expected="4 bytes", found=f"{size - position} bytes")
        flags, packet_type, words = _COMMON.unpack_from(data, position)
        end = position + 4 * (words + 1)
        if flags >> 6 != 2:
            raise ParseError("RTCP version", expected="2", found=str(flags >> 6))
        if end > size:
            raise ParseError("RTCP length", expected=f"at most {size - position} bytes", found=f"{end - position} bytes")
        body = data[position + 4 : end]
        if flags & 0x20:
            body = _without_padding(body, is_last=end == size)
        packets.append(_parse_packet(packet_type, flags & 0x1F, body))
        position = end
    return packets


def _without_padding(body: bytes, *, is_last: bool) -> bytes:
    if not is_last or not body or not body[-1] or body[-1] % 4 or body[-1] > len(body):
        raise ParseError("RTCP padding", expected="whole words at the end of the last packet", found=str(body[-1:].hex()))
    return body[: -body[-1]]


def _parse_packet(packet_type: int, count: int, body: bytes) -> RtcpPacket:
    match packet_type:
        case 200:
            _need(body, 24 + 24 * count, "RTCP sender report")
            ssrc, ntp, rtp_timestamp, n_packets, n_octets = _SENDER_INFO.unpack_from(body)
            return SenderReport(ssrc, ntp, rtp_timestamp, n_packets, n_octets, _parse_blocks(body, 24, count))
        case 201:
            _need(body, 4 + 24 * count, "RTCP receiver report")
            return ReceiverReport(int.from_bytes(body[:4], "big"), _parse_blocks(body, 4, count))
        case 202:
            return _parse_description(body, count)
        case 203:
            return _parse_goodbye(body, count)
        case _:
            return OtherPacket(packet_type, count, body)


def _need(body: bytes, size: int, what: str) -> None:
    if len(body) < size:
        raise ParseError(what, expected=f"{size} bytes", found=f"{len(body)} bytes")


def _parse_blocks(body: bytes, start: int, count: int) -> tuple[ReportBlock, ...]:
    blocks = []
    for index in range(count):
        ssrc, losses, highest, jitter, last, delay = _REPORT_BLOCK.unpack_from(body, start + 24 * index)
        lost = losses & 0xFFFFFF
        blocks.append(ReportBlock(ssrc, losses >> 24, lost - (1 << 24) if lost & 0x800000 else lost, highest, jitter, last, delay))
    return tuple(blocks)


def _parse_description(body: bytes, count: int) -> SourceDescription:
    chunks = []
    position = 0
    for _ in range(count):
        _need(body, position + 5, "RTCP source description")
        ssrc = int.from_bytes(body[position : position + 4], "big")
        cname, position = _parse_items(body, position + 4)
        chunks.append((ssrc, cname))
    return SourceDescription(tuple(chunks))


def _parse_items(body: bytes, position: int) -> tuple[str, int]:
    """Parse the items of one chunk up to its null and the padding. Returns the CNAME and the start of the next chunk."""
    cname = ""
    while True:
        _need(body, position + 1, "RTCP source description item")
        kind = body[position]
        if kind == 0:
            return cname, position + 4 - position % 4
        _need(body, position + 2, "RTCP source description item")
        end = position + 2 + body[position + 1]
        _need(body, end, "RTCP source description item")
        if kind == _CNAME:
            cname = body[position + 2 : end].decode("utf-8", "replace")
        position = end


def _parse_goodbye(body: bytes, count: int) -> Goodbye:
    _need(body, 4 * count, "RTCP goodbye")
    ssrcs = tuple(int.from_bytes(body[4 * i : 4 * i + 4], "big") for i in range(count))
    rest = body[4 * count :]
    if not rest:
        return Goodbye(ssrcs)
    _need(rest, 1 + rest[0], "RTCP goodbye reason")
    return Goodbye(ssrcs, rest[1 : 1 + rest[0]].decode("utf-8", "replace"))
