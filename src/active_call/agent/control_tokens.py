"""Neutralise a model's control tokens in text from outside (`<|im_start|>system`, `[INST]`, `</s>`): protection against prompt injection.

In: a filled-in template, or a line of the conversation. Out: the text for a model's prompt, with a space inserted in each token that
contains characters of a value, so that no tokeniser recognises it. Tokens that the author has written into the template stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from active_call.agent.playbook.template_sandbox import Value

_NAMES = (
    "s|bos|eos|pad|unk|mask|cls|sep|bot|eot|eod|eom|sop|eop|gmask|start_of_turn|end_of_turn|start_of_image|end_of_image|start|end"
    r"|tool_calls?|tool_responses?|tools?|think|thinking|thought|reasoning|system|user|assistant|human|unused\d{1,4}|extra_id_\d{1,4}"
)
_IN_SQUARES = (
    "INST|SYSTEM_PROMPT|SYS|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|ARGS|CALL_ID|THINK|IMG|PREFIX|SUFFIX|MIDDLE|BOS|EOS"
    "|PAD|UNK|CLS|SEP|MASK|gMASK|sMASK"
)
_LESS, _BAR, _MORE = "<\uff1c", "|\uff5c", ">\uff1e"
"""DeepSeek's tokens use full-width bars."""
_TOKEN = re.compile(
    rf"""[{_LESS}]\s*[{_BAR}][^{_LESS}{_BAR}{_MORE}\[\]\n]{{0,64}}[{_BAR}]?\s*[{_MORE}]?
    |[{_LESS}]?[^\s{_LESS}{_BAR}{_MORE}\[\]]{{0,64}}[{_BAR}]\s*[{_MORE}]
    |<</?SYS>>
    |</?(?:{_NAMES})>
    |\[/?(?:{_IN_SQUARES})\]""",
    re.IGNORECASE | re.VERBOSE,
)
_JOINT = re.compile(rf"[{_LESS}](?=\s*[{_BAR}])|[{_BAR}](?=\s*[{_MORE}])")


def without_control_tokens(text: str) -> str:
    """Neutralise the tokens of a text that is entirely from outside."""
    return _TOKEN.sub(lambda match: _spaced(match.group()), text)


def prompt_of(parts: Iterable[str]) -> str:
    """The text of a filled-in template. Tokens of the template itself stay; tokens that values make or complete are neutralised."""
    pieces = list(parts)
    spans = _value_spans(pieces)

    def changed(match: re.Match[str]) -> str:
        is_from_outside = any(first < match.end() and match.start() < last for first, last in spans)
        return _spaced(match.group()) if is_from_outside else match.group()

    return _TOKEN.sub(changed, "".join(pieces))


def _spaced(token: str) -> str:
    """The token with a space inserted, so that it is still readable."""
    joined = _JOINT.sub(lambda match: f"{match.group()} ", token)
    return joined if joined != token else f"{token[0]} {token[1:]}"


def _value_spans(pieces: list[str]) -> list[tuple[int, int]]:
    """The spans of the values in the whole text."""
    spans: list[tuple[int, int]] = []
    place = 0
    for piece in pieces:
        if isinstance(piece, Value) and piece:
            spans.append((place, place + len(piece)))
        place += len(piece)
    return spans
