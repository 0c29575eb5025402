"""A call over Twilio's media stream through the running server: the simulator, a real WebSocket, real speech in and out."""

from __future__ import annotations

import asyncio
import time
import urllib.request
from xml.etree import ElementTree

import numpy as np
import pytest
from shared_servers import shared_server
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from active_call.codec import g711
from active_call.testing.media_streams import TwilioStream
from active_call.testing.sound import voice

PLAYBOOK = """---
llm: {provider: script, greeting: Welcome to the bakery.}
---
# Scene: main

## hello
Hello to you. <hangup/>
"""
ULAW = np.array([False])
CONFIG = '[media_streams]\ntoken = "s3cret"\npublic_url = "http://127.0.0.1:1"'


def encoded(pcm: np.ndarray) -> bytes:
    return g711.encode(pcm.astype(np.int16).reshape(1, -1), ULAW).tobytes()


async def converse(line: ClientConnection, parameters: dict[str, str]) -> TwilioStream:
    """Hear the greeting, say hello in real time, hear the answer to its end."""
    sent: asyncio.Queue[str | bytes] = asyncio.Queue()
    carrier = TwilioStream(sent.put_nowait, parameters, buffer_s=0.1)
    hello = np.concatenate((voice.speak("hello"), np.zeros(8000)))

    async def play_and_say() -> None:
        begun, said, waiting = time.monotonic(), 0, hello
        while True:
            carrier.play_until(time.monotonic())
            has_greeted = bool(carrier.marks_played) and len(carrier.heard) > 8000
            frame, waiting = (waiting[:160], waiting[160:]) if has_greeted else (np.zeros(160), waiting)
            carrier.say(encoded(np.pad(frame, (0, 160 - len(frame)))))
            said += 1
            while not sent.empty():
                await line.send(sent.get_nowait())
            await asyncio.sleep(max(0.0, begun + said * 0.02 - time.monotonic()))

    carrier.begin()
    playing = asyncio.create_task(play_and_say())
    try:
        async with asyncio.timeout(40):
            async for message in line:
                carrier.now = time.monotonic()
                carrier.take(message)
    finally:
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)
    return carrier


def test_twilio_call_from_the_answer_document_to_the_last_word() -> None:
    with shared_server(PLAYBOOK, extra=CONFIG) as server:
        base = f"127.0.0.1:{server.http_port}"
        form = b"From=%2B15550001&To=%2B15559999&CallSid=CA1"
        asked = urllib.request.Request(f"http://{base}/call/stream/twilio/twiml?playbook=main.md&token=s3cret", form)
        with urllib.request.urlopen(asked, timeout=30) as response:
            stream = ElementTree.fromstring(response.read()).find("Connect/Stream")
        assert stream is not None
        values = {str(one.get("name")): str(one.get("value")) for one in stream.findall("Parameter")}

        async def story() -> TwilioStream:
            with pytest.raises(InvalidStatus, match="401"):
                await connect(f"ws://{base}/call/stream/twilio/wrong")
            async with connect(f"ws://{base}/call/stream/twilio") as line:
                await line.send("nonsense")
                with pytest.raises(ConnectionClosed, match="JSON"):
                    await line.recv()
            async with connect(f"ws://{base}/call/stream/twilio", max_size=2**20) as line:
                carrier = await converse(line, values)
                assert (line.close_code, line.close_reason) == (1000, "the call is over")
                return carrier

        carrier = asyncio.run(story())
        heard = g711.decode(np.frombuffer(bytes(carrier.heard), np.uint8).reshape(1, -1), ULAW)[0]
        assert np.abs(heard.astype(int)).max() > 1000
        assert carrier.dropped == 0
        (record,) = server.wait_records(1)
        assert (record["caller"], record["callee"], record["direction"]) == ("+15550001", "+15559999", "inbound")
