"""Playbooks tried by text over HTTP: the real call and the real script behind the routes, without a line."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "calls"))

from calls_kit import Engines, Records
from test_app import an_api

from active_call.api.console_data.text_talks import MAX_TALKS
from active_call.base.errors import PlaybookError
from active_call.base.world import World
from active_call.call.dependencies import CallDependencies
from active_call.call.opening.routing import Playbooks
from active_call.server.text_calls import TextCall
from active_call.testing.fakes.providers import FakeResponder

PLAYBOOK = """---
llm: {provider: script, greeting: Welcome to the bakery.}
---
# Scene: main
<dtmf digit="5" action="goto" scene="desk"/>
## opening hours
We open at nine. <set_var key="asked" value="hours"/>
## bye
Goodbye. <hangup/>
# Scene: desk
## hello
Desk.
"""


@asynccontextmanager
async def talking(folder: Path, engines: Engines | None = None, **given: Any) -> AsyncIterator[httpx.AsyncClient]:
    def no_file(name: str) -> Path:
        raise PlaybookError(name, 0, "there is none")

    async with httpx.AsyncClient() as outside:
        services = CallDependencies(
            world=World(),
            engines=engines or Engines(),
            http=outside,
            records=Records(),
            playbooks=Playbooks(no_file, {}),  # type: ignore[arg-type]
        )
        begin = lambda playbook, on_event: TextCall(playbook, services, on_event, caller="sip:you@console")  # noqa: E731
        async with an_api(folder, more={"begin_talk": begin}, **given) as api:
            yield api.http


def lines(answer: httpx.Response) -> list[tuple[str, str]]:
    return [(event["speaker"], event["text"]) for event in answer.json()["events"] if event["event"] == "addHistory"]


def test_playbook_is_tried_line_by_line_until_the_agent_hangs_up(tmp_path: Path) -> None:
    async def story() -> None:
        async with talking(tmp_path) as http:
            begun = await http.post("/api/console/talks", json={"content": PLAYBOOK})
            assert begun.status_code == 201
            assert [text for _, text in lines(begun)] == ["Welcome to the bakery."]
            talk = begun.json()
            assert (talk["scene"], talk["over"], talk["variables"].get("asked")) == ("main", False, None)
            path = f"/api/console/talks/{talk['id']}"

            told = await http.post(path, json={"text": "opening hours"})
            assert [text for _, text in lines(told)] == ["opening hours", "We open at nine."]
            assert told.json()["variables"]["asked"] == "hours"
            assert any(event["event"] == "turn" for event in told.json()["events"])

            assert (await http.post(path, json={"digits": "5"})).json()["scene"] == "desk"
            for body, part in (({}, "text: missing"), ({"text": 7}, "text:"), ({"digits": []}, "digits:")):
                refused = await http.post(path, json=body)
                assert refused.status_code == 400 and part in refused.json()["error"]

            ended = await http.delete(path)
            assert ended.json()["over"] is True
            assert (await http.post(path, json={"text": "hello"})).status_code == 404
            assert (await http.delete(path)).status_code == 404

    asyncio.run(story())


def test_line_is_answered_by_a_model_that_takes_its_time(tmp_path: Path) -> None:
    """The answer to the request has the model's reply, also if nothing happens for a second before it."""

    async def story() -> None:
        engines = Engines(model=FakeResponder(["We open at nine."], first_delay_s=1.0))  # type: ignore[arg-type]
        async with talking(tmp_path, engines) as http:
            content = "---\nllm: {provider: openai, apiKey: k}\ngreeting: Hello.\neou: {speculate: false}\n---\nYou answer for a bakery."
            talk = (await http.post("/api/console/talks", json={"content": content})).json()
            told = await http.post(f"/api/console/talks/{talk['id']}", json={"text": "When are you open?"})
            assert [text for _, text in lines(told)] == ["When are you open?", "We open at nine."]
            await http.delete(f"/api/console/talks/{talk['id']}")

    asyncio.run(story())


def test_playbook_with_a_speech_to_speech_model_is_tried_with_the_language_model_instead(tmp_path: Path) -> None:
    async def story() -> None:
        engines = Engines(model=FakeResponder(["We open at nine."]))  # type: ignore[arg-type]
        async with talking(tmp_path, engines) as http:
            content = "---\nrealtime: {provider: openai, model: gpt-realtime}\ngreeting: Hello.\n---\nYou answer for a bakery."
            begun = await http.post("/api/console/talks", json={"content": content})
            (error,) = [event["error"] for event in begun.json()["events"] if event["event"] == "error"]
            assert "a call by text has no sound" in error and "instead" in error
            told = await http.post(f"/api/console/talks/{begun.json()['id']}", json={"text": "When are you open?"})
            assert lines(told)[-1] == ("assistant", "We open at nine.")
            await http.delete(f"/api/console/talks/{begun.json()['id']}")

    asyncio.run(story())


def test_change_of_language_is_tried_by_text(tmp_path: Path) -> None:
    async def story() -> None:
        async with talking(tmp_path) as http:
            playbook = """---
llm: {provider: script, greeting: Hello.}
languages: [en, de]
---
## german please
<language code="de"/>Guten Tag.
"""
            talk = (await http.post("/api/console/talks", json={"content": playbook})).json()
            told = await http.post(f"/api/console/talks/{talk['id']}", json={"text": "german please"})
            assert [text for _, text in lines(told)] == ["german please", "Guten Tag."]
            assert [event for event in told.json()["events"] if event["event"] == "error"] == []
            await http.delete(f"/api/console/talks/{talk['id']}")

    asyncio.run(story())


def test_talk_that_the_agent_ends_is_forgotten(tmp_path: Path) -> None:
    async def story() -> None:
        async with talking(tmp_path) as http:
            talk = (await http.post("/api/console/talks", json={"content": PLAYBOOK})).json()
            path = f"/api/console/talks/{talk['id']}"
            told = await http.post(path, json={"text": "bye"})
            assert told.json()["over"] is True
            assert told.json()["events"][-1]["event"] == "hangup"
            assert (await http.post(path, json={"text": "hello"})).status_code == 404

    asyncio.run(story())


def test_mistakes_and_too_many_talks_are_told(tmp_path: Path) -> None:
    async def story() -> None:
        async with talking(tmp_path) as http:
            for body, status in (({}, 400), ({"content": "---\nllm: [\n---\n"}, 400), ({"playbook": "none.md"}, 404)):
                assert (await http.post("/api/console/talks", json=body)).status_code == status
            begun = await asyncio.gather(*(http.post("/api/console/talks", json={"content": PLAYBOOK}) for _ in range(MAX_TALKS + 1)))
            assert sorted(answer.status_code for answer in begun) == [201] * MAX_TALKS + [503]
            for answer in begun:
                if answer.status_code == 201:
                    await http.delete(f"/api/console/talks/{answer.json()['id']}")
            assert (await http.post("/api/console/talks", json={"content": PLAYBOOK})).status_code == 201

    asyncio.run(story())


def test_talks_are_for_those_who_may_control_calls(tmp_path: Path) -> None:
    async def story() -> None:
        async with talking(tmp_path, client="203.0.113.9") as http:
            assert (await http.post("/api/console/talks", json={"content": PLAYBOOK})).status_code == 403

    asyncio.run(story())
