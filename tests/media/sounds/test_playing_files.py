"""A file over a slow web server, played into a real call: server, library, media process and wire are all there; the peer is not ours."""

from __future__ import annotations

import asyncio
import io
import wave
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from active_call.base.world import SystemClock
from active_call.call.speech.latency import TurnClock
from active_call.call.speech.speech_output import SpeechOutput
from active_call.contract import commands, events
from active_call.media.link.messages import PlayEnded, PlayLow, PlayStarted, PlayStarved
from active_call.store.audio_cache import AudioCache
from active_call.store.sounds import SoundLibrary

pytestmark = pytest.mark.interop

SECONDS = 9


def tone_wav() -> bytes:
    """A tone that steps up by 20 Hz every second, so that each packet says where it belongs."""
    t = np.arange(SECONDS * 8000) / 8000
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes((10_000 * np.sin(2 * np.pi * (400 + 100 * np.floor(t)) * t)).astype("<i2").tobytes())
    return buffer.getvalue()


async def serve_slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """HTTP/1.1, one response: three seconds of sound at once, the rest at twice the speed at which it is heard."""
    await reader.readuntil(b"\r\n\r\n")
    data = tone_wav()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: audio/wav\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(data))
    writer.write(data[: 16_000 * 3])
    for start in range(16_000 * 3, len(data), 4800):
        writer.write(data[start : start + 4800])
        await writer.drain()
        await asyncio.sleep(0.15)
    writer.close()


def test_file_from_a_slow_server_is_heard_whole_in_a_real_call_while_it_still_comes(media: Any, decode: Any, tmp_path: Path) -> None:
    async def story() -> None:
        told: list[events.Event] = []
        server = await asyncio.start_server(serve_slowly, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hold.wav"
        async with server, media.call() as call, httpx.AsyncClient() as client:
            library = SoundLibrary(AudioCache(tmp_path / "cache"), client, SystemClock(), tmp_path)
            speaking = SpeechOutput(emit=told.append, clock=SystemClock(), turn=TurnClock(), on_auto_hangup=lambda: None, sounds=library)
            speaking.use(call.stream, None)
            speaker = asyncio.create_task(speaking.run())
            speaking.play(commands.Play(url=url))
            heard = b""
            n_low = 0
            began_before_all_had_come = False
            while not call.told(PlayEnded):
                heard += (await call.peer.receive()).payload
                began_before_all_had_come |= bool(call.told(PlayStarted)) and not list((tmp_path / "cache").glob("*.pcm"))
                for report in call.told(PlayLow)[n_low:]:
                    n_low += 1
                    speaking.play_low(report)
            (ended,) = call.told(PlayEnded)
            assert (ended.completed, ended.heard_ms) == (True, SECONDS * 1000)
            assert not call.told(PlayStarved)
            assert len(call.told(PlayStarted)) == 1
            assert n_low >= 2
            assert began_before_all_had_come
            speaker.cancel()
            await library.close()
        sound = np.frombuffer(decode(heard), "<i2").astype(float)
        begin = int(np.flatnonzero(np.abs(sound) > 100)[0])
        for second in range(SECONDS):
            part = sound[begin + second * 8000 + 400 : begin + (second + 1) * 8000 - 400]
            assert np.abs(np.fft.rfft(part)).argmax() * 8000 / len(part) == pytest.approx(400 + 100 * second, abs=3)
        assert not [event for event in told if isinstance(event, events.Error)]

    asyncio.run(asyncio.wait_for(story(), 40))
