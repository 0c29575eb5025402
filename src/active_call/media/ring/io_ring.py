"""Run one socket operation on many sockets in one system call, with Linux io_uring and without a library.

The owner fills a table of operations with one row per socket. `run` submits the first rows to the kernel and returns the result of each.
All operations are non-blocking (MSG_DONTWAIT), so they are complete when the call returns, and none stays pending in the kernel. A ring
belongs to one thread.

If the kernel has no io_uring or forbids it (`kernel.io_uring_disabled`, the seccomp profiles of Docker and Kubernetes), `IoRing` raises
OSError and the caller uses one system call per socket. The layouts are those of `linux/io_uring.h` on 64-bit Linux; see io_uring_setup(2).
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import sys
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

SEND_MESSAGE: Final = 9
RECEIVE_MESSAGE: Final = 10
"""IORING_OP_SENDMSG and IORING_OP_RECVMSG: the same as sendmsg(2) and recvmsg(2)."""
MSG_DONTWAIT: Final = 0x40

OPERATION: Final = np.dtype(
    {
        "names": ["opcode", "fd", "address", "count", "message_flags", "user_data"],
        "formats": ["u1", "i4", "u8", "u4", "u4", "u8"],
        "offsets": [0, 4, 16, 24, 28, 32],
        "itemsize": 64,
    }
)
"""The fields of struct io_uring_sqe that these operations use."""
_COMPLETION: Final = np.dtype([("user_data", "u8"), ("result", "i4"), ("flags", "u4")])
_OFFSETS: Final = ("head", "tail", "mask", "n_entries", "flags", "dropped", "array", "reserved")
"""The fields of struct io_sqring_offsets. struct io_cqring_offsets has the same layout; its sixth field is `cqes`."""
_SETUP: Final = 425
_ENTER: Final = 426
"""System call numbers, the same on every architecture."""
_GET_EVENTS: Final = 1
_SINGLE_MAP: Final = 1
"""IORING_FEAT_SINGLE_MMAP, since Linux 5.4."""
_OPERATIONS_AT: Final = 0x10000000
_PARAMETER_BYTES: Final = 120
_COUNTER_MASK: Final = 0xFFFFFFFF

_libc: Final = ctypes.CDLL(None, use_errno=True)
_syscall: Final = _libc.syscall
_syscall.restype = ctypes.c_long


class IoRing:
    """A ring with at least `n_rows` operations of type `opcode`. The owner fills `fd` and `address` (of a msghdr) in `operations`."""

    def __init__(self, n_rows: int, opcode: int) -> None:
        """Raises OSError if the kernel has no io_uring or forbids it."""
        if sys.platform != "linux" or ctypes.sizeof(ctypes.c_void_p) != 8:
            raise OSError(errno.ENOSYS, "no io_uring")
        parameters = np.zeros(_PARAMETER_BYTES, np.uint8)
        self._fd = _set_up(n_rows, parameters)
        try:
            self._map(parameters)
        except BaseException:
            self.close()
            raise
        self.operations["opcode"] = opcode
        self.operations["count"] = 1
        self.operations["message_flags"] = MSG_DONTWAIT
        self.operations["user_data"] = self._rows

    def _map(self, parameters: NDArray[np.uint8]) -> None:
        words = parameters.view(np.uint32)
        n_submissions, n_completions, features = int(words[0]), int(words[1]), int(words[5])
        if not features & _SINGLE_MAP:
            raise OSError(errno.ENOSYS, "io_uring of this kernel is too old")
        submission = dict(zip(_OFFSETS, words[10:18].tolist(), strict=True))
        completion = dict(zip(_OFFSETS, words[20:28].tolist(), strict=True))
        completions_at = completion["dropped"]
        n_bytes = max(submission["array"] + 4 * n_submissions, completions_at + _COMPLETION.itemsize * n_completions)
        self._memory = mmap.mmap(self._fd, n_bytes)
        self._table = mmap.mmap(self._fd, OPERATION.itemsize * n_submissions, offset=_OPERATIONS_AT)
        self.operations: NDArray[Any] = np.frombuffer(self._table, OPERATION, n_submissions)
        self._submitted = np.frombuffer(self._memory, np.uint32, 1, submission["tail"])
        self._order = np.frombuffer(self._memory, np.uint32, n_submissions, submission["array"])
        self._taken = np.frombuffer(self._memory, np.uint32, 1, completion["head"])
        self._completed = np.frombuffer(self._memory, np.uint32, 1, completion["tail"])
        self._completions = np.frombuffer(self._memory, _COMPLETION, n_completions, completions_at)
        self._rows = np.arange(n_submissions, dtype=np.uint32)
        self._results: NDArray[np.int32] = np.zeros(n_submissions, np.int32)
        self._n_submissions, self._n_completions = n_submissions, n_completions

    def run(self, n_rows: int) -> NDArray[np.int32]:
        """Run the first `n_rows` operations and return their results: the return value of the system call, or the negative errno.

        The returned array is valid until the next call. Raises OSError if the ring itself fails; some operations may be complete then.
        """
        results = self._results[:n_rows]
        if not n_rows:
            return results
        self._submit(n_rows)
        first = int(self._taken[0]) & (self._n_completions - 1)
        if first + n_rows <= self._n_completions:
            done = self._completions[first : first + n_rows]
        else:
            done = self._completions[(first + self._rows[:n_rows]) & (self._n_completions - 1)]
        results[done["user_data"]] = done["result"]
        self._taken[0] = (int(self._taken[0]) + n_rows) & _COUNTER_MASK
        return results

    def _submit(self, n_rows: int) -> None:
        """Submit the first rows and wait until all are complete. They do not block."""
        tail = int(self._submitted[0])
        first = tail & (self._n_submissions - 1)
        n_before_end = min(n_rows, self._n_submissions - first)
        self._order[first : first + n_before_end] = self._rows[:n_before_end]
        self._order[: n_rows - n_before_end] = self._rows[n_before_end:n_rows]
        self._submitted[0] = (tail + n_rows) & _COUNTER_MASK
        n_left = n_rows
        while n_left or (int(self._completed[0]) - int(self._taken[0])) & _COUNTER_MASK < n_rows:
            taken = _syscall(_ENTER, self._fd, n_left, n_rows, _GET_EVENTS, None, 0)
            if taken < 0:
                number = ctypes.get_errno()
                if number == errno.EINTR:
                    continue
                raise OSError(number, os.strerror(number))
            n_left -= taken

    def close(self) -> None:
        """Close the ring."""
        os.close(self._fd)


def _set_up(n_rows: int, parameters: NDArray[np.uint8]) -> int:
    fd: int = _syscall(_SETUP, n_rows, ctypes.c_void_p(parameters.ctypes.data))
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    os.set_inheritable(fd, False)
    return fd
