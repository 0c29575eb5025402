"""What the adapters of recognition vendors send for an option, and what they refuse to be configured with; and what they declare."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "conformance"))

from callers import Caller, services, silence, speech
from stt_cases import CASES, SttCase

from active_call.base.errors import ConfigError, ProviderError
from active_call.contract.options import AsrOption
from active_call.providers.asr.vendors import deepgram
from active_call.providers.base import Failed, Final, TurnChange, TurnEvent
from active_call.providers.credentials import KeySource, find_key, find_url, without_secrets
from active_call.providers.declaration import ProviderDeclaration
from active_call.providers.entry_points import ASR, known_providers, load_adapter
from active_call.providers.registry import Engines, create_recogniser
from active_call.providers.selection import select_asr
from active_call.providers.vendor_keys import variables_of
from active_call.testing.vendors.stt.assemblyai import AssemblyAiServer
from active_call.testing.vendors.stt.deepgram import DeepgramServer
from active_call.testing.vendors.wire.server import Request, all_of
from active_call.testing.vendors.wire.socket import VendorSocket

LOCAL = {"moonshine", "pocketsphinx", "sherpa", "sensevoice"}
VENDORS = sorted(set(known_providers("asr")) - LOCAL)
BY_NAME = {case.name: case for case in CASES}


def declaration_of(name: str) -> ProviderDeclaration:
    declaration = import_module(load_adapter(ASR, name).__module__).DECLARATION
    assert isinstance(declaration, ProviderDeclaration)
    return declaration


@pytest.mark.parametrize("name", VENDORS)
def test_each_vendor_declares_itself_as_it_is(name: str) -> None:
    declaration = declaration_of(name)
    assert name in declaration.names and declaration.kind == "asr"
    assert declaration.documentation.startswith("https://") and declaration.prices.startswith("https://")
    assert set(variables_of("asr", name)) <= set(declaration.keys)
    assert all(option.meaning for option in declaration.options)


@pytest.mark.parametrize("name", sorted(set(VENDORS) - {"whisper", "openai", "livekit"}))  # need none, or the plugin says which
def test_a_missing_key_is_told_with_its_variable_and_the_page_where_it_is_made(name: str) -> None:
    async def run() -> None:
        async with services() as given:
            declaration = declaration_of(name)
            with pytest.raises(ConfigError) as caught:
                create_recogniser(AsrOption(provider=name, extra={"region": "westeurope"} if name == "azure" else {}), given)
            assert any(variable in str(caught.value) for variable in declaration.keys)
            assert declaration.key_page in str(caught.value)

    asyncio.run(run())


def test_the_environments_key_goes_to_the_vendor_alone() -> None:
    source = KeySource("Acme", ("ACME_KEY",), "https://acme.example/keys", ("acme.example",))
    environment = {"ACME_KEY": "from-environment"}
    assert find_key("asr", None, "wss://eu.acme.example/v1", source, environment) == "from-environment"
    assert find_key("asr", "given", "wss://acme.example", source, environment) == "given"
    assert find_key("asr", None, "wss://acme.example.evil.example/v1", source, environment) == ""
    assert find_key("asr", None, "ws://127.0.0.1:9", source, environment) == ""
    for plain in ("ws://acme.example/v1", "http://eu.acme.example"):
        assert find_key("asr", None, plain, source, environment) == ""
        assert find_key("asr", None, plain, source.with_server(plain), environment) == "from-environment"
        assert find_key("asr", "given", plain, source, environment) == "given"
    for bad in ("a b", "schlüssel", "a\nb"):
        with pytest.raises(ConfigError, match="not a valid key"):
            find_key("asr", bad, "wss://acme.example", source, {})


def test_addresses_take_the_vendors_path_and_scheme_where_they_have_none() -> None:
    assert find_url("asr", None, "wss://a.example/v1/listen") == "wss://a.example/v1/listen"
    assert find_url("asr", "https://b.example/", "wss://a.example/v1/listen") == "wss://b.example/v1/listen"
    assert find_url("asr", "ws://127.0.0.1:80/own", "wss://a.example/v1/listen") == "ws://127.0.0.1:80/own"
    assert find_url("asr", "wss://c.example", "https://a.example/v2") == "https://c.example/v2"
    for bad in ("ftp://a.example", "wss://", "no url", "wss://a:99999"):
        with pytest.raises(ConfigError, match="expected a"):
            find_url("asr", bad, "wss://a.example/v1")


def test_secrets_are_hidden_also_as_a_url_has_them() -> None:
    assert without_secrets("key k+y/1= and k%2By%2F1%3D", ("k+y/1=",)) == "key *** and ***"
    assert without_secrets("a short one stays", ("a", "")) == "a short one stays"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"DEEPGRAM_API_KEY": "k", "CARTESIA_API_KEY": "k", "OPENAI_API_KEY": "k"}, "deepgram"),
        ({"DASHSCOPE_API_KEY": "k"}, "aliyun"),
        ({"TENCENT_SECRET_KEY": "k", "OPENAI_API_KEY": "k"}, "tencent"),
        ({"OPENAI_API_KEY": "k"}, "openai"),
    ],
)
def test_the_key_in_the_environment_chooses_the_vendor(environment: dict[str, str], expected: str) -> None:
    assert select_asr(AsrOption(), environment).provider == expected


@pytest.mark.parametrize(
    ("provider", "settings", "key"),
    [
        ("deepgram", {"samplerate": 44_100}, "asr.samplerate"),
        ("deepgram", {"extra": {"encoding": "opus"}}, "asr.extra.encoding"),
        ("deepgram", {"model_type": "flux", "extra": {"eot_threshold": 0.2}}, "asr.extra.eot_threshold"),
        ("speechmatics", {"model_type": "best"}, "asr.model"),
        ("openai-realtime", {"extra": {"temperature": 1}}, "asr.extra.temperature"),
        ("azure", {}, "asr.extra.region"),
        ("whisper", {}, "asr.baseUrl"),
        ("tencent", {"secret_key": "k" * 8}, "asr.appId"),
    ],
)
def test_settings_that_a_vendor_would_refuse_are_refused_at_once(provider: str, settings: dict[str, Any], key: str) -> None:
    async def run() -> None:
        async with services() as given:
            with pytest.raises(ConfigError) as caught:
                create_recogniser(AsrOption(provider=provider, **{"secret_key": "right-key", **settings}), given)
            assert caught.value.key == key

    asyncio.run(run())


async def sent_by(case: SttCase, language: str | None = "en", **more: Any) -> Any:
    """The first handshake of a caller who expects a phrase."""
    async with case.vendor() as server, services() as given:
        caller = Caller(create_recogniser(case.option(server, **more), given), language)
        caller.stream.expect_phrases(["pocket sphinx", "Zürich"])
        await caller.say(1, 1)
        await caller.answer(1)
        await caller.stream.close()
        assert server.complaints == []
        return server.requests[0]


def test_deepgram_is_asked_with_the_terms_the_language_and_what_extra_adds() -> None:
    request = asyncio.run(sent_by(BY_NAME["deepgram"], "de_de", keyterms=["Kwik"], endpointing=300, extra={"numerals": True}))
    assert all_of(request.pairs, "keyterm") == ["Kwik", "pocket sphinx", "Zürich"]
    query = request.query
    assert (query["language"], query["endpointing"], query["numerals"], query["model"]) == ("de-DE", "300", "true", "nova-3")


def test_assemblyai_hears_another_language_by_the_other_model() -> None:
    query = asyncio.run(sent_by(BY_NAME["assemblyai"], "fr", keyterms=["Kwik"])).query
    assert query["speech_model"] == "universal-streaming-multilingual"
    assert json.loads(query["keyterms_prompt"]) == ["Kwik", "pocket sphinx", "Zürich"]


LONG = ["a very long phrase of seven words", "Donaudampfschifffahrt", "one two three four five six"]


def test_terms_that_a_vendor_would_refuse_are_left_out() -> None:
    scribe = asyncio.run(sent_by(BY_NAME["elevenlabs"], keyterms=["Kwik", *LONG]))
    assert all_of(scribe.pairs, "keyterms") == ["Kwik", "pocket sphinx", "Zürich"]
    assembly = asyncio.run(sent_by(BY_NAME["assemblyai"], keyterms=["x" * 51, LONG[0]]))
    assert json.loads(assembly.query["keyterms_prompt"]) == [LONG[0], "pocket sphinx", "Zürich"]


@pytest.mark.parametrize(("name", "n_terms"), [("cartesia", 60), ("deepgram", 50), ("deepgram-flux", 50)])
def test_terms_are_within_what_a_vendor_takes_in_all(name: str, n_terms: int) -> None:
    request = asyncio.run(sent_by(BY_NAME[name], keyterms=[f"{number:03} {'x' * 16}" for number in range(90)]))
    assert len(all_of(request.pairs, "keyterm")) == n_terms


async def reached(condition: Callable[[], bool]) -> None:
    """Wait until the vendor has got something."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("when", ["while it connects", "later"])
@pytest.mark.parametrize("name", ["deepgram", "deepgram-flux", "assemblyai"])
def test_phrases_of_a_new_scene_reach_the_open_stream(name: str, when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deepgram, "CONFIGURES_AT", frozenset({"127.0.0.1"}))

    async def run() -> None:
        server = BY_NAME[name].vendor()
        assert isinstance(server, DeepgramServer | AssemblyAiServer)
        async with server, services() as given:
            caller = Caller(create_recogniser(BY_NAME[name].option(server, keyterms=["Kwik"]), given))
            if when == "later":
                await caller.say(1, 1)
                await caller.answer(1)
            else:
                await reached(lambda: bool(server.requests))
            caller.stream.expect_phrases(["pocket sphinx"])
            await reached(lambda: list(server.keyterms) == ["Kwik", "pocket sphinx"])
            await caller.say(2, 1)
            await caller.answer(2)
            await caller.stream.close()
            assert server.complaints == []

    asyncio.run(run())


def test_deepgram_of_another_region_gets_no_message_that_it_does_not_know() -> None:
    async def run() -> None:
        async with DeepgramServer() as server, services() as given:
            caller = Caller(create_recogniser(BY_NAME["deepgram"].option(server), given))
            await caller.say(1, 1)
            await caller.answer(1)
            caller.stream.expect_phrases(["pocket sphinx"])
            await caller.say(2, 1)
            await caller.answer(2)
            await caller.stream.close()
            assert server.complaints == [] and not server.keyterms

    asyncio.run(run())


@pytest.mark.parametrize(
    ("code", "reason", "may_pass"),
    [
        (3009, "Unauthorized Connection: Too many concurrent sessions", True),
        (1008, "Unauthorized Connection: Too many concurrent sessions", True),
        (3008, "Session Expired: Maximum session duration exceeded", True),
        (3005, "Session Cancelled: An error occurred", True),
        (3007, "Audio Transmission Rate Exceeded: Received 9 sec. audio in 1 sec", True),
        (3007, "Input duration violation: 20 ms. Expected between 50 and 1000 ms", False),
        (1008, "Unauthorized Connection: Missing Authorization header", False),
        (4002, "Insufficient Funds", False),
    ],
)
@pytest.mark.parametrize("is_told", [True, False])
def test_end_of_an_assemblyai_session_says_whether_another_one_may_work(code: int, reason: str, may_pass: bool, is_told: bool) -> None:
    class Ending(AssemblyAiServer):
        async def serve(self, socket: VendorSocket, request: Request) -> None:
            await socket.send_json({"type": "Begin", "id": "s", "expires_at": 1_900_000_000})
            if is_told:
                await socket.send_json({"type": "Error", "error_code": code, "error": reason})
            await socket.close(code, reason)

    async def run() -> None:
        async with Ending() as server, services() as given:
            caller = Caller(create_recogniser(BY_NAME["assemblyai"].option(server), given))
            await caller.until(lambda: any(isinstance(event, Failed) for event in caller.events), "the failure")
            error = next(event.error for event in caller.events if isinstance(event, Failed))
            await caller.stream.close()
        assert isinstance(error, ProviderError) and error.retryable is may_pass and reason in str(error)

    asyncio.run(run())


def test_gladia_is_told_its_settings_by_http() -> None:
    settings = asyncio.run(sent_by(BY_NAME["gladia"], "es", endpointing=150)).json()
    assert settings["endpointing"] == 0.15 and settings["language_config"]["languages"] == ["es"]


@pytest.mark.parametrize("name", ["deepgram-flux", "cartesia"])
def test_turn_events_reach_the_call_in_the_order_in_which_the_vendor_thinks(name: str) -> None:
    async def run() -> None:
        case = BY_NAME[name]
        async with case.vendor() as server, services() as given:
            engine = Engines(given).get_recogniser(case.option(server))
            caller = Caller(engine)
            await caller.push(silence(0.3))
            caller.stream.start_utterance(1, caller.sample)
            for part in (speech(2), silence(0.3), speech(1), silence(0.8)):
                await caller.push(part)
                await caller.rest()
            caller.stream.end_utterance(1, caller.sample - 12_800)
            await caller.final(1)
            changes = [event.change for event in caller.events if isinstance(event, TurnEvent)]
            ended = [event.text for event in caller.events if isinstance(event, TurnEvent) and event.change is TurnChange.ENDED]
            await caller.stream.close()
        assert changes == [
            TurnChange.STARTED,
            TurnChange.EAGER_END,
            TurnChange.RESUMED,
            TurnChange.EAGER_END,
            TurnChange.ENDED,
        ]
        assert ended == ["one two three"]

    asyncio.run(run())


@pytest.mark.parametrize("name", ["assemblyai", "speechmatics", "soniox"])
def test_a_vendors_end_of_turn_is_told_before_the_voice_detector_has_decided(name: str) -> None:
    async def run() -> None:
        case = BY_NAME[name]
        async with case.vendor() as server, services() as given:
            caller = Caller(create_recogniser(case.option(server), given))
            await caller.say(1, 2, pause_s=1.0, end=False)
            await caller.until(lambda: any(isinstance(e, TurnEvent) and e.change is TurnChange.ENDED for e in caller.events), "the end")
            assert not any(isinstance(event, Final) for event in caller.events)
            caller.stream.end_utterance(1, caller.sample - 16_000)
            assert (await caller.final(1)).text.strip(".") == "one two"
            await caller.stream.close()

    asyncio.run(run())


def test_a_caller_who_speaks_before_the_connection_stands_is_heard() -> None:
    async def run() -> None:
        case = BY_NAME["deepgram"]
        async with case.vendor() as server, services() as given:
            server.faults.delay_s = 1.8
            caller = Caller(create_recogniser(case.option(server), given))
            await caller.say(1, 3)
            assert (await caller.final(1)).text == "one two three"
            await caller.stream.close()

    asyncio.run(run())


def test_a_vendor_that_says_nothing_at_all_fails_the_utterance_and_does_not_count_as_silence() -> None:
    async def run() -> None:
        case = BY_NAME["deepgram"]
        async with case.vendor() as server, services() as given:
            server.faults.is_silent = True
            caller = Caller(create_recogniser(case.option(server), given))
            await caller.say(1, 3)
            answer = await caller.answer(1)
            assert isinstance(answer, Failed) and answer.index == 1 and isinstance(answer.error, ProviderError) and answer.error.retryable
            await caller.stream.close()

    asyncio.run(run())
