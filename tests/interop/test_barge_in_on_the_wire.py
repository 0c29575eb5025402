"""Speech over the agent's, by a caller of strings and sockets: when the agent's RTP falls silent, and with which sample it goes on."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from running_server import Server, running_server
from udp_caller import HOST, UdpCaller, description, rtp, sink, udp_caller

SPEECH = Path(__file__).parents[1] / "vectors" / "speech"
NEWS = "Here is the news of the week. On Monday we bake rye bread with honey and walnuts and a little salt. " * 3
ENGINES = "llm: {provider: script}\nasr: {provider: pocketsphinx}\ntts: {provider: espeak}\n"
PLAYBOOK = f"---\n{ENGINES}greeting: {NEWS}\ninterruption: {{ignoreFirstMs: 0}}\n---\n## bye\nBye.\n"
FRAME = 160
LOUD = 100
"""A packet with a sample beyond this is audible."""
RISE = 40
"""Samples for which the sound rises after a pause: 5 ms."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("server"), {"main.md": PLAYBOOK}, extra="media_workers = 1\n") as running:
        yield running


def ulaw_to_linear(payload: np.ndarray) -> np.ndarray:
    """ITU-T G.711, written for this judge alone."""
    code = ~payload.astype(np.uint8)
    exponent, mantissa = (code >> 4 & 7).astype(np.int32), (code & 15).astype(np.int32)
    magnitude = ((mantissa << 3) + 132 << exponent) - 132
    return np.where(code & 0x80, -magnitude, magnitude)


def talk(caller: UdpCaller, phone, speech: bytes, *, speaks_at: int, n_packets: int) -> tuple[float, list[tuple[float, int, bytes]]]:
    """Send silence, from packet `speaks_at` on `speech`; gives when that began, and what came: arrival, timestamp, payload."""
    came: list[tuple[float, int, bytes]] = []
    began_at, start = 0.0, time.monotonic()
    for n in range(n_packets):
        at = (n - speaks_at) * FRAME
        payload = speech[at : at + FRAME] if at >= 0 else b""
        if n == speaks_at:
            began_at = time.monotonic()
        phone.sock.sendto(rtp(n, payload=payload.ljust(FRAME, b"\xff")), (HOST, caller.media_port))
        while (left := start + (n + 1) * 0.02 - time.monotonic()) > 0:
            if select.select([phone.sock], [], [], left)[0]:
                data = phone.sock.recv(4096)
                if data[1] & 0x7F == 0:
                    came.append((time.monotonic(), int.from_bytes(data[4:8], "big"), data[12:]))
    return began_at, came


def call(server: Server, speech: bytes, n_packets: int) -> tuple[float, list[tuple[float, int, bytes]]]:
    with udp_caller(server.udp_port) as caller, sink() as phone:
        caller.invite(description(phone.port))
        caller.answered()
        caller.ack()
        found = talk(caller, phone, speech, speaks_at=150, n_packets=n_packets)
        caller.bye()
        caller.listen(0.5)
    return found


def voiced_speech() -> bytes:
    """A sentence of a natural voice in the telephone band, from its first loud packet."""
    data = sorted(SPEECH.glob("*.ulaw"))[0].read_bytes()
    levels = np.abs(ulaw_to_linear(np.frombuffer(data, np.uint8)).astype(np.int32))
    return data[int(np.argmax(levels > 2000)) // FRAME * FRAME :]


def samples(came: list[tuple[float, int, bytes]]) -> np.ndarray:
    return ulaw_to_linear(np.frombuffer(b"".join(payload for _, _, payload in came), np.uint8)).astype(np.int32)


def first_audible(sound: np.ndarray) -> int:
    return int(np.flatnonzero(np.abs(sound) >= LOUD)[0])


def silent_after(came: list[tuple[float, int, bytes]], at: float) -> int:
    """The index of the first packet after `at` from which 200 ms are silent."""
    quiet = [int(np.abs(samples([packet])).max()) < LOUD for packet in came]
    return next(n for n, (when, _, _) in enumerate(came) if when > at and all(quiet[n : n + 10]))


def audible_until(packet: tuple[float, int, bytes]) -> float:
    """When the last audible sample of a packet was heard, if it is played as it comes."""
    return packet[0] + (int(np.flatnonzero(np.abs(samples([packet])) >= LOUD)[-1]) + 1) / 8000


@pytest.mark.load
def test_short_sound_pauses_the_agent_soon_and_what_is_heard_is_the_whole_speech_to_the_sample(server: Server) -> None:
    _, whole = call(server, b"", 500)
    began_at, came = call(server, voiced_speech()[: 12 * FRAME], 500)
    stopped = silent_after(came, began_at)
    paused_ms = (audible_until(came[stopped - 1]) - began_at) * 1000
    resumed = next(n for n in range(stopped, len(came)) if np.abs(samples([came[n]])).max() >= LOUD)
    print(f"silent {paused_ms:.0f} ms after the first voiced packet, for {(resumed - stopped) * 20} ms")
    assert np.all(np.diff([timestamp for _, timestamp, _ in came]) == FRAME), "RTP goes on through the pause"
    uninterrupted, heard = samples(whole), samples(came)
    lead = first_audible(uninterrupted) - first_audible(heard)
    paused = (stopped - 1) * FRAME  # the packet that falls to silence, and is heard again
    assert np.array_equal(heard[max(0, -lead) : paused], uninterrupted[max(0, lead) : paused + lead]), "the same until the pause"
    rest = heard[resumed * FRAME :]
    again = uninterrupted[paused + lead :][: len(rest)]
    assert np.array_equal(rest[RISE : len(again)], again[RISE:]), "with the pause taken out, what follows is what would have followed"
    assert len(again) > 8000
    assert paused_ms <= 200


@pytest.mark.load
def test_sentence_stops_the_agent_soon_and_it_stays_silent_while_the_caller_speaks(server: Server) -> None:
    speech = voiced_speech()
    began_at, came = call(server, speech, 150 + len(speech) // FRAME + 25)
    stopped = silent_after(came, began_at)
    stop_ms = (audible_until(came[stopped - 1]) - began_at) * 1000
    print(f"stopped after {stop_ms:.0f} ms")
    ends_at = began_at + len(speech) / 8000 - 0.3
    assert not [when for when, _, payload in came[stopped:] if when < ends_at and np.abs(samples([(when, 0, payload)])).max() >= LOUD]
    assert stop_ms <= 200
