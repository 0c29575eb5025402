"""Frames read from a stream socket by a process that may block: each is a length in 4 bytes, big-endian, and so many bytes behind it."""

from __future__ import annotations

import socket

LENGTH_BYTES = 4
"""Of the length before each frame; also on the links that are read without blocking."""


def receive_frame(connection: socket.socket) -> bytearray | None:
    """The next frame's payload, or None when the other side has closed or died. Blocks. Raises OSError."""
    head = _receive_exactly(connection, LENGTH_BYTES)
    return None if head is None else _receive_exactly(connection, int.from_bytes(head, "big"))


def _receive_exactly(connection: socket.socket, n_bytes: int) -> bytearray | None:
    data = bytearray(n_bytes)
    view = memoryview(data)
    while view:
        n = connection.recv_into(view)
        if n == 0:
            return None
        view = view[n:]
    return data
