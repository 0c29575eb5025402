"""Join HTML entities and Markdown links that a stream has split, before sentence splitting.

In: words, cut anywhere. Out: the same with entities decoded and links replaced by their text. A possible beginning of one is held back.
"""

from __future__ import annotations

import re

from active_call.agent.reply.speakable import LINK, decode_entities, link_text

MAX_LINK_CHARS = 600

_ENTITY_BEGUN = re.compile(r"&(?:#?[A-Za-z0-9]{0,32};?)\Z")
_LINK_BEGUN = re.compile(
    r"(?:!|!?\[[^\[\]\n]{0,300}(?:!?\[[^\[\]\n]{0,300}(?:\](?:\([^()\n]{0,200}\)?)?)?)?(?:\](?:[(\[][^\n)\]]{0,300})?)?)\Z"
)


class InlineReader:
    """The words of one reply, from the first piece to `flush`."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> str:
        """The text that is certain after this piece."""
        self._held += text
        begun = self._begun()
        ready, self._held = self._held[:begun], self._held[begun:]
        return _read(ready)

    def flush(self) -> str:
        """The text that was held back."""
        ready, self._held = self._held, ""
        return _read(ready)

    def _begun(self) -> int:
        text = self._held
        low = max(0, len(text) - MAX_LINK_CHARS)
        places = [match.start() for mark in (_ENTITY_BEGUN, _LINK_BEGUN) if (match := mark.search(text, low)) is not None]
        return min(places, default=len(text))


def _read(text: str) -> str:
    if "&" in text:
        text = decode_entities(text)
    if "](" in text or "][" in text:
        text = LINK.sub(link_text, LINK.sub(link_text, text))
    return text
