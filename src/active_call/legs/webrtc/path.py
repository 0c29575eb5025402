"""One path to a browser: ICE (RFC 8445), by aioice. A restart (RFC 8445, section 9) makes another one beside it.

Candidates of the browser that hide behind a name (`….local`, mDNS) are looked up in the background: nobody may answer, and the answer to
the offer does not wait for that. Consent (RFC 7675) is asked for by aioice every 5 s; after 30 s without an answer `serve` raises.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import aioice

from active_call.legs.webrtc.description import MAX_CANDIDATES, BrowserOffer
from active_call.legs.webrtc.settings import IceSettings

log = logging.getLogger("active_call.webrtc")

GATHER_S: Final = 3.0
"""For answers of STUN and TURN servers; candidates that come later are left out."""
GIVES_UP_S: Final = 6.0
"""For all of it, name look-ups included."""


class _Connection(aioice.Connection):
    """Hands datagrams on as they come, instead of waking a task for each."""

    take: Callable[[bytes], None] | None = None

    async def get_component_candidates(self, component: int, addresses: list[str], timeout: float = GATHER_S) -> list[aioice.Candidate]:
        """Our own addresses, and what the servers have told within `GATHER_S`: one that does not answer costs its own candidate alone."""
        del timeout  # aioice's own is longer than an answer may take
        return await super().get_component_candidates(component, addresses, timeout=GATHER_S)  # type: ignore[arg-type]

    def data_received(self, data: bytes, component: int) -> None:
        if self.take is None:
            super().data_received(data, component)
        else:
            self.take(data)


class IcePath:
    """One pair of user name and password, and what was found with it. `close` frees it."""

    def __init__(self, settings: IceSettings) -> None:
        is_lite = settings.is_lite
        self._settings = settings
        self._may_relay = settings.turn is not None and not is_lite
        self._ice = _Connection(
            ice_controlling=False,
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
        """Ours, as in SDP; after `gather`."""

    @property
    def ufrag(self) -> str:
        """The user name of our side."""
        return str(self._ice.local_username)

    @property
    def password(self) -> str:
        """The password of our side."""
        return str(self._ice.local_password)

    async def gather(self) -> None:
        """Find our candidates."""
        with suppress(TimeoutError):
            async with asyncio.timeout(GIVES_UP_S):
                await self._ice.gather_candidates()
        found = list(self._ice.local_candidates)
        if self._may_relay and not any(one.type == "relay" for one in found):
            host, port = self._settings.turn or ("", 0)
            log.warning("TURN server has given no relay: it does not answer, or refuses us", extra={"server": f"{host}:{port}"})
        self.candidates = [one.to_sdp() for one in [*found, *self._public_ones(found)]]

    def _public_ones(self, found: Sequence[aioice.Candidate]) -> list[aioice.Candidate]:
        """Behind a one-to-one NAT our hosts are reached at the public address, under the same ports."""
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
        """Take the browser's side from its offer. `connect` follows."""
        ice = self._ice
        ice.remote_username, ice.remote_password, ice.remote_is_lite = offer.ufrag, offer.password, offer.is_lite
        if offer.is_lite:
            ice.switch_role(ice_controlling=True)
        for candidate in offer.candidates:
            await self.add_candidate(candidate)
        if offer.is_complete and not offer.is_lite:
            await self.add_candidate("")

    async def add_candidate(self, text: str) -> None:
        """A further candidate of the browser's, as in SDP. One that cannot be used is passed over; an empty one is the last."""
        text = text.strip().removeprefix("a=").removeprefix("candidate:")
        self._n_candidates += 1
        if self._is_closed or self._n_candidates > MAX_CANDIDATES:
            return
        try:
            candidate = aioice.Candidate.from_sdp(text) if text else None
        except (ValueError, IndexError) as error:
            log.debug("candidate passed over", extra={"candidate": text[:200], "reason": str(error)})
            return
        if candidate is not None and candidate.host.lower().endswith(".local"):
            lookup = asyncio.create_task(self._add(candidate, text), name="candidate's name")
            self._lookups.add(lookup)
            lookup.add_done_callback(self._lookups.discard)
            await asyncio.sleep(0)  # it counts as one that is looked up before the last one is told
        else:
            await self._add(candidate, text)

    async def _add(self, candidate: aioice.Candidate | None, text: str) -> None:
        try:
            await self._ice.add_remote_candidate(candidate)
        except (ValueError, OSError) as error:
            log.debug("candidate passed over", extra={"candidate": text[:200], "reason": str(error)})

    async def connect(self) -> None:
        """Return when a pair of addresses is chosen. Raises ConnectionError if none works."""
        await self._ice.connect()

    async def serve(self, take: Callable[[bytes], None]) -> None:
        """Give datagrams to `take`, which must not raise, until the path is gone or the browser does not consent any more.

        Raises ConnectionError then.
        """
        self._ice.take = take
        while True:
            take(await self._ice.recv())  # those that came before; then it waits for the end

    def send_now(self, datagram: bytes) -> bool:
        """Send a datagram without waiting. False if nobody is there, or a TURN server may have to be asked first."""
        if self._may_relay:
            return False
        sending = self._ice.send(datagram)
        try:
            sending.send(None)
        except StopIteration:
            return True
        except ConnectionError:
            return False
        sending.close()  # it waits for something: a relay
        return False

    async def send(self, datagram: bytes) -> None:
        """Send a datagram. Raises ConnectionError without a pair of addresses."""
        await self._ice.send(datagram)

    async def close(self) -> None:
        """Free everything. Harmless a second time."""
        self._is_closed = True
        for lookup in list(self._lookups):
            lookup.cancel()
        with suppress(Exception):
            await self._ice.close()
