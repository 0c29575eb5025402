"""The simulated vendors against the vendors' own SDKs: what an SDK cannot use is an error of the simulator.

The SDKs are not installed with active-call. These tests run after `pip install anthropic assemblyai cartesia[websockets] deepgram-sdk
elevenlabs google-genai openai soniox speechmatics-rt`; each is skipped if its SDK is absent.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forked_starts import forked_starts
from peers.process import wait_until
from running_server import START_S

SPEECH = (9000 * np.sin(np.arange(16_000) / 10)).astype("<i2").tobytes()
SILENCE = bytes(len(SPEECH))
VOICE = "f786b574-daa5-4673-aa0c-cbe3e8534c02"
KEY = "right-key-0123456789abcdef"
SERVING = """
import asyncio, importlib, json, signal, sys
async def main():
    module, _, kind = sys.argv[1].rpartition(".")
    server = await getattr(importlib.import_module("active_call.testing.vendors." + module), kind)().__aenter__()
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    print(server.port, flush=True)
    await stopped.wait()
    print(json.dumps(server.complaints), flush=True)
asyncio.run(main())
"""
pytestmark = pytest.mark.xdist_group("vendors' SDKs")  # one process loads them: it takes seconds of CPU


class Vendor:
    """A simulated vendor in a process of its own, because some SDKs block the thread."""

    def __init__(self, name: str, folder: Path) -> None:
        program, self._output = folder / "vendor.py", folder / "vendor.txt"
        program.write_text(SERVING, encoding="utf-8")
        with self._output.open("wb") as output:
            self._process = forked_starts().start(folder, output.fileno(), dict(os.environ), str(program), [name])
        if not wait_until(lambda: bool(self._lines()), START_S):
            self._process.kill()
            raise AssertionError("the vendor has not started")
        self.port = int(self._lines()[0])
        self.http, self.ws = f"http://127.0.0.1:{self.port}", f"ws://127.0.0.1:{self.port}"

    def _lines(self) -> list[str]:
        """Whole lines that it has printed."""
        return self._output.read_text(encoding="utf-8").split("\n")[:-1]

    def close(self) -> list[str]:
        """Stop it; returns its complaints."""
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(20) == 0
        return list(json.loads(self._lines()[1]))


@pytest.fixture
def vendor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Vendor]:
    """The simulator that the test names. It must not have complained."""
    one = Vendor(request.param, tmp_path)
    try:
        yield one
    finally:
        assert one.close() == []


def at(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("vendor", [name], indirect=True, ids=[name.rpartition(".")[2]])


def packets(sound: bytes, size: int = 3200) -> list[bytes]:
    return [sound[start : start + size] for start in range(0, len(sound), size)]


@at("chat.anthropic.AnthropicServer")
def test_anthropic_streams_a_message(vendor: Vendor) -> None:
    tool = {"name": "weather", "description": "tells it", "input_schema": {"type": "object", "properties": {}}}
    asked = {"model": "claude-haiku-4-5", "max_tokens": 100, "system": "Be brief.", "tools": [tool]}
    with (
        pytest.importorskip("anthropic").Anthropic(api_key=KEY, base_url=vendor.http, max_retries=0) as client,
        client.messages.stream(messages=[{"role": "user", "content": "Hi"}], **asked) as stream,
    ):
        said, message = "".join(stream.text_stream), stream.get_final_message()
    assert (said, message.stop_reason, message.usage.output_tokens) == ("Hello there.", "end_turn", 15)


@at("chat.openai_responses.ResponsesServer")
def test_openai_streams_a_response(vendor: Vendor) -> None:
    with (
        pytest.importorskip("openai").OpenAI(api_key=KEY, base_url=f"{vendor.http}/v1", max_retries=0) as client,
        client.responses.stream(model="gpt-4o-mini", input="hi", store=False) as stream,
    ):
        said = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        response = stream.get_final_response()
    assert said == response.output_text == "Hello there." and response.usage.output_tokens == 15


def async_openai(vendor: Vendor) -> Any:
    return pytest.importorskip("openai").AsyncOpenAI(api_key=KEY, base_url=f"{vendor.http}/v1", websocket_base_url=f"{vendor.ws}/v1")


@at("realtime.openai.OpenAiRealtimeServer")
def test_openai_realtime_speaks(vendor: Vendor) -> None:
    async def run() -> set[str]:
        sound = {"type": "audio/pcm", "rate": 24_000}
        session = {"type": "realtime", "output_modalities": ["audio"], "audio": {"input": {"format": sound}, "output": {"format": sound}}}
        heard = set()
        async with async_openai(vendor) as client, client.realtime.connect(model="gpt-realtime") as connection:
            await connection.session.update(session=session)
            await connection.conversation.item.create(
                item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}
            )
            await connection.response.create()
            async for event in connection:
                heard.add(event.type)
                if event.type in ("response.done", "error"):
                    return heard
        return heard

    heard = asyncio.run(asyncio.wait_for(run(), 30))
    assert {"session.created", "session.updated", "response.output_audio.delta", "response.done"} <= heard


@at("stt.openai_transcription.OpenAiTranscriptionServer")
def test_openai_realtime_transcribes(vendor: Vendor) -> None:
    async def run() -> str:
        given = {
            "format": {"type": "audio/pcm", "rate": 24_000},
            "transcription": {"model": "gpt-4o-transcribe"},
            "turn_detection": None,
        }
        transcription = {"intent": "transcription"}
        async with async_openai(vendor) as client, client.realtime.connect(extra_query=transcription) as connection:
            await connection.session.update(session={"type": "transcription", "audio": {"input": given}})
            for packet in packets(SPEECH):
                await connection.input_audio_buffer.append(audio=base64.b64encode(packet).decode())
            await connection.input_audio_buffer.commit()
            async for event in connection:
                if event.type == "error":
                    return str(event)
                if event.type == "conversation.item.input_audio_transcription.completed":
                    return str(event.transcript)
        return ""

    assert asyncio.run(asyncio.wait_for(run(), 30)) == "one two"


@at("chat.gemini.GeminiServer")
def test_gemini_streams_its_content(vendor: Vendor) -> None:
    client = pytest.importorskip("google.genai").Client(api_key=KEY, http_options={"base_url": vendor.http})
    pieces = client.models.generate_content_stream(model="gemini-3-flash-preview", contents="hi")
    assert "".join(piece.text or "" for piece in pieces) == "Hello there."


@at("realtime.gemini.GeminiLiveServer")
def test_gemini_live_answers_speech(vendor: Vendor) -> None:
    async def run() -> int:
        client = pytest.importorskip("google.genai").Client(api_key=KEY, http_options={"api_version": "v1beta"})
        inner: Any = client.aio.live._api_client  # the SDK has no option for a server without TLS
        inner._websocket_base_url, inner._websocket_ssl_ctx = (lambda *_, **__: vendor.ws), {}
        n_bytes = 0
        settings = {"response_modalities": ["AUDIO"], "input_audio_transcription": {}, "output_audio_transcription": {}}
        async with client.aio.live.connect(model="gemini-2.5-flash-native-audio-preview-09-2025", config=settings) as session:
            for packet in packets(SPEECH + SILENCE, 640):
                await session.send_realtime_input(audio={"data": packet, "mime_type": "audio/pcm;rate=16000"})
            async for message in session.receive():
                n_bytes += len(message.data or b"")
                if message.server_content and message.server_content.turn_complete:
                    return n_bytes
        return n_bytes

    assert asyncio.run(asyncio.wait_for(run(), 30)) > 0


def deepgram_client(vendor: Vendor) -> Any:
    deepgram = pytest.importorskip("deepgram")
    urls = deepgram.DeepgramClientEnvironment(base=vendor.http, agent=vendor.ws, production=vendor.ws, agent_rest=vendor.http)
    return deepgram.DeepgramClient(api_key=KEY, environment=urls)


def listened(socket: Any, send: Any) -> list[Any]:
    """Everything that Deepgram's SDK reads on `socket` while `send` runs and until the connection ends."""
    heard: list[Any] = []
    socket.on(pytest.importorskip("deepgram.core.events").EventType.MESSAGE, heard.append)
    listening = threading.Thread(target=socket.start_listening, daemon=True)
    listening.start()
    send()
    listening.join(10)
    return heard


@at("stt.deepgram.DeepgramServer")
def test_deepgram_listens(vendor: Vendor) -> None:
    with deepgram_client(vendor).listen.v1.connect(model="nova-3", encoding="linear16", sample_rate=16_000, interim_results=True) as socket:

        def send() -> None:
            for packet in packets(SPEECH + SILENCE):
                socket.send_media(packet)
            socket.send_keep_alive()
            socket.send_finalize()
            socket.send_close_stream()

        heard = listened(socket, send)
    finals = [one.channel.alternatives[0].transcript for one in heard if one.type == "Results" and one.is_final]
    assert " ".join(filter(None, finals)) == "one two three" and heard[-1].type == "Metadata"


@at("stt.deepgram.DeepgramServer")
def test_deepgram_flux_ends_a_turn(vendor: Vendor) -> None:
    with deepgram_client(vendor).listen.v2.connect(model="flux-general-en", encoding="linear16", sample_rate=16_000) as socket:

        def send() -> None:
            for packet in packets(SPEECH + SILENCE, 2560):
                socket.send_media(packet)
            socket.send_close_stream()

        heard = listened(socket, send)
    assert [one.event for one in heard if one.type == "TurnInfo"] == ["StartOfTurn", "Update", "Update", "EndOfTurn"]


@at("tts.deepgram.DeepgramSpeechServer")
def test_deepgram_speaks(vendor: Vendor) -> None:
    with deepgram_client(vendor).speak.v1.connect(model="aura-2-thalia-en", encoding="linear16", sample_rate=16_000) as socket:

        def send() -> None:
            socket.send_text(pytest.importorskip("deepgram.speak.v1.types").SpeakV1Text(type="Speak", text="Hello there."))
            socket.send_flush()
            time.sleep(1)
            socket.send_close()

        heard = listened(socket, send)
    assert sum(len(one) for one in heard if isinstance(one, bytes)) > 0
    assert [one.type for one in heard if not isinstance(one, bytes)] == ["Metadata", "Flushed"]


@at("tts.cartesia.CartesiaSpeechServer")
def test_cartesia_speaks_text_in_pieces(vendor: Vendor) -> None:
    client = pytest.importorskip("cartesia").Cartesia(api_key=KEY, base_url=vendor.http, websocket_base_url=vendor.ws)
    sound = {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 16_000}
    n_bytes = 0
    with client.tts.websocket_connect() as connection:
        context = connection.context(model_id="sonic-3", voice={"mode": "id", "id": VOICE}, output_format=sound)
        for piece in ("Hello there. ", "How are you?"):
            context.push(piece)
        context.no_more_inputs()
        for answer in context.receive():
            n_bytes += len(answer.audio or b"") if answer.type == "chunk" else 0
    assert n_bytes == len("Hello there. How are you?") * 640


@at("stt.elevenlabs.ScribeServer")
def test_scribe_commits_on_request(vendor: Vendor) -> None:
    async def run() -> dict[str, Any]:
        elevenlabs = pytest.importorskip("elevenlabs")
        scribe = pytest.importorskip("elevenlabs.realtime.scribe").ScribeRealtime(api_key=KEY, base_url=vendor.ws)
        told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        connection = await scribe.connect(
            {
                "model_id": "scribe_v2_realtime",
                "audio_format": elevenlabs.AudioFormat.PCM_16000,
                "sample_rate": 16_000,
                "commit_strategy": elevenlabs.CommitStrategy.MANUAL,
                "include_timestamps": True,
            }
        )
        for event in (elevenlabs.RealtimeEvents.COMMITTED_TRANSCRIPT_WITH_TIMESTAMPS, elevenlabs.RealtimeEvents.ERROR):
            connection.on(event, told.put_nowait)
        for packet in packets(SPEECH):
            await connection.send({"audio_base_64": base64.b64encode(packet).decode()})
        await connection.commit()
        answer = await told.get()
        await connection.close()
        return answer

    assert asyncio.run(asyncio.wait_for(run(), 30))["text"] == "one two three"


@at("stt.speechmatics.SpeechmaticsServer")
def test_speechmatics_transcribes(vendor: Vendor) -> None:
    async def run() -> list[str]:
        rt = pytest.importorskip("speechmatics.rt")
        told: list[dict[str, Any]] = []
        async with rt.AsyncClient(api_key=KEY, url=f"{vendor.ws}/v2") as client:
            for kind in (rt.ServerMessageType.ADD_TRANSCRIPT, rt.ServerMessageType.ERROR):
                client.on(kind, told.append)
            await client.transcribe(
                io.BytesIO(SPEECH + SILENCE),
                transcription_config=rt.TranscriptionConfig(language="en", enable_partials=True),
                audio_format=rt.AudioFormat(encoding=rt.AudioEncoding.PCM_S16LE, sample_rate=16_000, chunk_size=3200),
                timeout=20,
            )
        return [str(one.get("metadata", one)) for one in told]

    assert "one two three" in "".join(asyncio.run(asyncio.wait_for(run(), 30)))


@at("stt.soniox.SonioxServer")
def test_soniox_finalizes(vendor: Vendor) -> None:
    soniox = pytest.importorskip("soniox")
    settings = pytest.importorskip("soniox.types").RealtimeSTTConfig
    client = soniox.SonioxClient(api_key=KEY, websocket_base_url=f"{vendor.ws}/transcribe-websocket")
    with client.realtime.stt.connect(
        config=settings(model="stt-rt-v3", audio_format="pcm_s16le", sample_rate=16_000, num_channels=1)
    ) as session:
        for packet in packets(SPEECH):
            session.send_byte_chunk(packet)
        session.finalize()
        session.keep_alive()
        session.finish()
        said = ["".join(token.text for token in event.tokens) for event in session.receive_events()]
    assert " one two three<fin>" in said


@at("stt.assemblyai.AssemblyAiServer")
def test_assemblyai_ends_a_turn(vendor: Vendor) -> None:
    streaming = pytest.importorskip("assemblyai.streaming.v3")
    client = streaming.StreamingClient(streaming.StreamingClientOptions(api_key=KEY, api_host=vendor.ws))
    told: list[Any] = []
    for event in (streaming.StreamingEvents.Turn, streaming.StreamingEvents.Termination, streaming.StreamingEvents.Error):
        client.on(event, lambda _, one: told.append(one))
    client.connect(streaming.StreamingParameters(sample_rate=16_000, speech_model="universal-streaming-english"))
    client.stream(packets(SPEECH + SILENCE))
    time.sleep(1)
    client.disconnect(terminate=True)
    turns = [one for one in told if type(one).__name__ == "TurnEvent"]
    assert turns[-1].transcript == "one two three" and turns[-1].end_of_turn
    assert type(told[-1]).__name__ == "TerminationEvent"
