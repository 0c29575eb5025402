"""What is said of the API to programs: every command, event, refusal and reference is there, and the answers are as described."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from test_app import an_api

from active_call.api.asyncapi import COMMAND_EXAMPLES, QUERY, asyncapi
from active_call.api.openapi import EXAMPLES
from active_call.api.sockets.query import SocketQuery
from active_call.contract import commands, events, wire
from active_call.contract.requests import PlaceCall


def described(folder: Path) -> dict[str, Any]:
    async def story() -> dict[str, Any]:
        async with an_api(folder, more={"begin_talk": lambda playbook, on_event: None}) as api:
            assert (await api.http.get("/asyncapi.json")).json() == asyncapi()
            return dict((await api.http.get("/openapi.json")).json())

    return asyncio.run(story())


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, entry in value.items():
            yield from [entry] if key == "$ref" else references(entry)
        yield from (value.get("discriminator") or {}).get("mapping", {}).values() if isinstance(value.get("discriminator"), dict) else ()
    elif isinstance(value, list):
        for entry in value:
            yield from references(entry)


def resolved(document: dict[str, Any], reference: str) -> Any:
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part.replace("~1", "/")]
    return found


def test_every_reference_leads_to_something(tmp_path: Path) -> None:
    for document in (asyncapi(), described(tmp_path)):
        all_of_them = list(references(document))
        assert len(all_of_them) > 30
        for reference in all_of_them:
            assert resolved(document, reference)


def test_every_command_and_event_is_a_message_with_the_fields_of_its_type() -> None:
    document = asyncapi()
    messages = document["components"]["messages"]
    for union, ending in ((commands.Command, "Command"), (events.Event, "Event")):
        for cls in get_args(union):
            message = messages[f"{cls.__name__}{ending}"]
            assert message["name"] == cls.__struct_config__.tag
            schema = resolved(document, message["payload"]["$ref"])
            fields = {info.encode_name for info in msgspec.structs.fields(cls)}
            assert fields <= set(schema["properties"]), cls
    assert set(document["channels"]) == {"call-sip", "call-webrtc", "call", "events"}
    for example in COMMAND_EXAMPLES.values():
        assert not wire.decode_command(example).unknown


def test_query_of_the_sockets_is_described_whole() -> None:
    assert len(QUERY) == len(SocketQuery.__struct_fields__) + 1  # and `token`


def test_every_operation_says_how_it_is_refused(tmp_path: Path) -> None:
    document = described(tmp_path)
    for path, item in document["paths"].items():
        for method, operation in item.items():
            assert "422" not in operation["responses"]
            if path.startswith(("/health", "/ready")) or path == "/":
                continue
            assert {"400", "401", "403", "429", "503"} <= set(operation["responses"]), (method, path)
    assert document["components"]["schemas"]["ErrorBody"]["required"] == ["error", "code"]


def test_examples_are_what_the_contract_takes(tmp_path: Path) -> None:
    paths = described(tmp_path)["paths"]
    for (method, path), example in EXAMPLES.items():
        content = paths[path][method]["requestBody"]["content"]["application/json"]
        assert content["example"] == example
    assert wire.convert(EXAMPLES["post", "/call"], PlaceCall).unknown == []


FUZZED = [
    "null",
    "[]",
    "{}",
    '"x"',
    "{",
    "",
    '{"callee": 5}',
    '{"callee": "sip:a@b", "content": ["x"]}',
    '{"command": "tts", "text": {}}',
    '{"text": ""}',
]


@pytest.mark.parametrize("path", ["/call", "/command/nobody", "/precache", "/api/playbook/run", "/api/playbooks/a.md"])
def test_bodies_that_make_no_sense_are_refused_as_described(tmp_path: Path, path: str) -> None:
    async def story() -> None:
        async with an_api(tmp_path) as api:
            for body in FUZZED:
                answer = await api.http.post(path, content=body, headers={"Content-Type": "application/json"})
                assert answer.status_code in (400, 404, 415), (path, body, answer.text)
                told = json.loads(answer.content)
                assert {"error", "code"} <= set(told) or told.get("status") == "not_found", (path, body)

    asyncio.run(story())
