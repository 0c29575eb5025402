"""The SIP core alone on a real UDP socket, driven by hand: for real programs that talk to it and to nothing else."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from typing import Any

from active_call.base.world import SystemRandomness
from active_call.sip.endpoint import Endpoint
from active_call.sip.events import Address, EndpointConfig, Flow, Listener, SipEvent


class Line:
    """An endpoint on a real UDP socket, driven by hand; `changes` are fields of its EndpointConfig."""

    def __init__(self, **changes: Any) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = Address(*self._socket.getsockname())
        config = EndpointConfig((Listener("udp", self.address, self.address),), "active-call", **changes)
        self.endpoint = Endpoint(config, SystemRandomness())
        self.events: list[SipEvent] = []

    def run_until(self, condition: Callable[[], bool], timeout_s: float = 5.0) -> bool:
        """Carry bytes and time until `condition` holds; whether it did."""
        end = time.monotonic() + timeout_s
        while not condition() and time.monotonic() < end:
            self._send()
            if select.select([self._socket], [], [], 0.05)[0]:
                data, (host, port) = self._socket.recvfrom(65_535)
                self.endpoint.receive_datagram(data, Flow("udp", self.address, Address(host, port)), time.monotonic())
            self.endpoint.handle_timeout(time.monotonic())
            self.events += self.endpoint.take_events()
        self._send()
        return condition()

    def _send(self) -> None:
        for transmit in self.endpoint.take_transmits():
            to = transmit.destination.remote if isinstance(transmit.destination, Flow) else transmit.destination
            self._socket.sendto(transmit.data, (to.host, to.port or 5060))

    def of(self, kind: type) -> list[Any]:
        """The events of one kind so far."""
        return [event for event in self.events if isinstance(event, kind)]

    def close(self) -> None:
        self._socket.close()
