"""Messages of a vendor that misbehaves: each field of a real message in turn has a value that no vendor should send."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

DEEP = "[" * 3_000 + "]" * 3_000
RAW = {
    "null": "null",
    "truth": "true",
    "minus one": "-1",
    "a huge number": "1e308",
    "a number beyond all": "1e999",
    "not a number": "NaN",
    "infinity": "-Infinity",
    "an integer of 400 digits": "9" * 400,
    "an integer of 64 bits": str(2**63),
    "a fraction": "0.5",
    "an empty text": '""',
    "a long text": json.dumps("x" * 30_000),
    "half a surrogate pair": '"\\ud800"',
    "a text with zeros": '"a\\u0000\\u001b[2Jb"',
    "odd Base64": '"AAA="',
    "an empty list": "[]",
    "a list of wrong things": '[null, 7, "x", {}, [], {"text": 5, "start": "a", "words": [1]}]',
    "an empty object": "{}",
    "an object": '{"text": {"text": 5}, "words": 7, "type": []}',
    "a deep list": DEEP,
}
_PLACE = "\x00place\x00"


def variants(message: Any) -> Iterator[tuple[str, str]]:
    """What is wrong, and the message as JSON text; for each field of `message` and each value of `RAW`, and without the field."""
    for path, holder in _places(message):
        key = path[-1]
        kept = holder[key]
        holder[key] = _PLACE
        template = json.dumps(message)
        for name, raw in RAW.items():
            yield f"{'.'.join(map(str, path))} is {name}", template.replace(json.dumps(_PLACE), raw)
        if isinstance(holder, dict):
            del holder[key]
            yield f"{'.'.join(map(str, path))} is missing", json.dumps(message)
        holder[key] = kept


def bare() -> Iterator[tuple[str, str]]:
    """Messages that are no objects."""
    yield from ((f"the message is {name}", raw) for name, raw in RAW.items())
    yield from (("nothing", ""), ("half an object", '{"type": "'), ("a page", "<html>504</html>"))


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Path and holder of each value inside `value`; of a list the first and last item."""
    if isinstance(value, dict):
        for key in list(value):
            yield (*path, key), value
            yield from _places(value[key], (*path, key))
    elif isinstance(value, list):
        for key in {0, len(value) - 1} if value else ():
            yield (*path, key), value
            yield from _places(value[key], (*path, key))
