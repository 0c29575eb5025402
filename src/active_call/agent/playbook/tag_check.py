"""Check the tags in a playbook's text: unknown names, unused attributes, missing ends.

In: text and its first line number. Out: findings, and the known tags. A name that is not similar to any known tag is ignored, because a
prompt may contain other markup.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from itertools import islice

from msgspec import Struct

from active_call.agent.markup import parse_attributes
from active_call.agent.playbook.findings import Findings

ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "hangup": ("reason",),
    "refer": ("to", "caller", "mode", "moh", "timeout", "autoHangup", "forwardDtmf", "callId", "briefing", "summary"),
    "goto": ("scene",),
    "play": ("file",),
    "set_var": ("key", "value"),
    "http": ("url", "method", "body", "set_var"),
    "message": ("body", "contentType", "refer"),
    "collect": ("type", "var", "prompt"),
    "send_digits": ("digits",),
    "hold": ("file", "moh", "seconds"),
    "language": ("code", "voice"),
    "dtmf": ("digit", "action", "scene", "target", "to"),
    "followup": ("timeout", "max", "maxCount"),
}
"""The attributes of each tag."""

NEEDED: Mapping[str, tuple[str, ...]] = {
    "refer": ("to",),
    "goto": ("scene",),
    "play": ("file",),
    "set_var": ("key",),
    "http": ("url",),
    "message": ("body",),
    "collect": ("type",),
    "send_digits": ("digits",),
    "language": ("code",),
}
MEANT: Mapping[str, str] = {
    "transfer": "refer",
    "dial": "refer",
    "forward": "refer",
    "end": "hangup",
    "endcall": "hangup",
    "bye": "hangup",
    "gotoscene": "goto",
    "scene": "goto",
    "set": "set_var",
    "variable": "set_var",
    "request": "http",
    "fetch": "http",
    "audio": "play",
    "sound": "play",
    "sms": "message",
    "press": "dtmf",
}
"""Common wrong names of tags, with the correct one."""

MAX_TAGS = 10_000
"""How many tags of one text are checked."""
_OPENING = re.compile(r"<(/?)([A-Za-z][\w-]*)")
_CLOSING = re.compile(r"</([A-Za-z][\w-]*)\s*+>")
_ATTRIBUTE = re.compile(r"""(?<![\w-])[A-Za-z_][\w-]*\s*=\s*(?:"[^"]*"|'[^']*'|[^\s"'/>]+)""")


class Tag(Struct, frozen=True):
    """A known tag in the text. Attribute names are in lower case."""

    name: str
    line: int
    attributes: Mapping[str, str]


def check_tags(text: str, first_line: int, findings: Findings, *, is_script: bool) -> list[Tag]:
    """All known tags in `text`. Mistakes go to `findings`."""
    tags: list[Tag] = []
    opened: set[str] = set()
    closed_at = {match.group(1).lower(): match.start() for match in _CLOSING.finditer(text)}
    line, position = first_line, 0
    for match in islice(_OPENING.finditer(text), MAX_TAGS):
        is_closing, name = bool(match.group(1)), match.group(2).lower()
        line, position = line + text.count("\n", position, match.start()), match.start()
        if name not in ATTRIBUTES:
            if not is_closing:
                _note_unknown(match.group(2), line, findings, is_script=is_script)
            continue
        end, why = _end_of(text, match.end())
        if why:
            findings.error(line, f"<{match.group(2)} …: {why}")
            continue
        if is_closing:
            if name not in opened:
                findings.warn(line, f"</{match.group(2)}> closes nothing; write `<{name}/>`")
            continue
        inner = text[match.end() : end - 1]
        if not inner.rstrip().endswith("/") and closed_at.get(name, -1) < end:
            findings.warn(
                line, f"<{match.group(2)}> is not closed; write `<{name} …/>`" if inner.strip() else f"write `<{name}/>`: it is not closed"
            )
        tag = Tag(name, line, parse_attributes(inner))
        _check_attributes(tag, inner, findings)
        tags.append(tag)
        opened.add(name)
    return tags


def _end_of(text: str, start: int) -> tuple[int, str]:
    """The index after the `>` of the tag whose name ends at `start`, or why there is none."""
    quote = ""
    for index in range(start, len(text)):
        char = text[index]
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char == ">":
            return index + 1, ""
        elif char == "<" or text.startswith("\n\n", index):
            return 0, "the tag has no end; `/>` is missing"
    return 0, "a quote in the tag is never closed" if quote else "the tag has no end; `/>` is missing"


def _note_unknown(name: str, line: int, findings: Findings, *, is_script: bool) -> None:
    plain = re.sub(r"[-_]", "", name).lower()
    ours = {re.sub(r"_", "", own): own for own in ATTRIBUTES}
    close = difflib.get_close_matches(plain, list(ours), n=1, cutoff=0.75)
    meant = ours.get(plain) or MEANT.get(plain) or (ours[close[0]] if close else "")
    if meant:
        findings.error(line, f"<{name}> is not a tag; did you mean <{meant}>?")
    elif is_script and plain not in ("think", "thinking"):
        findings.warn(line, f"<{name}> is not a tag: it is neither spoken nor acted on (known: {', '.join(ATTRIBUTES)})")


def _check_attributes(tag: Tag, inner: str, findings: Findings) -> None:
    known = {name.lower(): name for name in ATTRIBUTES[tag.name]}
    for name in tag.attributes:
        if name not in known:
            close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
            hint = f"did you mean {known[close[0]]!r}?" if close else f"known: {', '.join(known.values())}"
            findings.error(tag.line, f"<{tag.name}> has no attribute {name!r}; {hint}")
    for name in NEEDED.get(tag.name, ()):
        if not tag.attributes.get(name):
            findings.error(tag.line, f"<{tag.name}>: {name!r} is missing")
    url = tag.attributes.get("url", "").strip()
    if tag.name == "http" and url and not re.match(r"https?://|\{", url, re.IGNORECASE):
        findings.error(tag.line, f"<http>: 'url' must begin with http:// or https://, found {url[:60]!r}")
    bare = _ATTRIBUTE.sub("", inner).strip(" \t\n/")
    if bare:
        findings.error(tag.line, f'<{tag.name}>: {bare[:40]!r} is not an attribute; write name="value"')
