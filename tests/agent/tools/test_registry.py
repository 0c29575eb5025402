"""Tools by name, and arguments checked by their schema."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.agent.tools.registry import ArgumentsError, Tool, ToolRegistry, ToolSchema, read_arguments
from active_call.base.errors import ConfigError

BOOK = Tool(
    "book",
    "Book a table.",
    {
        "type": "object",
        "properties": {
            "day": {"type": "string", "enum": ["Monday", "Tuesday"]},
            "people": {"type": "integer"},
            "names": {"type": "array", "items": {"type": "string"}},
            "seat": {"type": "object", "properties": {"window": {"type": "boolean"}}, "required": ["window"]},
            "note": {"type": ["string", "null"]},
        },
        "required": ["day"],
        "additionalProperties": False,
    },
)


def test_registry_gives_schemas_in_the_order_of_registration():
    registry = ToolRegistry([BOOK, Tool("hours")])
    assert registry.names() == ("book", "hours")
    assert registry.schemas()[0] == ToolSchema("book", "Book a table.", BOOK.parameters)
    assert registry.get("book") is BOOK
    assert registry.get("cook") is None


@pytest.mark.parametrize("name", ["", "a b", "1st", "x" * 65, "täst"])
def test_name_that_no_vendor_takes_is_refused(name):
    with pytest.raises(ConfigError):
        ToolRegistry([Tool(name)])


def test_two_tools_of_one_name_are_refused():
    with pytest.raises(ConfigError):
        ToolRegistry([BOOK, BOOK])


def test_arguments_that_fit_are_decoded():
    text = '{"day": "Monday", "people": 2, "names": ["Ann"], "seat": {"window": true}, "note": null}'
    assert read_arguments(BOOK, text)["people"] == 2
    assert read_arguments(Tool("hours"), "") == {}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ("{}", "missing: day"),
        ('{"day": "Friday"}', "day must be one of Monday, Tuesday"),
        ('{"day": "Monday", "people": "two"}', "people must be integer"),
        ('{"day": "Monday", "people": true}', "people must be integer"),
        ('{"day": "Monday", "names": [1]}', "names[0] must be string"),
        ('{"day": "Monday", "seat": {}}', "missing: seat.window"),
        ('{"day": "Monday", "note": 1}', "note must be string or null"),
        ('{"day": "Monday", "when": 1}', "unknown: when"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_in_words(text, reason):
    with pytest.raises(ArgumentsError, match=reason.replace("[", r"\[").replace("]", r"\]")):
        read_arguments(BOOK, text)


@given(st.text() | st.binary().map(lambda b: b.decode("latin-1")))
def test_any_text_is_arguments_or_an_arguments_error(text):
    with contextlib.suppress(ArgumentsError):
        assert isinstance(read_arguments(BOOK, text), dict)
