"""The limit of open file descriptors, and the share that HTTP may use.

Each call and each record needs a few. Inbound HTTP connections must not use the last ones. Called once at the start.
"""

from __future__ import annotations

import contextlib
import resource
from typing import Final

from msgspec import Struct

WANTED: Final = 65_536
"""More than a busy server ever uses. With a container's hard limit of a billion, code that iterates over all descriptors would be slow."""


class DescriptorShares(Struct, frozen=True):
    """`total`: the limit of the process. HTTP gets an eighth, and nothing of the last quarter, which is reserved for calls and records."""

    total: int

    @property
    def http_connections(self) -> int:
        """Maximum number of open HTTP connections."""
        return max(8, self.total // 8)

    @property
    def first_reserved(self) -> int:
        """Descriptors from this number on are for calls and records. The system assigns the lowest free number."""
        return self.total - max(24, self.total // 4)


def raise_descriptor_limit() -> DescriptorShares:
    """Raise the soft limit to the hard one, at most to `WANTED`. Returns the resulting shares."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(hard, WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # a sandbox may forbid it
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return DescriptorShares(open_files_limit())


def open_files_limit() -> int:
    """The current limit of open descriptors for this process and its children. `WANTED` if there is no limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return WANTED if soft == resource.RLIM_INFINITY else soft
