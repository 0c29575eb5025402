"""What a call may ask of its sound, at a real media process: digits and tones that are heard, noise and level, background, codecs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from active_call.media.enhance.gain import GainSettings
from active_call.media.link.messages import CallerAudio, CodecChanged, DigitReceived, RecordingEnded, ToneReported
from active_call.testing.sound import audio

SILENCE = b"\xff" * 160


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(story())  # type: ignore[arg-type]


def sine(frequencies: tuple[float, ...], seconds: float, amplitude: float) -> audio.Pcm:
    at = np.arange(int(seconds * 8000)) / 8000
    return np.asarray(amplitude * sum(np.sin(2 * np.pi * hz * at) for hz in frequencies), np.int16)


def frames(sound: audio.Pcm) -> list[bytes]:
    coded = audio.MULAW.encode(sound)
    return [coded[at : at + 160].ljust(160, b"\xff") for at in range(0, len(coded), 160)]


def heard(call: Any) -> np.ndarray:
    return np.concatenate([np.frombuffer(report.pcm, "<i2") for report in call.told(CallerAudio)]).astype(np.float64)


def rms(sound: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(sound))))


def test_digits_that_come_as_sound_are_told_when_asked_for(media: Any) -> None:
    async def story() -> None:
        async with media.call() as call:
            five = frames(sine((770, 1336), 0.1, 4000))
            await call.talk([*[SILENCE] * 5, *five, *[SILENCE] * 5])
            assert not call.told(DigitReceived)
            call.stream.listen(detect=True, forward_audio=False)
            call.stream.hear_tones(digits=True, tones=False)
            await call.talk([*[SILENCE] * 5, *five, *[SILENCE] * 5, *frames(sine((941, 1477), 0.1, 4000)), *[SILENCE] * 10])
            assert [report.digit for report in call.told(DigitReceived)] == ["5", "#"]

    run(story)


def test_busy_tone_is_reported_in_each_period_when_asked_for(media: Any) -> None:
    async def story() -> None:
        async with media.call() as call:
            call.stream.listen(detect=True, forward_audio=False)
            call.stream.hear_tones(digits=False, tones=True)
            period = [*frames(sine((480, 620), 0.5, 3000)), *[SILENCE] * 25]
            await call.talk(period * 4)
            kinds = {report.kind for report in call.told(ToneReported)}
            assert kinds == {"busy"}

    run(story)


def test_quiet_caller_is_made_louder_and_noise_softer_only_when_asked_for(media: Any) -> None:
    async def story() -> None:
        noise = audio.noise(8000, sigma=300.0)
        async with media.call() as call:
            call.stream.listen(detect=False, forward_audio=True)
            await call.talk(frames(noise))
            plain = rms(heard(call)[8000:])
            call.reports.clear()
            call.stream.improve(denoise=True)
            await call.talk(frames(noise) * 2)
            assert rms(heard(call)[16_000:]) < plain / 2
            call.reports.clear()
            call.stream.improve(denoise=False, gain=GainSettings(initial_gain_db=12.0, max_output_noise_level_dbfs=0.0))
            await call.talk(frames(noise))
            assert rms(heard(call)[8000:]) > plain * 2

    run(story)


def test_background_is_heard_under_silence_and_softer_under_the_agent(media: Any, tmp_path: Path) -> None:
    async def story() -> None:
        path = tmp_path / "background"
        path.write_bytes(b"header" + np.full(8000, 8000, "<i2").tobytes())
        async with media.call() as call:
            call.stream.start_ambience(str(path), 6, duck_level=0.1, normal_level=0.5, transition_speed=0.1)

            async def level(n_packets: int) -> float:
                packets = await call.peer.collect(n_packets)
                return float(np.mean([abs(audio.MULAW.decode(packet.payload).astype(int)).mean() for packet in packets[-5:]]))

            assert await level(40) == pytest.approx(4000, rel=0.1)
            call.stream.queue_audio("speech", sine((300,), 1.0, 6000).astype("<i2").tobytes(), end=True)
            spoken = await call.peer.collect(30)
            middle = np.concatenate([audio.MULAW.decode(packet.payload) for packet in spoken[-5:]])
            assert abs(float(middle.mean())) == pytest.approx(800, abs=300)
            call.stream.stop_ambience()
            assert await level(60) < 10

    run(story)


@pytest.mark.parametrize(("codec", "number", "clock_hz"), [("g722", 9, 8000), ("opus", 111, 48_000), ("l16_16000", 97, 16_000)])
def test_two_streams_in_a_wide_band_codec_hear_each_other(media: Any, codec: str, number: int, clock_hz: int) -> None:
    """Each stream is the other's peer: what one plays, the other forwards."""

    async def story() -> None:
        wide = {"codec": codec, "send_payload_type": number, "receive_payload_type": number, "receive_formats": ((number, codec),)}
        async with media.pool() as pool, media.call(pool=pool, **wide) as one, media.call(pool=pool, **wide) as two:
            first = await one.peer.receive()
            second = await one.peer.receive()
            assert first.payload_type == number
            assert (second.timestamp - first.timestamp) & 0xFFFFFFFF == clock_hz // 50
            one.configure(remote_port=two.stream.port, **wide)
            two.configure(remote_port=one.stream.port, **wide)
            two.stream.listen(detect=False, forward_audio=True)
            assert one.stream.rate_hz == 16_000
            at = np.arange(16_000) / 16_000
            tone = (8000 * np.sin(2 * np.pi * 1000 * at)).astype("<i2").tobytes()
            one.stream.queue_audio("tone", tone * 2, end=True)
            await asyncio.sleep(1.5)
            sound = heard(two)[-8000:]
            spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
            assert np.argmax(spectrum) * 16_000 / len(sound) == pytest.approx(1000, abs=10)
            assert rms(sound) == pytest.approx(8000 / np.sqrt(2), rel=0.15)
            assert [report.codec for report in two.told(CodecChanged)] == [codec]

    run(story)


@pytest.mark.parametrize("ptime_ms", [10, 20, 30, 40, 60])
def test_packets_have_the_length_that_the_peer_asks_for(media: Any, ptime_ms: int) -> None:
    async def story() -> None:
        async with media.call(ptime_ms=ptime_ms) as call:
            packets = (await call.peer.collect(12))[2:]
            assert {len(packet.payload) for packet in packets} == {ptime_ms * 8}
            steps = {(after.timestamp - before.timestamp) & 0xFFFFFFFF for before, after in pairwise(packets)}
            assert steps == {ptime_ms * 8}

    run(story)


def test_paused_recording_holds_silence_and_keeps_its_time(media: Any, tmp_path: Path) -> None:
    async def story() -> None:
        loud = frames(sine((700,), 0.5, 8000))
        path = tmp_path / "card.wav"
        async with media.call() as call:
            call.stream.start_recording(str(path), 8000)
            await call.talk(loud)
            call.stream.pause_recording(True)
            await call.talk(loud)
            call.stream.pause_recording(False)
            await call.talk(loud)
            call.stream.stop_recording()
            ended = await call.wait_for(RecordingEnded)
        sound = audio.read_wav(path, channel=0)
        assert len(sound) / 8 == pytest.approx(ended.duration_ms, abs=1)
        levels = audio.frame_levels(sound)
        quiet = np.flatnonzero(levels < 10)
        inside = quiet[(quiet > 20) & (quiet < 60)]
        assert len(inside) >= 20
        assert levels[15] > 1000
        assert levels[-5] > 1000

    run(story)
