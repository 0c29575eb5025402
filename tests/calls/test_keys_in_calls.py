"""Keys by name: a call gets those of its playbook, else of its trunk, and they are told to nobody but the vendor. In virtual time."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec
import pytest
from calls_kit import Engines, Model, a_call

from active_call.base.trust import NO_TRUST, Trust
from active_call.base.world import World
from active_call.contract import events
from active_call.contract.options import CallOption
from active_call.providers import registry
from active_call.providers.base import Services
from active_call.providers.chat import ChatModel
from active_call.providers.local.local_engines import EngineProcesses
from active_call.providers.settings import LlmSettings
from active_call.testing.fakes.call import FakeLeg

BOOK = """---
llm: {provider: anthropic, model: m}
greeting: Good morning.
KEYS---
Answer in one sentence.
"""
SETS = {"acme": {"ANTHROPIC_API_KEY": "sk-of-acme"}, "beta": {"ANTHROPIC_API_KEY": "sk-of-beta"}}
ANSWER = [
    {"type": "message_start", "message": {"usage": {"input_tokens": 20, "output_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "We are open until six."}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 15}},
    {"type": "message_stop"},
]


@dataclass
class Vendor:
    """Answers over a client's transport; knows which keys it was asked with."""

    keys: list[str] = field(default_factory=list)

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.keys.append(request.headers["x-api-key"])
        body = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in ANSWER)
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, text=body)


class KeyedEngines(Engines):
    """A recogniser and a voice of the test, and the language model of the program's own registry."""

    def __init__(self, vendor: Vendor) -> None:
        super().__init__()
        http = httpx.AsyncClient(transport=httpx.MockTransport(vendor.answer))
        self.real = registry.Engines(Services(World(), http, EngineProcesses(), {"ANTHROPIC_API_KEY": "sk-of-us"}))
        self.real.use_key_sets(SETS)

    def get_responder(self, settings: Any, trust: Trust = NO_TRUST) -> ChatModel:  # type: ignore[override]
        assert isinstance(settings, LlmSettings)
        return self.real.get_responder(settings, trust)


@pytest.mark.parametrize(
    ("trunk_keys", "of_playbook", "of_call", "key"),
    [
        ("", "", None, "sk-of-us"),
        ("acme", "", None, "sk-of-acme"),
        ("acme", "keys: beta\n", None, "sk-of-beta"),
        ("", "keys: beta\n", "acme", "sk-of-acme"),
    ],
)
def test_vendor_is_asked_with_the_keys_of_the_call_and_nobody_else_sees_them(
    virtually: Any, caplog: pytest.LogCaptureFixture, trunk_keys: str, of_playbook: str, of_call: str | None, key: str
) -> None:
    async def story() -> None:
        vendor, leg = Vendor(), FakeLeg()
        leg.kind, leg.trunk = "sip", "carrier"
        engines, book = KeyedEngines(vendor), BOOK.replace("KEYS", of_playbook)
        trunks = {"carrier": trunk_keys} if trunk_keys else {}
        async with a_call(book, leg=leg, engines=engines, option=CallOption(keys=of_call), trunk_keys=trunks) as call:
            await call.until(lambda: len(call.of(events.TrackEnd)) >= 1)
            await call.says("When do you close?", 2.0)
            await call.until(lambda: "We are open until six." in " ".join(call.spoken))
            live = repr(call.session.handle().describe())
            call.session.hang_up(by="api", cause="hangup")
            record = await call.over()
            told = [live, msgspec.json.encode(call.session.state.option).decode(), repr(record), repr(call.events)]
            told += [f"{line.getMessage()} {line.__dict__}" for line in caplog.records]
            assert set(vendor.keys) == {key}
            assert not any("sk-of" in text for text in told)
        await engines.real.close()

    with caplog.at_level(logging.DEBUG, "active_call"):
        virtually(story())


def test_call_with_an_unknown_set_fails_and_says_which(virtually: Any) -> None:
    async def story() -> None:
        engines = KeyedEngines(Vendor())
        async with a_call(BOOK.replace("KEYS", "keys: gamma\n"), engines=engines) as call:
            record = await call.over()
            assert record.status == "failed" and "there is no key set 'gamma'" in record.error
        await engines.real.close()

    virtually(story())


def test_model_of_the_kit_is_not_what_answered() -> None:
    """The story above would say nothing if the kit's own model spoke."""
    assert not isinstance(KeyedEngines(Vendor()).get_responder(LlmSettings("anthropic", "m")), Model)
