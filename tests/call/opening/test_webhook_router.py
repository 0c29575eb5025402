"""What a web service is told of an inbound call, and what its answer means."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from active_call.call.opening.routing import Decision, IncomingCall, Playbooks, Refused, WebhookRouter
from active_call.contract.errors import ContractError


def incoming(**facts: Any) -> IncomingCall:
    def find(name: str) -> Path:
        raise AssertionError(f"{name} is looked for")

    return IncomingCall(
        **{
            "session_id": "s.1",
            "caller": "sip:a@b",
            "callee": "sip:c@d",
            "call_id": "99@b",
            "headers": {},
            "offer": "",
            "created_at": datetime(2026, 1, 1, tzinfo=UTC),
            "variables": {"from_tag": "of the caller's form"},
            "playbooks": Playbooks(find, {}),
            **facts,
        }
    )


def asked(answer: str, call: IncomingCall) -> tuple[Decision, dict[str, Any]]:
    """The decision after `answer`, and the body of the request."""
    told: list[dict[str, Any]] = []

    def serve(request: httpx.Request) -> httpx.Response:
        told.append(json.loads(request.content))
        return httpx.Response(200, text=answer)

    async def story() -> Decision:
        async with httpx.AsyncClient(transport=httpx.MockTransport(serve)) as http:
            return await WebhookRouter(("http://service/",), "POST", {}, http).route(call)

    return asyncio.run(story()), told[0]


def test_service_is_told_the_call_id_under_both_names_and_the_tags_of_the_dialog() -> None:
    _, told = asked("", incoming(from_tag="theirs", to_tag="ours"))
    assert (told["call_id"], told["sipCallId"]) == ("99@b", "99@b")
    assert (told["from_tag"], told["to_tag"]) == ("theirs", "ours")
    assert told["vars"] == {"from_tag": "of the caller's form"}


def test_accept_without_a_playbook_says_what_is_missing() -> None:
    with pytest.raises(ContractError, match=r"^playbook: missing; name a playbook, or give one as 'content'$"):
        asked('{"action": "accept"}', incoming())


def test_variables_that_are_no_object_are_named_as_json_names_them() -> None:
    with pytest.raises(ContractError, match=r"^vars: expected an object, found an array$"):
        asked('{"action": "accept", "content": "Hi", "vars": [1]}', incoming())


def test_answer_that_is_too_long_is_not_called_unreachable() -> None:
    decision, _ = asked(" " * (2 * 1024 * 1024 + 1), incoming())
    assert decision == Refused(503, "Webhook answer is too long or compressed")
