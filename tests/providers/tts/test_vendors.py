"""What the adapters of synthesis vendors send for an option, and what they refuse to be configured with; and what they declare."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent.parent / "conformance"))

from callers import services
from tts_cases import CASES, TtsCase

from active_call.base.errors import ConfigError
from active_call.contract.options import TtsOption
from active_call.providers.accounts.tencent import TencentAccount, cloud_api_authorization
from active_call.providers.base import speech_of
from active_call.providers.declaration import ProviderDeclaration
from active_call.providers.entry_points import TTS, known_providers, load_adapter
from active_call.providers.registry import create_synthesiser
from active_call.providers.selection import select_tts
from active_call.providers.tts.vendors.spoken_text import SpokenText
from active_call.providers.tts.vendors.tencent import vendor_speed
from active_call.providers.tts.vendors.tencent_basic import MAX_WEIGHT, parts_of
from active_call.providers.vendor_keys import variables_of
from active_call.testing.vendors.tts.tencent import TencentSpeechServer
from active_call.testing.vendors.wire.speaking import MS_PER_CHAR

LOCAL = {"piper", "espeak"}
VENDORS = sorted(set(known_providers("tts")) - LOCAL)
BY_NAME = {case.provider: case for case in CASES}


@pytest.mark.parametrize("name", VENDORS)
def test_each_vendor_declares_itself_as_it_is(name: str) -> None:
    declaration = import_module(load_adapter(TTS, name).__module__).DECLARATION
    assert isinstance(declaration, ProviderDeclaration)
    assert name in declaration.names and declaration.kind == "tts"
    assert set(variables_of("tts", name)) <= set(declaration.keys)
    assert all(option.meaning for option in declaration.options)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"DEEPGRAM_API_KEY": "k", "CARTESIA_API_KEY": "k", "OPENAI_API_KEY": "k"}, "cartesia"),
        ({"DASHSCOPE_API_KEY": "k"}, "aliyun"),
        ({"TENCENT_SECRET_KEY": "k", "OPENAI_API_KEY": "k"}, "tencent"),
        ({"AZURE_SPEECH_KEY": "k"}, "azure"),
        ({"RIME_API_KEY": "k"}, "rime"),
    ],
)
def test_the_key_in_the_environment_chooses_the_vendor(environment: dict[str, str], expected: str) -> None:
    assert select_tts(TtsOption(), environment).provider == expected


@pytest.mark.parametrize(
    ("provider", "settings", "key"),
    [
        ("rime", {"samplerate": 4_000}, "tts.samplerate"),
        ("aliyun", {"samplerate": 32_000}, "tts.samplerate"),
        ("tencent", {}, "tts.appId"),
        ("tencent", {"app_id": "1250000000"}, "tts.secretId"),
        ("tencent", {"app_id": "1250000000", "secret_id": "AKID", "speaker": "amy"}, "tts.speaker"),
        ("tencent_basic", {}, "tts.secretId"),
        ("voiceapi", {"speaker": "amy"}, "tts.speaker"),
        ("voiceapi", {"endpoint": "ftp://127.0.0.1"}, "tts.baseUrl"),
    ],
)
def test_settings_that_a_vendor_would_refuse_are_refused_at_once(provider: str, settings: dict[str, Any], key: str) -> None:
    async def run() -> None:
        async with services() as given:
            with pytest.raises(ConfigError) as caught:
                create_synthesiser(TtsOption(provider=provider, **{"secret_key": "right-key", **settings}), given)
            assert caught.value.key == key

    asyncio.run(run())


def address_of(option: TtsOption, spoken: SpokenText, environment: dict[str, str] | None = None) -> tuple[str, dict[str, str]]:
    """The address without its query, and the query, that `option` comes to."""

    async def run() -> str:
        async with services(environment or {}) as given:
            engine: Any = create_synthesiser(option, given).inner
            return str(engine.address(spoken).url)

    parts = urlsplit(asyncio.run(run()))
    return f"{parts.scheme}://{parts.netloc}{parts.path}", {name: values[-1] for name, values in parse_qs(parts.query).items()}


def test_voiceapi_is_found_by_the_variables_of_the_environment() -> None:
    environment = {"VOICEAPI_ENDPOINT": "http://voices.example:8000", "VOICEAPI_SPEAKER_ID": "7"}
    url, query = address_of(TtsOption(provider="voiceapi", speed=1.5), SpokenText("Hi", "1"), environment)
    assert url == "ws://voices.example:8000/tts" and (query["sid"], query["speed"], query["split"]) == ("7", "1.5", "false")
    url, query = address_of(TtsOption(provider="voiceapi", endpoint="https://own.example", speaker="3"), SpokenText("Hi", "1"), environment)
    assert url == "wss://own.example/tts" and query["sid"] == "3"


@pytest.mark.parametrize(("model", "expected"), [("mistv2", "0.5"), ("coda", "2.0"), (None, "2.0")])
def test_rime_is_told_the_pace_in_the_way_of_its_model(model: str | None, expected: str) -> None:
    option = TtsOption(provider="rime", secret_key="right-key", model=model, language="en-GB")
    _, query = address_of(option, SpokenText("Hi", "1", speed=2.0))
    assert query["speedAlpha"] == expected and query["lang"] == "eng" and query["segment"] == "never"


@pytest.mark.parametrize(
    ("pace", "expected"), [(0.1, -2.0), (0.6, -2.0), (0.7, -1.5), (1.0, 0.0), (1.35, 1.5), (2.0, 4.0), (2.5, 6.0), (9.0, 6.0)]
)
def test_tencent_is_told_the_pace_on_its_own_scale(pace: float, expected: float) -> None:
    assert vendor_speed(max(0.6, min(2.5, pace))) == expected


def test_requests_to_the_cloud_api_are_signed_as_documented() -> None:
    """The form of the header; what it signs is judged by the simulator, which computes it from the request as it came."""
    account = TencentAccount("", "AKIDEXAMPLE", "secret-example")
    header = cloud_api_authorization(account, "tts.tencentcloudapi.com", b"{}", datetime(2024, 5, 12, 23, 30, tzinfo=UTC), "tts")
    head, _, signature = header.rpartition("=")
    assert head == "TC3-HMAC-SHA256 Credential=AKIDEXAMPLE/2024-05-12/tts/tc3_request, SignedHeaders=content-type;host, Signature"
    assert len(signature) == 64


@given(st.text(alphabet="ab .,!?你好。；\n", max_size=1500))
def test_parts_of_a_long_text_are_all_of_it_and_fit_one_request(said: str) -> None:
    parts = list(parts_of(said))
    assert "".join(parts).strip() == said.strip()
    for part in parts:
        assert sum(1 if char < "\u2000" else 3 for char in part) <= MAX_WEIGHT


def said_by(case: TtsCase, text: str, **option: Any) -> tuple[bytes, list[str]]:
    """The sound of `text`, and what the simulator complained of."""

    async def run() -> tuple[bytes, list[str]]:
        async with case.server() as server, services() as given:
            engine = create_synthesiser(case.option_for(server, **option), given, attempts=1)
            pcm = b"".join([chunk.pcm async for chunk in speech_of(engine, text)])
            await engine.close()
            return pcm, server.complaints

    return asyncio.run(run())


def test_a_long_text_is_asked_for_in_parts_of_the_basic_api() -> None:
    pcm, complaints = said_by(BY_NAME["tencent_basic"], "We open at eight in the morning, and close at six. " * 12, samplerate=8_000)
    assert complaints == [] and len(pcm) > 8_000 * 2 * 10


def test_a_voice_of_cosyvoice_2_is_spoken_by_its_own_model() -> None:
    pcm, complaints = said_by(BY_NAME["aliyun"], "Hello.", speaker="longxiaochun_v2", speed=1.2, volume=7, language="zh-CN")
    assert complaints == [] and pcm


@pytest.mark.parametrize("of_sentences", [False, True])
@pytest.mark.parametrize(("has_subtitles", "subtitles_first"), [(True, True), (True, False), (False, True)])
def test_tencents_clauses_end_with_their_sound(of_sentences: bool, has_subtitles: bool, subtitles_first: bool) -> None:
    """Whatever the times of words count from, before or after the sound. Without words only the end of all is known."""
    clauses = ["Certainly, I can help,", "and it takes a minute.", "Who is calling, please?"]

    async def run() -> None:
        server = TencentSpeechServer(times_are_of_sentences=of_sentences, has_subtitles=has_subtitles, subtitles_first=subtitles_first)
        async with server, services() as shared:
            account = {"app_id": server.app_id, "secret_id": server.secret_id, "secret_key": server.key}
            option = TtsOption(provider="tencent", endpoint=server.ws_url, samplerate=16_000, **account)
            engine = create_synthesiser(option, shared, attempts=1)
            stream, n_ends, n_bytes, words = engine.open(), 0, 0, []
            for clause in clauses:
                stream.push_text(clause + " ")
                stream.flush()
            stream.end_text()
            ends = []
            async with asyncio.timeout(20):
                async for chunk in stream:
                    n_bytes += len(chunk.pcm)
                    words += chunk.words
                    n_ends += chunk.ends_flush
                    if chunk.ends_flush:
                        ends.append(n_bytes)
            await engine.close()
            assert server.spoken == clauses and server.complaints == [] and server.n_sockets == 1
            per_char = 16_000 * MS_PER_CHAR // 1000 * 2
            assert n_bytes == per_char * len("".join(clauses))
            if has_subtitles:
                assert [word.text for word in words] == " ".join(clauses).split()
                assert [word.start_ms for word in words] == sorted(word.start_ms for word in words)
                bounds = [per_char * len("".join(clauses[: n + 1])) for n in range(3)]
                assert all(abs(end - bound) <= per_char for end, bound in zip(ends, bounds, strict=True))
            else:
                assert ends == []

    asyncio.run(run())
