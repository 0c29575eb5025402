"""Who may read the environment of the server, with its vendors' keys, by `${NAME}` in a playbook that is sent as text."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import HTTPConnection

sys.path.insert(0, str(Path(__file__).parent))

from test_app import an_api

from active_call.agent.playbook.check import PlaybookResources
from active_call.api.access import AccessControl, Scope, Token, is_operator
from active_call.api.console_data.facts import ConsoleFacts
from active_call.base.errors import PlaybookError
from active_call.base.world import World
from active_call.call.opening.routing import Playbooks

ENVIRONMENT = {"OPENAI_API_KEY": "sk-very-secret", "HTTP_TOKEN": "all-1"}
READS = (
    "---\nllm: {provider: script, greeting: 'The key is ${OPENAI_API_KEY}, the token ${HTTP_TOKEN}.'}\n---\n# Scene: main\n## bye\nBye.\n"
)
QUOTED = "---\nllm: {provider: script, thinking: '${OPENAI_API_KEY}'}\n---\n# Scene: main\n## bye\nBye.\n"
"""The mistake would be reported with the value."""
TOKENS = (Token("http_token", "all-1"), Token("crm", "drive-me-1", Scope.CONTROL))


def answers(folder: Path, path: str, body: dict[str, Any]) -> list[httpx.Response]:
    """The answers to a holder of the scope `control`, to one of `admin`, and to a client of this machine where there are no tokens."""

    async def go() -> list[httpx.Response]:
        facts = ConsoleFacts(resources=lambda: PlaybookResources(ENVIRONMENT))
        access = AccessControl(World().clock, TOKENS)
        async with an_api(folder, more={"access": access, "console": facts}, environment=ENVIRONMENT) as api:
            bearers = [{"Authorization": f"Bearer {secret}"} for secret in ("drive-me-1", "all-1")]
            found = [await api.http.post(path, json=body, headers=bearer) for bearer in bearers]
        async with an_api(folder, more={"console": facts}, environment=ENVIRONMENT) as api:
            return [*found, await api.http.post(path, json=body)]

    return asyncio.run(go())


@pytest.mark.parametrize(("path", "body"), [("/call", {"callee": "sip:a@b"}), ("/api/playbook/run", {})])
def test_client_that_may_not_write_playbooks_does_not_read_the_environment_by_one(tmp_path: Path, path: str, body: dict[str, Any]) -> None:
    driver, owner, local = answers(tmp_path, path, {**body, "content": READS})
    assert driver.status_code == 400 and driver.json()["code"] == "playbook_error"
    assert "OPENAI_API_KEY: the environment is for the operator's playbook files" in driver.text and "very-secret" not in driver.text
    assert owner.status_code < 300 and local.status_code < 300


def test_talk_by_text_does_not_read_the_environment_either(tmp_path: Path) -> None:
    def begin(playbook: Any, on_event: Any) -> Any:
        raise AssertionError("the playbook was taken")

    async def go() -> httpx.Response:
        access = AccessControl(World().clock, TOKENS)
        async with an_api(tmp_path, more={"access": access, "begin_talk": begin}, environment=ENVIRONMENT) as api:
            return await api.http.post("/api/console/talks", json={"content": READS}, headers={"Authorization": "Bearer drive-me-1"})

    answer = asyncio.run(go())
    assert answer.status_code == 400 and "very-secret" not in answer.text


def test_findings_about_a_playbook_quote_no_value_of_the_environment(tmp_path: Path) -> None:
    driver, owner, local = answers(tmp_path, "/api/console/playbook", {"content": QUOTED})
    assert not driver.json()["ok"] and "very-secret" not in driver.text
    assert "very-secret" in owner.text and "very-secret" in local.text  # who writes playbooks can read it anyway


def test_playbook_that_a_webhook_answers_does_not_read_the_environment_and_that_of_a_handler_does() -> None:
    books = Playbooks(lambda name: Path(name), ENVIRONMENT)
    with pytest.raises(PlaybookError, match="environment"):
        asyncio.run(books.parse_long(READS))
    with pytest.raises(PlaybookError, match="environment"):
        asyncio.run(books.parse_long(READS + "\n" * 100_000))  # in a thread
    assert "sk-very-secret" in books.parse(READS, by_operator=True).greeting


def test_request_that_nobody_has_admitted_is_not_the_operators() -> None:
    assert not is_operator(HTTPConnection({"type": "http", "headers": [], "path": "/call"}))
