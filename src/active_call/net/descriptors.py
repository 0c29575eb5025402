"""The limit of open file descriptors, and how many of them HTTP may use.

Each call needs a few and each record one; inbound connections must not use up the last ones. Called once at the start.
"""

from __future__ import annotations

import contextlib
import resource
from dataclasses import dataclass
from typing import Final

WANTED: Final = 65_536
"""As much as a busy server ever uses; a container's hard limit of a thousand million would only slow down what walks over it."""


@dataclass(frozen=True, slots=True)
class DescriptorShares:
    """`total`: what the process may open. HTTP gets an eighth, and nothing of the last quarter, which is for calls and records."""

    total: int

    @property
    def http_connections(self) -> int:
        """The most connections that HTTP may have open."""
        return max(8, self.total // 8)

    @property
    def first_reserved(self) -> int:
        """Descriptors from this number on are for calls and records. The system gives the lowest free number."""
        return self.total - max(24, self.total // 4)


def raise_descriptor_limit() -> DescriptorShares:
    """Raise the soft limit to the hard one, at most to `WANTED`; gives what it has come to."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(hard, WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # a sandbox may forbid it
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return DescriptorShares(open_files_limit())


def open_files_limit() -> int:
    """How many descriptors this process, and each process that it starts, may open now; `WANTED` where nothing limits it."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return WANTED if soft == resource.RLIM_INFINITY else soft
