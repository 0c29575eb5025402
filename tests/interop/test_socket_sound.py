"""Sound over a socket in G.722 and Opus, both ways, between the running server and FFmpeg's codecs; a listener hears what it was."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import av
import numpy as np
import pytest
from running_server import Server
from shared_servers import shared_server
from websockets.sync.client import ClientConnection, connect

BOOK = "---\nllm: {provider: script}\n---\n# Scene: main\n## hello\nHello.\n"
OURS, THEIRS = 500.0, 1200.0
"""The tones of the server and of the client, in Hz."""
NO_SOUND = b"\x7b\x05\xff"
"""An Opus packet by its first bytes only."""
Samples = np.ndarray[Any, Any]
TONE = base64.b64encode((8000 * np.sin(2 * np.pi * OURS * np.arange(24_000) / 16_000)).astype("<i2").tobytes()).decode()
"""1.5 s, as the command takes it."""


@pytest.fixture
def server() -> Iterator[Server]:
    with shared_server(BOOK) as running:
        yield running


def encoded(codec: str, seconds: float) -> list[bytes]:
    """The client's tone by FFmpeg, in messages of 20 ms."""
    name, rate_hz = ("libopus", 48_000) if codec == "opus" else ("g722", 16_000)
    sound = (8000 * np.sin(2 * np.pi * THEIRS * np.arange(int(seconds * rate_hz)) / rate_hz)).astype("<i2")
    encoder = av.CodecContext.create(name, "w")
    encoder.sample_rate, encoder.layout, encoder.format = rate_hz, "mono", "s16"
    size, found = rate_hz // 50, []
    for at in range(0, len(sound), size):
        frame = av.AudioFrame.from_ndarray(sound[at : at + size].reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts = rate_hz, at
        found += [bytes(packet) for packet in encoder.encode(frame)]
    joined = b"".join(found)
    return found if codec == "opus" else [joined[at : at + 160] for at in range(0, len(joined), 160)]


def decoded(codec: str, messages: list[bytes]) -> tuple[Samples, int]:
    """The server's sound by FFmpeg, and its rate."""
    name, rate_hz = ("libopus", 48_000) if codec == "opus" else ("g722", 16_000)
    decoder = av.CodecContext.create(name, "r")
    decoder.sample_rate, decoder.layout = rate_hz, "mono"
    to_pcm = av.AudioResampler("s16", "mono", rate_hz)
    frames = [frame for message in messages for frame in decoder.decode(av.Packet(message))]
    return np.concatenate([part.to_ndarray().reshape(-1) for frame in frames for part in to_pcm.resample(frame)]), rate_hz


def pitch(sound: Samples, rate_hz: int) -> float:
    """The loudest frequency of the loud part."""
    loud = np.flatnonzero(np.abs(sound.astype(int)) > 1000)
    assert len(loud) > rate_hz // 4, "there is no sound"
    part = sound[loud[0] : loud[-1]]
    return float(np.abs(np.fft.rfft(part)).argmax() * rate_hz / len(part))


def until(line: ClientConnection, name: str, sound: list[bytes]) -> dict[str, Any]:
    deadline = time.monotonic() + 20
    while True:
        assert time.monotonic() < deadline, f"no {name}"
        message = line.recv(timeout=20)
        if isinstance(message, bytes):
            sound.append(message)
            continue
        event = json.loads(message)
        if event["event"] == name:
            return dict(event)


def say(line: ClientConnection, messages: list[bytes]) -> None:
    """Send in real time."""
    began = time.monotonic()
    for number, message in enumerate(messages):
        line.send(message)
        time.sleep(max(0.0, began + number * 0.02 - time.monotonic()))


@pytest.mark.parametrize("codec", ["g722", "opus"])
def test_both_sides_hear_each_other_as_ffmpeg_encodes_and_decodes(server: Server, codec: str) -> None:
    base, ours, listened = f"ws://127.0.0.1:{server.http_port}", list[bytes](), list[bytes]()
    with connect(f"{base}/call?id=sound-{codec}", legacy=True) as line:
        line.send(json.dumps({"command": "invite", "option": {"codec": codec}}))
        until(line, "mediaReady", ours)
        with connect(f"{base}/listen/sound-{codec}?format=pcm") as listener:
            line.send(json.dumps({"command": "tts", "text": TONE, "base64": True, "playId": "t", "endOfStream": True}))
            if codec == "opus":
                line.send(NO_SOUND)
                assert "Opus packet" in until(line, "error", ours)["error"]
            say(line, encoded(codec, 1.5))
            until(line, "trackEnd", ours)
            line.send(json.dumps({"command": "hangup"}))
            until(line, "hangup", ours)
            for message in listener:
                listened.append(message)  # type: ignore[arg-type]
    assert pitch(*decoded(codec, ours)) == pytest.approx(OURS, abs=3)
    both = b"".join(listened)
    for side, hz in enumerate((THEIRS, OURS)):  # the caller is on the left
        assert pitch(np.frombuffer(both[: len(both) // 4 * 4], "<i2").reshape(-1, 2)[:, side], 16_000) == pytest.approx(hz, abs=3)
