"""Keep our accounts registered (RFC 3261 §10): REGISTER at start, refreshes, and removal at the end.

Accounts go in; `states` has their states, which are also logged. The endpoint refreshes registrations itself. If a registrar refuses an
account, its credentials are still used for outbound calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re

from msgspec import Struct

from active_call.legs.sip.dialling import with_realms
from active_call.legs.sip.plain_text import plain
from active_call.legs.sip.ports import RequestPort
from active_call.sip import events as sip

log = logging.getLogger("active_call.registration")

REMOVAL_TIMEOUT_S = 2.0
"""Maximum wait for registrars to confirm the removal at shutdown."""

_SERVER = re.compile(r"^(?:sips?:)?(?P<host>\[[^\]]+\]|[^:;]+)(?P<port>:\d+)?(?P<parameters>;.*)?$")


class Account(Struct, frozen=True):
    """One account. `server` is a host, optionally with `:port` and `;transport=…`."""

    name: str
    username: str
    password: str
    realm: str | None
    server: str
    expires_s: int = 3600
    proxy: str | None = None
    registers: bool = True
    """False: the credentials are for outbound calls only."""
    display_name: str = ""

    @property
    def host(self) -> str:
        """The server's host without port and brackets."""
        match = _SERVER.match(self.server)
        return match["host"].strip("[]") if match else self.server

    @property
    def credentials(self) -> sip.Credentials:
        return sip.Credentials(self.username, self.password, self.realm)

    @property
    def label(self) -> str:
        return self.name or f"{self.username}@{self.host}"


class Registrations:
    """All accounts that register."""

    def __init__(self, gateway: RequestPort, accounts: tuple[Account, ...]) -> None:
        self._gateway = gateway
        self._accounts = {account.label: account for account in accounts if account.registers}
        self._handles: dict[str, sip.RegistrationHandle] = {}
        self._ended = asyncio.Event()
        self._successors: dict[str, Account] = {}
        """Changed accounts. They register when their former binding has been removed."""
        self.states: dict[str, str] = {}
        """By account: `registering`, `registered`, `failed 403 Forbidden` or `unregistered`."""
        self.last_refusals: dict[str, str] = {}
        """By account: the registrar's last refusal, also after a later success."""

    def start(self) -> None:
        """Send the first REGISTER of each account."""
        for account in self._accounts.values():
            self._register(account)

    def update(self, accounts: tuple[Account, ...]) -> None:
        """Apply `accounts`: register new ones, remove missing ones, remove changed ones and register them again."""
        before, self._accounts = self._accounts, {account.label: account for account in accounts if account.registers}
        self._successors = {}
        for label in before:
            if label not in self._accounts:
                self._remove(label)
        for label, account in self._accounts.items():
            if label not in before or label not in self._handles:
                self._register(account)
            elif account != before[label]:
                self._successors[label] = account
                self._remove(label)

    def _register(self, account: Account) -> None:
        spec = _spec_of(account, self._gateway.own_address_for(account.host))
        self.states[account.label] = "registering"
        self._handles[account.label] = self._gateway.run(lambda endpoint, now: endpoint.register(spec, now))

    def _remove(self, label: str) -> None:
        handle = self._handles.get(label)
        if handle is not None:
            self._gateway.run(lambda endpoint, now: endpoint.unregister(handle, now))

    def handle(self, event: sip.RegistrationChanged) -> None:
        """Take a state change of a registration."""
        fields = {"account": event.name, "code": event.code, "reason": plain(event.reason)}
        if event.state == "registered":
            self.states[event.name] = "registered"
            log.info("registered", extra={"account": event.name, "expires_s": event.expires_s})
        elif event.state == "failed":
            self.last_refusals[event.name] = f"{event.code} {plain(event.reason)}".strip()
            self.states[event.name] = f"failed {self.last_refusals[event.name]}"
            log.warning("registration failed and is tried again later; outbound calls still use these credentials", extra=fields)
        else:
            self.states[event.name] = "unregistered"
            self._handles.pop(event.name, None)
            successor = self._successors.pop(event.name, None)
            if successor is not None:
                self._register(successor)
            elif event.name not in self._accounts:
                self.states.pop(event.name, None)
                self.last_refusals.pop(event.name, None)
            if not self._handles:
                self._ended.set()

    async def close(self) -> None:
        """Remove all registrations. Waits at most `REMOVAL_TIMEOUT_S`."""
        self._successors.clear()
        self._ended.clear()
        for label in list(self._handles):
            self._remove(label)
        if self._handles:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REMOVAL_TIMEOUT_S):
                    await self._ended.wait()


def _spec_of(account: Account, local_host: str) -> sip.RegistrationSpec:
    host = f"[{account.host}]" if ":" in account.host else account.host
    match = _SERVER.match(account.server)
    rest = f"{match['port'] or ''}{match['parameters'] or ''}" if match else ""
    return sip.RegistrationSpec(
        name=account.label,
        registrar_uri=f"sip:{host}{rest}",
        aor_uri=f"sip:{account.username}@{host}",
        credentials=with_realms(account.credentials, account.host),
        expires_s=account.expires_s,
        display=account.display_name,
        proxy=account.proxy,
        local_host=local_host,
    )
