"""Estimates the tokens of a text if the vendor does not report them. Pure.

Current tokenisers make a token of about four letters of Latin text, and of about one character of Chinese, Japanese or Korean; each
message costs some tokens in addition to its text. The estimate is for budgets and bills that must not be zero; it may be off by a third.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from active_call.providers.chat import ReplyRequest

CHARS_OF_TOKEN: Final = 4.0
TOKENS_OF_MESSAGE: Final = 4
_WIDE_FROM: Final = 0x2E80
"""From here on, scripts use a character for a word or syllable."""


def tokens_of_text(*texts: str) -> int:
    """The tokens of `texts` together."""
    n_wide = sum(1 for text in texts for char in text if ord(char) >= _WIDE_FROM)
    n_others = sum(map(len, texts)) - n_wide
    return round(n_wide + n_others / CHARS_OF_TOKEN)


def tokens_of_request(request: ReplyRequest) -> int:
    """The input of `request`: messages and tools."""
    return tokens_of_text(*_texts_of(request)) + TOKENS_OF_MESSAGE * len(request.messages)


def _texts_of(request: ReplyRequest) -> Iterable[str]:
    for message in request.messages:
        yield message.content
        for call in message.tool_calls:
            yield call.name
            yield call.arguments
    for tool in request.tools:
        yield tool.name
        yield tool.description
        yield msgspec.json.encode(tool.parameters).decode()
