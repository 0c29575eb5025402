"""Streams without RTP: what is fed goes the way of a caller's packets, and what is sent comes back as reports."""

from __future__ import annotations

import asyncio
import time
import wave
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from engine_box import Box, box

from active_call.bench.speech import speech
from active_call.media.link import messages as link
from active_call.media.link.messages import (
    CallerAudio,
    MessageSent,
    OrderRefused,
    RecordingEnded,
    SentAudio,
    SpeechEnded,
    SpeechStarted,
    StreamClosed,
)
from active_call.testing.fakes.net import Conditions
from active_call.testing.sound.voice import speak

Samples = np.ndarray[Any, Any]


def tone(hz: float, seconds: float, rate_hz: int) -> Samples:
    return np.asarray(8000 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate_hz)) / rate_hz)).astype("<i2")


def pitch(sound: Samples, rate_hz: int) -> float:
    """Its loudest frequency."""
    return float(np.abs(np.fft.rfft(sound)).argmax() * rate_hz / len(sound))


class Fed:
    """A stream without RTP in the box."""

    def __init__(self, made: Box, number: int, rate_hz: int = 16_000) -> None:
        self.made, self.number, self.rate_hz = made, number, rate_hz
        self.order(link.OpenStream(number, "", rate_hz))
        assert link.Opened(number, 0) in made.reports

    def order(self, order: link.Order) -> None:
        self.made.engine.handle(order, self.made.clock.at)

    def told(self, kind: type) -> list[Any]:
        return [report for report in self.made.reports if isinstance(report, kind) and report.stream == self.number]

    def sound(self, kind: type) -> Samples:
        return np.frombuffer(b"".join(report.pcm for report in self.told(kind)), "<i2")


def talk(sounds: dict[Fed, Samples], n_ticks: int) -> None:
    """Feed each stream its sound, 20 ms a tick as in real time."""
    (made,) = {stream.made for stream in sounds}
    for tick in range(n_ticks):
        for stream, sound in sounds.items():
            n = stream.rate_hz // 50
            piece = sound[tick * n : (tick + 1) * n]
            if len(piece):
                stream.order(link.FeedAudio(stream.number, piece.astype("<i2").tobytes()))
        made.run(1)


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 48_000])
def test_fed_sound_is_forwarded_at_16_khz(rate_hz: int) -> None:
    with box() as made:
        stream = Fed(made, 1, rate_hz)
        stream.order(link.Listen(1, False, True))
        talk({stream: tone(1000, 1.0, rate_hz)}, 60)
        assert [(report.from_ip, report.from_port) for report in stream.told(link.MediaStarted)] == [("", 0)]
        pieces = stream.told(CallerAudio)
        assert [piece.sample for piece in pieces] == list(np.cumsum([0, *(len(piece.pcm) // 2 for piece in pieces)])[:-1])
        heard = stream.sound(CallerAudio)
        assert len(heard) >= 55 * 320
        assert pitch(heard[1600:13_600], 16_000) == pytest.approx(1000, abs=2)


def test_fed_sound_at_16_khz_is_forwarded_bit_by_bit() -> None:
    with box() as made:
        stream = Fed(made, 1)
        stream.order(link.Listen(1, False, True))
        sound = tone(700, 1.0, 16_000)
        talk({stream: sound}, 60)
        heard = stream.sound(CallerAudio)
        (begin,) = np.flatnonzero(heard)[:1]
        assert heard[begin - 1 : begin - 1 + len(sound)].tolist() == sound.tolist()  # the first sample of a sine is 0


@pytest.mark.parametrize("rate_hz", [8000, 16_000])
def test_speech_in_fed_sound_is_detected(rate_hz: int) -> None:
    spoken_of = speech()
    first = max(int(np.flatnonzero(spoken_of.is_phrase)[0]) - 25, 0)
    narrow = spoken_of.frames[first : first + 200].reshape(-1)
    spoken = narrow if rate_hz == 8000 else np.repeat(narrow, 2)
    sound = np.concatenate((np.zeros(rate_hz // 2, np.int16), spoken, np.zeros(rate_hz, np.int16)))
    with box() as made:
        stream = Fed(made, 1, rate_hz)
        stream.order(link.Listen(1, True, False))
        talk({stream: sound}, len(sound) * 50 // rate_hz)
        started, ended = stream.told(SpeechStarted), stream.told(SpeechEnded)
        assert len(started) >= 1
        assert len(ended) in (len(started), len(started) - 1)
        assert 0.4 < started[0].at - 1000.0 < 2.0
        assert started[0].sample == pytest.approx((started[0].at - 1000.0) * 16_000, abs=3200)


def test_fed_sound_is_recorded_left_and_what_is_sent_right(tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    with box() as made:
        stream = Fed(made, 1)
        stream.order(link.StartRecording(1, str(path), 16_000))
        stream.order(link.QueueAudio(1, "a", tone(500, 1.0, 16_000).tobytes(), end=True))
        talk({stream: tone(1200, 1.0, 16_000)}, 55)
        stream.order(link.CloseStream(1))
    with wave.open(str(path)) as recorded:
        both = np.frombuffer(recorded.readframes(recorded.getnframes()), "<i2").reshape(-1, 2)
    assert pitch(both[3200:14_400, 0], 16_000) == pytest.approx(1200, abs=2)
    assert pitch(both[3200:14_400, 1], 16_000) == pytest.approx(500, abs=2)
    assert [report.error for report in stream.told(RecordingEnded)] == [""]


def test_what_is_sent_comes_back_sample_by_sample() -> None:
    with box() as made:
        stream = Fed(made, 1)
        sound = tone(440, 0.5, 16_000)
        stream.order(link.ForwardSent(1, True))
        stream.order(link.QueueAudio(1, "a", sound.tobytes(), end=True))
        made.run(30)
        reports = stream.told(SentAudio)
        assert [report.sample for report in reports] == [320 * n for n in range(30)]
        sent = stream.sound(SentAudio)
        assert sent[: len(sound)].tolist() == sound.tolist()
        assert not sent[len(sound) :].any()
        stream.order(link.ForwardSent(1, False))
        made.run(5)
        assert len(stream.told(SentAudio)) == 30


def test_ambience_is_in_what_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "office.pcm"
    path.write_bytes(tone(300, 1.0, 16_000).tobytes())
    with box() as made:
        stream = Fed(made, 1)
        stream.order(link.ForwardSent(1, True))
        stream.order(link.StartAmbience(1, str(path), normal_level=0.5, duck_level=0.5))
        for _ in range(200):
            made.run(1)
            if len(stream.sound(SentAudio)) > 16_000 and stream.sound(SentAudio)[-8000:].any():
                break
            time.sleep(0.005)  # a thread reads the file
        made.run(50)
        assert pitch(stream.sound(SentAudio)[-16_000:], 16_000) == pytest.approx(300, abs=2)


def test_two_streams_without_rtp_hear_each_other() -> None:
    with box() as made:
        one, two = Fed(made, 1), Fed(made, 2, 8000)
        for stream in (one, two):
            stream.order(link.ForwardSent(stream.number, True, 100))
        one.order(link.BridgeStreams(1, 2))
        talk({one: tone(600, 1.5, 16_000), two: tone(900, 1.5, 8000)}, 75)
        assert pitch(one.sound(SentAudio)[8000:16_000], 16_000) == pytest.approx(900, abs=3)
        assert pitch(two.sound(SentAudio)[4000:8000], 8000) == pytest.approx(600, abs=3)


def test_fed_stream_and_a_call_hear_each_other() -> None:
    with box() as made:
        far_end = made.call(Conditions(), 1)
        fed = Fed(made, 9)
        fed.order(link.ForwardSent(9, True))
        fed.order(link.BridgeStreams(9, far_end.stream))
        made.run(75)
        assert np.abs(fed.sound(SentAudio)[16_000:].astype(float)).max() > 5000


def test_sound_for_a_stream_with_rtp_is_refused() -> None:
    with box() as made:
        far_end = made.call(Conditions(), 1)
        made.engine.handle(link.FeedAudio(far_end.stream, bytes(640)), made.clock.at)
        assert [report.order for report in far_end.reports if isinstance(report, OrderRefused)] == ["FeedAudio"]


def test_half_a_sample_waits_for_its_other_half() -> None:
    with box() as made:
        stream = Fed(made, 1)
        stream.order(link.Listen(1, False, True))
        sound = tone(1000, 0.4, 16_000).tobytes()
        for at in range(0, len(sound), 641):
            stream.order(link.FeedAudio(1, sound[at : at + 641]))
            made.run(1)
        made.run(10)
        heard = stream.sound(CallerAudio)
        (begin,) = np.flatnonzero(heard)[:1]
        assert heard[begin - 1 : begin - 1 + len(sound) // 2].tobytes() == sound
        assert not stream.told(OrderRefused)


def test_stream_that_is_closed_reports_no_more_sound() -> None:
    with box() as made:
        stream = Fed(made, 1)
        stream.order(link.ForwardSent(1, True, 1000))
        made.run(10)
        stream.order(link.CloseStream(1))
        made.run(10)
        (report,) = stream.told(SentAudio)
        assert len(report.pcm) == 10 * 640
        assert made.reports.index(report) < made.reports.index(stream.told(StreamClosed)[0])


def test_fed_stream_in_a_media_process_is_heard_by_a_call_and_hears_it(media: Any) -> None:
    """Through the pool, the link and a process of its own."""

    async def story() -> None:
        async with media.pool() as pool, media.call(pool=pool) as call:
            reports: list[Any] = []
            stream = await pool.open_stream(reports.append, rtp=False, rate_hz=16_000)
            assert (stream.port, stream.rate_hz, stream.pid) == (0, 16_000, call.stream.pid)
            stream.forward_sent(True)
            stream.listen(detect=False, forward_audio=True)
            stream.bridge(call.stream)
            sound = tone(1000, 0.02, 16_000).tobytes()
            loudest = 0
            for number in range(75):
                stream.feed_audio(sound)
                packet = await call.peer.receive()
                call.peer.send(bytes([0x80 + number % 0x40]) * 160, call.stream.port)
                loudest = max(loudest, *(0x7F - (code & 0x7F) for code in packet.payload))
            assert loudest > 0x40
            closed = await stream.close()
            assert closed is not None
            heard = np.frombuffer(b"".join(each.pcm for each in reports if isinstance(each, CallerAudio)), "<i2")
            assert np.abs(heard.astype(int)).max() == pytest.approx(8000, abs=100)
            sent = np.frombuffer(b"".join(each.pcm for each in reports if isinstance(each, SentAudio)), "<i2")
            assert np.abs(sent.astype(int)).max() > 1000

    asyncio.run(asyncio.wait_for(story(), 20))


@pytest.mark.parametrize("rate_hz", [8000, 16_000])
def test_pauses_are_told_at_their_moments_to_those_who_ask(rate_hz: int) -> None:
    narrow = speak("Where were you all year long? We were rowing along a lonely river.", "en")
    spoken = narrow if rate_hz == 8000 else np.repeat(narrow, 2)
    sound = np.concatenate((np.zeros(rate_hz // 2, np.int16), spoken, np.zeros(2 * rate_hz, np.int16)))
    with box() as made:
        asking, other = Fed(made, 1, rate_hz), Fed(made, 2, rate_hz)
        asking.order(link.Listen(1, True, False, pauses=True))
        other.order(link.Listen(2, True, False))
        talk({asking: sound, other: sound}, len(sound) * 50 // rate_hz)
        last = asking.told(SpeechEnded)[-1]
        pauses = [pause for pause in asking.told(link.PauseHeard) if pause.since == last.at]
        assert [pause.silence_ms for pause in pauses] == pytest.approx([200, 400, 700, 1000, 1300], abs=20)
        assert pauses[0].pitch_change_st < -1, "a statement falls"
        assert pauses[-1].voice_probability < 0.3 and pauses[-1].energy_db < -60
        assert other.told(SpeechEnded) and not other.told(link.PauseHeard)


@pytest.mark.parametrize("recording_hz", [8000, 16_000])
@pytest.mark.parametrize("rate_hz", [8000, 16_000, 48_000])
def test_stream_of_any_rate_is_recorded_at_any_rate(tmp_path: Path, rate_hz: int, recording_hz: int) -> None:
    path = tmp_path / "call.wav"
    with box() as made:
        stream = Fed(made, 1, rate_hz)
        stream.order(link.StartRecording(1, str(path), recording_hz))
        stream.order(link.QueueAudio(1, "a", tone(500, 1.0, rate_hz).tobytes(), end=True))
        talk({stream: tone(1200, 1.0, rate_hz)}, 55)
        stream.order(link.CloseStream(1))
    with wave.open(str(path)) as recorded:
        both = np.frombuffer(recorded.readframes(recorded.getnframes()), "<i2").reshape(-1, 2)
    middle = slice(recording_hz // 5, recording_hz * 7 // 10)
    assert pitch(both[middle, 0], recording_hz) == pytest.approx(1200, abs=3)
    assert pitch(both[middle, 1], recording_hz) == pytest.approx(500, abs=3)
    assert [report.error for report in stream.told(RecordingEnded)] == [""]


class Client:
    """FFmpeg's codecs, as a client has them."""

    def __init__(self, codec: str) -> None:
        self._name, self._rate_hz = ("libopus", 48_000) if codec == "opus" else ("g722", 16_000)

    def encoded(self, sound: Samples) -> list[bytes]:
        """Messages of 20 ms."""
        encoder = av.CodecContext.create(self._name, "w")
        encoder.sample_rate, encoder.layout, encoder.format = self._rate_hz, "mono", "s16"
        size, found = self._rate_hz // 50, []
        for at in range(0, len(sound), size):
            frame = av.AudioFrame.from_ndarray(sound[at : at + size].reshape(1, -1), format="s16", layout="mono")
            frame.sample_rate, frame.pts = self._rate_hz, at
            found += [bytes(packet) for packet in encoder.encode(frame)]
        return found if self._name == "libopus" else [b"".join(found)[at : at + 160] for at in range(0, len(b"".join(found)), 160)]

    def decoded(self, messages: list[bytes]) -> Samples:
        decoder = av.CodecContext.create(self._name, "r")
        decoder.sample_rate, decoder.layout = self._rate_hz, "mono"
        to_pcm = av.AudioResampler("s16", "mono", self._rate_hz)
        frames = [frame for message in messages for frame in decoder.decode(av.Packet(message))]
        return np.concatenate([part.to_ndarray().reshape(-1) for frame in frames for part in to_pcm.resample(frame)])

    def tone(self, hz: float, seconds: float) -> Samples:
        return tone(hz, seconds, self._rate_hz)

    def pitch(self, sound: Samples) -> float:
        return pitch(sound, self._rate_hz)


@pytest.mark.parametrize("codec", ["g722", "opus"])
def test_messages_are_encoded_and_decoded_here_as_ffmpeg_does(codec: str) -> None:
    client = Client(codec)
    with box() as made:
        stream = Fed(made, 1)
        stream.order(link.UseMessages(1, codec))
        stream.order(link.Listen(1, False, True))
        stream.order(link.QueueAudio(1, "a", tone(500, 1.0, 16_000).tobytes(), end=True))
        for message in client.encoded(client.tone(1200, 1.0)):
            stream.order(link.FeedAudio(1, message))
            made.run(1)
        made.run(10)
        assert pitch(stream.sound(CallerAudio)[3200:12_800], 16_000) == pytest.approx(1200, abs=3)
        ours = client.decoded([report.data for report in stream.told(MessageSent)])
        assert client.pitch(ours[len(ours) // 8 : len(ours) * 6 // 8]) == pytest.approx(500, abs=3)
        assert not stream.told(SentAudio) and not stream.told(OrderRefused)


def test_malformed_packet_is_refused_and_the_next_one_is_heard(caplog: pytest.LogCaptureFixture) -> None:
    client = Client("opus")
    with box() as made:
        stream = Fed(made, 1)
        stream.order(link.UseMessages(1, "opus"))
        stream.order(link.Listen(1, False, True))
        for message in client.encoded(client.tone(1200, 1.0)):
            stream.order(link.FeedAudio(1, b"\x7b\x05\xff"))
            stream.order(link.FeedAudio(1, message))
            made.run(1)
        made.run(10)
        refused = stream.told(OrderRefused)
        assert len(refused) >= 49 and {report.order for report in refused} == {"FeedAudio"}
        assert "Opus packet" in refused[0].reason
        assert pitch(stream.sound(CallerAudio)[3200:12_800], 16_000) == pytest.approx(1200, abs=3)
        assert not caplog.records  # a client cannot fill the log


@pytest.mark.parametrize(("rate_hz", "order"), [(8000, link.UseMessages(1, "opus")), (16_000, link.UseMessages(1, "pcm", 8000))])
def test_codec_of_another_rate_is_refused(rate_hz: int, order: link.UseMessages) -> None:
    with box() as made:
        stream = Fed(made, 1, rate_hz)
        stream.order(order)
        assert [report.order for report in stream.told(OrderRefused)] == ["UseMessages"]
        made.run(2)
        assert not stream.told(MessageSent)


def test_messages_for_a_stream_with_rtp_are_refused() -> None:
    with box() as made:
        far_end = made.call(Conditions(), 1)
        made.engine.handle(link.UseMessages(far_end.stream, "opus"), made.clock.at)
        assert [report.order for report in far_end.reports if isinstance(report, OrderRefused)] == ["UseMessages"]


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 24_000, 48_000])
def test_pcm_of_every_rate_comes_and_goes_at_that_rate(rate_hz: int) -> None:
    stream_hz = 48_000 if rate_hz == 24_000 else rate_hz
    with box() as made:
        stream = Fed(made, 1, stream_hz)
        stream.order(link.UseMessages(1, "pcm", rate_hz))
        stream.order(link.Listen(1, False, True))
        stream.order(link.QueueAudio(1, "a", tone(500, 1.0, stream_hz).tobytes(), end=True))
        sound = tone(1200, 1.0, rate_hz).tobytes()
        size = rate_hz // 25 + 3  # an odd number of bytes
        for at in range(0, len(sound), size):
            stream.order(link.FeedAudio(1, sound[at : at + size]))
            made.run(1)
        made.run(10)
        assert pitch(stream.sound(CallerAudio)[3200:12_800], 16_000) == pytest.approx(1200, abs=3)
        messages = [report.data for report in stream.told(MessageSent)]
        assert {len(message) for message in messages} == {rate_hz // 25}
        ours = np.frombuffer(b"".join(messages[5:45]), "<i2")
        assert pitch(ours, rate_hz) == pytest.approx(500, abs=3)


def test_muted_stream_and_its_end_are_silent() -> None:
    with box() as made:
        stream = Fed(made, 1)
        stream.order(link.UseMessages(1, "pcm"))
        stream.order(link.QueueAudio(1, "a", tone(500, 1.0, 16_000).tobytes(), end=True))
        made.run(5)
        stream.order(link.MuteStream(1, True))
        made.run(5)
        stream.order(link.CloseStream(1))
        made.run(5)
        is_sound = [any(report.data) for report in stream.told(MessageSent)]
        assert is_sound == [True] * 5 + [False] * 5


@pytest.mark.parametrize("n_samples", [0, 320 * 40])
def test_end_of_a_play_in_a_long_silence_is_followed_by_a_message(n_samples: int) -> None:
    with box() as made:
        stream = Fed(made, 1)
        stream.order(link.UseMessages(1, "pcm", 16_000, silent_frames=5))
        made.run(30)
        assert len(stream.told(MessageSent)) == 1  # the silence is reported once
        stream.order(link.QueueAudio(1, "p", bytes(2 * n_samples), end=True))
        made.run(100)
        kinds = [type(report) for report in made.reports if isinstance(report, link.PlayEnded | MessageSent)]
        assert kinds.count(link.PlayEnded) == 1 and kinds[-1] is MessageSent
        assert len(kinds) <= 5
