"""ICMP errors for datagrams that we sent (RFC 3261 §18.4), from the error queue of a Linux socket. Other systems report none.

An error is accepted only if it quotes a request that we have just sent to that address: anybody can send an ICMP message that quotes only
the ports (RFC 5927 §4).
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
from collections import deque
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from active_call.sip.events import Address

IS_KNOWN: Final = sys.platform == "linux"
KEPT_REQUESTS: Final = 256

_IP_RECVERR, _IPV6_RECVERR = 11, 25
_MSG_ERRQUEUE: Final = 0x2000
_MAX_QUOTED_BYTES: Final = 2048
_EXTENDED_ERROR = struct.Struct("=IBBBxII")
"""`struct sock_extended_err` of linux/errqueue.h: errno, origin, type, code, info, data."""
_FROM_ICMP, _FROM_ICMP6 = 2, 3
_UNREACHABLE, _PARAMETER_PROBLEM = 3, 12
_TOO_BIG_CODE: Final = 4
_UNREACHABLE6, _PARAMETER_PROBLEM6 = 1, 4


class Undelivered(Struct, frozen=True):
    """An ICMP error for a datagram to `remote`. `quoted` is the beginning of that datagram."""

    remote: tuple[object, ...]
    quoted: bytes
    reason: str


def ask_for_reports(sock: socket.socket) -> None:
    """Enable the error queue, to be read by `take_reports`. The next call on the socket, of any kind, fails after an error."""
    if IS_KNOWN:
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
        with contextlib.suppress(OSError):  # an IPv6-only socket does not have the IPv4 option
            sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)


def take_reports(sock: socket.socket) -> list[Undelivered] | None:
    """The queued errors, oldest first; None if the queue is empty. Temporary ones (packet too big, hop limit) are left out."""
    taken = list(_reports(sock)) if IS_KNOWN else []
    return [report for report in taken if report is not None] if taken else None


def _reports(sock: socket.socket) -> Iterator[Undelivered | None]:
    while True:
        try:
            quoted, ancillary, _, remote = sock.recvmsg(_MAX_QUOTED_BYTES, 512, _MSG_ERRQUEUE)
        except OSError:
            return
        yield None
        for level, kind, data in ancillary:
            is_ours = (level, kind) in ((socket.IPPROTO_IP, _IP_RECVERR), (socket.IPPROTO_IPV6, _IPV6_RECVERR))
            if is_ours and len(data) >= _EXTENDED_ERROR.size:
                number, origin, icmp_type, code, _, _ = _EXTENDED_ERROR.unpack_from(data)
                if _is_final(origin, icmp_type, code):
                    yield Undelivered(remote, quoted, os.strerror(number))


def _is_final(origin: int, icmp_type: int, code: int) -> bool:
    if origin == _FROM_ICMP:
        return (icmp_type == _UNREACHABLE and code != _TOO_BIG_CODE) or icmp_type == _PARAMETER_PROBLEM
    return origin == _FROM_ICMP6 and icmp_type in (_UNREACHABLE6, _PARAMETER_PROBLEM6)


class SentRequests:
    """The last requests sent over UDP, to match them with ICMP errors."""

    def __init__(self) -> None:
        self._sent: deque[tuple[int, Address, bytes]] = deque(maxlen=KEPT_REQUESTS)

    def note(self, transmit_id: int, remote: Address, data: bytes) -> None:
        """Record a sent datagram. Responses are ignored."""
        if IS_KNOWN and not data.startswith(b"SIP/2.0 "):
            self._sent.append((transmit_id, remote, data))

    def find(self, remote: Address, quoted: bytes) -> int | None:
        """The transmit to `remote` that begins with `quoted`, compared up to the end of its branch, which nobody can guess."""
        end_of_branch = _end_of_branch(quoted)
        if end_of_branch is None:
            return None
        for transmit_id, sent_to, data in reversed(self._sent):
            if sent_to == remote and data.startswith(quoted[:end_of_branch]):
                return transmit_id
        return None


def _end_of_branch(quoted: bytes) -> int | None:
    """The index after the branch parameter of the first Via and its terminator; None if it is truncated."""
    start = quoted.find(b";branch=")
    if start < 0:
        return None
    ends = [end for end in (quoted.find(mark, start + 1) for mark in (b";", b"\r", b",")) if end > 0]
    return min(ends) + 1 if ends else None
