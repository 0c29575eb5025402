"""The SIP core registers with Kamailio: digest, an interval that it sets itself, taking the binding back, a wrong password."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from endpoint_line import Line
from msgspec.structs import replace
from peers.process import wait_until
from peers.registrar import MIN_EXPIRES_S, PASSWORD, Registrar

from active_call.sip.events import Credentials, RegistrationChanged, RegistrationSpec


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
        assert wait_until(lambda: "UNBOUND sip:agent@active.example" in registrar.log, 5), registrar.log
        log = registrar.log
    assert f"BOUND sip:agent@active.example to <sip:agent@127.0.0.1:{line.address.port}>" in log


def test_wrong_password_is_told_once_as_refused(line: Line, tmp_path: Path) -> None:
    with Registrar(tmp_path) as registrar:
        spec = replace(spec_for(registrar), credentials=(Credentials("agent", "wrong"),))
        line.endpoint.register(spec, time.monotonic())
        assert line.run_until(lambda: bool(line.events)), registrar.log
        assert (line.events[0].state, line.events[0].code) == ("failed", 401)
        assert not line.run_until(lambda: len(line.events) > 1, 1.0)
        assert "BOUND" not in registrar.log
