from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import pytest

from active_call.base.errors import ConfigError
from active_call.contract.options import AsrOption, RealtimeOption, TtsOption
from active_call.providers import entry_points
from active_call.providers.entry_points import KINDS, MAX_TOOLS, known_providers, load_tools
from active_call.providers.guarding.failover import FailoverChatModel, FailoverTextToSpeech
from active_call.providers.registry import Engines, LlmSettings
from active_call.testing.fakes.providers import FakeRecogniser, FakeResponder, FakeSynthesiser
from active_call.testing.fakes.realtime import FakeRealtimeModel
from active_call.testing.virtual_time import run_virtually


def look_up(place: str) -> str:
    return f"sunny in {place}"


async def book(day: str) -> str:
    return day


TOOLS = [look_up, book]
NOT_TOOLS: list[Any] = [look_up, "book"]
NUMBER = 7
TOO_MANY = [look_up] * (MAX_TOOLS + 1)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes entry points look installed: `installed(group={name: object})`; an error is raised when its name is loaded."""

    def install(**groups: dict[str, Any]) -> None:
        class Point(EntryPoint):
            def load(self) -> Any:
                wanted = groups[self.group.rpartition(".")[2]][self.name]
                if isinstance(wanted, Exception):
                    raise wanted
                return wanted

        def found() -> EntryPoints:
            return EntryPoints(Point(name, f"acme:{name}", f"active_call.{group}") for group in groups for name in groups[group])

        monkeypatch.setattr(entry_points, "entry_points", found)

    return install


def test_every_kind_has_a_group_of_its_own() -> None:
    assert {kind.group for kind in KINDS.values()} == {f"active_call.{name}" for name in ("asr", "tts", "llm", "realtime")}
    assert {"moonshine", "openai", "pocketsphinx", "sensevoice", "sherpa"} <= set(known_providers("asr"))
    assert {"espeak", "openai", "piper"} <= set(known_providers("tts"))
    assert {"anthropic", "gemini", "openai", "openai-responses"} <= set(known_providers("llm"))


def test_tools_of_a_package_are_one_callable_or_a_list(installed: Callable[..., None]) -> None:
    installed(tools={"weather": look_up, "desk": TOOLS})
    assert load_tools("weather") == (look_up,)
    assert load_tools("desk") == (look_up, book)


@pytest.mark.parametrize("bad", [NOT_TOOLS, NUMBER, [], TOO_MANY, None, "look_up"], ids=["mixed", "number", "none", "many", "null", "text"])
def test_what_is_no_tool_is_a_config_error(bad: Any, installed: Callable[..., None]) -> None:
    installed(tools={"desk": bad})
    with pytest.raises(ConfigError, match="acme:desk"):
        load_tools("desk")


def test_tools_that_are_not_there_are_a_config_error_with_those_that_are(installed: Callable[..., None]) -> None:
    installed(tools={"weather": look_up, "broken": ModuleNotFoundError("no", name="acme_sdk"), "older": AttributeError("no look_up")})
    with pytest.raises(ConfigError, match="unknown tools 'wether'; known here: broken, older, weather"):
        load_tools("wether")
    with pytest.raises(ConfigError, match="pip install acme_sdk"):
        load_tools("broken")
    with pytest.raises(ConfigError, match="cannot be loaded: AttributeError: no look_up"):
        load_tools("older")


# -- fallbacks by name


def test_engines_of_an_option_with_fallbacks_are_those_that_the_names_stand_for(
    installed: Callable[..., None], services_with: Callable[..., Any]
) -> None:
    made: list[tuple[str, Any]] = []

    def maker(engine: type[Any]) -> Callable[[Any, Any], Any]:
        def create(option: Any, _: Any) -> Any:
            made.append((engine.__name__, option))
            return engine()

        return create

    async def run() -> None:
        kinds = {"asr": FakeRecogniser, "tts": FakeSynthesiser, "llm": FakeResponder}
        installed(**{kind: {"one": maker(engine), "two": maker(engine)} for kind, engine in kinds.items()})
        async with services_with() as services:
            engines = Engines(services)
            asr = AsrOption(provider="one", language="de", endpoint="x", fallback=["two"])
            recogniser = engines.get_recogniser(asr)
            assert recogniser is engines.get_recogniser(asr) and len(recogniser.engines) == 2
            assert recogniser.engines[1] is engines.get_recogniser(AsrOption(provider="two", language="de")).inner
            tts = engines.get_synthesiser(TtsOption(provider="one", speaker="anna", fallback=["two"]))
            assert isinstance(tts, FailoverTextToSpeech) and len(tts.engines) == 2
            assert tts.engines[1] is engines.get_synthesiser(TtsOption(provider="two"))
            llm = engines.get_responder(LlmSettings("one", model="m", fallback=("two", "one")))
            assert isinstance(llm, FailoverChatModel) and [model.guard.limits.attempts for model in llm.models] == [1, 1, 2]  # type: ignore[attr-defined]
            assert all(option.fallback in (None, ()) for _, option in made)
            with pytest.raises(ConfigError, match="unknown provider 'three'"):
                engines.get_recogniser(AsrOption(provider="one", fallback=["three"]))
            await engines.warm(asr)
            await engines.close()

    asyncio.run(run())


def test_realtime_model_is_found_by_its_name_and_has_no_default(installed: Callable[..., None], services_with: Callable[..., Any]) -> None:
    async def run() -> None:
        installed(realtime={"acme": lambda option, services: FakeRealtimeModel()})
        async with services_with() as services:
            engines = Engines(services)
            model = engines.get_realtime(RealtimeOption(provider="acme"))
            assert model is engines.get_realtime(RealtimeOption(provider="acme")) and model.name == "fake"
            with pytest.raises(ConfigError, match=r"realtime\.provider.*known here: acme"):
                engines.get_realtime(RealtimeOption())
            await engines.close()
            assert model.inner.is_closed  # type: ignore[attr-defined]

    run_virtually(run())


def test_what_is_installed_is_looked_up_once_however_many_calls_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def look_up() -> EntryPoints:
        asked.append(1)
        return EntryPoints([])

    monkeypatch.setattr(entry_points, "entry_points", look_up)
    for _ in range(3):
        assert (known_providers("asr"), known_providers("tts")) == ([], [])
    assert asked == [1]


@pytest.mark.parametrize("failure", [RuntimeError("no GPU"), SyntaxError("invalid syntax"), SystemExit(3), KeyError("HOME")])
def test_package_that_fails_at_its_import_is_a_config_error(failure: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    class Point(EntryPoint):
        def load(self) -> Any:
            raise failure

    monkeypatch.setattr(entry_points, "entry_points", lambda: EntryPoints([Point("desk", "acme:desk", "active_call.tools")]))
    with pytest.raises(ConfigError, match=f"acme:desk.*{type(failure).__name__}"):
        load_tools("desk")


@pytest.mark.parametrize("is_first", [True, False])
def test_package_cannot_take_the_name_of_an_adapter_of_ours(
    is_first: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ours = EntryPoint("openai", "active_call.providers.llm.openai:create", "active_call.llm")
    theirs = EntryPoint("openai", "active_call_plugin.llm:create", "active_call.llm")
    points = (theirs, ours) if is_first else (ours, theirs)
    monkeypatch.setattr(entry_points, "entry_points", lambda: EntryPoints(points))
    assert entry_points.found_adapters("llm") == {"openai": ours.module}
    assert [record.__dict__["left_out"] for record in caplog.records] == [theirs.value]
