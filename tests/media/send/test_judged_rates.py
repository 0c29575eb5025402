"""Speech in a stream is found at the rate at which it comes, 8 kHz for G.711, 16 for the others; a change of codec loses no word of it."""

from __future__ import annotations

import functools
import io
import shutil
import socket
import struct
import subprocess
import time
import wave
from collections.abc import Iterator

import numpy as np
import pytest
import soxr
from loopback import wait_arrival

from active_call.codec.stream import new_encoder
from active_call.media.enhance.gain import GainSettings
from active_call.media.link.messages import ConfigureRtp, Link, Listen, SpeechEnded, SpeechStarted
from active_call.media.receive.columns import ReceiveColumns
from active_call.media.receive.leg import Leg
from active_call.media.receive.packet_batch import PacketBatchReader
from active_call.media.receive.pipeline import ReceivePipeline
from active_call.media.receive.sockets import open_pair
from active_call.media.worker.slots import Stream
from ports import rtp_of_servers

pytestmark = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng, which speaks here, is not installed")

TYPES = {"pcmu": 0, "g722": 9, "opus": 111}
CLOCKS = {"pcmu": 8000, "g722": 8000, "opus": 48_000}
START_S = 100.0


def raise_it(leg: Leg, error: Exception) -> None:
    """Nothing may go wrong in these tests."""
    raise error


@functools.cache
def talk() -> np.ndarray:
    """A second of silence, speech, a second of silence: s16 at 48 kHz."""
    command = ["espeak-ng", "-v", "en", "--stdout", "We were rowing along a lonely river, wandering on, nearly all away."]
    with wave.open(io.BytesIO(subprocess.run(command, capture_output=True, check=True).stdout)) as file:
        spoken = np.frombuffer(file.readframes(1 << 24), "<i2").astype(np.float32)
        spoken = soxr.resample(spoken, file.getframerate(), 48_000)
    spoken = spoken[np.flatnonzero(np.abs(spoken) > 300)[0] : np.flatnonzero(np.abs(spoken) > 300)[-1]]
    whole = np.concatenate((np.zeros(48_000), spoken, np.zeros(48_000)))
    hiss = np.random.default_rng(1).normal(size=len(whole)) * 10
    return np.clip(whole + hiss, -32768, 32767).astype(np.int16)


class Caller:
    """Sends `talk` in whatever codec is asked for, packet by packet, to one stream of a Hearing."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        pairs = ((port, open_pair("127.0.0.1", port)) for port in range(*rtp_of_servers(), 2))
        port, pair = next((port, pair) for port, pair in pairs if pair is not None)
        intake = ReceiveColumns(4)
        self._arrivals = PacketBatchReader(intake, raise_it)
        self.leg = Leg(1, port, pair, intake, 2, lambda report: None)
        self.reports: list[Link] = []
        self.hearing = ReceivePipeline(intake, 4, self.reports.append, lambda report: None)
        self.hearing.begin_stream(2)
        self.stream = Stream(1, 2, self.leg, None)
        self.tick = 0
        self.configure("pcmu")

    def close(self) -> None:
        self.leg.close()
        self._socket.close()

    def configure(self, codec: str) -> None:
        ip, port = self._socket.getsockname()
        number = TYPES[codec]
        self._codec, self._encoder = codec, new_encoder(codec)
        self.leg.configure(ConfigureRtp(1, ip, port, codec, number, number, -1, -1), START_S + self.tick * 0.02)
        self.hearing.regroup([self.stream])

    def speak(self, until_s: float) -> None:
        """Send and hear what is left of the talk up to that moment of it."""
        while self.tick < until_s * 50:
            samples = talk()[self.tick * 960 : (self.tick + 1) * 960].astype(np.float32)
            samples = soxr.resample(np.pad(samples, (0, 960 - len(samples))), 48_000, self._encoder.sample_rate_hz)
            payload = self._encoder.encode(samples[: self._encoder.sample_rate_hz // 50].astype(np.int16))
            timestamp = self.tick * CLOCKS[self._codec] // 50
            header = struct.pack("!BBHII", 0x80, TYPES[self._codec], self.tick, timestamp, 7)
            self._socket.sendto(header + payload, ("127.0.0.1", self.leg.port))
            now = START_S + self.tick * 0.02
            wait_arrival(self.leg.fd)
            self._arrivals.take([self.leg], now, time.time())
            if self.hearing.is_stale or self.tick == 0:
                self.hearing.regroup([self.stream])
            self.hearing.run(self.tick, now)
            self.tick += 1

    @property
    def told(self) -> list[tuple[str, float]]:
        """What was found, and when it was."""
        return [(type(report).__name__, report.at - START_S) for report in self.reports if isinstance(report, SpeechStarted | SpeechEnded)]


@pytest.fixture
def caller() -> Iterator[Caller]:
    caller = Caller()
    yield caller
    caller.close()


def judged_once(caller: Caller) -> None:
    whole_s = len(talk()) / 48_000
    (first, began), (last, ended) = caller.told
    assert (first, last) == ("SpeechStarted", "SpeechEnded")
    assert began == pytest.approx(1.0, abs=0.1)
    assert ended == pytest.approx(whole_s - 1.0, abs=0.2)


@pytest.mark.parametrize(("codec", "is_narrow"), [("pcmu", True), ("g722", False), ("opus", False)])
def test_speech_is_found_at_the_rate_at_which_it_comes(caller: Caller, codec: str, is_narrow: bool) -> None:
    caller.configure(codec)
    caller.hearing.listen(caller.stream, Listen(1, True, False, silence_ms=800))
    caller.speak(len(talk()) / 48_000)
    assert caller.stream.is_judged_narrow is is_narrow
    judged_once(caller)


@pytest.mark.parametrize(("before", "after"), [("pcmu", "opus"), ("opus", "pcmu"), ("g722", "pcmu")])
def test_codec_that_changes_in_mid_speech_ends_no_speech_and_begins_none(caller: Caller, before: str, after: str) -> None:
    caller.configure(before)
    caller.hearing.listen(caller.stream, Listen(1, True, False, silence_ms=800))
    caller.speak(2.0)
    caller.configure(after)
    caller.speak(len(talk()) / 48_000)
    assert caller.stream.is_judged_narrow is (before == "pcmu")
    judged_once(caller)


def test_improved_sound_is_what_is_judged_at_8_khz_too(caller: Caller) -> None:
    caller.hearing.listen(caller.stream, Listen(1, True, False, silence_ms=800))
    caller.speak(0.5)
    caller.hearing.enhance.use(2, denoise=True, gain=GainSettings())
    caller.speak(len(talk()) / 48_000)
    assert caller.stream.is_judged_narrow
    judged_once(caller)


def test_stream_that_is_listened_to_anew_is_judged_by_what_comes_then(caller: Caller) -> None:
    caller.hearing.listen(caller.stream, Listen(1, True, False))
    caller.speak(0.5)
    caller.hearing.listen(caller.stream, Listen(1, False, False))
    caller.configure("opus")
    caller.speak(0.6)
    caller.hearing.listen(caller.stream, Listen(1, True, False, silence_ms=800))
    caller.hearing.regroup([caller.stream])
    caller.speak(len(talk()) / 48_000)
    assert caller.stream.is_judged_narrow is False
    judged_once(caller)
