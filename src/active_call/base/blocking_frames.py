"""Reads frames from a stream socket in a process that may block: each is a length in 4 bytes, big-endian, then that many bytes."""

from __future__ import annotations

import socket

LENGTH_BYTES = 4
"""The size of the length before each frame; non-blocking links use the same."""


def receive_frame(connection: socket.socket) -> bytearray | None:
    """The next frame's payload, or None if the other side has closed or died. Blocks. Raises OSError."""
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
