"""The active registrations of one endpoint (RFC 3261 §10.2). A registration adds and removes itself."""

from __future__ import annotations

from collections.abc import Iterator

from active_call.sip.events import RegistrationHandle
from active_call.sip.registration import Registration


class Registrations:
    """See the module."""

    def __init__(self) -> None:
        self._by_handle: dict[RegistrationHandle, Registration] = {}

    def __len__(self) -> int:
        return len(self._by_handle)

    def __iter__(self) -> Iterator[Registration]:
        return iter(list(self._by_handle.values()))

    def get(self, handle: RegistrationHandle) -> Registration | None:
        """The registration with that handle, None if it is over."""
        return self._by_handle.get(handle)

    def registrars(self, now: float) -> list[str]:
        """Addresses of the registrars where we are registered."""
        return [host for entry in self._by_handle.values() if (host := entry.registrar_host(now)) is not None]

    def add(self, registration: Registration) -> None:
        """Add a registration that has started."""
        self._by_handle[registration.handle] = registration

    def remove(self, registration: Registration) -> None:
        """Remove a registration that is over. No effect if it is not in the table."""
        self._by_handle.pop(registration.handle, None)
