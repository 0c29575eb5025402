"""Key sets: what a table comes to, and that engines find the keys of the set that a call names, and no others."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from active_call.base.errors import ConfigError
from active_call.base.trust import Trust
from active_call.base.world import World
from active_call.contract.options import AsrOption, TtsOption
from active_call.providers.base import Services
from active_call.providers.declared import declared_providers
from active_call.providers.entry_points import all_providers
from active_call.providers.key_sets import WITHOUT_KEYS, KeySets, variables_of_set
from active_call.providers.local.local_engines import EngineProcesses
from active_call.providers.openai_settings import find_server
from active_call.providers.registry import Engines, LlmSettings
from active_call.testing.virtual_time import run_virtually

ACME, BETA = Trust(keys="acme"), Trust(keys="beta")


@pytest.mark.parametrize(
    ("table", "variables"),
    [
        ({"deepgram": " k "}, {"DEEPGRAM_API_KEY": "k"}),
        ({"google": "k"}, {"GOOGLE_SPEECH_API_KEY": "k", "GOOGLE_API_KEY": "k"}),
        ({"google": "k", "GOOGLE_API_KEY": "other"}, {"GOOGLE_SPEECH_API_KEY": "k", "GOOGLE_API_KEY": "other"}),
        ({"azure_openai": "k"}, {"AZURE_OPENAI_API_KEY": "k"}),
        ({"tencent": "k", "TENCENT_SECRET_ID": "i"}, {"TENCENT_SECRET_KEY": "k", "TENCENT_SECRET_ID": "i"}),
        ({"groq": "k", "deepseek": "d"}, {"GROQ_API_KEY": "k", "DEEPSEEK_API_KEY": "d"}),
    ],
)
def test_keys_are_named_by_provider_or_by_variable(table: dict[str, str], variables: dict[str, str]) -> None:
    assert variables_of_set("acme", table, all_providers()) == variables


@pytest.mark.parametrize(
    ("table", "word"), [({"opnai": "secret-1"}, "unknown provider"), ({"openai": " "}, "is empty"), ({"espeak": "k"}, "unknown")]
)
def test_mistake_in_a_set_is_told_by_its_key_and_without_its_value(table: dict[str, str], word: str) -> None:
    with pytest.raises(ConfigError, match=word) as caught:
        variables_of_set("acme", table, all_providers())
    assert caught.value.key == f"keys.acme.{next(iter(table))}" and "secret-1" not in str(caught.value)


def test_each_vendor_finds_the_key_that_is_named_by_its_provider() -> None:
    """The table knows what adapters declare."""
    for one in declared_providers({}):
        declaration = one.declaration
        if declaration is None or not declaration.keys or one.name in WITHOUT_KEYS:
            continue
        name = "azure-openai" if (one.kind, one.name) == ("realtime", "azure") else one.name
        assert declaration.keys[0] in variables_of_set("x", {name: "k"}, all_providers()), (one.kind, one.name)


def test_unknown_set_is_told_with_the_known_ones() -> None:
    sets = KeySets({})
    sets.use({"acme": {"OPENAI_API_KEY": "k"}})
    with pytest.raises(ConfigError, match=r"no key set 'acmee'; the config file has: acme"):
        sets.of("acmee")


def keyed(environment: dict[str, str]) -> Engines:
    engines = Engines(Services(World(), httpx.AsyncClient(), EngineProcesses(), environment))
    engines.use_key_sets({"acme": {"OPENAI_API_KEY": "acme-key"}, "beta": {"OPENAI_API_KEY": "beta-key", "DEEPGRAM_API_KEY": "beta-ears"}})
    return engines


def key_of(model: Any) -> str:
    """The key that an OpenAI-compatible model asks with."""
    found: str = model.inner._server.api_key
    return found


def test_engines_are_shared_by_calls_with_the_same_keys_only() -> None:
    async def run() -> None:
        engines, llm, tts = keyed({"OPENAI_API_KEY": "own-key"}), LlmSettings("openai"), TtsOption(provider="openai")
        models = [engines.get_responder(llm, trust) for trust in (Trust(), ACME, BETA)]
        assert [key_of(model) for model in models] == ["own-key", "acme-key", "beta-key"]
        assert engines.get_responder(llm, ACME) is models[1] and engines.get_voice(tts, ACME) is not engines.get_voice(tts, BETA)
        engines.use_key_sets({"acme": {"OPENAI_API_KEY": "acme-key"}, "beta": {"OPENAI_API_KEY": "another"}})
        assert engines.get_responder(llm, ACME) is models[1] and key_of(engines.get_responder(llm, BETA)) == "another"
        await engines.close()

    run_virtually(run())


def test_provider_that_a_set_has_a_key_of_is_chosen_like_one_of_the_environment() -> None:
    async def run() -> None:
        engines = keyed({"OPENAI_API_KEY": "own-key"})
        chosen = [engines.selection(AsrOption(), TtsOption(), None, trust)[0].provider for trust in (Trust(), ACME, BETA)]
        assert chosen == ["openai", "openai", "deepgram"]
        with pytest.raises(ConfigError, match="no key set 'gamma'"):
            engines.get_recogniser(AsrOption(), Trust(keys="gamma"))
        with pytest.raises(ConfigError, match="no key set 'gamma'"):
            await engines.create(AsrOption(), trust=Trust(keys="gamma"))
        await engines.close()

    run_virtually(run())


def test_vendor_that_a_set_does_not_name_gets_the_key_of_the_environment_as_it_is_now() -> None:
    environment = {"CARTESIA_API_KEY": "first"}
    sets = KeySets(environment)
    sets.use({"acme": {"OPENAI_API_KEY": "k"}})
    environment["CARTESIA_API_KEY"] = "second"
    assert (sets.of("acme").environment["CARTESIA_API_KEY"], sets.of("acme").environment["OPENAI_API_KEY"]) == ("second", "k")
    assert "OPENAI_API_KEY" not in sets.of("").environment


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("https://api.groq.com/openai/v1", "of-groq"),
        ("https://acme.openai.azure.com/openai/v1", "of-azure"),
        ("http://api.groq.com/openai/v1", None),
        ("https://groq.com.example/v1", None),
        ("https://api.deepseek.com/v1", None),
        ("http://10.0.0.5:11434/v1", None),
    ],
)
def test_known_vendor_with_openais_protocol_gets_its_own_key_and_nobody_elses(url: str, key: str | None) -> None:
    environment = {"OPENAI_API_KEY": "of-openai", "GROQ_API_KEY": "of-groq", "AZURE_OPENAI_API_KEY": "of-azure"}
    assert find_server("llm", url, None, environment).api_key == key
    assert find_server("llm", url, "own", environment).api_key == "own"
