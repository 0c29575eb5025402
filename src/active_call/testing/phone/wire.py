"""The judges' sockets for SIP: whole messages out and in, over UDP, TCP or TLS, read by one thread. `Hub` for a trunk, `Wire` for a phone.

Leaves: whole messages with the peer they came from. A carrier's edge calls from an ephemeral port and listens on another; both are read.
It must not know transactions. RFC 3261 section 18, RFC 5626 section 3.5.1 (a double CRLF is answered by one).
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from active_call.testing.certificate import write_self_signed
from active_call.testing.phone.sip import Message, parse, take_from_stream

Peer = socket.socket | tuple[str, int]
"""Where a message came from: a connection, or a UDP address."""
_CONNECT_TIMEOUT_S = 5.0
_TICK_S = 0.02
_MEDIA = range(128, 192)
"""First octets of RTP and RTCP (RFC 7983). They come late for a call that had this port before, and are not for this socket."""


class Hub:
    """One listener, the connections it accepts and those it opens.

    `on_message(message, peer)`, `on_tick()` and `on_fault(text)` run in the hub's thread.
    """

    def __init__(
        self,
        local_ip: str,
        transport: str,
        *,
        on_message: Callable[[Message, Peer], None],
        on_tick: Callable[[], None],
        on_fault: Callable[[str], None],
        port: int = 0,
    ) -> None:
        self._ip, self._transport = local_ip, transport
        self._on_message, self._on_tick, self._on_fault = on_message, on_tick, on_fault
        self._buffers: dict[socket.socket, bytearray] = {}
        self._guard = threading.Lock()
        self._stopping = threading.Event()
        self._is_closed = False
        self._wake_in, self._wake_out = socket.socketpair()
        self._server_tls = self._make_tls() if transport == "tls" else None
        self.used_at: dict[socket.socket, float] = {}
        """When something last crossed each connection, monotonic seconds."""
        self.names: list[str | None] = []
        """The server name (SNI) of each TLS handshake towards us."""
        self.n_pings = 0
        """Double CRLFs answered."""
        self.listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM)
        self.listener.bind((local_ip, port))
        if transport != "udp":
            self.listener.listen(16)
        self._thread = threading.Thread(target=self._run, name="sip-hub", daemon=True)
        self._thread.start()

    def _make_tls(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.TemporaryDirectory(prefix="hub-") as folder:
            context.load_cert_chain(write_self_signed(Path(folder), self._ip))
        context.sni_callback = lambda _sock, name, _context: self.names.append(name)
        return context

    @property
    def port(self) -> int:
        """The listener's port."""
        return int(self.listener.getsockname()[1])

    @property
    def connections(self) -> list[socket.socket]:
        """Connections that are open, oldest first."""
        with self._guard:
            return list(self._buffers)

    def is_open(self, peer: Peer) -> bool:
        """Whether a connection is still there; a UDP address always is."""
        return not isinstance(peer, socket.socket) or peer in self._buffers

    def connect(self, target: tuple[str, int]) -> Peer:
        """The way to a target: for UDP its address, else a new connection. Raises OSError."""
        if self._transport == "udp":
            return target
        sock: socket.socket = socket.create_connection(target, _CONNECT_TIMEOUT_S, source_address=(self._ip, 0))
        if self._transport == "tls":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            sock = context.wrap_socket(sock)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._adopt(sock)
        return sock

    def _adopt(self, sock: socket.socket) -> None:
        """Raises OSError if the hub has been closed meanwhile: nobody would close the connection."""
        sock.setblocking(False)
        with self._guard:
            if self._is_closed:
                sock.close()
                raise ConnectionAbortedError("the hub is closed")
            self._buffers[sock] = bytearray()
            self.used_at[sock] = time.monotonic()
        self._wake_in.send(b"x")

    def send(self, octets: bytes, peer: Peer) -> bool:
        """Send whole octets; False when the connection is gone. Any thread."""
        try:
            if isinstance(peer, tuple):
                self.listener.sendto(octets, peer)
                return True
            if peer not in self._buffers:
                return False
            with self._guard:
                peer.settimeout(2.0)
                peer.sendall(octets)
                peer.setblocking(False)
                self.used_at[peer] = time.monotonic()
        except OSError:
            return False
        return True

    def cut(self, peer: Peer) -> None:
        """Close a connection without a word: TCP FIN, no TLS close_notify."""
        if isinstance(peer, socket.socket):
            self._forget(peer)

    def close(self) -> None:
        """Close every socket and end the thread."""
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._wake_in.send(b"x")
        if self._thread is not threading.current_thread():
            self._thread.join(3)
        with self._guard:
            self._is_closed = True
            for sock in (*self._buffers, self.listener, self._wake_in, self._wake_out):
                sock.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            with self._guard:
                waiting = [self.listener, self._wake_out, *self._buffers]
            try:
                readable, _, _ = select.select(waiting, [], [], _TICK_S)
            except (OSError, ValueError):
                continue  # a connection was cut meanwhile
            for sock in readable:
                if sock is self._wake_out:
                    sock.recv(4096)
                elif sock is not self.listener:
                    self._read_stream(sock)
                elif self._transport == "udp":
                    self._read_datagram()
                else:
                    self._accept()
            self._on_tick()

    def _accept(self) -> None:
        sock, _ = self.listener.accept()
        sock.settimeout(_CONNECT_TIMEOUT_S)
        try:
            self._adopt(self._server_tls.wrap_socket(sock, server_side=True) if self._server_tls else sock)
        except OSError as error:
            self._on_fault(f"TLS handshake towards us failed: {error}")
            sock.close()

    def _read_datagram(self) -> None:
        try:
            octets, source = self.listener.recvfrom(65535)
        except OSError:
            return  # an ICMP error for something sent earlier; the transaction's timeout tells
        if octets.strip(b"\r\n\0") and octets[0] not in _MEDIA:
            self._deliver(octets, (source[0], source[1]))

    def _read_stream(self, sock: socket.socket) -> None:
        buffer = self._buffers.get(sock)
        if buffer is None:
            return
        self.used_at[sock] = time.monotonic()
        ended = False
        with self._guard:
            try:
                while octets := sock.recv(65535):
                    buffer += octets
                ended = True
            except (ssl.SSLWantReadError, BlockingIOError):
                pass
            except OSError:
                ended = True
        try:
            while True:
                message, n_crlf = take_from_stream(buffer)
                if n_crlf >= 2:
                    self.n_pings += 1
                    self.send(b"\r\n", sock)
                if message is None:
                    break
                self._deliver(message, sock)
        except ValueError as error:
            self._on_fault(str(error))
            ended = True
        if ended:
            self._forget(sock)

    def _deliver(self, octets: bytes, peer: Peer) -> None:
        try:
            message = parse(octets)
        except (ValueError, UnicodeDecodeError) as error:
            self._on_fault(f"a message that cannot be read: {error}: {octets[:200]!r}")
            return
        self._on_message(message, peer)

    def _forget(self, sock: socket.socket) -> None:
        with self._guard:
            known = self._buffers.pop(sock, None) is not None
            self.used_at.pop(sock, None)
        if known:
            sock.close()


class Wire:
    """A hub with one target, which a phone talks to."""

    def __init__(
        self,
        local_ip: str,
        target: tuple[str, int],
        transport: str,
        *,
        on_message: Callable[[Message, Peer], None],
        on_tick: Callable[[], None],
        on_fault: Callable[[str], None],
    ) -> None:
        self._on_fault = on_fault
        self._hub = Hub(local_ip, transport, on_message=on_message, on_tick=on_tick, on_fault=on_fault)
        try:
            self._target = self._hub.connect(target)
        except OSError:
            self._hub.close()
            raise

    @property
    def port(self) -> int:
        """The port of the listener, for Via and Record-Route."""
        return self._hub.port

    def send(self, message: Message, peer: Peer | None = None) -> None:
        """Send to the peer that asked, or to the target. Any thread."""
        if not self._hub.send(message.encode(), self._target if peer is None else peer):
            self._on_fault("the connection is closed, a message could not be sent")

    def close(self) -> None:
        """Close every socket."""
        self._hub.close()
