"""The phone's sockets for SIP: whole messages out and in, over UDP, TCP or TLS, from one thread.

A carrier's edge calls from an ephemeral port and listens on another; requests inside the dialog may come on either, so both are read.
It must not know dialogs. RFC 3261 section 18, RFC 5626 section 3.5.1 (a double CRLF is answered by one).
"""

from __future__ import annotations

import contextlib
import queue
import select
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from active_call.testing.certificate import write_self_signed
from active_call.testing.phone_sip import Message, parse, take_from_stream

Peer = socket.socket | tuple[str, int]
"""Where a message came from: a connection, or a UDP address."""
_CONNECT_TIMEOUT_S = 5.0
_TICK_S = 0.05


class Wire:
    """One target, one listener. `on_message(message, peer)`, `on_tick()` and `on_fault(text)` run in the wire's thread."""

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
        self._target, self._transport = target, transport
        self._on_message, self._on_tick, self._on_fault = on_message, on_tick, on_fault
        self._outgoing: queue.SimpleQueue[tuple[bytes, Peer | None]] = queue.SimpleQueue()
        self._wake_in, self._wake_out = socket.socketpair()
        self._buffers: dict[socket.socket, bytearray] = {}
        self._stopping = threading.Event()
        self.listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM)
        self.listener.bind((local_ip, 0))
        self._main: socket.socket | None = None
        self._server_tls: ssl.SSLContext | None = None
        if transport != "udp":
            self.listener.listen(4)
            self._main = self._connect(local_ip)
        self._thread = threading.Thread(target=self._run, name="phone-sip", daemon=True)

    @property
    def port(self) -> int:
        """The port of the listener, for Via and Record-Route."""
        return int(self.listener.getsockname()[1])

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def send(self, message: Message, peer: Peer | None = None) -> None:
        """Send to the peer that asked, or to the target. Any thread."""
        self._outgoing.put((message.encode(), peer))
        self._wake_in.send(b"x")

    def close(self) -> None:
        """Send what is queued, then close every socket."""
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._wake_in.send(b"x")
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(2)
        for sock in (*self._buffers, self.listener, self._wake_in, self._wake_out):
            sock.close()

    def _connect(self, local_ip: str) -> socket.socket:
        sock: socket.socket = socket.create_connection(self._target, _CONNECT_TIMEOUT_S, source_address=(local_ip, 0))
        if self._transport == "tls":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            sock = context.wrap_socket(sock)
            self._server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            with tempfile.TemporaryDirectory(prefix="phone-") as folder:
                self._server_tls.load_cert_chain(write_self_signed(Path(folder), local_ip))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        self._buffers[sock] = bytearray()
        return sock

    def _run(self) -> None:
        while not (self._stopping.is_set() and self._outgoing.empty()):
            readable, _, _ = select.select([self.listener, self._wake_out, *self._buffers], [], [], _TICK_S)
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
            with contextlib.suppress(queue.Empty):
                while True:
                    self._write(*self._outgoing.get_nowait())

    def _accept(self) -> None:
        sock, _ = self.listener.accept()
        sock.settimeout(_CONNECT_TIMEOUT_S)
        try:
            connection: socket.socket = self._server_tls.wrap_socket(sock, server_side=True) if self._server_tls else sock
        except OSError as error:
            self._on_fault(f"TLS handshake towards us failed: {error}")
            sock.close()
            return
        connection.setblocking(False)
        self._buffers[connection] = bytearray()

    def _read_datagram(self) -> None:
        try:
            octets, source = self.listener.recvfrom(65535)
        except OSError:
            return  # an ICMP error for something sent earlier; the transaction's timeout tells
        if octets.strip(b"\r\n\0"):
            self._hand_up(octets, (source[0], source[1]))

    def _read_stream(self, sock: socket.socket) -> None:
        buffer = self._buffers[sock]
        try:
            while octets := sock.recv(65535):
                buffer += octets
            self._forget(sock)
        except (ssl.SSLWantReadError, BlockingIOError):
            pass
        except OSError:
            self._forget(sock)
        try:
            while True:
                message, n_crlf = take_from_stream(buffer)
                if n_crlf >= 2:
                    self._outgoing.put((b"\r\n", sock))
                if message is None:
                    return
                self._hand_up(message, sock)
        except ValueError as error:
            self._on_fault(str(error))
            self._forget(sock)

    def _hand_up(self, octets: bytes, peer: Peer) -> None:
        try:
            message = parse(octets)
        except (ValueError, UnicodeDecodeError) as error:
            self._on_fault(f"a message that cannot be read: {error}")
            return
        self._on_message(message, peer)

    def _forget(self, sock: socket.socket) -> None:
        if self._buffers.pop(sock, None) is not None:
            sock.close()

    def _write(self, octets: bytes, peer: Peer | None) -> None:
        try:
            if self._transport == "udp":
                self.listener.sendto(octets, peer if isinstance(peer, tuple) else self._target)
                return
            sock = peer if isinstance(peer, socket.socket) else self._main
            if sock is None or sock not in self._buffers:
                self._on_fault("the connection is closed, a message could not be sent")
                return
            sock.settimeout(2.0)
            sock.sendall(octets)
            sock.setblocking(False)
        except OSError as error:
            self._on_fault(f"sending failed: {error}")
