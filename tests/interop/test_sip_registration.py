"""The SIP core registers with Kamailio: digest, an interval that it sets itself, taking the binding back, a wrong password."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from peers.registrar import MIN_EXPIRES_S, PASSWORD, Registrar

from active_call.base.world import SystemRandomness
from active_call.sip.endpoint import Endpoint
from active_call.sip.events import Address, Credentials, EndpointConfig, Flow, Listener, RegistrationChanged, RegistrationSpec


class Line:
    """An endpoint on a real UDP socket, driven by hand."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = Address(*self._socket.getsockname())
        config = EndpointConfig((Listener("udp", self.address, self.address),), "active-call")
        self.endpoint = Endpoint(config, SystemRandomness())
        self.events: list[RegistrationChanged] = []

    def run_until(self, condition: Callable[[], bool], timeout_s: float = 5.0) -> bool:
        """Carry bytes and time until `condition` holds; whether it did."""
        end = time.monotonic() + timeout_s
        while not condition() and time.monotonic() < end:
            for transmit in self.endpoint.take_transmits():
                to = transmit.destination.remote if isinstance(transmit.destination, Flow) else transmit.destination
                self._socket.sendto(transmit.data, (to.host, to.port or 5060))
            if select.select([self._socket], [], [], 0.05)[0]:
                data, (host, port) = self._socket.recvfrom(65_535)
                self.endpoint.receive_datagram(data, Flow("udp", self.address, Address(host, port)), time.monotonic())
            self.endpoint.handle_timeout(time.monotonic())
            self.events += [event for event in self.endpoint.take_events() if isinstance(event, RegistrationChanged)]
        return condition()

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def line() -> Iterator[Line]:
    line = Line()
    yield line
    line.close()


def spec_for(registrar: Registrar) -> RegistrationSpec:
    uri = f"sip:127.0.0.1:{registrar.port}"
    credentials = (Credentials("agent", PASSWORD, "active.example"),)
    return RegistrationSpec("kamailio", uri, "sip:agent@active.example", credentials, expires_s=MIN_EXPIRES_S // 2)


def test_registration_is_bound_with_the_registrars_interval_and_taken_back(line: Line, tmp_path: Path) -> None:
    with Registrar(tmp_path) as registrar:
        handle = line.endpoint.register(spec_for(registrar), time.monotonic())
        assert line.run_until(lambda: bool(line.events)), registrar.log
        assert line.events == [RegistrationChanged("kamailio", "registered", 200, "OK", MIN_EXPIRES_S)], registrar.log
        line.endpoint.unregister(handle, time.monotonic())
        assert line.run_until(lambda: len(line.events) == 2), registrar.log
        assert (line.events[1].state, line.events[1].code) == ("unregistered", 200)
        log = registrar.log
    assert f"BOUND sip:agent@active.example to <sip:agent@127.0.0.1:{line.address.port}>" in log
    assert "UNBOUND sip:agent@active.example" in log


def test_wrong_password_is_told_once_as_refused(line: Line, tmp_path: Path) -> None:
    with Registrar(tmp_path) as registrar:
        spec = replace(spec_for(registrar), credentials=(Credentials("agent", "wrong"),))
        line.endpoint.register(spec, time.monotonic())
        assert line.run_until(lambda: bool(line.events)), registrar.log
        assert (line.events[0].state, line.events[0].code) == ("failed", 401)
        assert not line.run_until(lambda: len(line.events) > 1, 1.0)
        assert "BOUND" not in registrar.log
