"""The arguments of sendmsg(2) and recvmsg(2) for many sockets, as arrays. Each row has a message with one buffer, an address, and space
for the kernel's timestamp. The layouts are those of `struct msghdr`, `iovec`, `cmsghdr` and `sockaddr` on 64-bit Linux.
"""

from __future__ import annotations

import socket
import struct
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MESSAGE: Final = np.dtype(
    {
        "names": ["name", "name_bytes", "iov", "n_iov", "control", "control_bytes", "flags"],
        "formats": ["u8", "u4", "u8", "u8", "u8", "u8", "i4"],
        "offsets": [0, 8, 16, 24, 32, 40, 48],
        "itemsize": 56,
    }
)
PIECE: Final = np.dtype([("base", "u8"), ("size", "u8")])
CONTROL: Final = np.dtype([("size", "u8"), ("level", "i4"), ("type", "i4"), ("seconds", "i8"), ("nanoseconds", "i8")])
ADDRESS_WORDS: Final = 4
ADDRESS_BYTES: Final = 8 * ADDRESS_WORDS
"""Space for a `sockaddr_in6` (28 bytes) or a `sockaddr_in` (16 bytes), padded with zeros."""
_FAMILY: Final = struct.Struct("=H")
_IPV4: Final = struct.Struct("=H2s4s8x")
_IPV6: Final = struct.Struct("=H2s4s16sI")
_NUMBER: Final = struct.Struct("!H")
_FLOW: Final = struct.Struct("!I")

Address = tuple[Any, ...]


class MessageRows:
    """`n_rows` messages, with space for a timestamp if `with_stamps`. The kernel reads or writes `addresses`, (n_rows, 4) uint64."""

    def __init__(self, n_rows: int, *, with_stamps: bool = False) -> None:
        self.messages: NDArray[Any] = np.zeros(n_rows, MESSAGE)
        self.pieces: NDArray[Any] = np.zeros(n_rows, PIECE)
        self.addresses: NDArray[np.uint64] = np.zeros((n_rows, ADDRESS_WORDS), np.uint64)
        self.controls: NDArray[Any] = np.zeros(n_rows if with_stamps else 0, CONTROL)
        self.messages["name"] = places_of(self.addresses)
        self.messages["name_bytes"] = ADDRESS_BYTES
        self.messages["iov"] = places_of(self.pieces)
        self.messages["n_iov"] = 1
        if with_stamps:
            self.messages["control"] = places_of(self.controls)
            self.messages["control_bytes"] = CONTROL.itemsize


def places_of(rows: NDArray[Any]) -> NDArray[np.uint64]:
    """Return the memory address of each row of an array."""
    return np.uint64(rows.ctypes.data) + np.arange(len(rows), dtype=np.uint64) * np.uint64(rows.strides[0])


def pack_address(address: Address) -> tuple[bytes, int]:
    """Convert a Python socket address to the kernel's layout. Returns `ADDRESS_BYTES` bytes, and the size of the address in them.

    Raises OSError or struct.error if the address is not numeric.
    """
    port = _NUMBER.pack(address[1])
    if ":" in address[0]:
        flow, scope = address[2:4] if len(address) == 4 else (0, 0)
        packed = _IPV6.pack(socket.AF_INET6, port, _FLOW.pack(flow), socket.inet_pton(socket.AF_INET6, address[0]), scope)
    else:
        packed = _IPV4.pack(socket.AF_INET, port, socket.inet_pton(socket.AF_INET, address[0]))
    return packed.ljust(ADDRESS_BYTES, b"\0"), len(packed)


def unpack_address(packed: bytes) -> Address | None:
    """The reverse of `pack_address`. None if the kernel has written no address."""
    (family,) = _FAMILY.unpack_from(packed)
    if family == socket.AF_INET:
        _, port, ip = _IPV4.unpack_from(packed)
        return socket.inet_ntop(socket.AF_INET, ip), *_NUMBER.unpack(port)
    if family == socket.AF_INET6:
        _, port, flow, ip, scope = _IPV6.unpack_from(packed)
        return socket.inet_ntop(socket.AF_INET6, ip), *_NUMBER.unpack(port), *_FLOW.unpack(flow), scope
    return None
