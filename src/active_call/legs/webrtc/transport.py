"""The transport to one browser: paths (ICE), DTLS over them, and the packets of SRTP between the browser and the media process.

The browser's packets come over whichever pair of addresses ICE has chosen. RTP and RTCP go on, as they are, to the stream's port on this
machine's loopback, and what the media process sends goes the way back: keys, jitter, codecs and reports are the stream's, as in every call.

    gather → begin(offer) ──connect──> ICE connected ──handshake──> keys (told by `on_keys`) ──> packets, until `close` or `on_lost`

After a change of the browser's network `restart` finds another path while the old one still serves. The keys stay: DTLS goes on over the
new path (RFC 8842, section 4.4). A restart that fails changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

from active_call.base.errors import ActiveCallError
from active_call.legs.webrtc.description import LOOPBACK, BrowserOffer
from active_call.legs.webrtc.dtls import Dtls, DtlsError, SrtpKeys
from active_call.legs.webrtc.path import IcePath
from active_call.legs.webrtc.settings import IceSettings

log = logging.getLogger("active_call.webrtc")

CONNECT_S: Final = 20.0
"""For ICE and the handshake together: a person may have to allow the microphone first, but not here."""
MAX_EARLY: Final = 200
"""Packets that may wait for the keys: two seconds."""


class BrowserTransport:
    """One browser. `on_keys` is told once; `on_lost` with the reason, and whether the browser has said goodbye."""

    def __init__(self, settings: IceSettings, on_keys: Callable[[SrtpKeys], None], on_lost: Callable[[str, bool], None]) -> None:
        self._settings = settings
        self._on_keys = on_keys
        self._on_lost = on_lost
        self._path: IcePath | None = None
        self._next: IcePath | None = None
        """The path that a restart looks for."""
        self._dtls: Dtls | None = None
        self._media: asyncio.DatagramTransport | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Queue[bytes] = asyncio.Queue(MAX_EARLY)
        self._limit: asyncio.Timeout | None = None
        """Of the handshake."""
        self._is_closed = False

    @property
    def newest(self) -> IcePath:
        """The path whose side of ours the last answer names; after `gather`."""
        return self._next or self._require()

    async def open_relay(self) -> int:
        """The port on the loopback to which the stream sends, and from which the browser's packets come to it."""
        loop = asyncio.get_running_loop()
        self._media, _ = await loop.create_datagram_endpoint(lambda: _FromMedia(self._to_browser), local_addr=(LOOPBACK, 0))
        return int(self._media.get_extra_info("sockname")[1])

    def lead_to(self, port: int) -> None:
        """The stream's own port."""
        self._stream_address = (LOOPBACK, port)

    async def gather(self) -> IcePath:
        """The first path, with our candidates."""
        self._path = IcePath(self._settings)
        await self._path.gather()
        return self._path

    async def begin(self, offer: BrowserOffer) -> None:
        """Find the path to the browser in the background, and agree on keys."""
        path = self._require()
        await path.connect_to(offer)
        self._dtls = Dtls(is_client=offer.we_are_client, fingerprints=offer.fingerprints, send=self._queue)
        self._spawn(self._run(path, self._dtls), "browser's packets")
        self._spawn(self._send_queued(), "packets to a browser")

    async def gather_anew(self) -> IcePath:
        """Another path beside the one in use; one that an earlier restart looks for is given up."""
        await self.forget_next()
        path = self._next = IcePath(self._settings)
        await path.gather()
        return path

    async def forget_next(self) -> None:
        """The path that was looked for is not wanted any more."""
        given_up, self._next = self._next, None
        if given_up is not None:
            await given_up.close()

    async def restart(self, path: IcePath, offer: BrowserOffer) -> None:
        """Look for the new path in the background, and take it once it works."""
        await path.connect_to(offer)
        if path is self._next and not self._is_closed:
            self._spawn(self._change_to(path), "ICE restart")

    async def add_candidate(self, text: str) -> None:
        """A further candidate of the browser's; it belongs to the newest path."""
        path = self._next or self._path
        if path is not None and not self._is_closed:
            await path.add_candidate(text)

    async def close(self) -> None:
        """Say goodbye and free everything. Harmless a second time."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._dtls is not None and self._path is not None:
            self._dtls.close()
            with suppress(Exception):
                while not self._sending.empty():
                    await self._path.send(self._sending.get_nowait())
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._media is not None:
            self._media.close()
        for path in (self._path, self._next):
            if path is not None:
                await path.close()

    # -- paths

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _change_to(self, path: IcePath) -> None:
        try:
            async with asyncio.timeout(CONNECT_S):
                await path.connect()
        except (TimeoutError, ConnectionError) as error:
            log.info("ICE restart failed", extra={"reason": str(error) or type(error).__name__})
            if self._next is path:
                self._next = None
                await path.close()
            if self._path is None:
                self._lose("the browser cannot be reached after its network has changed")
            return
        if self._next is not path or self._dtls is None:
            return
        old, self._path, self._next = self._path, path, None
        self._spawn(self._run(path, self._dtls, is_connected=True), "browser's packets")
        if old is not None:
            await old.close()

    # -- packets

    async def _run(self, path: IcePath, dtls: Dtls, *, is_connected: bool = False) -> None:
        """Take the datagrams of one path until it is gone, or another one is in use."""
        try:
            async with asyncio.timeout(None if is_connected and dtls.keys is not None else CONNECT_S) as limit:
                if not is_connected:
                    await path.connect()
                if dtls.keys is None:
                    dtls.begin()
                    self._watch_handshake()
                self._limit = limit
                await path.serve(lambda datagram: self._take(dtls, datagram))
        except TimeoutError:
            self._path_is_gone(path, f"no connection with the browser within {CONNECT_S:g} s")
        except ConnectionError as error:
            self._path_is_gone(path, f"the browser cannot be reached: {str(error) or type(error).__name__}")
        except DtlsError as error:
            self._lose(str(error))

    def _path_is_gone(self, path: IcePath, reason: str) -> None:
        """The end of the call, unless another path is in use or looked for."""
        if path is not self._path:
            return
        if self._next is None:
            self._lose(reason)
        else:
            self._path = None

    def _take(self, dtls: Dtls, datagram: bytes) -> None:
        """One datagram by its first byte (RFC 7983)."""
        first = datagram[0] if datagram else 0
        if 128 <= first <= 191:
            if self._media is not None and not self._is_closed:
                self._media.sendto(datagram, self._stream_address)
        elif 20 <= first <= 63 and not self._is_closed:
            try:
                self._shake_hands(dtls, datagram)
            except ActiveCallError as error:
                self._lose(str(error))
            except Exception as error:  # a wall: one browser
                log.exception("browser's packets could not be handled")
                self._lose(f"unforeseen {type(error).__name__}")

    def _shake_hands(self, dtls: Dtls, datagram: bytes) -> None:
        had_keys = dtls.keys is not None
        dtls.receive(datagram)
        if dtls.keys is not None and not had_keys:
            if self._limit is not None:
                self._limit.reschedule(None)
            self._on_keys(dtls.keys)
        self._watch_handshake()
        if dtls.is_closed:
            self._lose("the browser has closed the connection", by_browser=True)

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
        path = self._path
        if path is None or self._dtls is None or self._dtls.keys is None:
            return
        if not (self._sending.empty() and path.send_now(packet)):
            self._queue(packet)

    def _queue(self, datagram: bytes) -> None:
        if self._sending.full():
            self._sending.get_nowait()
        self._sending.put_nowait(datagram)

    async def _send_queued(self) -> None:
        while True:
            datagram = await self._sending.get()
            path = self._path
            if path is not None:
                with suppress(ConnectionError):  # told by `receive`, too
                    await path.send(datagram)

    def _lose(self, reason: str, *, by_browser: bool = False) -> None:
        if not self._is_closed:
            self._on_lost(reason, by_browser)

    def _require(self) -> IcePath:
        if self._path is None:
            raise ConnectionError("there is no path to the browser")
        return self._path


class _FromMedia(asyncio.DatagramProtocol):
    """What the media process sends."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if addr[0] == LOOPBACK:
            self._take(data)
