"""Parse the tags of playbooks and replies: `<name key="value" other='value'/>`.

In: text. Out: names, attributes and line numbers. Used by the playbook parser (directives) and the reply parser (actions).
"""

from __future__ import annotations

import html
import re

TAG_BODY = r"""(?:"[^"]*+"|'[^']*+'|[^<>"'])*+"""
"""Matches the text between a tag's name and its `>`. A `>` inside quotes does not end the tag, and a `<` outside of them begins another, so
that searching a text of many unclosed tags takes time in proportion to its length.
"""

_ATTRIBUTE = re.compile(r"""(?<![\w-])([A-Za-z_][\w-]*)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'/>]+))""")


def parse_attributes(text: str) -> dict[str, str]:
    """The attributes in `text`, in double, single or no quotes, with entities such as `&lt;` decoded. Names in lower case."""
    found: dict[str, str] = {}
    for match in _ATTRIBUTE.finditer(text):
        value = next((group for group in match.groups()[1:] if group is not None), "")
        found.setdefault(match.group(1).lower(), html.unescape(value))
    return found


def line_at(text: str, offset: int, first_line: int) -> int:
    """The line number of `offset` in `text`, whose first line is `first_line`."""
    return first_line + text.count("\n", 0, offset)
