"""Cuts the words of a reply into pieces that a synthesiser can speak, as early as possible, and takes Markdown out of them.

In: text in pieces. Out: sentences. A sentence ends at `.` `!` `?` `;` before white space, at a line's end, and at once at their CJK
forms; a dot in a number, an address or after an abbreviation ends nothing. The first piece of a reply may end at a comma, so that
speaking starts sooner.
"""

from __future__ import annotations

import re

FIRST_CUT_WORDS = 6
"""A comma ends the first piece of a reply when so many words stand before it."""
MAX_CHARS = 400
"""A sentence that is longer is cut at a comma or a space."""

_ALWAYS_ABBREVIATED = frozenset({"dr", "mr", "mrs", "ms", "prof", "st", "e.g", "i.e", "vs", "approx", "fig", "al", "gen", "sen", "rev"})
_SOMETIMES_ABBREVIATED = frozenset(
    {"a.m", "p.m", "etc", "inc", "ltd", "co", "corp", "jr", "sr", "u.s", "u.k", "ph.d", "dept", "ave", "blvd"}
)
"""A sentence may end behind these: it does when the next word begins with a capital."""
_BEFORE_NUMBERS = frozenset({"no", "nr", "ext", "tel", "p", "pp", "vol"})

_END = re.compile(r"[。！？；…]|[.!?;]+[\"'”’)\]*_]*(?=\s)|\n")
_COMMA = re.compile(r"[,，、:](?=\s)|[，、]")
_LAST_TOKEN = re.compile(r"(\S+)$")
_LIST_NUMBER = re.compile(r"^\s*\d{1,3}$")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_LINE_MARK = re.compile(r"^\s*(?:#{1,6}\s+|[-*+•]\s+|>\s+|(?:-{3,}|\*{3,}|`{3,}\w*)\s*$)")
_EMPHASIS = re.compile(r"\*{2,}|__+|`+|~~|(?<![\s\d])\*|\*(?![\s\d])|(?<!\w)_|_(?!\w)")


def speakable(text: str) -> str:
    """`text` without Markdown marks and needless white space; empty when nothing remains that could be said."""
    text = _LINK.sub(r"\1", _LINE_MARK.sub("", text))
    text = " ".join(_EMPHASIS.sub("", text).split())
    return text if any(char.isalnum() for char in text) else ""


class SentenceSplitter:
    """The words of one reply, from the first piece to `flush`."""

    def __init__(self, *, first_cut_words: int = FIRST_CUT_WORDS) -> None:
        self._buffer = ""
        self._first_cut_words = first_cut_words
        self._is_first = True

    def feed(self, text: str) -> list[str]:
        """The sentences that `text` completes, ready to be spoken."""
        self._buffer += text
        sentences: list[str] = []
        while (end := self._next_end()) > 0:
            self._emit(self._buffer[:end], sentences)
            self._buffer = self._buffer[end:]
        return sentences

    def flush(self) -> list[str]:
        """What is left, complete or not. The splitter can be used on."""
        sentences: list[str] = self.feed("\n")
        self._buffer = ""
        return sentences

    def _emit(self, text: str, sentences: list[str]) -> None:
        sentence = speakable(text)
        if sentence:
            sentences.append(sentence)
            self._is_first = False

    def _next_end(self) -> int:
        """The index behind the first complete sentence in the buffer; 0 when there is none yet."""
        for match in _END.finditer(self._buffer):
            verdict = _is_end(self._buffer, match)
            if verdict:
                return match.end()
            if verdict is None:
                break  # what follows decides, and it has not come yet
        if self._is_first and self._first_cut_words:
            for comma in _COMMA.finditer(self._buffer):
                if len(self._buffer[: comma.start()].split()) >= self._first_cut_words:
                    return comma.end()
        return self._cut_long()

    def _cut_long(self) -> int:
        if len(self._buffer) <= MAX_CHARS:
            return 0
        commas = [comma.end() for comma in _COMMA.finditer(self._buffer, 0, MAX_CHARS)]
        return commas[-1] if commas else self._buffer.rfind(" ", 0, MAX_CHARS) + 1 or MAX_CHARS


def _is_end(text: str, match: re.Match[str]) -> bool | None:
    """Whether a sentence ends at `match`; None when that depends on what comes next."""
    if match.group(0) != ".":
        return True
    before = text[text.rfind("\n", 0, match.start()) + 1 : match.start()]
    token = _LAST_TOKEN.search(before)
    if token is None:
        return True
    if _LIST_NUMBER.match(before):
        return False
    word = token.group(1).lstrip("(\"'“‘*_").lower()
    if word in _ALWAYS_ABBREVIATED or (len(word) == 1 and word.isalpha() and word != "i"):
        return False
    if word not in _SOMETIMES_ABBREVIATED and word not in _BEFORE_NUMBERS:
        return True
    gap = text[match.end() :]
    following = gap.lstrip()
    if "\n" in gap[: len(gap) - len(following)]:
        return True
    if not following:
        return None
    return not following[0].isdigit() if word in _BEFORE_NUMBERS else following[0].isupper()
