"""The source of each setting: a line of the config file, a variable of the environment, the command line, or the default.

The document before the expansion of `${VAR}` enters, with the keys set by the command line; texts by dotted key leave.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from active_call.server.config.document import Document, KeyPath, dotted

COMMAND_LINE: Final = "command line"
_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)")


def origins_of(document: Document, given: Collection[str]) -> Mapping[str, str]:
    """The source of each value by dotted key (`trunks[0].server`); absent keys have their default."""
    origins = dict.fromkeys(given, COMMAND_LINE)
    for path, value in _leaves(document.values, ()):
        line = document.line_of(path)
        texts = [entry for entry in (value if isinstance(value, list) else [value]) if isinstance(entry, str)]
        names = sorted({name for text in texts for name in _VARIABLE.findall(text)})
        variables = f" (${{{'}, ${'.join(names)}}})" if names else ""
        origins[dotted(path)] = f"{document.file}:{line}{variables}"
    return origins


def _leaves(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    """Every table's keys down to plain values; lists of plain values count as one."""
    if isinstance(value, dict) and value:
        for key, entry in value.items():
            yield from _leaves(entry, (*path, key))
    elif isinstance(value, list) and any(isinstance(entry, dict) for entry in value):
        for index, entry in enumerate(value):
            yield from _leaves(entry, (*path, index))
    elif path:
        yield path, value
