"""Classify a text heard over the agent's speech: a back-channel, an echo of the agent's words, or words that take the turn.

In: a text, the language, what the agent is saying. Out: `OverlapText`. The lists are data (`backchannels.toml`), by language. A call
without a language, or with one without data, uses the English lists plus the listening sounds of all languages.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from enum import StrEnum
from functools import cache
from importlib import resources

from msgspec import Struct

from active_call.agent.matching.phones import likeness_of_all
from active_call.agent.matching.spoken_form import spoken_words
from active_call.agent.script import words_of

DEFAULT_LANGUAGE = "en"
ECHO_MIN_WORDS = 2
"""One word that the agent also said may be the caller's; two in the same order are an echo."""
ECHO_MISHEARD_WORDS = 4
ECHO_SHARE = 0.75
"""Of so many words or more, this share must be the agent's."""

ALIKE = 0.75
"""Minimum phonetic similarity of a misheard phrase that asks the agent to stop ("sold on": hold on)."""
PERHAPS_ALIKE = 0.65
LONG_WORDS = 3
"""Texts of more words are compared with no back-channel by their sound."""


class Kind(StrEnum):
    """The kind of a text over the agent's speech."""

    NOTHING = "nothing"
    """No words."""
    BACKCHANNEL = "back-channel"
    ECHO = "echo"
    """The agent's own words as echo."""
    WORDS = "words"
    STOP = "stop"
    """It asks the agent to stop."""


Phrases = tuple[tuple[str, ...], ...]


class OverlapText(Struct, frozen=True):
    """A text over the agent's speech, and the number of its words that are not a back-channel."""

    kind: Kind
    n_content: int = 0


class Backchannels(Struct, frozen=True):
    """The lists of one language, as documented in the data file. Entries are tuples of words, longest first."""

    listening: Phrases
    agreeing: Phrases
    stopping: Phrases
    calling: Phrases = ()

    def read(self, text: str, *, own: str = "", is_question: bool = False) -> OverlapText:
        """Classify `text` while the agent says `own`. If that is a question, words of agreement are an answer."""
        words = words_of(text)
        if not words:
            return OverlapText(Kind.NOTHING)
        if _is_echo(words_of(own), words) or _is_echo(spoken_words(own), spoken_words(text)):
            return OverlapText(Kind.ECHO)
        if any(_contains(words, phrase) or likeness_of_all(words, phrase) >= ALIKE for phrase in self.stopping):
            return OverlapText(Kind.STOP, len(words))
        if not is_question and len(words) <= LONG_WORDS and self._likeness(words) >= ALIKE:
            return OverlapText(Kind.BACKCHANNEL)
        n_content = _uncovered(words, self.listening if is_question else (*self.listening, *self.agreeing))
        return OverlapText(Kind.WORDS if n_content else Kind.BACKCHANNEL, n_content)

    def may_become_one(self, text: str) -> bool:
        """Whether `text` sounds so much like a back-channel of several words that the rest of it decides: "that is not", "that is nice"."""
        return self._likeness(words_of(text)) >= PERHAPS_ALIKE

    def _likeness(self, words: tuple[str, ...]) -> float:
        """The highest phonetic similarity with a back-channel of several words."""
        return max((likeness_of_all(words, phrase) for phrase in self.agreeing if len(phrase) > 1), default=0.0)

    def only_stops(self, text: str) -> bool:
        """Whether `text` asks the agent to stop and says nothing else: "sorry", "wait, stop please"."""
        words = words_of(text)
        return bool(words) and not _uncovered(words, self.stopping)

    def only_calls(self, text: str) -> bool:
        """Whether `text` asks only whether anybody is there: "hello? are you there?"."""
        words = words_of(text)
        return bool(words) and not _uncovered(words, self.calling)


def _is_echo(own: tuple[str, ...], words: tuple[str, ...]) -> bool:
    """Whether `words` are the agent's, in their order; of several, one in four may be misheard."""
    if len(words) < ECHO_MIN_WORDS:
        return False
    if _contains(own, words):
        return True
    n, least = len(words), ECHO_SHARE * len(words)
    places = range(len(own) - n + 1) if n >= ECHO_MISHEARD_WORDS else range(0)
    return any(sum(a == b for a, b in zip(own[at : at + n], words, strict=True)) >= least for at in places)


def _contains(words: tuple[str, ...], part: tuple[str, ...]) -> bool:
    n = len(part)
    return any(words[at : at + n] == part for at in range(len(words) - n + 1))


def _uncovered(words: tuple[str, ...], known: Phrases) -> int:
    """Number of `words` that belong to no phrase of `known`."""
    at = n_uncovered = 0
    while at < len(words):
        longest = max((len(phrase) for phrase in known if words[at : at + len(phrase)] == phrase), default=0)
        n_uncovered += longest == 0
        at += longest or 1
    return n_uncovered


@cache
def backchannels(language: str | None) -> Backchannels:
    """The lists for the primary subtag of a BCP 47 tag, else the English ones."""
    tables = _tables()
    code = (language or DEFAULT_LANGUAGE).lower().replace("_", "-").split("-")[0]
    table = tables.get(code, tables[DEFAULT_LANGUAGE])
    listening = {word for each in tables.values() for word in each["listening"]} if code not in tables else set(table["listening"])
    others = (_phrases(table.get(name, ())) for name in ("agreeing", "stopping", "calling"))
    return Backchannels(_phrases(listening), *others)


def _phrases(entries: Iterable[str]) -> Phrases:
    return tuple(sorted({words_of(entry) for entry in entries}))


@cache
def _tables() -> dict[str, dict[str, list[str]]]:
    return tomllib.loads(resources.files(__package__).joinpath("backchannels.toml").read_text(encoding="utf-8"))
