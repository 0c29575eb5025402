"""Name resolution without our own DNS queries: the hosts file, and the system's resolver (getaddrinfo).

In: a name. Out: its addresses. The hosts file is read again when it changes. getaddrinfo cannot be cancelled and may take a minute if DNS
is dead. So it runs in a few daemon threads, and neither the deadline of a look-up nor the end of the program waits for it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from pathlib import Path

HOSTS = Path("/etc/hosts")
MAX_THREADS = 8
"""Maximum number of concurrent getaddrinfo calls, because they may hang. More are refused at once."""


class HostsFile:
    """`/etc/hosts`, or the file given."""

    def __init__(self, path: Path = HOSTS) -> None:
        self._path = path
        self._state: tuple[int, int, int] | None = None
        self._names: dict[str, tuple[str, ...]] = {}

    def addresses(self, name: str) -> tuple[str, ...]:
        """The addresses of `name` in the file, in order; empty if it is not listed."""
        try:
            stat = self._path.stat()
            state = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if state != self._state:
                self._names = parse_hosts(self._path.read_text(encoding="utf-8", errors="replace"))
                self._state = state
        except OSError:
            self._state, self._names = None, {}
        return self._names.get(name.lower().rstrip("."), ())


def parse_hosts(text: str) -> dict[str, tuple[str, ...]]:
    """Addresses by lower-case name. Malformed lines are ignored (hosts(5))."""
    names: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        fields = line.partition("#")[0].split()
        if not fields:
            continue
        try:
            address = str(ipaddress.ip_address(fields[0].partition("%")[0]))
        except ValueError:
            continue
        for name in fields[1:]:
            known = names.get(name.lower(), ())
            if address not in known:
                names[name.lower()] = (*known, address)
    return names


class SystemResolver:
    """getaddrinfo in a thread."""

    def __init__(self, max_threads: int = MAX_THREADS) -> None:
        self._max_threads = max_threads
        self._n_running = 0

    async def addresses(self, name: str) -> tuple[str, ...]:
        """The addresses of `name` in the order of the system's policy (RFC 6724). Raises OSError or UnicodeError."""
        if self._n_running >= self._max_threads:
            raise OSError("too many look-ups are hanging")
        loop = asyncio.get_running_loop()
        found: asyncio.Future[tuple[str, ...]] = loop.create_future()
        self._n_running += 1

        def settle(result: tuple[str, ...] | OSError | UnicodeError) -> None:
            self._n_running -= 1
            if found.cancelled():
                return
            if isinstance(result, tuple):
                found.set_result(result)
            else:
                found.set_exception(result)

        def work() -> None:
            result: tuple[str, ...] | OSError | UnicodeError
            try:
                entries = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
                result = tuple(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in entries))
            except (OSError, UnicodeError) as error:
                result = error
            try:
                loop.call_soon_threadsafe(settle, result)
            except RuntimeError:
                return  # the loop has been closed

        threading.Thread(target=work, name=f"getaddrinfo {name}", daemon=True).start()
        return await found
