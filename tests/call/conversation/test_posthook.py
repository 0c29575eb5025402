"""The report after a call: its summary, its body, its repetition, its wall."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from active_call.agent.playbook.parser import parse_playbook
from active_call.base.errors import ConfigError
from active_call.call.conversation.posthook import Posthooks
from active_call.providers.base import ReplyRequest
from active_call.providers.llm.text_only import TextOnlyChatModel
from active_call.store.records import CallRecord, TranscriptLine
from active_call.testing.virtual_time import run_virtually

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RECORD = CallRecord(
    session_id="s.1", call_id="c", direction="inbound", call_type="sip", caller="sip:ada@x", callee="sip:shop@x", start_time=AT,
    answer_time=AT, end_time=AT, duration_s=12.0, status="completed", hangup_reason="bye", hangup_by="caller", variables={"order": "7"},
    turns=(TranscriptLine(speaker="agent", text="Hello.", at=AT), TranscriptLine(speaker="caller", text="My order.", at=AT)),
)  # fmt: skip


class Model(TextOnlyChatModel):
    name = "model"

    def __init__(self, answer: str) -> None:
        self.answer = answer
        self.asked: list[ReplyRequest] = []

    async def respond(self, request: ReplyRequest) -> AsyncIterator[str]:
        self.asked.append(request)
        yield self.answer

    async def close(self) -> None:
        pass


def report(matter: str, *, answer: str = "A caller.", statuses: tuple[int, ...] = (200,), file: str = "own.md") -> tuple[list[Any], Model]:
    """What the server gets."""
    book = parse_playbook(f"---\nllm: {{provider: openai}}\nposthook: {matter}\n---\nHi.\n", file=file, environment={})
    received: list[httpx.Request] = []
    left = list(statuses)

    def serve(request: httpx.Request) -> httpx.Response:
        received.append(request)
        return httpx.Response(left.pop(0))

    model = Model(answer)

    async def run() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(serve)) as http:
            hooks = Posthooks(http, http, lambda _: model)
            hooks.begin(book, RECORD)
            await hooks.close()

    run_virtually(run())
    return received, model


def body(request: httpx.Request) -> dict[str, Any]:
    found = json.loads(request.content)
    assert isinstance(found, dict)
    return found


def test_report_tells_the_call_its_variables_and_a_summary() -> None:
    (request,), model = report(
        "{url: 'https://crm.example/calls', summary: short, headers: {X-Order: '{{ order }}', Authorization: Bearer k}}"
    )
    told = body(request)
    assert (told["sessionId"], told["duration"], told["variables"], told["summary"]) == ("s.1", 12.0, {"order": "7"}, "A caller.")
    assert told["startTime"] == "2026-01-02T03:04:05Z" and "history" not in told
    assert (request.method, request.headers["x-order"], request.headers["content-type"]) == ("POST", "7", "application/json")
    assert model.asked[0].messages[1].content == "agent: Hello.\ncaller: My order."


@pytest.mark.parametrize(
    ("summary", "kind", "word"),
    [("short", "short", "one or two"), ("detailed", "detailed", "in detail"), ("intent", "intent", "want"), ("json", "json", "JSON object"),
     ("Which shop was called?", "custom", "Which shop was called?")],
)  # fmt: skip
def test_each_kind_of_summary_has_its_own_instruction(summary: str, kind: str, word: str) -> None:
    (request,), model = report(f"{{url: 'https://crm.example/', summary: '{summary}'}}")
    assert body(request)["summaryKind"] == kind and word in model.asked[0].messages[0].content


def test_json_summary_is_an_object_also_out_of_a_fence_and_text_where_it_is_none() -> None:
    (request,), _ = report("{url: 'https://crm.example/', summary: json}", answer='```json\n{"intent": "order"}\n```')
    assert body(request)["summary"] == {"intent": "order"}
    (request,), _ = report("{url: 'https://crm.example/', summary: json}", answer="no JSON")
    assert body(request)["summary"] == "no JSON"


def test_reasoning_is_no_summary() -> None:
    (request,), _ = report("{url: 'https://crm.example/', summary: short}", answer="<think>hm</think>An order.")
    assert body(request)["summary"] == "An order."


def test_history_is_told_where_it_is_wanted() -> None:
    (request,), _ = report("{url: 'https://crm.example/', includeHistory: true, method: PUT}")
    assert request.method == "PUT" and "summary" not in body(request)
    assert [(line["role"], line["text"]) for line in body(request)["history"]] == [("agent", "Hello."), ("caller", "My order.")]


def test_server_in_trouble_is_asked_three_times_and_a_refusal_once() -> None:
    assert len(report("{url: 'https://crm.example/'}", statuses=(503, 502, 200))[0]) == 3
    assert len(report("{url: 'https://crm.example/'}", statuses=(500, 500, 500, 200))[0]) == 3
    assert len(report("{url: 'https://crm.example/'}", statuses=(404, 200))[0]) == 1


def test_summary_that_cannot_be_made_is_null_with_the_reason() -> None:
    book = parse_playbook("---\nposthook: {url: 'https://crm.example/', summary: short}\n---\nHi.\n", file="own.md", environment={})
    received: list[httpx.Request] = []

    def serve(request: httpx.Request) -> httpx.Response:
        received.append(request)
        return httpx.Response(200)

    def no_model(_: Any) -> Any:
        raise ConfigError("llm", "nothing is chosen")

    async def run() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(serve)) as http:
            hooks = Posthooks(http, http, no_model)
            hooks.begin(book, RECORD)
            await hooks.close()

    asyncio.run(run())
    assert body(received[0])["summary"] is None and "nothing is chosen" in body(received[0])["summaryError"]


def test_host_of_a_playbook_that_came_with_a_request_is_asked_by_the_guarded_client() -> None:
    book = parse_playbook("---\nposthook: {url: 'http://10.0.0.5/'}\n---\nHi.\n", file="(inline)", environment={})
    asked: list[str] = []

    async def run() -> None:
        private = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: asked.append("private") or httpx.Response(200)))
        guarded = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: asked.append("guarded") or httpx.Response(200)))
        async with private, guarded:
            hooks = Posthooks(private, guarded, lambda _: Model(""))
            hooks.begin(book, RECORD)
            await hooks.close()

    asyncio.run(run())
    assert asked == ["guarded"]
