"""The steps of a reply: sentences, actions, and unrendered templates. A reply is a list of these, in order."""

from __future__ import annotations

from msgspec import Struct

from active_call.agent.reply.tags import Tag


class Sentence(Struct, frozen=True):
    """Something to say."""

    text: str
    emotion: str = ""


class Remainder(Struct, frozen=True):
    """The rest of a scripted reply, still a template. It is filled in when its turn comes, with the current variables."""

    source: str


Step = Sentence | Tag | Remainder


def count_words(text: str) -> int:
    """The number of words separated by white space, as `interruption.position` counts them."""
    return len(text.split())


def spoken_s(text: str) -> float:
    """Estimated duration of slow speech of `text`: a CJK character is a syllable, a Latin one a tenth of a second."""
    return sum(0.1 if char.isascii() else 0.35 for char in text)
