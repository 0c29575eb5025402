"""`active-call doctor --providers`: each configured provider is tried for real, here against simulated vendors."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from active_call.base.world import World
from active_call.contract.options import AsrOption, RealtimeOption, TtsOption
from active_call.providers.base import Services
from active_call.providers.declared import Declared, declared_providers
from active_call.providers.local.local_engines import EngineProcesses
from active_call.providers.settings import LlmSettings
from active_call.server.commands.main import app
from active_call.server.config.loading import load_config
from active_call.server.doctor.provider_targets import Target, provider_targets
from active_call.server.doctor.provider_trials import Trial, try_providers, utterance
from active_call.testing.vendors.chat.anthropic import AnthropicServer
from active_call.testing.vendors.realtime.openai import OpenAiRealtimeServer
from active_call.testing.vendors.stt.deepgram import DeepgramServer
from active_call.testing.vendors.tts.cartesia import CartesiaSpeechServer
from active_call.testing.vendors.tts.hume import HumeServer
from active_call.testing.vendors.wire.server import VendorServer

QUIET = 'http_addr = "127.0.0.1:0"\nudp_port = 0\naddr = "127.0.0.1"\n'
DECLARED = declared_providers({})


@dataclass(frozen=True)
class Case:
    kind: str
    provider: str
    server: Callable[[], VendorServer]
    option: Callable[[str, str], Any]
    """Of a port and a key."""
    answer: str


CASES = [
    Case(
        "asr",
        "deepgram",
        DeepgramServer,
        lambda url, key: AsrOption(provider="deepgram", endpoint=f"ws://{url}", secret_key=key),
        "heard 'one",
    ),
    Case(
        "tts",
        "cartesia",
        CartesiaSpeechServer,
        lambda url, key: TtsOption(provider="cartesia", endpoint=f"ws://{url}", secret_key=key),
        "said 'Hello.'",
    ),
    Case(
        "llm",
        "anthropic",
        AnthropicServer,
        lambda url, key: LlmSettings("anthropic", base_url=f"http://{url}", api_key=key),
        "replied 'Hello there.'",
    ),
    Case(
        "realtime",
        "openai",
        OpenAiRealtimeServer,
        lambda url, key: RealtimeOption(provider="openai", endpoint=f"http://{url}/v1", secret_key=key),
        "a conversation was opened",
    ),
]


def test_provider_that_works_but_ends_soon_says_so() -> None:
    async def run() -> list[Trial]:
        local = EngineProcesses()
        async with HumeServer() as server, httpx.AsyncClient() as http:
            option = TtsOption(provider="hume", endpoint=server.http_url, secret_key=server.key)
            try:
                return await try_providers([Target("tts", "hume", option, "calls")], DECLARED, Services(World(), http, local, {}))
            finally:
                await local.close()

    (trial,) = asyncio.run(run())
    assert trial.ok and trial.text.startswith("said 'Hello.'")
    assert "; the vendor ends the service on 2026-11-13; choose another provider or model (https://" in trial.text


each_kind = pytest.mark.parametrize("case", CASES, ids=lambda case: case.kind)


async def tried(target: Target, declared: list[Declared] = DECLARED) -> Trial:
    local = EngineProcesses()
    async with httpx.AsyncClient(trust_env=False, verify=ssl.create_default_context()) as http:
        (trial,) = await try_providers([target], declared, Services(World(), http, local, {}))
    await local.close()
    return trial


@each_kind
def test_provider_that_answers_is_well_and_its_first_result_is_timed(case: Case) -> None:
    async def run() -> None:
        async with case.server() as server:
            option = case.option(f"127.0.0.1:{server.port}", server.key)
            trial = await tried(Target(case.kind, case.provider, option, "calls"))
            assert trial.ok, trial.text
            assert trial.text.startswith(case.answer) and trial.latency_ms is not None
            assert server.complaints == []

    asyncio.run(run())


@each_kind
def test_wrong_key_is_told_with_the_page_where_keys_are_made_and_never_shown(case: Case) -> None:
    async def run() -> None:
        async with case.server() as server:
            option = case.option(f"127.0.0.1:{server.port}", "sk-a-wrong-key-0123456789")
            trial = await tried(Target(case.kind, case.provider, option, "calls"))
            assert not trial.ok and trial.latency_ms is None
            assert "401" in trial.text and "keys are made at https://" in trial.text
            assert "sk-a-wrong-key" not in json.dumps(trial.as_json())

    asyncio.run(run())


@each_kind
def test_nobody_there_is_told_and_does_not_hang(case: Case) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        trial = asyncio.run(tried(Target(case.kind, case.provider, case.option(f"127.0.0.1:{port}", "right-key-0123"), "calls")))
    assert not trial.ok and trial.text


def test_vendor_that_takes_everything_and_says_nothing_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("active_call.server.doctor.provider_trials.TRIAL_S", 0.5)

    async def run() -> None:
        async with CartesiaSpeechServer() as server:
            server.faults.is_silent = True
            trial = await tried(Target("tts", "cartesia", CASES[1].option(f"127.0.0.1:{server.port}", server.key), "calls"))
            assert not trial.ok and "no result within" in trial.text

    asyncio.run(run())


def test_key_that_is_missing_is_told_with_its_variable() -> None:
    trial = asyncio.run(tried(Target("tts", "rime", TtsOption(provider="rime"), "main.md")))
    assert not trial.ok and "RIME_API_KEY" in trial.text and "made at https://" in trial.text


def test_the_utterance_is_a_second_of_speech() -> None:
    assert 0.8 < len(utterance()) / 2 / 16_000 < 2.0


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def targets_of(home: Path, text: str, environment: dict[str, str]) -> list[tuple[str, str, str]]:
    path = home / "active-call.toml"
    path.write_text(QUIET + text, encoding="utf-8")
    targets = provider_targets(load_config(path, {}, environment), environment)
    return [(target.kind, target.provider, target.whose) for target in targets]


def test_what_calls_use_and_what_has_a_key_is_tried_each_once(home: Path) -> None:
    (home / "playbooks").mkdir()
    book = "---\nasr: {provider: soniox}\ntts: {provider: cartesia, fallback: [espeak]}\nllm: {provider: anthropic, model: m}\n---\nHello"
    (home / "playbooks" / "main.md").write_text(book, encoding="utf-8")
    handler = '[handler]\ntype = "playbook"\ndefault = "main.md"\n'
    found = targets_of(home, handler, {"CARTESIA_API_KEY": "k", "TENCENT_SECRET_ID": "i", "TENCENT_SECRET_KEY": "k"})
    assert found == [
        ("asr", "soniox", "main.md"),
        ("asr", "cartesia", "CARTESIA_API_KEY"),
        ("asr", "tencent", "TENCENT_SECRET_KEY"),
        ("tts", "cartesia", "main.md"),
        ("tts", "espeak", "main.md"),
        ("tts", "tencent", "TENCENT_SECRET_KEY"),
        ("tts", "tencent_basic", "TENCENT_SECRET_KEY"),
        ("llm", "anthropic", "main.md"),
    ]


def test_without_a_key_the_engines_of_this_machine_are_tried(home: Path) -> None:
    assert ("tts", "piper", "calls") in targets_of(home, "", {})


def test_the_report_is_json_with_an_exit_code_and_without_keys(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{free.getsockname()[1]}"
        text = f'[asr]\nprovider = "none"\n[tts]\nprovider = "cartesia"\nendpoint = "{url}"\nsecretKey = "sk-secret-0123"\nfallback = []\n'
        (home / "active-call.toml").write_text(QUIET + text, encoding="utf-8")
        printed = CliRunner().invoke(app, ["doctor", "--providers", "--json"], env={"OPENAI_API_KEY": "", "DEEPGRAM_API_KEY": ""})
    assert printed.exit_code == 1, printed.output
    report = json.loads(printed.stdout)
    assert not report["ok"] and "sk-secret" not in printed.output
    assert [(one["kind"], one["provider"], one["ok"]) for one in report["providers"]] == [("tts", "cartesia", False)]
