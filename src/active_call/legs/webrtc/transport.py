"""The transport to one browser: ICE sessions, DTLS over them, and the SRTP packets between the browser and the media process.

The browser's packets arrive on the candidate pair that ICE has selected. RTP and RTCP are forwarded unchanged to the stream's port on the
loopback, and packets of the media process go the other way. Keys, jitter buffer, codecs and reports are the stream's, as in every call.

    gather → begin(offer) ──connect──> ICE connected ──handshake──> keys (`on_keys`) ──> packets, until `close` or `on_lost`

After a change of the browser's network, `restart` connects a new ICE session while the old one is still in use. The keys stay: DTLS
continues over the new session (RFC 8842 §4.4). A restart that fails has no effect.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, Final

from active_call.base.errors import ActiveCallError
from active_call.legs.webrtc.description import LOOPBACK, BrowserOffer
from active_call.legs.webrtc.dtls import Dtls, DtlsError, SrtpKeys
from active_call.legs.webrtc.path import IcePath
from active_call.legs.webrtc.settings import IceSettings

log = logging.getLogger("active_call.webrtc")

CONNECT_S: Final = 20.0
"""Timeout for ICE and handshake together. The microphone permission of the browser is granted before this."""
MAX_EARLY: Final = 200
"""Maximum number of packets that wait for the keys: two seconds."""


class BrowserTransport:
    """The transport of one browser. `on_keys` is called once; `on_lost` with the reason and whether the browser sent close_notify.

    `peer`: the address that the browser's signalling comes from; empty: unknown.
    """

    def __init__(
        self, settings: IceSettings, on_keys: Callable[[SrtpKeys], None], on_lost: Callable[[str, bool], None], *, peer: str = ""
    ) -> None:
        self._settings = settings
        self._peer = peer
        self._on_keys = on_keys
        self._on_lost = on_lost
        self._path: IcePath | None = None
        self._next: IcePath | None = None
        """The new ICE session of a restart."""
        self._dtls: Dtls | None = None
        self._media: asyncio.DatagramTransport | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Queue[bytes] = asyncio.Queue(MAX_EARLY)
        self._limit: asyncio.Timeout | None = None
        """Timeout of the handshake."""
        self._is_closed = False

    @property
    def newest(self) -> IcePath:
        """The ICE session in the last answer; after `gather`."""
        return self._next or self._require()

    async def open_relay(self) -> int:
        """Open the loopback socket between us and the stream. Returns its port."""
        loop = asyncio.get_running_loop()
        self._media, _ = await loop.create_datagram_endpoint(partial(_FromMedia, self._to_browser), local_addr=(LOOPBACK, 0))
        return int(self._media.get_extra_info("sockname")[1])

    def set_media_port(self, port: int) -> None:
        """Set the stream's port."""
        self._stream_address = (LOOPBACK, port)

    async def gather(self) -> IcePath:
        """Gather candidates for the first ICE session."""
        self._path = IcePath(self._settings, self._peer)
        await self._path.gather()
        return self._path

    async def begin(self, offer: BrowserOffer) -> None:
        """Connect to the browser in the background and start the key exchange."""
        path = self._require()
        await path.connect_to(offer)
        self._dtls = Dtls(is_client=offer.we_are_client, fingerprints=offer.fingerprints, send=self._queue)
        self._spawn(self._run(path, self._dtls), "browser's packets")
        self._spawn(self._send_queued(), "packets to a browser")

    async def gather_restart(self) -> IcePath:
        """Gather candidates for another ICE session beside the current one. A session of an earlier restart is dropped."""
        await self.drop_restart()
        path = self._next = IcePath(self._settings, self._peer)
        await path.gather()
        return path

    async def drop_restart(self) -> None:
        """Drop the ICE session of a restart."""
        given_up, self._next = self._next, None
        if given_up is not None:
            await given_up.close()

    async def restart(self, path: IcePath, offer: BrowserOffer) -> None:
        """Connect the new ICE session in the background, and use it once it works."""
        await path.connect_to(offer)
        if path is self._next and not self._is_closed:
            self._spawn(self._change_to(path), "ICE restart")

    async def add_candidate(self, text: str) -> None:
        """Add a further candidate of the browser to the newest ICE session."""
        path = self._next or self._path
        if path is not None and not self._is_closed:
            await path.add_candidate(text)

    async def close(self) -> None:
        """Send close_notify and free all resources. A second call has no effect."""
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
            self._media = None  # it keeps the context of the call
        paths, self._path, self._next = (self._path, self._next), None, None
        for path in paths:
            if path is not None:
                await path.close()
        self._dtls = None
        self._limit = None

    # -- ICE sessions

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
        """Take the datagrams of one ICE session until it is closed or another one is in use."""
        try:
            async with asyncio.timeout(None if is_connected and dtls.keys is not None else CONNECT_S) as self._limit:
                if not is_connected:
                    await path.connect()
                if dtls.keys is None:
                    dtls.begin()
                    self._watch_handshake()
                await path.serve(lambda datagram: self._take(dtls, datagram))
        except TimeoutError:
            self._path_is_gone(path, f"no connection with the browser within {CONNECT_S:g} s")
        except ConnectionError as error:
            self._path_is_gone(path, f"the browser cannot be reached: {str(error) or type(error).__name__}")
        except DtlsError as error:
            self._lose(str(error))

    def _path_is_gone(self, path: IcePath, reason: str) -> None:
        """End the call, unless another ICE session is in use or being connected."""
        if path is not self._path:
            return
        if self._next is None:
            self._lose(reason)
        else:
            self._path = None

    def _take(self, dtls: Dtls, datagram: bytes) -> None:
        """Dispatch one datagram by its first byte (RFC 7983)."""
        first = datagram[0] if datagram else 0
        if 128 <= first <= 191:
            if self._media is not None and not self._is_closed:
                self._media.sendto(datagram, self._stream_address)
        elif 20 <= first <= 63 and not self._is_closed:
            try:
                self._do_handshake(dtls, datagram)
            except ActiveCallError as error:
                self._lose(str(error))
            except Exception as error:  # contains the errors of one browser
                log.exception("browser's packets could not be handled")
                self._lose(f"unforeseen {type(error).__name__}")

    def _do_handshake(self, dtls: Dtls, datagram: bytes) -> None:
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
                with suppress(ConnectionError):  # `receive` reports it too
                    await path.send(datagram)

    def _lose(self, reason: str, *, by_browser: bool = False) -> None:
        if not self._is_closed:
            self._on_lost(reason, by_browser)

    def _require(self) -> IcePath:
        if self._path is None:
            raise ConnectionError("there is no path to the browser")
        return self._path


class _FromMedia(asyncio.DatagramProtocol):
    """Takes the packets of the media process."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if addr[0] == LOOPBACK:
            self._take(data)
