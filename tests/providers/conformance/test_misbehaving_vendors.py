"""Every adapter against a vendor whose messages are wrong: an adapter raises ProviderError, or reads what it can, and nothing else.

The messages are real ones of the simulators. Each of their fields in turn has each value that no vendor should send.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from websockets.asyncio.client import ClientConnection

sys.path.insert(0, str(Path(__file__).parent))

import stt_cases
import tts_cases
from callers import Caller, NoEngines, services
from hostile_values import bare, variants

from active_call.base.errors import ActiveCallError, ProviderError
from active_call.base.world import World
from active_call.contract.options import RealtimeOption
from active_call.providers.asr.vendors.streaming import StreamingRecognition
from active_call.providers.base import ChatMessage, Final, RealtimeSession, ReplyRequest, Services, ToolDefinition
from active_call.providers.entry_points import ASR, REALTIME, TTS, load_adapter
from active_call.providers.guarding.guarded_speech_to_text import checked_event
from active_call.providers.guarding.guarded_text_to_speech import ChunkCheck
from active_call.providers.json_values import read_object
from active_call.providers.realtime_model import ReplyDone
from active_call.providers.registry import LlmSettings, create_responder
from active_call.providers.tts.vendors import http_speech
from active_call.providers.tts.vendors.socket_speech import SocketTextToSpeech
from active_call.testing.vendors.chat.anthropic import AnthropicServer
from active_call.testing.vendors.chat.chat_vendor import ScriptedCall, ScriptedReply
from active_call.testing.vendors.chat.gemini import GeminiServer
from active_call.testing.vendors.chat.openai_responses import ResponsesServer
from active_call.testing.vendors.realtime.gemini import GeminiLiveServer
from active_call.testing.vendors.realtime.openai import OpenAiRealtimeServer

Message = str | bytes
TEXT = "We open at eight in the morning."


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> list[Message]:
    """Every message that an adapter receives on a WebSocket."""
    messages: list[Message] = []
    receive = ClientConnection.recv

    async def record(socket: ClientConnection, *arguments: Any, **more: Any) -> Message:
        message = await receive(socket, *arguments, **more)
        messages.append(message)
        return message

    monkeypatch.setattr(ClientConnection, "recv", record)
    return messages


def shapes(messages: list[Message]) -> dict[str, tuple[str, Any]]:
    """One message of each shape: what comes before its JSON (a header), and the JSON. Sound has none."""
    found: dict[str, tuple[str, Any]] = {}
    for message in messages:
        if isinstance(message, bytes) and not message.startswith(b"{"):
            continue
        text = message if isinstance(message, str) else message.decode()
        head, brace, body = text.partition("{")
        value = json.loads(brace + body)
        shape = json.dumps([head.count("\n"), _shape(value)])
        if len(json.dumps(value)) > len(json.dumps(found.get(shape, ("", ""))[1])):
            found[shape] = (head, value)
    return found


def _shape(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _shape(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [_shape(value[0])] if value else []
    return value if key in ("type", "event", "message", "message_type", "messageType", "name") else type(value).__name__


def hostile(messages: list[Message]) -> Iterator[tuple[str, Message]]:
    """Everything to say to an adapter that has received `messages`."""
    known = shapes(messages)
    assert known
    heads = {head for head, _ in known.values()}
    yield from ((what, head + text) for head in heads for what, text in bare())
    yield from ((f"binary: {what}", text.encode("utf-8", "surrogatepass")) for what, text in bare())
    yield from ((f"{len(sound)} bytes of sound", sound) for sound in (b"", b"\x00", b"\x01\x02\x03", b"\x00\x0cxyz", bytes(65_537)))
    for shape, (head, value) in known.items():
        yield from ((f"{shape[:60]} {what}", head + text) for what, text in variants(value))


def faults_of(read: Callable[[Message], Any], messages: list[Message]) -> list[str]:
    """The messages at which `read` raises anything but an error of ours."""
    faults = []
    for what, message in hostile(messages):
        try:
            read(message)
        except ActiveCallError:
            pass
        except Exception as error:
            faults.append(f"{what}: {type(error).__name__}: {error}"[:300])
    return faults


def has_only_valid_values(value: Any) -> bool:
    """Whether the texts in `value`, a struct, can be written, and its numbers are finite."""
    match value:
        case str():
            return value.encode() is not None
        case float():
            return abs(value) < 1e300
        case tuple():
            return all(map(has_only_valid_values, value))
        case msgspec.Struct():
            return all(map(has_only_valid_values, msgspec.structs.astuple(value)))
        case _:
            return True


@pytest.mark.parametrize("case", stt_cases.STREAMING, ids=str)
def test_recogniser_with_wrong_messages_fails_or_reads_what_it_can(case: Any, received: list[Message]) -> None:
    async def run() -> None:
        async with case.vendor() as server, services() as given:
            engine = load_adapter(ASR, case.provider)(case.option(server), given)
            first = Caller(engine)
            await first.say(1, 3)
            await first.final(1)
            await first.stream.close()
            told: list[Any] = []
            stream = engine.open(lambda event: told.append(checked_event(case.provider, event)), language="en")
            assert isinstance(stream, StreamingRecognition)
            await asyncio.sleep(0)
            stream.start_utterance(1, 0)
            assert faults_of(lambda message: stream.handle(stream.read(message)), received) == []
            assert all(map(has_only_valid_values, told))
            await stream.close()
            sound = Caller(engine)  # the adapter still serves others
            await sound.say(1, 3)
            assert isinstance(await sound.answer(1), Final)
            await sound.stream.close()
            await engine.close()

    asyncio.run(run())


@pytest.mark.parametrize("case", tts_cases.CASES, ids=lambda case: case.provider)
def test_synthesiser_with_wrong_messages_fails_or_reads_what_it_can(
    case: Any, received: list[Message], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[Message] = []

    def record(provider: str, message: Message) -> Any:
        answers.append(message)
        return read_object(provider, message)

    monkeypatch.setattr(http_speech, "read_object", record)

    async def run() -> None:
        async with case.server() as server, services() as given:
            engine = load_adapter(TTS, case.provider)(case.option_for(server), given)
            stream = engine.open()
            stream.push_text(TEXT)
            stream.end_text()
            n_bytes = sum([len(chunk.pcm) async for chunk in stream])
            assert n_bytes
            if isinstance(engine, SocketTextToSpeech):
                wish = engine.new_spoken_text(TEXT, None, None)
                renamed = [rename(message, received, wish.id) for message in received]
                engine.ask(wish)
                assert faults_of(lambda message: checked(engine.read(message, wish)), renamed) == []
            elif answers:
                assert faults_of(lambda message: checked(engine.read(read_object("test", message))), answers) == []
            await engine.close()

    asyncio.run(run())


def rename(message: Message, messages: list[Message], name: str) -> Message:
    """`message` as one about the text `name`."""
    if isinstance(message, bytes):
        return message
    value = json.loads(message)
    for place in (value, value.get("header"), value.get("result")):
        for key in ("context_id", "contextId", "task_id", "session_id"):
            if isinstance(place, dict) and isinstance(place.get(key), str):
                place[key] = name
    return json.dumps(value)


def checked(chunk: Any) -> None:
    """What the wall does with a chunk, whose result must be usable."""
    if chunk is None:
        return
    seen = ChunkCheck("test", 16_000).feed(chunk)
    assert seen is None or has_only_valid_values(seen.words)


WEATHER = ToolDefinition("weather", "Tells the weather.", {"type": "object", "properties": {"city": {"type": "string"}}})
REQUEST = ReplyRequest((ChatMessage("system", "Be brief."), ChatMessage("user", "Hi")), tools=(WEATHER,))
REPLY = ScriptedReply(("Hello", " there."), (ScriptedCall("weather", {"city": "Łódź"}), ScriptedCall("weather", {"city": "Porto"})))


def completions() -> list[tuple[str, Any]]:
    """A reply of the chat completions API."""

    def chunk(delta: Any, reason: Any = None, **more: Any) -> tuple[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return "", {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice], **more}

    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"ci'}}
    return [
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "Hello"}),
        chunk({"tool_calls": [call, {**call, "index": 1, "id": "call_2"}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": 'ty": "Porto"}'}}]}),
        chunk({}, "tool_calls"),
        chunk({}, usage={"prompt_tokens": 5, "completion_tokens": 6, "prompt_tokens_details": {"cached_tokens": 1}}),
    ]


CHATS = {
    "openai": completions,
    "anthropic": lambda: list(AnthropicServer().events(REPLY, {})),
    "gemini": lambda: list(GeminiServer().events(REPLY, {})),
    "openai-responses": lambda: list(ResponsesServer().events(REPLY, {})),
}


@pytest.mark.parametrize("provider", CHATS)
def test_model_with_wrong_events_fails_or_replies_what_it_can(provider: str) -> None:
    events = [(f"event: {name}\n" if name else "", json.dumps(data)) for name, data in CHATS[provider]()]
    body = [b""]

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=body[0], headers={"content-type": "text/event-stream"})

    async def reply(model: Any, spoilt: list[tuple[str, str]]) -> str:
        body[0] = "".join(f"{head}data: {data}\n\n" for head, data in spoilt).encode("utf-8", "surrogatepass")
        try:
            told = [event async for event in model.reply(REQUEST)]
        except ProviderError as error:
            return str(error) if "unforeseen" in str(error) else ""
        return "" if all(map(has_only_valid_values, told)) else f"told {told}"

    async def run() -> list[str]:
        faults = []
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
            options = LlmSettings(provider, api_key="k", base_url="http://127.0.0.1:9/v1", model="m")
            model = create_responder(options, Services(World(), http, NoEngines(), {}), attempts=1)
            assert await reply(model, events) == ""
            seen: set[str] = set()
            for place, (head, data) in enumerate(events):
                value = json.loads(data)
                if (shape := json.dumps([head, _shape(value)])) in seen:
                    continue
                seen.add(shape)
                for what, text in [*variants(value), *bare()]:
                    if fault := await reply(model, [*events[:place], (head, text), *events[place + 1 :]]):
                        faults.append(f"{head.strip()} {what}: {fault}"[:300])
            await model.close()
        return faults

    assert asyncio.run(run()) == []


REALTIMES = {
    "openai": (OpenAiRealtimeServer, lambda server: f"{server.http_url}/v1"),
    "gemini": (GeminiLiveServer, lambda server: server.ws_url),
}


@pytest.mark.parametrize("provider", REALTIMES)
def test_realtime_model_with_wrong_messages_fails_or_reads_what_it_can(provider: str, received: list[Message]) -> None:
    kind, endpoint = REALTIMES[provider]

    async def run() -> None:
        async with kind() as server, services() as given:
            option = RealtimeOption(provider=provider, secret_key=server.key, endpoint=endpoint(server))
            model = load_adapter(REALTIME, provider)(option, given)
            told: list[Any] = []
            session = RealtimeSession("Be brief.", tools=(WEATHER,))
            stream = model.open(session, told.append)
            server.script += ['call weather {"city": "Porto"}', "All right."]
            stream.request_reply()
            async with asyncio.timeout(60):
                while not any(isinstance(event, ReplyDone) for event in told):
                    await asyncio.sleep(0.01)
                stream.request_reply()
                while sum(isinstance(event, ReplyDone) for event in told) < 2:
                    await asyncio.sleep(0.01)
            dialect = stream._dialect
            await stream.close()

            def read(message: Message) -> None:
                value = read_object(provider, message)
                dialect.announces_end(value)
                dialect.is_ready(value)
                assert all(map(has_only_valid_values, dialect.read(value)))

            assert faults_of(read, received) == []
            await model.close()

    asyncio.run(run())
