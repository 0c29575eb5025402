"""A stream that waits for proof of its peer sends nothing, and then everything; RTCP goes where it was signalled, or nowhere."""

from __future__ import annotations

import socket
from typing import Any

import msgspec
import pytest
from engine_box import Box, FarEnd, box
from loopback import arrived

from active_call.media.link import messages as link
from active_call.testing.fakes.net import Conditions

BASE = link.ConfigureRtp(0, "127.0.0.1", 0, "pcmu", 0, 0, -1, -1, receive_formats=((0, "pcmu"),), rtp_timeout_s=0)


def silent_call(made: Box, **changes: Any) -> FarEnd:
    """A call whose far end says nothing of itself, and does not know that it is called."""
    far_end = made.call(Conditions(), 1)
    far_end.n_frames = 10**9
    made.engine.handle(link.CloseStream(far_end.stream), made.clock.at)
    made.engine.handle(link.OpenStream(far_end.stream, "127.0.0.1"), made.clock.at)
    port = far_end.rtp.getsockname()[1]
    order = msgspec.structs.replace(BASE, stream=far_end.stream, remote_port=port, waits=True)
    made.engine.handle(msgspec.structs.replace(order, **changes), made.clock.at)
    return far_end


def speak(made: Box, far_end: FarEnd) -> None:
    made.engine.handle(
        link.QueueAudio(far_end.stream, "a", b"".join(bytes((n % 100 + 1, n % 50)) for n in range(8000)), end=True), made.clock.at
    )


def test_stream_that_waits_sends_nothing_and_then_from_the_first_sample() -> None:
    with box() as made:
        waiting, plain = silent_call(made), silent_call(made, waits=False)
        for far_end in (waiting, plain):
            speak(made, far_end)
        made.run(400)  # long enough for RTCP, too
        assert arrived(waiting.rtp) == []
        heard_by_plain = [packet[12:] for packet in arrived(plain.rtp)]
        made.engine.handle(link.StartSending(waiting.stream), made.clock.at)
        made.run(60)
        packets = arrived(waiting.rtp)
        assert packets[0][1] & 0x80  # a talkspurt begins
        assert [packet[12:] for packet in packets[:50]] == heard_by_plain[:50]


@pytest.mark.parametrize("ip", ["0.0.0.0", ""])
def test_stream_without_a_destination_sends_nothing_whatever_is_proven(ip: str) -> None:
    with box() as made:
        far_end = silent_call(made, remote_ip=ip, waits=False)
        speak(made, far_end)
        made.engine.handle(link.StartSending(far_end.stream), made.clock.at)
        made.run(600)
        assert arrived(far_end.rtp) == []


@pytest.mark.parametrize(("changes", "goes"), [({}, True), ({"send": False, "receive": False}, False), ({"remote_ip": "0.0.0.0"}, False)])
def test_rtcp_goes_where_it_was_signalled_and_nowhere_on_hold(changes: dict[str, Any], goes: bool) -> None:
    with box() as made, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        control.bind(("127.0.0.1", 0))
        port = control.getsockname()[1]
        silent_call(made, **({"waits": False, "remote_rtcp_port": port} | changes))
        made.run(600)
        assert bool(arrived(control)) is goes


def moved(far_end: FarEnd, port: int, **changes: Any) -> link.ConfigureRtp:
    """Another offer/answer in the call of `far_end`, that nothing has proved yet."""
    return msgspec.structs.replace(BASE, stream=far_end.stream, remote_port=port, waits=True, **changes)


def test_proof_holds_for_the_address_that_it_was_given_for() -> None:
    with box() as made, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        far_end = silent_call(made, waits=False)
        speak(made, far_end)
        first, second = far_end.rtp.getsockname()[1], other.getsockname()[1]
        made.run(50)
        assert arrived(far_end.rtp)
        made.engine.handle(moved(far_end, second), made.clock.at)
        made.run(400)  # long enough for RTCP, too
        assert arrived(other) == arrived(far_end.rtp) == []
        made.engine.handle(link.StartSending(far_end.stream), made.clock.at)
        made.run(50)
        assert arrived(other)
        assert arrived(far_end.rtp) == []
        made.engine.handle(moved(far_end, first), made.clock.at)
        made.run(50)
        assert arrived(far_end.rtp)


def test_leg_remembers_a_few_proofs_and_forgets_the_oldest() -> None:
    with box() as made:
        far_end = silent_call(made, waits=False)
        speak(made, far_end)
        for port in range(20_000, 20_100):
            made.engine.handle(moved(far_end, port, send=False), made.clock.at)
            made.engine.handle(link.StartSending(far_end.stream), made.clock.at)
        made.engine.handle(moved(far_end, far_end.rtp.getsockname()[1]), made.clock.at)
        made.run(50)
        assert arrived(far_end.rtp) == []
