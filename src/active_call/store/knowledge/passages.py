"""Splits a Markdown text into passages, short enough for a model's prompt, each with its headings. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec import Struct

MAX_PASSAGE_CHARS = 1_200
_HEADING = re.compile(r"^(#{1,6})\s+(.*?)\s*#*\s*$")
_FENCE = re.compile(r"^\s*(```|~~~)")


class Passage(Struct, frozen=True):
    """A piece of a file. `title` is the path of its headings."""

    title: str
    text: str


def passages_of(text: str, name: str) -> Iterator[Passage]:
    """The passages of one file; `name` is the title of text without a heading."""
    headings: list[str] = []
    lines: list[str] = []
    in_fence = False
    for line in text.removeprefix("\ufeff").splitlines():
        in_fence ^= bool(_FENCE.match(line))
        match = None if in_fence else _HEADING.match(line)
        if match is None:
            lines.append(line)
            continue
        yield from _cut(" › ".join(headings) or name, lines)
        lines = []
        del headings[len(match[1]) - 1 :]
        headings.append(match[2])
    yield from _cut(" › ".join(headings) or name, lines)


def _cut(title: str, lines: list[str]) -> Iterator[Passage]:
    """Joins paragraphs up to the limit; a longer paragraph is cut at sentences, else anywhere."""
    held = ""
    for paragraph in re.split(r"\n\s*\n", "\n".join(lines)):
        for piece in _pieces(paragraph.strip()):
            if held and len(held) + len(piece) + 1 > MAX_PASSAGE_CHARS:
                yield Passage(title, held)
                held = ""
            held = f"{held}\n{piece}" if held else piece
    if held.strip():
        yield Passage(title, held)


def _pieces(paragraph: str) -> Iterator[str]:
    while len(paragraph) > MAX_PASSAGE_CHARS:
        end = max(paragraph.rfind(mark, 0, MAX_PASSAGE_CHARS) for mark in (". ", "! ", "? ", "。", "\n"))
        end = end + 1 if end > MAX_PASSAGE_CHARS // 2 else MAX_PASSAGE_CHARS
        yield paragraph[:end].strip()
        paragraph = paragraph[end:].strip()
    if paragraph:
        yield paragraph
