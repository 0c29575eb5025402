"""Lines of keys in TOML text, judged against a search for markers in the same text."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.server.config.document import Document, dotted, find_lines, parse_document

TEXT = """\
# [not.a.table]
a = 1 # line 2
"quoted key" = 'x = 2'
multi = '''
b = 3
[also.not]
'''
list = [
  "[x]", # c = 1
  { c = 3 },
]
e.f.g = 5
[table]
h = \"\"\"
[no] \\\"\"\" x = 1
\"\"\"
i = { j = "}" }
[[arr]]
k = 1
[[arr]]
k = 2
[arr.sub]
l = 3
[[arr.deep]]
m = 4
[[arr.deep]]
m = 5
"""


def test_find_lines_of_every_kind_of_key() -> None:
    tomllib.loads(TEXT)
    assert find_lines(TEXT) == {
        ("a",): 2,
        ("quoted key",): 3,
        ("multi",): 4,
        ("list",): 8,
        ("e",): 12,
        ("e", "f"): 12,
        ("e", "f", "g"): 12,
        ("table",): 13,
        ("table", "h"): 14,
        ("table", "i"): 17,
        ("arr",): 18,
        ("arr", 0): 18,
        ("arr", 0, "k"): 19,
        ("arr", 1): 20,
        ("arr", 1, "k"): 21,
        ("arr", 1, "sub"): 22,
        ("arr", 1, "sub", "l"): 23,
        ("arr", 1, "deep"): 24,
        ("arr", 1, "deep", 0): 24,
        ("arr", 1, "deep", 0, "m"): 25,
        ("arr", 1, "deep", 1): 26,
        ("arr", 1, "deep", 1, "m"): 27,
    }


def test_line_of_key_inside_an_inline_table_is_that_of_the_nearest_key() -> None:
    document = parse_document(TEXT, "x.toml")
    assert document.line_of(("list", 1, "c")) == 8
    assert document.line_of(("table", "i", "j")) == 17
    assert document.line_of(("nowhere",)) == 0


def test_windows_line_ends_count_as_one_line() -> None:
    assert parse_document(TEXT.replace("\n", "\r\n"), "x").line_of(("arr", 1, "k")) == 21


@given(st.lists(st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=8), max_size=6), st.integers(0, 5))
def test_lines_survive_any_text_in_values(values: list[str], blank: int) -> None:
    quoted = ["'" + value.replace("'", "") + "'" for value in values]
    lines = [f"k{index} = {value}" + "\n" * blank for index, value in enumerate(quoted)]
    text = "\n".join([*lines, "last = [[], {}]"])
    found = parse_document(text, "x")
    for index in range(len(values)):
        assert text.split("\n")[found.line_of((f"k{index}",)) - 1].startswith(f"k{index} =")
    assert found.line_of(("last",)) == text.count("\n") + 1


@pytest.mark.parametrize(("path", "text"), [(("a",), "a"), (("a", 1, "b"), "a[1].b"), ((), "")])
def test_dotted_path(path: tuple[str | int, ...], text: str) -> None:
    assert dotted(path) == text


def test_error_of_a_key_that_is_not_in_the_file_names_no_line() -> None:
    error = Document("f.toml", {}).error(("a", "b"), "why")
    assert str(error) == "a.b: why"
