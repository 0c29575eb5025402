"""Values from outside become JSON, whatever they hold."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.base.repair import clean_text, encode_json, repaired

any_text = st.text(st.characters(exclude_categories=()), max_size=20)
leaves = st.none() | st.booleans() | st.integers() | st.floats() | any_text | st.binary(max_size=8) | st.sets(st.integers(), max_size=2)
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4), max_leaves=20)


@given(values)
def test_any_value_becomes_json_that_others_can_read(value: Any) -> None:
    data = encode_json(value)
    json.loads(data.decode("utf-8"))
    assert b"\\u0000" not in data.replace(b"\\\\", b"")  # an escaped backslash before "u0000" is a text like any other


@given(values)
def test_repaired_value_is_repaired_already(value: Any) -> None:
    once = repaired(value)
    assert repaired(once) == once


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("plain", "plain"),
        ("über", "über"),
        ("a\ud83d", "a\ufffd"),
        ("\ude00b", "\ufffdb"),
        ("\ud83d\ude00", "😀"),
        ("\udce9", "\ufffd"),
        ("a\0b", "ab"),
    ],
)
def test_text_loses_half_pairs_and_nul_and_nothing_else(text: str, wanted: str) -> None:
    assert clean_text(text) == wanted


def test_depth_is_bounded() -> None:
    value: Any = "end"
    for _ in range(5_000):
        value = [value]
    assert len(encode_json(value)) < 500


def test_value_whose_text_raises_costs_its_own_place_only() -> None:
    class Odd:
        def __str__(self) -> str:
            raise ValueError("no text")

    assert json.loads(encode_json({"a": Odd(), "b": 1})) == {"a": "<Odd>", "b": 1}
