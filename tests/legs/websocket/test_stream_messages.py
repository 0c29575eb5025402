"""Messages of carriers that no document shows: each costs nothing but itself."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.legs.websocket.carriers.media_messages import read_sound
from active_call.legs.websocket.carriers.messages import (
    Digit,
    FrameError,
    MessageWriter,
    Other,
    Played,
    Sound,
    Started,
    Stopped,
    read_message,
)
from active_call.legs.websocket.carriers.order import MAX_WAITING, ChunkOrder
from active_call.legs.websocket.carriers.playout import MAX_MARKS, Playout
from active_call.legs.websocket.carriers.profile import NAMES, StreamProfile, stream_profile
from active_call.testing.media_streams import STREAMS


def profile(name: str) -> StreamProfile:
    found = stream_profile(name)
    assert found is not None
    return found


def media(payload: Any, **more: Any) -> str:
    return json.dumps({"event": "media", "media": {"payload": payload, **more}})


ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 10**16), st.floats(allow_nan=False), st.text(max_size=6), st.just("inbound_track"),
    st.binary(max_size=9).map(lambda data: base64.b64encode(data).decode()),
    st.sampled_from(["AA=", "A A=", "AB==", "AA==\n", "-_==", "1" * 17]),
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["payload", "track", "chunk", "other"]), ODD), st.sampled_from(["media", "stop", "mark", 7]))
def test_sound_read_the_quick_way_is_what_the_long_way_reads(values: dict[str, Any], event: Any) -> None:
    """The long way is forced by a profile with the same values at a further path."""
    quick = profile("twilio")
    long = msgspec.structs.replace(quick, paths={**quick.paths, "payload": ("media.payload", "none")})
    message = json.dumps({"event": event, "media": values})

    def read(carrier: StreamProfile) -> Any:
        try:
            return read_message(carrier, message)
        except FrameError as error:
            return str(error)

    assert read(quick) == read(long)


def test_sound_of_a_carrier_is_read_the_quick_way() -> None:
    message = media(base64.b64encode(b"sound").decode(), track="inbound", chunk="7")
    assert {read_sound(profile(name), message) for name in NAMES if not profile(name).is_binary} == {(b"sound", 7)}


@pytest.mark.parametrize("name", NAMES)
def test_documented_messages_are_read(name: str) -> None:
    sent: list[str | bytes] = []
    carrier = STREAMS[name](sent.append, {"playbook": "shop", "name": "Ada"})
    carrier.begin()
    carrier.say(bytes(640))
    carrier.press("#")
    carrier._played(json.dumps({"mark": "m1"}) if name == "vonage" else "m1")
    read = [one for one in (read_message(profile(name), message) for message in sent) if not isinstance(one, Other)]
    assert [type(one) for one in read] == [Started, Sound, Digit, Played]
    started, sound, digit, played = read
    assert isinstance(started, Started)
    assert started.parameters == {"playbook": "shop", "name": "Ada"}
    assert (started.codec, started.rate_hz) == {"vonage": ("pcm", 16_000), "exotel": ("pcm", 8000)}.get(name, ("pcmu", 8000))
    assert (getattr(sound, "data", b""), digit, played) == (bytes(640), Digit("#"), Played("m1"))


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ("", "JSON"),
        ("[1]", "event"),
        ('{"event": 7}', "event"),
        ("[" * 5000, "JSON"),
        (media("no base64!"), "base64"),
        (media("AAA"), "base64"),
        (media(None), "payload"),
        ('{"event": "media"}', "payload"),
        ('{"event": "media", "media": []}', "payload"),
        ('{"event": "dtmf", "dtmf": {"digit": "55"}}', "0-9"),
        ('{"event": "dtmf"}', "0-9"),
        ('{"event": "start", "start": {"mediaFormat": {"encoding": "audio/amr"}}}', "encoding"),
        (b"\x00\x01", "binary"),
        ("x" * 600_000, "characters"),
    ],
)
def test_message_that_cannot_be_read_is_named(message: str | bytes, says: str) -> None:
    with pytest.raises(FrameError, match=says):
        read_message(profile("twilio"), message)


def test_unknown_events_other_tracks_and_stops() -> None:
    twilio = profile("twilio")
    assert read_message(twilio, '{"event": "futureThing", "x": 1}') == Other("futureThing")
    assert read_message(twilio, media("AAAA", track="outbound")) == Other("media of the outbound track")
    assert read_message(twilio, '{"event": "stop"}') == Stopped()
    assert read_message(twilio, media("AAAA", chunk="many")) == Sound(bytes(3))


def test_large_frame_is_one_piece_of_sound() -> None:
    data = bytes(range(256)) * 192
    text = media(base64.b64encode(data).decode(), track="inbound", chunk="2")
    assert len(text) > 65_536
    assert read_message(profile("twilio"), text) == Sound(data, 2)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_any_json_is_read_or_refused(body: Any) -> None:
    for name in NAMES:
        for event in (*profile(name).events.values(), "x"):
            wrapped = {"event": event, "start": body, "media": body, "dtmf": body, "mark": body, "extra_headers": body, "digit": body}
            with contextlib.suppress(FrameError):
                read_message(profile(name), json.dumps(wrapped))


def test_values_of_the_flow_are_bounded_and_clean() -> None:
    given_values = {f"k{index}": "v" for index in range(200)} | {"a": "x\x00y", "long": "z" * 9000, "list": [1]}
    body = {"event": "start", "start": {"customParameters": dict(reversed(given_values.items()))}}
    started = read_message(profile("twilio"), json.dumps(body))
    assert isinstance(started, Started)
    assert len(started.parameters) == 64
    assert started.parameters["a"] == "x\ufffdy"
    assert len(started.parameters["long"]) == 2000
    assert "list" not in started.parameters


@pytest.mark.parametrize("text", ['{"X-PH-name": "Ada", "n": 5}', "name=Ada;n=5", "X-PH-name=Ada, n=5"])
def test_extra_headers_of_plivo_are_read_in_every_form(text: str) -> None:
    started = read_message(profile("plivo"), json.dumps({"event": "start", "start": {}, "extra_headers": text}))
    assert isinstance(started, Started)
    assert started.parameters == {"name": "Ada", "n": "5"}


@pytest.mark.parametrize(
    ("encoding", "rate_hz", "codec"), [("L16", 16_000, "pcm"), ("PCMA", 8000, "pcma"), ("G722", 8000, "g722"), ("OPUS", 16_000, "opus")]
)
def test_codecs_of_telnyx(encoding: str, rate_hz: int, codec: str) -> None:
    body = {"event": "start", "stream_id": "s", "start": {"media_format": {"encoding": encoding, "sample_rate": rate_hz}}}
    started = read_message(profile("telnyx"), json.dumps(body))
    assert isinstance(started, Started)
    assert started.codec == codec
    assert json.loads(MessageWriter(profile("telnyx"), started).sound(b"\x01\x02")) == {"event": "media", "media": {"payload": "AQI="}}


def test_pieces_out_of_order_are_put_in_order_and_a_gap_is_given_up() -> None:
    order = ChunkOrder(is_ordered=False)
    heard = [piece for number in (7, 9, 8, 8, 10) for piece in order.take(number, b"%d" % number)]
    assert heard == [b"7", b"8", b"9", b"10"]
    assert order.n_late == 1
    later = [piece for number in range(12, 12 + MAX_WAITING + 1) for piece in order.take(number, b"%d" % number)]
    assert later[0] == b"12"
    assert len(later) == MAX_WAITING + 1
    assert order.n_missing == 1
    assert order.take(9000, b"new count") == [b"new count"]
    assert order.take(None, b"uncounted") == [b"uncounted"]


def test_gap_of_a_carrier_that_keeps_the_order_waits_for_nothing() -> None:
    order = ChunkOrder(is_ordered=True)
    assert [order.take(number, b"x") for number in (1, 2, 5, 4)] == [[b"x"], [b"x"], [b"x"], []]
    assert (order.n_missing, order.n_late) == (2, 1)


@given(st.lists(st.integers(0, 30), max_size=60), st.booleans())
def test_no_piece_is_heard_twice_and_all_are_in_order(numbers: list[int], is_ordered: bool) -> None:
    order = ChunkOrder(is_ordered=is_ordered)
    heard = [int(piece) for number in numbers for piece in order.take(number, b"%d" % number)]
    assert heard == sorted(set(heard))


def test_marks_tell_how_much_was_heard() -> None:
    playout = Playout()
    for index in range(25):
        playout.sent(20, index * 0.02)
    assert playout.wants_mark
    mark = playout.mark()
    assert not playout.wants_mark
    assert playout.ahead_ms(0.5) == 0.0  # no mark has ever come back
    for index in range(25, 50):
        playout.sent(20, index * 0.02)
    assert playout.returned(mark, 0.8)
    assert playout.ahead_ms(0.8) == pytest.approx(500)
    assert playout.ahead_ms(0.9) == pytest.approx(400)
    assert not playout.returned(mark, 0.9)
    assert playout.clear(1.0) == pytest.approx(300)
    assert playout.ahead_ms(1.0) == 0.0


def test_marks_that_never_come_back_do_not_pile_up() -> None:
    playout = Playout()
    names = []
    for _ in range(3 * MAX_MARKS):
        playout.sent(500, 0.0)
        names.append(playout.mark())
    assert len(playout._marks) == MAX_MARKS
    assert playout.returned(names[-1], 1.0)
    assert not playout._marks
