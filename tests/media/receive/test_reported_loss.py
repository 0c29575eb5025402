"""What the peer's RTCP says of our packets changes how much Opus repeats, and stands in the stream's last report."""

from __future__ import annotations

import socket

import msgspec
import numpy as np
import pytest
from engine_box import Box, FarEnd, box

from active_call.codec.opus import CLEAN_REPORTS, MAX_LOSS_PERCENT, MIN_LOSS_PERCENT, OpusEncoder, OpusSettings
from active_call.media.link import messages as link
from active_call.rtp import rtcp
from active_call.testing.fakes.net import Conditions


def opus_call(made: Box, parameters: str) -> FarEnd:
    encoder = OpusEncoder(16_000)
    frame = np.asarray(3000 * np.sin(np.arange(320) / 5)).astype(np.int16)
    far_end = made.call(Conditions(), 1, codec="opus", encode=lambda _: encoder.encode(frame), payload_type=96, timestamp_step=960)
    config = made.engine._slots.get(far_end.stream).leg.config  # type: ignore[union-attr]
    assert config is not None
    made.engine.handle(msgspec.structs.replace(config, send_parameters=parameters), made.clock.at)
    made.run(30)
    return far_end


def report(made: Box, far_end: FarEnd, fraction_lost: int) -> int:
    """The peer reports; gives the loss that the encoder expects then."""
    stream = made.engine._slots.get(far_end.stream)
    assert stream is not None
    assert stream.leg is not None
    ours = int(made.engine._batch.ssrc[stream.slot])
    block = rtcp.ReportBlock(ours, fraction_lost, 5, 100, 0, 0, 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        packet = rtcp.build_receiver_report(rtcp.ReceiverReport(far_end.ssrc, (block,)), "peer")
        peer.sendto(packet, (far_end.target[0], far_end.target[1] + 1))
        stream.leg.rtcp_socket.setblocking(True)
        assert stream.control is not None
        stream.control.receive(made.clock.at)
        stream.leg.rtcp_socket.setblocking(False)
    made.run(60)
    encoder = stream.leg._encoder
    assert isinstance(encoder, OpusEncoder)
    return encoder.expected_loss_percent


def test_loss_that_the_peer_reports_is_repaired_and_recorded() -> None:
    with box() as made:
        far_end = opus_call(made, "useinbandfec=1")
        assert report(made, far_end, 64) == 25
        assert report(made, far_end, 0) == 19
        closed = made.close(far_end)
        assert isinstance(closed, link.StreamClosed)
        assert closed.peer_loss_percent == pytest.approx(12.5)


def test_peer_that_wants_no_fec_gets_none() -> None:
    with box() as made:
        assert report(made, opus_call(made, ""), 64) == 0


@pytest.mark.parametrize("parameters", ["useinbandfec=1", ""])
def test_encoder_of_a_peer_that_reports_no_loss_uses_celt(parameters: str) -> None:
    with box() as made:
        far_end = opus_call(made, parameters)
        for _ in range(CLEAN_REPORTS):
            report(made, far_end, 0)
        stream = made.engine._slots.get(far_end.stream)
        assert stream is not None
        assert stream.leg is not None
        frame = np.asarray(3000 * np.sin(np.arange(320) / 5)).astype(np.int16)
        stream.leg.encode(frame)  # the packet of the change
        assert stream.leg.encode(frame)[0] >> 3 >= 16  # RFC 6716 table 2
        report(made, far_end, 1)
        stream.leg.encode(frame)
        assert stream.leg.encode(frame)[0] >> 3 < 16


def test_expected_loss_rises_at_once_falls_slowly_and_has_bounds() -> None:
    encoder = OpusEncoder(16_000, OpusSettings(expected_loss_percent=10))
    seen = []
    for percent in (0, 0, 40, 0, 0):
        encoder.take_loss(percent)
        seen.append(encoder.expected_loss_percent)
    assert seen == [8, 6, MAX_LOSS_PERCENT, 22, 16]
    for _ in range(30):
        encoder.take_loss(0)
    assert encoder.expected_loss_percent == MIN_LOSS_PERCENT
