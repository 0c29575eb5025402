"""Check values of the front matter that a type cannot express: URLs, targets, patterns, templates of headers.

In: a playbook as read, and the lines of its keys. Out: findings. A value that contains a template is decided during the call.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final
from urllib.parse import urlsplit

from active_call.agent.playbook.findings import Findings
from active_call.agent.playbook.scenes import DtmfAction, FollowupOption, Playbook
from active_call.agent.playbook.templates import find_mistake
from active_call.contract import bounds

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
TURN_KINDS: Final = ("adaptive", "smart-turn", "fixed")
MAX_VOLUME: Final = 10
LEAST_FOLLOWUP_MS: Final = 500
"""A shorter timeout is probably meant in seconds: nobody asks a caller after 8 ms of silence."""


def check_values(book: Playbook, line_of: Callable[[str], int], findings: Findings) -> None:
    """Report the values that the call could not use."""
    for key, reason in _mistakes(book):
        findings.error(line_of(key), f"{key}: {reason}")
    for action, line in _digit_actions(book, line_of):
        reason = bounds.against_callee(action.target) if action.target and not _is_template(action.target) else ""
        if reason:
            findings.error(line, f"dtmf: target: {reason}, found {action.target!r}")
    for option, line in _followups(book, line_of):
        if 0 < option.timeout < LEAST_FOLLOWUP_MS:
            findings.warn(line, f"followup.timeout: {option.timeout} ms is very short; did you mean {option.timeout}s?")
    if book.script is not None and book.tools:
        findings.warn(line_of("tools"), "tools has no effect: a script calls no tools; use `<http url=…/>` in an answer")
    kind = book.option.eou.type if book.option.eou is not None else None
    if kind is not None and kind not in TURN_KINDS:
        findings.warn(line_of("eou.type"), f"eou.type: unknown {kind!r} counts as not given (known: {', '.join(TURN_KINDS)})")


def _mistakes(book: Playbook) -> Iterator[tuple[str, str]]:
    if book.posthook is not None:
        yield from _url("posthook.url", book.posthook.url)
        if book.posthook.method.upper() not in METHODS:
            yield "posthook.method", f"expected one of {', '.join(METHODS)}, found {book.posthook.method!r}"
    if book.llm.base_url:
        yield from _url("llm.baseUrl", book.llm.base_url)
    tts, sip = book.option.tts, book.option.sip
    if tts is not None and tts.volume is not None and not (tts.provider or "").startswith("livekit") and not 1 <= tts.volume <= MAX_VOLUME:
        yield "tts.volume", f"expected 1 to {MAX_VOLUME}, found {tts.volume}"
    for header in (sip.extract_headers or ()) if sip is not None else ():
        if isinstance(header, dict):
            yield from _extraction(header)
    for name, value in book.hangup_headers.items():
        mistake = find_mistake(value)
        if mistake is not None:
            yield "sip.hangupHeaders", f"the template of {name!r} cannot be filled in: {mistake[1]}"


def _url(key: str, text: str) -> Iterable[tuple[str, str]]:
    if _is_template(text):
        return []
    try:
        parts = urlsplit(text)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_url = False
    return [] if is_url else [(key, f"expected a URL such as https://example.com/calls, found {text!r}")]


def _extraction(header: dict[str, str]) -> Iterable[tuple[str, str]]:
    if "name" not in header:
        return [("sip.extractHeaders", "expected a name, or {name, pattern}")]
    try:
        re.compile(header.get("pattern", ""))
    except re.error as error:
        return [("sip.extractHeaders", f"the pattern of {header['name']!r} cannot be read: {error}")]
    return []


def _followups(book: Playbook, line_of: Callable[[str], int]) -> Iterator[tuple[FollowupOption, int]]:
    if book.followup is not None:
        yield book.followup, line_of("followup.timeout")
    for scene in book.scenes:
        if scene.followup is not None:
            yield scene.followup, scene.line


def _digit_actions(book: Playbook, line_of: Callable[[str], int]) -> Iterator[tuple[DtmfAction, int]]:
    for digit, action in book.dtmf.items():
        yield action, line_of(f"dtmf.{digit}")
    for scene in book.scenes:
        for action in scene.dtmf.values():
            yield action, scene.line


def _is_template(text: str) -> bool:
    return "{{" in text or "{%" in text
