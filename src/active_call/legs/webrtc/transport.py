"""The path to one browser: ICE (RFC 8445, by aioice), DTLS over it, and the packets of SRTP between it and the media process.

The browser's packets come over whichever pair of addresses ICE has chosen. RTP and RTCP go on, as they are, to the stream's port on this
machine's loopback, and what the media process sends goes the way back: keys, jitter, codecs and reports are the stream's, as in every call.

    begin(offer) → candidates ──connect──> ICE connected ──handshake──> keys (told by `on_keys`) ──> packets, until `close` or `on_lost`
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import aioice

from active_call.base.errors import ActiveCallError
from active_call.legs.webrtc.description import LOOPBACK, MAX_CANDIDATES, BrowserOffer
from active_call.legs.webrtc.dtls import Dtls, DtlsError, SrtpKeys

log = logging.getLogger("active_call.webrtc")

CONNECT_S: Final = 20.0
"""For ICE and the handshake together: a person may have to allow the microphone first, but not here."""
GATHER_S: Final = 3.0
"""For answers of STUN and TURN servers; candidates that come later are left out."""
MAX_EARLY: Final = 200
"""Packets that may wait for the keys: two seconds."""


@dataclass(frozen=True, slots=True)
class IceSettings:
    """What all calls of this server use. `public_ip`: an address that is ours behind a one-to-one NAT; empty where there is none."""

    stun: tuple[str, int] | None = None
    turn: tuple[str, int] | None = None
    turn_username: str | None = None
    turn_password: str | None = None
    turn_tls: bool = False
    public_ip: str = ""


class BrowserTransport:
    """One browser. `on_keys` is told once; `on_lost` with the reason, and whether the browser has said goodbye."""

    def __init__(self, settings: IceSettings, on_keys: Callable[[SrtpKeys], None], on_lost: Callable[[str, bool], None]) -> None:
        self._settings = settings
        self._on_keys = on_keys
        self._on_lost = on_lost
        self._ice: aioice.Connection | None = None
        self._dtls: Dtls | None = None
        self._media: asyncio.DatagramTransport | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Queue[bytes] = asyncio.Queue(MAX_EARLY)
        self._is_closed = False
        self._n_candidates = 0

    @property
    def ufrag(self) -> str:
        """Of our side; after `gather`."""
        return str(self._require().local_username)

    @property
    def password(self) -> str:
        """Of our side; after `gather`."""
        return str(self._require().local_password)

    async def open_relay(self) -> int:
        """The port on the loopback to which the stream sends, and from which the browser's packets come to it."""
        loop = asyncio.get_running_loop()
        self._media, _ = await loop.create_datagram_endpoint(lambda: _FromMedia(self._to_browser), local_addr=(LOOPBACK, 0))
        return int(self._media.get_extra_info("sockname")[1])

    def lead_to(self, port: int) -> None:
        """The stream's own port."""
        self._stream_address = (LOOPBACK, port)

    async def gather(self) -> list[str]:
        """Our candidates, as in SDP."""
        wanted = self._settings
        self._ice = aioice.Connection(
            ice_controlling=False,
            stun_server=wanted.stun,
            turn_server=wanted.turn,
            turn_username=wanted.turn_username,
            turn_password=wanted.turn_password,
            turn_ssl=wanted.turn_tls,
        )
        with suppress(TimeoutError):
            async with asyncio.timeout(GATHER_S):
                await self._ice.gather_candidates()
        found = list(self._ice.local_candidates)
        return [one.to_sdp() for one in [*found, *self._public_ones(found)]]

    def _public_ones(self, found: Sequence[aioice.Candidate]) -> list[aioice.Candidate]:
        """Behind a one-to-one NAT our hosts are reached at the public address, under the same ports."""
        public = self._settings.public_ip
        if not public or any(one.host == public for one in found):
            return []
        first = next((one for one in found if one.type == "host" and (":" in one.host) == (":" in public)), None)
        if first is None:
            return []
        return [
            aioice.Candidate(
                foundation="public", component=1, transport="udp", priority=first.priority - 1, host=public, port=first.port, type="srflx",
                related_address=first.host, related_port=first.port,
            )
        ]  # fmt: skip

    async def begin(self, offer: BrowserOffer) -> None:
        """Find the path to the browser in the background, and agree on keys."""
        ice = self._require()
        ice.remote_username, ice.remote_password, ice.remote_is_lite = offer.ufrag, offer.password, offer.is_lite
        if offer.is_lite:
            ice.switch_role(ice_controlling=True)
        for candidate in offer.candidates:
            await self.add_candidate(candidate)
        if offer.is_complete and not offer.is_lite:
            await ice.add_remote_candidate(None)
        self._dtls = Dtls(is_client=offer.we_are_client, fingerprints=offer.fingerprints, send=self._queue)
        self._tasks = [
            asyncio.create_task(self._run(), name="browser's packets"),
            asyncio.create_task(self._send_queued(), name="packets to a browser"),
        ]

    async def add_candidate(self, text: str) -> None:
        """A further candidate of the browser's, as in SDP. One that cannot be used is passed over; an empty one is the last."""
        text = text.strip().removeprefix("a=").removeprefix("candidate:")
        self._n_candidates += 1
        if self._ice is None or self._is_closed or self._n_candidates > MAX_CANDIDATES:
            return
        try:
            candidate = aioice.Candidate.from_sdp(text) if text else None
            await self._ice.add_remote_candidate(candidate)
        except (ValueError, IndexError, OSError) as error:
            log.debug("candidate passed over", extra={"candidate": text[:200], "reason": str(error)})

    async def close(self) -> None:
        """Say goodbye and free everything. Harmless a second time."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._dtls is not None and self._ice is not None:
            self._dtls.close()
            with suppress(Exception):
                while not self._sending.empty():
                    await self._ice.send(self._sending.get_nowait())
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._media is not None:
            self._media.close()
        if self._ice is not None:
            with suppress(Exception):
                await self._ice.close()

    # -- packets

    async def _run(self) -> None:
        try:
            async with asyncio.timeout(CONNECT_S) as limit:
                await self._require().connect()
                dtls = self._dtls
                if dtls is None:
                    return
                dtls.begin()
                self._watch_handshake()
                while True:
                    datagram = await self._require().recv()
                    if self._take(dtls, datagram):
                        limit.reschedule(None)
                    if dtls.is_closed:
                        self._lose("the browser has closed the connection", by_browser=True)
                        return
        except TimeoutError:
            self._lose(f"no connection with the browser within {CONNECT_S:g} s")
        except ConnectionError as error:
            self._lose(f"the browser cannot be reached: {str(error) or type(error).__name__}")
        except ActiveCallError as error:
            self._lose(str(error))
        except Exception as error:  # a wall: one browser
            log.exception("browser's packets could not be handled")
            self._lose(f"unforeseen {type(error).__name__}")

    def _take(self, dtls: Dtls, datagram: bytes) -> bool:
        """One datagram by its first byte (RFC 7983); True once the keys are there."""
        first = datagram[0] if datagram else 0
        if 20 <= first <= 63:
            had_keys = dtls.keys is not None
            dtls.receive(datagram)
            if dtls.keys is not None and not had_keys:
                self._on_keys(dtls.keys)
            self._watch_handshake()
        elif 128 <= first <= 191 and self._media is not None:
            self._media.sendto(datagram, self._stream_address)
        return dtls.keys is not None

    def _watch_handshake(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wait_s = self._dtls.next_timeout_s() if self._dtls is not None and not self._is_closed else None
        if wait_s is not None:
            self._timer = asyncio.get_running_loop().call_later(max(wait_s, 0.01), self._repeat)

    def _repeat(self) -> None:
        if self._dtls is None or self._is_closed:
            return
        try:
            self._dtls.handle_timeout()
        except DtlsError as error:
            self._lose(str(error))
            return
        self._watch_handshake()

    def _to_browser(self, packet: bytes) -> None:
        if self._dtls is not None and self._dtls.keys is not None:
            self._queue(packet)

    def _queue(self, datagram: bytes) -> None:
        if self._sending.full():
            self._sending.get_nowait()
        self._sending.put_nowait(datagram)

    async def _send_queued(self) -> None:
        ice = self._require()
        while True:
            datagram = await self._sending.get()
            with suppress(ConnectionError):  # told by `recv`, too
                await ice.send(datagram)

    def _lose(self, reason: str, *, by_browser: bool = False) -> None:
        if not self._is_closed:
            self._on_lost(reason, by_browser)

    def _require(self) -> Any:
        if self._ice is None:
            raise ConnectionError("not gathered")
        return self._ice


class _FromMedia(asyncio.DatagramProtocol):
    """What the media process sends."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if addr[0] == LOOPBACK:
            self._take(data)
