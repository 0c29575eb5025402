"""What goes wrong with one stream stays with it: in the halves of the tick, with a datagram, in an order, in the end."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest
from engine_box import Box, FarEnd, box
from loopback import arrived

from active_call.media.link import messages as link
from active_call.testing.fakes.net import Conditions


def told(far_end: FarEnd, kind: type) -> list[Any]:
    return [report for report in far_end.reports if isinstance(report, kind)]


def n_sent(far_end: FarEnd) -> int:
    """Packets that the far end has got since this was asked last."""
    return len(arrived(far_end.rtp))


def raise_it(*_: object, **__: object) -> Any:
    raise RuntimeError("broken")


def break_plays(made: Box, far_end: FarEnd) -> None:
    stream = made.engine._slots.get(far_end.stream)
    assert stream is not None
    made.engine.handle(link.QueueAudio(far_end.stream, "a", b"\1\0" * 8000), made.clock.at)

    class Broken:
        is_idle = False
        read = read_ahead = take_marks = stop = raise_it

    stream.plays = Broken()  # type: ignore[assignment]


def break_encoder(made: Box, far_end: FarEnd) -> None:
    stream = made.engine._slots.get(far_end.stream)
    assert stream is not None
    assert stream.leg is not None
    made.engine.handle(link.SendDigits(far_end.stream, "1"), made.clock.at)

    class Broken:
        is_idle = False
        n_waiting = 0
        next_packet = raise_it

    stream.leg.digits_out = Broken()  # type: ignore[assignment]
    made.engine._is_stale = True


def break_housekeeping(made: Box, far_end: FarEnd) -> None:
    stream = made.engine._slots.get(far_end.stream)
    assert stream is not None

    class Broken:
        look = raise_it

    stream.one_way = Broken()  # type: ignore[assignment]


@pytest.mark.parametrize("break_it", [break_plays, break_encoder, break_housekeeping])
def test_stream_that_fails_in_the_tick_is_given_up_alone(break_it: Callable[[Box, FarEnd], None]) -> None:
    with box() as made:
        broken, well = made.call(Conditions(), 1), made.call(Conditions(), 2)
        made.run(20)
        n_sent(well)
        break_it(made, broken)
        made.run(30)
        (failed,) = told(broken, link.StreamFailed)
        assert "broken" in failed.reason
        assert n_sent(well) == 30
        assert not told(well, link.StreamFailed)
        made.run(10)
        assert n_sent(well) == 10
        n_sent(broken)
        made.run(10)
        assert n_sent(broken) == 0
        assert made.close(broken).stream == broken.stream
        made.run(5)
        assert n_sent(well) == 15


def test_every_stream_goes_on_being_heard_when_one_fails_in_the_hearing_half() -> None:
    with box() as made:
        broken, well = (
            made.call(Conditions(), 1, codec="l16_8000", payload_type=96, encode=lambda _: bytes(320)),
            made.call(Conditions(), 2),
        )
        made.run(20)
        stream = made.engine._slots.get(broken.stream)
        assert stream is not None
        assert stream.leg is not None

        class Broken:
            is_batched = False
            codec = stream.leg.sound.codec
            jitter = stream.leg.sound.jitter
            losses = stream.leg.sound.losses
            pop = skip = raise_it

        stream.leg.sound = Broken()  # type: ignore[assignment]
        made.run(50)
        assert len(told(broken, link.StreamFailed)) == 1
        assert not told(well, link.StreamFailed)
        assert len(made.heard(well).numbers) > 50
        made.close(broken)


def test_datagram_that_cannot_be_judged_is_dropped_and_its_stream_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with box() as made:
        hit, well = made.call(Conditions(), 1), made.call(Conditions(), 2)
        made.run(10)
        stream = made.engine._slots.get(hit.stream)
        assert stream is not None
        assert stream.leg is not None
        monkeypatch.setattr(type(stream.leg), "take_packet", raise_it)
        made.deliver(hit, b"\x90" + bytes(40))  # not the simple kind
        monkeypatch.undo()
        made.run(50)
        assert not told(hit, link.StreamFailed)
        assert not told(well, link.StreamFailed)
        assert len(made.heard(hit).numbers) > 40
        assert made.close(hit).packets_dropped == 1


def test_order_that_fails_is_refused_and_its_stream_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with box() as made:
        far_end = made.call(Conditions(), 1)
        monkeypatch.setattr(made.engine._sending, "set_ambience", raise_it)
        made.engine.handle(link.StartAmbience(far_end.stream, "x"), made.clock.at)
        (refused,) = told(far_end, link.OrderRefused)
        assert (refused.order, refused.reason) == ("StartAmbience", "RuntimeError('broken')")
        made.run(10)
        assert n_sent(far_end) == 10


def test_close_that_fails_in_part_frees_the_stream_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with box() as made:
        far_end = made.call(Conditions(), 1)
        made.run(5)
        monkeypatch.setattr(made.engine._recording, "end", raise_it)
        made.close(far_end)
        monkeypatch.undo()
        assert made.engine.n_streams == 0
        again = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        again.bind(far_end.target)
        again.close()
        made.run(5)


def test_tick_that_fails_for_no_stream_goes_on_for_a_while_and_then_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    with box() as made:
        made.call(Conditions(), 1)
        n_failures = [0]

        def fail_once(*_: object) -> None:
            n_failures[0] += 1
            if len(made.engine._sending._together) != 0 and n_failures[0] % 2:
                raise RuntimeError("now and then")

        monkeypatch.setattr(made.engine._sending, "run", fail_once)
        with pytest.raises(RuntimeError, match="now and then"):
            made.run(200)
        assert n_failures[0] > 80
