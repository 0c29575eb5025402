"""Calls by way of a real TURN server (coturn), where there is one: RFC 8656 by UDP, TCP and TLS, and servers that we do not get on with."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import aioice
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from test_paths import Stage, play

from active_call.legs.webrtc import path
from active_call.legs.webrtc.settings import IceSettings
from active_call.testing.certificate import write_self_signed

TURNSERVER = shutil.which("turnserver")
USER, PASSWORD = "agent", "sesame"

pytestmark = [pytest.mark.slow, pytest.mark.skipif(TURNSERVER is None, reason="there is no coturn")]


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Turn:
    """A running server. `certificate`: what it shows on its TLS port, signed by itself."""

    address: tuple[str, int]
    tls_address: tuple[str, int]
    certificate: Path


@pytest.fixture(scope="module")
def turn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Turn]:
    folder, port, tls_port = tmp_path_factory.mktemp("coturn"), free_port(), free_port()
    certificate = write_self_signed(folder)
    command = [
        str(TURNSERVER), "-n", "--no-cli", "--no-dtls", "-L", "127.0.0.1", "-E", aioice.ice.get_host_addresses(True, False)[0],
        "-p", str(port), "--tls-listening-port", str(tls_port), "--cert", str(certificate), "--pkey", str(certificate),
        "--lt-cred-mech", "-u", f"{USER}:{PASSWORD}", "-r", "example.com", "-b", str(folder / "users.db"),
        "--pidfile", str(folder / "pid"), "-l", str(folder / "log"), "--simple-log",
    ]  # fmt: skip
    server = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while not (_listens(port) and _listens(tls_port)):
            assert server.poll() is None and time.monotonic() < deadline, "coturn has not begun"
            time.sleep(0.1)
        yield Turn(("127.0.0.1", port), ("127.0.0.1", tls_port), certificate)
    finally:
        server.kill()
        server.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def test_browser_that_reaches_only_the_relay_is_heard_and_hears(turn: Turn, transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(turn.certificate))
    relay_only = partial(path._Connection, transport_policy=aioice.ice.TransportPolicy.RELAY)
    monkeypatch.setattr(path, "_Connection", relay_only)

    async def story(stage: Stage) -> None:
        await stage.connect()
        await stage.sound_goes_both_ways()
        ours = [aioice.Candidate.from_sdp(one) for one in stage.transport.newest.candidates]
        assert [one.type for one in ours] == ["relay"]
        assert stage.page.ice is not None
        (pair,) = stage.page.ice._nominated.values()
        assert (pair.remote_candidate.host, pair.remote_candidate.port) == (ours[0].host, ours[0].port)
        assert stage.lost == []

    is_tls = transport == "tls"
    settings = IceSettings(
        turn=turn.tls_address if is_tls else turn.address,
        turn_username=USER,
        turn_password=PASSWORD,
        turn_tls=is_tls,
        turn_transport="tcp" if is_tls else transport,
    )
    play(story, settings)


@pytest.mark.parametrize(("password", "is_tls"), [("wrong", False), (PASSWORD, True)], ids=["wrong password", "untrusted certificate"])
def test_server_that_is_of_no_use_costs_the_relay_alone(turn: Turn, password: str, is_tls: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def story(stage: Stage) -> None:
        await stage.connect()
        await stage.sound_goes_both_ways()

    address = turn.tls_address if is_tls else turn.address
    play(story, IceSettings(turn=address, turn_username=USER, turn_password=password, turn_tls=is_tls))
    assert "TURN server has given no relay" in caplog.text
