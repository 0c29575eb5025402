from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import httpx
import pytest

from active_call.base.errors import ConfigError, ProviderError
from active_call.base.trust import Trust
from active_call.base.world import World
from active_call.contract.options import AsrOption, TtsOption
from active_call.net.outgoing import GuardedClients, OutgoingPolicy, places_of
from active_call.providers import entry_points
from active_call.providers.base import Services
from active_call.providers.local import on_this_machine
from active_call.providers.local.local_engines import EngineProcesses
from active_call.providers.registry import Engines, LlmSettings, create_recogniser, create_responder, create_synthesiser
from active_call.providers.sources import EngineLoader
from active_call.testing.virtual_time import run_virtually


def services(**environment: str) -> Services:
    return Services(World(), httpx.AsyncClient(), EngineProcesses(), environment)


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes a package look as if it were not installed."""
    find_spec = importlib.util.find_spec

    def hide(module: str) -> None:
        monkeypatch.setattr(on_this_machine, "find_spec", lambda name: None if name in hidden else find_spec(name))
        hidden.add(module)

    hidden: set[str] = set()
    return hide


def test_default_engines_are_those_of_this_machine_when_installed() -> None:
    assert create_recogniser(AsrOption(), services()).name == "moonshine"
    assert create_synthesiser(TtsOption(), services()).name == "piper"


def test_default_engine_is_openai_with_a_key() -> None:
    assert create_synthesiser(TtsOption(), services(OPENAI_API_KEY="k")).name == "openai"


def test_nothing_to_choose_from_is_an_error_with_both_ways_out(without: Callable[[str], None]) -> None:
    without("pocketsphinx")
    without("onnxruntime")
    with pytest.raises(ConfigError) as caught:
        create_recogniser(AsrOption(), services())
    assert caught.value.key == "asr.provider"
    assert "pip install 'active-call[local]'" in caught.value.reason and "OPENAI_API_KEY" in caught.value.reason


def test_llm_without_any_setting_is_an_error_that_names_the_keys() -> None:
    with pytest.raises(ConfigError, match=r"llm\.baseUrl.*OPENAI_API_KEY"):
        create_responder(LlmSettings(), services())


def test_unknown_provider_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"unknown provider 'acme'; known here: .*openai.*pocketsphinx"):
        create_recogniser(AsrOption(provider="acme"), services())


def test_missing_package_is_an_error_with_the_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = EntryPoint("acme", "no_such_package_of_acme.tts:create", "active_call.tts")
    monkeypatch.setattr(entry_points, "entry_points", lambda: EntryPoints([broken]))
    with pytest.raises(ConfigError, match="pip install no_such_package_of_acme"):
        create_synthesiser(TtsOption(provider="acme"), services())


def test_key_for_openai_is_required_and_never_sent_to_another_server() -> None:
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        create_recogniser(AsrOption(provider="openai"), services())
    local: Any = create_recogniser(AsrOption(provider="openai", endpoint="http://127.0.0.1:9/v1"), services(OPENAI_API_KEY="secret"))
    assert local._server.headers == {}


@pytest.mark.parametrize("environment", [{}, {"OPENAI_API_KEY": ""}, {"OPENAI_BASE_URL": "https://api.openai.com/v1/"}])
@pytest.mark.parametrize("key", [None, ""])
def test_missing_key_is_named_as_the_documentation_names_it(environment: dict[str, str], key: str | None) -> None:
    makers: dict[str, Callable[[], object]] = {
        "asr.secretKey": lambda: create_recogniser(AsrOption(provider="openai", secret_key=key), services(**environment)),
        "tts.secretKey": lambda: create_synthesiser(TtsOption(provider="openai", secret_key=key), services(**environment)),
        "llm.apiKey": lambda: create_responder(LlmSettings(provider="openai", api_key=key), services(**environment)),
    }
    for name, make in makers.items():
        with pytest.raises(ConfigError, match="OPENAI_API_KEY in the environment") as caught:
            make()
        assert caught.value.key == name


def test_url_that_is_none_is_told_by_the_name_it_came_from() -> None:
    for option, environment, name in (
        (LlmSettings(provider="openai", base_url="localhost:1"), {}, "llm.baseUrl"),
        (LlmSettings(provider="openai"), {"OPENAI_BASE_URL": "localhost:1"}, "OPENAI_BASE_URL"),
    ):
        with pytest.raises(ConfigError) as caught:
            create_responder(option, services(**environment))
        assert caught.value.key == name
    with pytest.raises(ConfigError) as caught:
        create_recogniser(AsrOption(provider="openai", endpoint="localhost:1"), services())
    assert caught.value.key == "asr.endpoint"


def test_engines_share_instances_of_equal_options_and_close_them() -> None:
    async def run() -> None:
        engines = Engines(services(OPENAI_API_KEY="k"))
        option = AsrOption(extra={"a": 1, "b": 2})
        assert engines.get_recogniser(option) is engines.get_recogniser(AsrOption(extra={"b": 2, "a": 1}))
        assert engines.get_recogniser(option) is not engines.get_recogniser(AsrOption())
        assert engines.get_voice(TtsOption()) is engines.get_voice(TtsOption())
        settings = LlmSettings(model="m", extra={"seed": 1})
        assert engines.get_responder(settings) is engines.get_responder(LlmSettings(model="m", extra={"seed": 1}))
        await engines.close()

    run_virtually(run())


def test_engine_that_may_ask_a_private_host_is_shared_only_by_calls_that_trust_it() -> None:
    async def run() -> None:
        clients = GuardedClients(OutgoingPolicy())
        offered = Services(World(), clients.shared(), EngineProcesses(), {}, clients.new, clients)
        engines, url = Engines(offered), "http://10.0.0.5:11434/v1"
        trust, other = Trust(places_of([url, "http://10.0.0.6/"])), Trust(places_of(["http://10.0.0.6/"]))
        asr = AsrOption(provider="openai", endpoint=url, fallback=["openai"], secret_key="k")
        tts, llm = TtsOption(provider="openai", endpoint=url), LlmSettings("openai", model="m", base_url=url)
        for get, option in ((engines.get_synthesiser, tts), (engines.get_responder, llm)):
            ours: Any = get(option, trust)  # type: ignore[operator]
            assert ours is get(option, Trust(places_of([url])))  # type: ignore[operator]
            assert ours is not get(option, other) and get(option, other) is get(option)  # type: ignore[operator]
        assert engines.get_recogniser(AsrOption(provider="openai", endpoint=url), trust) is not engines.get_recogniser(
            AsrOption(provider="openai", endpoint=url)
        )
        with pytest.raises(ConfigError):
            engines.get_recogniser(asr, trust)  # a fallback does not inherit the key
        public = TtsOption(provider="openai", endpoint="https://tts.example/v1")
        assert engines.get_synthesiser(public, trust) is engines.get_synthesiser(public)
        await engines.close()
        await clients.close()

    run_virtually(run())


def test_engines_have_room_as_long_as_those_of_this_machine_keep_up(monkeypatch: pytest.MonkeyPatch) -> None:
    given = services()
    engines = Engines(given)
    assert engines.has_room()
    monkeypatch.setattr(given.local, "has_room", lambda n_calls: n_calls < 10)
    assert engines.has_room(9)
    assert not engines.has_room(10)


class SlowToLoad:
    """Counts how often it was loaded; a load takes a second, or fails."""

    def __init__(self, *, fails: bool = False) -> None:
        self.n_loads = 0
        self.is_ready = False
        self._fails = fails

    async def warm(self) -> None:
        self.n_loads += 1
        await asyncio.sleep(1.0)
        if self._fails:
            raise ProviderError("slow", "its model is broken")
        self.is_ready = True


def test_engines_load_in_the_background_all_at_once_and_each_once(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        loader, engines, broken = EngineLoader(), [SlowToLoad(), SlowToLoad()], SlowToLoad(fails=True)
        begun_at = asyncio.get_running_loop().time()
        for _ in range(3):  # three calls ring
            loader.load([*engines, broken])
        assert not any(engine.is_ready for engine in engines)
        await asyncio.sleep(1.001)
        assert all(engine.is_ready for engine in engines)
        assert asyncio.get_running_loop().time() - begun_at < 1.1
        assert [engine.n_loads for engine in (*engines, broken)] == [1, 1, 1]
        await loader.close()

    with caplog.at_level("WARNING"):
        run_virtually(run())
    assert [record.message for record in caplog.records] == ["engine could not be loaded"]


def test_end_of_the_server_does_not_wait_for_an_engine_that_loads() -> None:
    async def run() -> None:
        loader, engine = EngineLoader(), SlowToLoad()
        loader.load([engine])
        await asyncio.sleep(0.5)
        await loader.close()
        assert engine.n_loads == 1
        assert not engine.is_ready

    run_virtually(run())
