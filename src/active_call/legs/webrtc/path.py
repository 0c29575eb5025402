"""One ICE session with a browser (RFC 8445), by aioice. An ICE restart (RFC 8445 §9) creates another one beside it.

Browser candidates with an mDNS name (`….local`) are resolved in the background: there may be no answer, and the answer to the offer does
not wait for it. aioice checks consent (RFC 7675) every 5 s. After 30 s without an answer `serve` raises.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import aioice

from active_call.legs.webrtc.description import MAX_CANDIDATES, BrowserOffer
from active_call.legs.webrtc.ice_connection import IceConnection
from active_call.legs.webrtc.settings import IceSettings

log = logging.getLogger("active_call.webrtc")

GIVES_UP_S: Final = 6.0
"""Timeout for gathering including name resolution."""


class IcePath:
    """One ufrag and password, and the candidate pair found with it. `close` frees it.

    `peer`: the address that the browser's signalling comes from; empty: unknown.
    """

    def __init__(self, settings: IceSettings, peer: str = "") -> None:
        is_lite = settings.is_lite
        self._settings = settings
        self._may_relay = settings.turn is not None and not is_lite
        self._ice = IceConnection(
            peer=peer,
            stun_server=None if is_lite else settings.stun,
            turn_server=None if is_lite else settings.turn,
            turn_username=settings.turn_username,
            turn_password=settings.turn_password,
            turn_ssl=settings.turn_tls,
            turn_transport="tcp" if settings.turn_tls else settings.turn_transport,
        )
        self._lookups: set[asyncio.Task[None]] = set()
        self._n_candidates = 0
        self._is_closed = False
        self.candidates: list[str] = []
        """Our candidates in SDP form, after `gather`."""

    @property
    def ufrag(self) -> str:
        """Our ufrag."""
        return str(self._ice.local_username)

    @property
    def password(self) -> str:
        """Our password."""
        return str(self._ice.local_password)

    async def gather(self) -> None:
        """Gather our candidates."""
        with suppress(TimeoutError):
            async with asyncio.timeout(GIVES_UP_S):
                await self._ice.gather_candidates()
        found = list(self._ice.local_candidates)
        if self._may_relay and not any(one.type == "relay" for one in found):
            host, port = self._settings.turn or ("", 0)
            log.warning("TURN server has given no relay: it does not answer, or refuses us", extra={"server": f"{host}:{port}"})
        self.candidates = [one.to_sdp() for one in [*found, *self._public_ones(found)]]

    def _public_ones(self, found: Sequence[aioice.Candidate]) -> list[aioice.Candidate]:
        """Replace our host addresses behind a one-to-one NAT by the public address, with the same ports."""
        public = self._settings.public_ip
        if not public or any(one.host == public for one in found):
            return []
        first = next((one for one in found if one.type == "host" and (":" in one.host) == (":" in public)), None)
        if first is None:
            return []
        is_lite = self._settings.is_lite
        return [
            aioice.Candidate(
                foundation="public", component=1, transport="udp", priority=first.priority - 1, host=public, port=first.port,
                type="host" if is_lite else "srflx",
                related_address=None if is_lite else first.host, related_port=None if is_lite else first.port,
            )
        ]  # fmt: skip

    async def connect_to(self, offer: BrowserOffer) -> None:
        """Take the browser's ufrag, password and candidates from its offer. `connect` follows."""
        ice = self._ice
        ice.remote_username, ice.remote_password, ice.remote_is_lite = offer.ufrag, offer.password, offer.is_lite
        if offer.is_lite:
            ice.switch_role(ice_controlling=True)
        for candidate in offer.candidates:
            await self.add_candidate(candidate)

    async def add_candidate(self, text: str) -> None:
        """Add a further candidate of the browser in SDP form. An unusable one is ignored.

        So is an empty one, which ends the list: also without a usable candidate the browser's own checks may arrive (RFC 8863 §4).
        """
        text = text.strip().removeprefix("a=").removeprefix("candidate:")
        self._n_candidates += 1
        if not text or self._is_closed or self._n_candidates > MAX_CANDIDATES:
            return
        try:
            candidate = aioice.Candidate.from_sdp(text)
        except (ValueError, IndexError) as error:
            log.debug("candidate ignored", extra={"candidate": text[:200], "reason": str(error)})
            return
        if candidate.host.lower().endswith(".local"):
            lookup = asyncio.create_task(self._add(candidate, text), name="candidate's name")
            self._lookups.add(lookup)
            lookup.add_done_callback(self._lookups.discard)
        else:
            await self._add(candidate, text)

    async def _add(self, candidate: aioice.Candidate, text: str) -> None:
        try:
            await self._ice.add_remote_candidate(candidate)
        except (ValueError, OSError) as error:
            log.debug("candidate ignored", extra={"candidate": text[:200], "reason": str(error)})

    async def connect(self) -> None:
        """Return when a candidate pair is nominated. Raises ConnectionError if none works."""
        await self._ice.connect()

    async def serve(self, take: Callable[[bytes], None]) -> None:
        """Pass datagrams to `take`, which must not raise, until the session is closed or the browser's consent expires.

        Raises ConnectionError then.
        """
        self._ice.take = take
        while True:
            take(await self._ice.recv())  # datagrams received before this; then wait for the end

    def send_now(self, datagram: bytes) -> bool:
        """Send a datagram without waiting. False if there is no candidate pair, or if a TURN server may have to be asked first."""
        if self._may_relay:
            return False
        sending = self._ice.send(datagram)
        try:
            sending.send(None)
        except StopIteration:
            return True
        except ConnectionError:
            return False
        sending.close()  # it would wait for a relay
        return False

    async def send(self, datagram: bytes) -> None:
        """Send a datagram. Raises ConnectionError without a candidate pair."""
        await self._ice.send(datagram)

    async def close(self) -> None:
        """Free all resources. A second call has no effect."""
        self._is_closed = True
        for lookup in list(self._lookups):
            lookup.cancel()
        with suppress(Exception):
            await self._ice.close()
