"""Split the words of a reply into pieces for a synthesiser, as early as possible, and convert them to spoken text.

In: text in pieces. Out: sentences. A sentence ends at `.` `!` `?` `;` before white space, at a line's end, and at once at the marks of
other scripts (`。` `।` `؟` `۔` `։` `།` …). A dot in a number, an address, a date or after an abbreviation ends no sentence. The first piece
of a reply may end at a comma, so that speech starts sooner. The language is not known: if the next word decides whether a dot ended the
sentence, the splitter waits for it.
"""

from __future__ import annotations

import re

from active_call.agent.reply.abbreviations import (
    ALWAYS_ABBREVIATED,
    BEFORE_NUMBERS,
    BEFORE_ORDINALS,
    DAYS,
    MONTHS,
    SENTENCE_STARTERS,
    SOMETIMES_ABBREVIATED,
)
from active_call.agent.reply.inline import InlineReader
from active_call.agent.reply.speakable import speakable

FIRST_CUT_WORDS = 6
"""Number of words before a comma that ends the first piece of a reply."""
FIRST_CLAUSE_WORDS = 3
"""The same for a streaming synthesiser: the following text continues the short beginning without a break."""
MAX_CHARS = 400
"""A longer sentence is split at a comma or a space."""
MAX_SENTENCE_CHARS = 2 * MAX_CHARS
"""A sentence that arrives in one piece stays whole up to this length."""

_AT_ONCE = "。！？；…｡।॥؟۔؛։፧።፨᠃\u104a\u104b\u17d4\u17d5‼⁇⁈⁉"
_END = re.compile(rf"[{_AT_ONCE}]|(?<![.!?;])[.!?;]++[\"'”’)\]*_]{{0,4}}(?=\s)|\n")
_COMMA = re.compile(r"[,，、،:](?=\s)|[，、،]")
_LAST_TOKEN = re.compile(r"(\S+)$")
_LIST_NUMBER = re.compile(r"^\s*\d{1,3}$")
_ORDINAL = re.compile(r"^\d{1,2}$")
_INITIALS = re.compile(r"^(?:[^\W\d_]{1,2}\.)+[^\W\d_]{1,3}$")
_WORD = re.compile(r"[^\W\d_]+")


class SentenceSplitter:
    """Splits the words of one reply, from the first piece to `flush`."""

    def __init__(self, *, first_cut_words: int = FIRST_CUT_WORDS) -> None:
        self._buffer = ""
        self._inline = InlineReader()
        self._first_cut_words = first_cut_words
        self._is_first = True

    def feed(self, text: str) -> list[str]:
        """The sentences that `text` completes, ready to be spoken."""
        return self._cut(self._inline.feed(text))

    def flush(self) -> list[str]:
        """The remaining text, complete or not. The splitter can be used again."""
        sentences = self._cut(self._inline.flush() + "\n")
        self._buffer = ""
        return sentences

    def _cut(self, text: str) -> list[str]:
        self._buffer += text
        sentences: list[str] = []
        while (end := self._next_end()) > 0:
            self._emit(self._buffer[:end], sentences)
            self._buffer = self._buffer[end:]
        return sentences

    def _emit(self, text: str, sentences: list[str]) -> None:
        sentence = speakable(text)
        if sentence:
            sentences.append(sentence)
            self._is_first = False

    def _next_end(self) -> int:
        """The index after the first complete sentence in the buffer; 0 if there is none yet."""
        for match in _END.finditer(self._buffer, 0, MAX_SENTENCE_CHARS):
            verdict = _is_end(self._buffer, match)
            if verdict:
                return match.end()
            if verdict is None:
                break  # the following text decides and has not arrived yet
        if self._is_first and self._first_cut_words:
            for comma in _COMMA.finditer(self._buffer, 0, MAX_CHARS):
                if len(self._buffer[: comma.start()].split()) >= self._first_cut_words:
                    return comma.end()
        return self._cut_long()

    def _cut_long(self) -> int:
        if len(self._buffer) <= MAX_CHARS:
            return 0
        commas = [comma.end() for comma in _COMMA.finditer(self._buffer, 0, MAX_CHARS)]
        return commas[-1] if commas else self._buffer.rfind(" ", 0, MAX_CHARS) + 1 or MAX_CHARS


def _is_end(text: str, match: re.Match[str]) -> bool | None:
    """Whether a sentence ends at `match`; None if the following text decides."""
    if match.group(0) != ".":
        return True
    before = text[text.rfind("\n", 0, match.start()) + 1 : match.start()]
    token = _LAST_TOKEN.search(before)
    if token is None:
        return True
    if _LIST_NUMBER.match(before):
        return False
    word = token.group(1).lstrip("(\"'“‘„«*_¿¡")
    rest = text[match.end() :]
    if _ORDINAL.match(word):
        return _ends_behind_number(before[: token.start()], rest)
    return _ends_behind_word(word, rest)


def _ends_behind_number(before: str, rest: str) -> bool | None:
    """Whether `3.` ends a sentence or is an ordinal: of a month, or after an article that precedes ordinals."""
    preceding = _LAST_TOKEN.search(before.rstrip())
    if preceding is not None and preceding.group(1).lower() in BEFORE_ORDINALS:
        return False
    following, is_whole = _next_word(rest)
    if following is None:
        return None if not _has_line_end(rest) and not rest.strip() else True
    if following[0].islower():
        return False
    name = following.lower()
    if name in MONTHS:
        return False if is_whole else None
    return None if not is_whole and any(month.startswith(name) for month in MONTHS) else True


def _ends_behind_word(word: str, rest: str) -> bool | None:
    lowered = word.lower()
    if lowered in ALWAYS_ABBREVIATED or (len(word) == 1 and word.isalpha() and lowered != "i"):
        return False
    is_dotted = _INITIALS.match(word) is not None and lowered not in SOMETIMES_ABBREVIATED
    if is_dotted and word[0].islower():
        return False
    if not is_dotted and lowered not in SOMETIMES_ABBREVIATED and lowered not in BEFORE_NUMBERS:
        return True
    if _has_line_end(rest):
        return True
    following = rest.lstrip()
    if not following:
        return None
    if lowered in BEFORE_NUMBERS:
        return not following[0].isdigit()
    if not following[0].isupper():
        return False
    name, is_whole = _next_word(rest)
    if is_dotted:
        return None if not is_whole else (name or "").lower() in SENTENCE_STARTERS
    return _unless_named(name or "", is_whole=is_whole, names=DAYS) if lowered in ("a.m", "p.m") else True


def _unless_named(name: str, *, is_whole: bool, names: frozenset[str]) -> bool | None:
    lowered = name.lower()
    if is_whole:
        return lowered not in names
    return None if any(known.startswith(lowered) for known in names) else True


def _next_word(rest: str) -> tuple[str | None, bool]:
    """The next word, and whether it is complete."""
    match = _WORD.match(rest.lstrip())
    if match is None:
        return None, False
    return match.group(), match.end() < len(rest.lstrip())


def _has_line_end(rest: str) -> bool:
    return "\n" in rest[: len(rest) - len(rest.lstrip())]
