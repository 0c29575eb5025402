"""`POST /precache` with the real engines' registry, a vendor of the test's, and a cache on disk."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import httpx
import pytest

from active_call.api.app import create_app
from active_call.api.services import ApiServices
from active_call.base.errors import ConfigError, ProviderError
from active_call.base.trust import Trust
from active_call.base.world import World
from active_call.call.dependencies import CallDependencies
from active_call.call.opening.routing import Playbooks
from active_call.call.speech.precaching import MAX_KEY_CHARS, MAX_TEXT_CHARS, precache
from active_call.contract.options import CallOption, TtsOption
from active_call.providers import entry_points
from active_call.providers.base import Services, speech_of
from active_call.providers.local.local_engines import EngineProcesses
from active_call.providers.registry import Engines
from active_call.store.audio_cache import AudioCache
from active_call.store.speech import SpeechLibrary
from active_call.testing.fakes.providers import FakeSynthesiser, Spoken

FAKE = TtsOption(provider="fake")


@dataclass
class Vendors:
    """Entry points of two providers, both by the one synthesiser; `options` and `keys` are those they were made with."""

    voice: FakeSynthesiser
    options: list[TtsOption]
    keys: list[str | None]

    def create(self, option: TtsOption, services: Services) -> FakeSynthesiser:
        if option.volume == 11:
            raise ConfigError("tts.volume", "1 to 10, not 11")
        self.options.append(option)
        self.keys.append(services.environment.get("FAKE_API_KEY"))
        return self.voice


@pytest.fixture
def vendors(monkeypatch: pytest.MonkeyPatch) -> Vendors:
    made = Vendors(FakeSynthesiser(), [], [])

    class Point(EntryPoint):
        def load(self) -> Callable[..., Any]:
            return made.create

    points = EntryPoints(Point(name, "acme:create", "active_call.tts") for name in ("fake", "other"))
    monkeypatch.setattr(entry_points, "entry_points", lambda: points)
    return made


@dataclass
class Server:
    http: httpx.AsyncClient
    engines: Engines
    speech: SpeechLibrary

    async def post(self, **body: Any) -> httpx.Response:
        return await self.http.post("/precache", content=json.dumps(body), headers={"Content-Type": "application/json"})


@asynccontextmanager
async def a_server(
    folder: Path, *, token: str | None = None, client: str = "127.0.0.1", defaults: TtsOption = FAKE
) -> AsyncIterator[Server]:
    local, speech = EngineProcesses(), SpeechLibrary(AudioCache(folder))
    async with httpx.AsyncClient() as outside:
        engines = Engines(Services(World(), outside, local, {"FAKE_API_KEY": "own-key"}), prepared=speech)
        engines.use_key_sets({"acme": {"FAKE_API_KEY": "acme-key"}})
        services = CallDependencies(
            world=World(),
            engines=engines,
            http=outside,
            records=None,  # type: ignore[arg-type]
            playbooks=Playbooks(Path, {}),
            defaults=CallOption(tts=defaults),
            speech=speech,
        )
        app = create_app(
            ApiServices(
                registry=None,  # type: ignore[arg-type]
                playbooks=services.playbooks,
                playbook_folder=folder,
                records=None,  # type: ignore[arg-type]
                health=dict,
                version="test",
                token=token,
                precache=lambda request: precache(request, services, engines),
            )
        )
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app, client=(client, 1234)), base_url="http://127.0.0.1") as http:
            yield Server(http, engines, speech)
        await speech.close()
        await engines.close()
        await local.close()


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_sound_is_made_now_and_its_key_told(tmp_path: Path, vendors: Vendors) -> None:
    async def story() -> None:
        async with a_server(tmp_path) as server:
            answer = await server.post(text=" Good morning. ", speaker="nova", cacheKey="greeting")
            assert (answer.status_code, answer.json()) == (
                200,
                {
                    "status": "cached",
                    "key": "greeting",
                    "cacheKey": "greeting",
                    "bytes": 2 * 16 * vendors.voice.duration_ms("Good morning."),
                },
            )
            assert vendors.voice.spoken == [Spoken("Good morning.", "nova", None)]
            kept = [pcm async for pcm, _ in server.speech.pieces("greeting", vendors.voice, "?")]
            assert len(b"".join(kept)) == 2 * 16 * vendors.voice.duration_ms("Good morning.")
            assert len(vendors.voice.spoken) == 1

    asyncio.run(story())


def test_key_without_a_name_is_found_by_any_command_of_the_same_text_and_voice(tmp_path: Path, vendors: Vendors) -> None:
    async def story() -> None:
        async with a_server(tmp_path) as server:
            answer = await server.post(text="Good morning.", speaker="nova", option={"speed": 1.5})
            key = answer.json()["key"]
            assert len(key) == 40 and set(key) <= set("0123456789abcdef")
        async with a_server(tmp_path) as server:  # nothing is in memory any more
            same = server.engines.get_synthesiser(TtsOption(provider="fake", speaker="nova"))
            assert b"".join([chunk.pcm async for chunk in speech_of(same, "Good morning.", speed=1.5)])
            assert [piece async for piece in server.speech.pieces(key, vendors.voice, "?")]
            assert len(vendors.voice.spoken) == 1
            assert b"".join([chunk.pcm async for chunk in speech_of(same, "Good morning.", speed=1.0)])
            assert len(vendors.voice.spoken) == 2

    asyncio.run(story())


def test_key_set_of_the_calls_makes_the_sound_that_they_find(tmp_path: Path, vendors: Vendors) -> None:
    async def story() -> None:
        async with a_server(tmp_path) as server:
            answer = await server.post(text="Good morning.", keys="acme")
            assert answer.status_code == 200 and vendors.keys == ["acme-key"]
            voice = server.engines.get_voice(FAKE, Trust(keys="acme"))
            assert voice.voice.key_of("Good morning.") == answer.json()["key"]
            assert [chunk async for chunk in speech_of(voice, "Good morning.")] and len(vendors.voice.spoken) == 1
            await server.post(text="Good evening.")
            assert vendors.keys == ["acme-key", "own-key"]
            answer = await server.post(text="Good evening.", keys="acmee")
            assert answer.status_code == 400 and answer.json()["error"].startswith("keys: there is no key set 'acmee'")

    asyncio.run(story())


def test_same_request_again_asks_nobody_even_after_a_restart(tmp_path: Path, vendors: Vendors) -> None:
    async def story() -> None:
        for _ in range(2):
            async with a_server(tmp_path) as server:
                answers = [await server.post(text="Good morning.", **key) for key in ({}, {}, {"cacheKey": "a"}, {"cacheKey": "a"})]
                assert [answer.status_code for answer in answers] == [200] * 4
                assert [answer.json()["status"] for answer in answers][1::2] == ["exists", "exists"]
        assert (len(vendors.voice.spoken), len(files_in(tmp_path))) == (1, 2)

    asyncio.run(story())


def test_named_sound_is_made_anew_when_its_text_changes(tmp_path: Path, vendors: Vendors) -> None:
    async def story() -> None:
        async with a_server(tmp_path) as server:
            for text in ("Good morning.", "Good evening, all of you."):
                assert (await server.post(text=text, option={"cacheKey": "greeting"})).json()["key"] == "greeting"
            kept = [pcm async for pcm, _ in server.speech.pieces("greeting", vendors.voice, "?")]
            assert len(b"".join(kept)) == 2 * 16 * vendors.voice.duration_ms("Good evening, all of you.")

    asyncio.run(story())


def test_option_stands_over_the_defaults_of_the_server_as_in_a_call(tmp_path: Path, vendors: Vendors) -> None:
    async def story() -> None:
        async with a_server(tmp_path, defaults=TtsOption(provider="fake", language="de", speed=2.0)) as server:
            await server.post(text="Moin.", option={"provider": "other", "speed": 1.5})
            assert vendors.options == [TtsOption(provider="other", language="de", speed=1.5)]

    asyncio.run(story())


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, "text: missing"),
        ({"text": " \n"}, "text: empty; expected the text to speak"),
        ({"text": 5}, "text: expected `str`, got `int`"),
        ({"text": "a" * (MAX_TEXT_CHARS + 1)}, "text: too long: expected at most 10000 characters, found 10001"),
        (
            {"text": "Hi", "cacheKey": ""},
            "cacheKey: expected 1 to 256 characters (leave it out to derive the key from text and voice), found 0",
        ),
        ({"text": "Hi", "cacheKey": "k" * (MAX_KEY_CHARS + 1)}, "cacheKey: expected 1 to 256 characters"),
        ({"text": "Hi \ud800"}, "text: expected Unicode text, found '\\ud800'"),
        ({"text": "Hi", "cacheKey": "\ud800"}, "cacheKey: expected Unicode text"),
        ({"text": "Hi", "option": {"cacheKey": ""}}, "option.cacheKey: expected 1 to 256 characters"),
        ({"text": "Hi", "option": {"provider": "acme"}}, "option.provider: unknown provider 'acme'; known here: fake, other"),
        ({"text": "Hi", "option": {"volume": 11}}, "option.volume: 1 to 10, not 11"),
        ({"text": "Hi", "option": {"speed": "fast"}}, "option.speed: expected `float | null`, got `str`"),
    ],
)
def test_request_with_a_mistake_is_a_400_that_names_it(tmp_path: Path, vendors: Vendors, body: dict[str, Any], error: str) -> None:
    async def story() -> None:
        async with a_server(tmp_path) as server:
            answer = await server.post(**body)
            assert answer.status_code == 400
            assert answer.json()["error"].startswith(error)
            assert answer.json()["code"] == "bad_request"
            assert (vendors.voice.spoken, files_in(tmp_path)) == ([], [])

    asyncio.run(story())


def test_body_that_is_no_json_object_is_a_400(tmp_path: Path, vendors: Vendors) -> None:
    async def story() -> None:
        async with a_server(tmp_path) as server:
            assert (await server.http.post("/precache", content=b"text=Hi")).status_code == 415
            assert (await server.http.post("/precache", json=["Hi"])).status_code == 400
            other = await server.http.post("/precache", json={"command": "play", "url": "a.wav"})
            assert (other.status_code, other.json()["status"]) == (400, "error")
            assert other.json()["error"].startswith("command: expected 'tts'")

    asyncio.run(story())


def test_provider_that_the_configuration_names_wrongly_is_said_to_stand_there(tmp_path: Path, vendors: Vendors) -> None:
    async def story() -> None:
        async with a_server(tmp_path, defaults=TtsOption(provider="acme")) as server:
            answer = await server.post(text="Hi")
            assert (answer.status_code, answer.json()["code"]) == (400, "config_error")
            assert answer.json()["error"].startswith("tts.provider: unknown provider 'acme'")

    asyncio.run(story())


@pytest.mark.parametrize("key", [{}, {"cacheKey": "greeting"}])
def test_vendor_that_fails_is_a_500_with_its_reason_and_keeps_nothing(tmp_path: Path, vendors: Vendors, key: dict[str, str]) -> None:
    async def story() -> None:
        vendors.voice.failures["Hi"] = ProviderError("fake", "HTTP 401: no such key")
        async with a_server(tmp_path) as server:
            answer = await server.post(text="Hi", **key)
            assert (answer.status_code, answer.json()) == (
                500,
                {"status": "error", "error": "fake: HTTP 401: no such key", "code": "provider_error"},
            )
            assert files_in(tmp_path) == []

    asyncio.run(story())


def test_text_of_which_no_sound_comes_is_a_500(tmp_path: Path, vendors: Vendors) -> None:
    async def story() -> None:
        vendors.voice.ms_per_char = 0
        async with a_server(tmp_path) as server:
            answer = await server.post(text="…")
            assert (answer.status_code, answer.json()["error"]) == (500, "fake: returned no sound for this text")
            assert files_in(tmp_path) == []

    asyncio.run(story())


def test_folder_that_cannot_be_written_to_is_a_500(tmp_path: Path, vendors: Vendors) -> None:
    async def story() -> None:
        (tmp_path / "file").write_text("in the way")
        async with a_server(tmp_path / "file" / "cache") as server:
            answer = await server.post(text="Hi")
            assert (answer.status_code, answer.json()["code"]) == (500, "media_error")
            assert "media_cache_path" in answer.json()["error"]

    asyncio.run(story())


def test_sounds_are_made_for_those_who_may_control_calls(tmp_path: Path, vendors: Vendors) -> None:
    async def story() -> None:
        async with a_server(tmp_path, client="203.0.113.9") as server:
            assert (await server.post(text="Hi")).status_code == 403
        async with a_server(tmp_path, token="t") as server:
            assert (await server.post(text="Hi")).status_code == 401
            allowed = await server.http.post("/precache", json={"text": "Hi"}, headers={"Authorization": "Bearer t"})
            assert allowed.status_code == 200

    asyncio.run(story())
