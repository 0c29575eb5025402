"""Orders with numbers that cannot be carried out are refused by the media process, and change nothing."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest
from engine_box import Box, box
from hypothesis import given
from hypothesis import strategies as st

from active_call.agent.playbook.scenes import InterruptionOption
from active_call.contract import commands
from active_call.contract.options import AgcOption, AmbianceOption, VadOption
from active_call.media.enhance.gain import GainSettings
from active_call.media.link import messages as link
from active_call.media.link.framing import OrderReader, Unreadable, frame
from active_call.media.link.order_check import check_order
from active_call.testing.fakes.net import Conditions
from searches import searching

RTP = link.ConfigureRtp(1, "127.0.0.1", 4000, "pcmu", 0, 0, 101, 101)


@pytest.mark.parametrize(
    "order",
    [
        link.StopPlay(1, "", 10**13),
        link.StopPlay(1, "", -1),
        link.StopMusic(1, 2**62),
        link.SendDigits(1, "1", 3_000_000),
        link.SendDigits(1, "1" * 100_000, 100),
        link.Listen(1, True, False, threshold=7.0),
        link.Listen(1, True, False, threshold=float("nan")),
        link.Listen(1, True, False, silence_ms=-5),
        link.StartAmbience(1, "x", duck_level=float("inf")),
        link.ImproveSound(1, False, GainSettings(max_gain_db=1e9)),
        link.ImproveSound(1, False, GainSettings(headroom_db=float("nan"))),
        link.StartRecording(1, "a.wav", rate_hz=1),
        link.UseMessages(1, "mp3"),
        link.UseMessages(1, "pcm", 44_100),
        link.UseMessages(1, "pcm", 16_000, silent_frames=-1),
        link.StartRecording(1, "a\0.wav"),
        link.StartRecording(1, "a.wav", flush_ms=0),
        link.FinishPlay(1, "a", tuple(range(20_000))),
        link.OpenStream(1, "localhost"),
        link.OpenStream(1, "127.0.0.1", rate_hz=10**12),
        msgspec.structs.replace(RTP, remote_port=70_000),
        msgspec.structs.replace(RTP, remote_ip="example.com"),
        msgspec.structs.replace(RTP, remote_rtcp_ip="example.com"),
        msgspec.structs.replace(RTP, rtp_timeout_s=float("inf")),
        msgspec.structs.replace(RTP, send_payload_type=300),
        msgspec.structs.replace(RTP, ptime_ms=0),
        msgspec.structs.replace(RTP, receive_formats=((400, "pcmu"),)),
        msgspec.structs.replace(RTP, ssrc=2**40),
    ],
)
def test_order_that_cannot_be_carried_out_is_refused(order: Any) -> None:
    with pytest.raises(ValueError, match="out of range"):
        check_order(order)


def test_orders_of_every_day_pass() -> None:
    for order in (RTP, link.StopPlay(1), link.SendDigits(1, "12#"), link.Listen(1, True, True), link.ImproveSound(1, True, GainSettings())):
        check_order(order)


def refused(made: Box, order: Any) -> list[str]:
    far_end = next(iter(made.far_ends.values()))
    n_before = len(far_end.reports)
    made.engine.handle(order, made.clock.at)
    return [report.reason for report in far_end.reports[n_before:] if isinstance(report, link.OrderRefused)]


def test_sound_that_waits_is_bounded_and_the_stream_goes_on() -> None:
    with box() as made:
        far_end = made.call(Conditions(), 1)
        minute = b"\1\0" * 8000 * 60
        told = [refused(made, link.QueueAudio(far_end.stream, f"a{n}", minute)) for n in range(12)]
        assert [bool(each) for each in told] == [False] * 10 + [True] * 2
        assert refused(made, link.StopPlay(far_end.stream)) == []
        assert refused(made, link.QueueAudio(far_end.stream, "b", minute)) == []
        assert any(refused(made, link.QueueAudio(far_end.stream, f"c{n}", b"\0\0")) for n in range(400))
        assert any(refused(made, link.QueueMusic(far_end.stream, minute)) for _ in range(12))
        assert any(refused(made, link.SendDigits(far_end.stream, "1" * 100)) for _ in range(3))
        made.run(5)


def test_message_that_is_no_order_costs_nothing_but_itself() -> None:
    reader = OrderReader()
    broken = [msgspec.msgpack.encode(["stop", 7, "x", "soon"]), b"\xc1", msgspec.msgpack.encode(["nonsense", 1]), msgspec.msgpack.encode(3)]
    stream = b"".join(len(body).to_bytes(4, "big") + body for body in broken)
    found = reader.feed(stream + frame(link.StopPlay(7)))
    assert [type(each) for each in found] == [Unreadable] * 4 + [link.StopPlay]
    assert isinstance(found[0], Unreadable)
    assert (found[0].stream, found[0].tag) == (7, "stop")


_NUMBERS = st.one_of(st.integers(-(2**63), 2**64 - 1), st.sampled_from([0, -1, 1, 2**31, 2**32, 10**13]))
_ORDERS = st.one_of(
    st.builds(link.StopPlay, st.just(1), st.just(""), _NUMBERS),
    st.builds(link.StopMusic, st.just(1), _NUMBERS),
    st.builds(link.SendDigits, st.just(1), st.text(alphabet="0123456789*#ABCDx", max_size=200), _NUMBERS),
    st.builds(link.Listen, st.just(1), st.booleans(), st.booleans(), st.floats(), _NUMBERS, _NUMBERS),
    st.builds(link.StartAmbience, st.just(1), st.just(""), _NUMBERS, st.floats(), st.floats(), st.floats()),
    st.builds(link.FinishPlay, st.just(1), st.just("a"), st.lists(_NUMBERS, max_size=5).map(tuple)),
    st.builds(link.QueueAudio, st.just(1), st.text(max_size=5), st.binary(max_size=400), st.booleans()),
    st.builds(link.MuteStream, st.just(1), st.booleans(), st.text(max_size=8)),
    st.builds(link.BridgeStreams, st.just(1), _NUMBERS, st.booleans()),
    st.builds(
        link.ConfigureRtp,
        st.just(1),
        st.sampled_from(["127.0.0.1", "", "0.0.0.0", "::1", "localhost"]),
        _NUMBERS,
        st.sampled_from(["pcmu", "g722", "opus", "x"]),
        _NUMBERS,
        _NUMBERS,
        _NUMBERS,
        _NUMBERS,
        _NUMBERS,
        event_clock_hz=_NUMBERS,
        ssrc=_NUMBERS,
    ),
)


@searching(20)
@given(st.lists(_ORDERS, max_size=6))
def test_property_no_order_stops_the_tick_or_another_stream(orders: list[Any]) -> None:
    with box() as made:
        made.call(Conditions(), 1)
        other = made.call(Conditions(), 2)
        for order in orders:
            made.engine.handle(order, made.clock.at)
            made.run(1)
        made.run(3)
        assert not [report for report in other.reports if isinstance(report, link.StreamFailed | link.OrderRefused)]


def limits(cls: type[msgspec.Struct], name: str) -> tuple[float, float]:
    """The bounds of a field of the contract."""
    field = next(info for info in msgspec.structs.fields(cls) if info.name == name)
    for part in (field.type, *get_args(field.type)):
        for meta in getattr(part, "__metadata__", ()):
            if isinstance(meta, msgspec.Meta) and meta.ge is not None and meta.le is not None:
                return float(meta.ge), float(meta.le)
    raise AssertionError(f"{cls.__name__}.{name} has no bounds")


@pytest.mark.parametrize("end", [0, 1])
def test_no_option_that_the_contract_accepts_is_refused_by_the_media_process(end: int) -> None:
    names = [info.name for info in msgspec.structs.fields(AgcOption) if info.name != "enable_limiter"]
    check_order(link.ImproveSound(1, False, GainSettings(**{name: limits(AgcOption, name)[end] for name in names})))
    vad = {"threshold": limits(VadOption, "voice_threshold")[end], "silence_ms": int(limits(VadOption, "silence_padding")[end])}
    least_ms = int(limits(InterruptionOption, "min_speech_ms")[end])
    check_order(link.Listen(1, True, False, min_speech_ms=least_ms, **vad))
    fade_ms = int(limits(InterruptionOption, "volume_fade_ms")[end])
    check_order(link.PauseOnVoice(1, True, least_ms, 0, fade_ms))
    check_order(link.PausePlay(1, True, fade_ms, 0))
    check_order(link.StopPlay(1, "", int(limits(commands.Interrupt, "fade_out_ms")[end])))
    check_order(link.SendDigits(1, "1", int(limits(commands.Dtmf, "duration")[end])))
    levels = {name: limits(AmbianceOption, name)[end] for name in ("duck_level", "normal_level", "transition_speed")}
    check_order(link.StartAmbience(1, "x", **levels))
