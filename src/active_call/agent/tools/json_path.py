"""Find a part of a JSON value by a path such as `order.items[0].name`. Pure.

`*` means every element: `items[*].name` is a list. A negative index counts from the end: `items[-1]`.
"""

from __future__ import annotations

import re
from typing import Any

_STEP = re.compile(r"""\.?([A-Za-z_$][\w$-]*)|\[(-?\d+|\*)\]|\["([^"]*)"\]|\['([^']*)'\]""")
MISSING = object()
"""Nothing exists at that path."""


def steps_of(path: str) -> tuple[str | int, ...]:
    """Parse a path; `*` means every element. Raises ValueError with the invalid part."""
    steps: list[str | int] = []
    at = 0
    while at < len(path):
        match = _STEP.match(path, at)
        if match is None:
            raise ValueError(f"cannot read {path[at:]!r}; expected a path such as `order.items[0].name`")
        name, index, *quoted = match.groups()
        if index is not None:
            steps.append(index if index == "*" else int(index))
        else:
            steps.append(name if name is not None else next(text for text in quoted if text is not None))
        at = match.end()
    return tuple(steps)


def find(value: Any, steps: tuple[str | int, ...]) -> Any:
    """The part of `value` at `steps`; MISSING if there is none."""
    for number, step in enumerate(steps):
        if step == "*":
            inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
            found = (find(one, steps[number + 1 :]) for one in inner)
            return [one for one in found if one is not MISSING]
        if isinstance(step, int):
            if not isinstance(value, list) or not -len(value) <= step < len(value):
                return MISSING
            value = value[step]
        elif isinstance(value, dict) and step in value:
            value = value[step]
        else:
            return MISSING
    return value
