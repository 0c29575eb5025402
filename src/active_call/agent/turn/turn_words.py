"""The words of a language for end-of-turn detection. Data in `turn_words.toml`; a language without data uses English.

A missing list of a language (of `whole` turns, say) makes the detector slower, never wrong: it waits longer.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from msgspec import Struct

DEFAULT_LANGUAGE = "en"
LONGEST_ENDING = 4
"""Number of words (in Chinese and Japanese: characters) of the longest entry of `unfinished`."""


class TurnWords(Struct, frozen=True):
    """The words of one language, as documented in the data file."""

    unfinished: frozenset[str]
    whole: frozenset[str]
    leading: frozenset[str]
    yes: frozenset[str]
    no: frozenset[str]
    digits: Mapping[str, int]
    repeats: Mapping[str, int]
    polar: frozenset[str]
    tags: tuple[str, ...]
    requests: tuple[str, ...]
    unwilling: frozenset[str]
    at: frozenset[str]
    dot: frozenset[str]
    ask_email: re.Pattern[str]
    ask_digits: re.Pattern[str]
    ask_spelling: re.Pattern[str]
    ask_address: re.Pattern[str]
    ask_phone: re.Pattern[str]
    counted: re.Pattern[str]
    wishes: tuple[str, ...] = ()
    invites: re.Pattern[str] | None = None
    """None: the language has no such list."""
    ask_birthday: re.Pattern[str] | None = None
    announces: re.Pattern[str] | None = None
    subordinate: frozenset[str] = frozenset()
    thanks: frozenset[str] = frozenset()
    unsure: frozenset[str] = frozenset()
    pronouns: frozenset[str] = frozenset()
    question_words: frozenset[str] = frozenset()
    being: frozenset[str] = frozenset()
    asking: frozenset[str] = frozenset()
    nods: frozenset[str] = frozenset()
    joins: frozenset[str] = frozenset()
    determiners: frozenset[str] = frozenset()
    clauses: frozenset[str] = frozenset()
    holding: frozenset[str] = frozenset()
    farewells: frozenset[str] = frozenset()
    topics: frozenset[str] = frozenset()
    narrates: re.Pattern[str] | None = None
    again: re.Pattern[str] | None = None

    def asks_for_something(self, said: list[str]) -> bool:
        """Whether the caller asks for something. In a language without a list of requests, each sentence may be one."""
        return not self.wishes or any(f" {wish} " in f" {' '.join(said)} " for wish in self.wishes)

    def ends_with_thanks(self, said: list[str]) -> bool:
        """Whether a goodbye may follow."""
        return any(" ".join(said[-n:]) in self.thanks for n in (1, 2))

    def is_unsure_at_end(self, said: list[str]) -> bool:
        """Whether the last two words may be misrecognised words after which more must follow."""
        return " ".join(said[-2:]) in self.unsure

    def ends_with_pronoun(self, said: list[str]) -> bool:
        """Whether the last word may be a misrecognised one after which more must follow."""
        return len(said) > 2 and said[-1] in self.pronouns

    def is_a_beginning(self, text: str) -> bool:
        """Whether `text` is a single word after which more must follow."""
        said = spoken_words(text)
        return len(said) == 1 and said[0] in self.unfinished

    def without_beginning(self, text: str) -> str:
        """The words of `text` without the first, if that is one after which more must follow: "so, okay"."""
        said = spoken_words(text)
        return " ".join(said[1:] if said and said[0] in self.unfinished else said)

    def announces_a_question(self, said: list[str]) -> bool:
        """Whether a question must follow. A single word after the announcement is a misrecognised filler: "I would like to know none"."""
        places = ((first, last) for last in (len(said), len(said) - 1) for first in range(max(0, last - LONGEST_ENDING), last))
        return any(" ".join(said[first:last]) in self.asking for first, last in places)

    def begins_with_thanks(self, said: list[str]) -> bool:
        """Whether the text thanks, in any words: "thanks for your help"."""
        return any(" ".join(said[:n]) in self.thanks for n in (1, 2))

    def has_a_question(self, said: list[str]) -> bool:
        """Whether the caller says that there is a question, and nothing about it."""
        return any(" ".join(said[-n:]) in self.topics for n in (2, 3, 4))

    def says_goodbye(self, said: list[str]) -> bool:
        """Whether the text ends with a farewell."""
        return any(" ".join(said[-n:]) in self.farewells for n in (1, 2, 3))

    def asks_to_wait(self, said: list[str]) -> bool:
        """Whether the caller asks the agent to wait: "yes, one moment". "I can wait" does not."""
        ends = (n for n in range(1, LONGEST_ENDING + 2) if " ".join(said[-n:]) in self.holding)
        return any(all(word in self.yes or word in self.unfinished for word in said[:-n]) for n in ends)

    def asks_to_repeat(self, text: str) -> bool:
        """Whether the caller asks the agent to repeat what it has said."""
        folded = " ".join(text.casefold().replace("’", "'").split())
        return self.again is not None and self.again.search(folded) is not None

    def asks_for_time(self, said: list[str]) -> bool:
        """Whether the caller asks for time first, and then perhaps says what for: "one moment, I am looking for it"."""
        for at in range(len(said)):
            if any(" ".join(said[at : at + n]) in self.holding for n in range(2, LONGEST_ENDING + 2) if at + n <= len(said)):
                return True
            if said[at] not in self.yes and said[at] not in self.unfinished:
                break
        return self.asks_to_wait(said)

    def lacks_a_verb(self, said: list[str]) -> bool:
        """Whether the last clause has a subject and nothing else: "whether my order"."""
        return len(said) > 2 and said[-3] in self.clauses and said[-2] in self.determiners

    def is_open_at_end(self, said: list[str]) -> bool:
        """Whether the text ends with words after which more must follow."""
        if self._asks_indirectly(said):
            return False
        return any(" ".join(said[-n:]) in self.unfinished for n in range(1, min(LONGEST_ENDING, len(said)) + 1))

    def _asks_indirectly(self, said: list[str]) -> bool:
        """Whether the text ends with an indirect question whose verb is last: "tell me where your shop is". "What I need is" does not."""
        return len(said) > 3 and said[-1] in self.being and any(word in self.question_words for word in said[2:-2])


@cache
def turn_words(language: str | None) -> TurnWords:
    """The words for the primary subtag of a BCP 47 tag, else the English ones."""
    tables = _tables()
    code = (language or DEFAULT_LANGUAGE).lower().replace("_", "-").split("-")[0]
    table = tables.get(code, tables[DEFAULT_LANGUAGE])
    values: dict[str, Any] = {}
    for name, kind in TurnWords.__annotations__.items():
        if name not in table:
            continue
        value = table[name]
        if kind.startswith("frozenset"):
            values[name] = frozenset(" ".join(spoken_words(word)) or word for word in value)
        elif kind.startswith("tuple"):
            values[name] = tuple(" ".join(spoken_words(word)) or word for word in value)
        elif kind.startswith("re."):
            values[name] = re.compile(value, re.IGNORECASE)
        else:
            values[name] = dict(value)
    return TurnWords(**values)


@cache
def _tables() -> dict[str, dict[str, Any]]:
    return tomllib.loads(resources.files(__package__).joinpath("turn_words.toml").read_text(encoding="utf-8"))


_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+(?:['’][^\W]+)*|@|'\w+|[.](?=\w)"
)


def spoken_words(text: str) -> list[str]:
    """The words of `text` in lower case, Chinese and Japanese by character. The dot and the @ inside an address are separate words."""
    return [word.strip("'") for word in _WORD.findall(text.lower().replace("’", "'")) if word.strip("'")]
