"""The scripted responder: a playbook without a model. A heading has the expected phrases; the text under it is the answer.

In: the text of scenes, and later recognised texts. Out: the entry that answers. A heading has one or more phrases (`## opening hours | when
are you open`). `## *` is the fallback, `## (silence)` the text for a silent caller, `## (confirm)` the question before a call ends on an
uncertain match, `## press 5` a digit. `matching/ranking` scores the match between a text and a phrase. This module knows no speech and no
time.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct, field

from active_call.agent.matching.ranking import Match, best_match, last_sentence, rank
from active_call.agent.matching.spoken_form import spoken_words
from active_call.agent.playbook.findings import Findings

_HEADING = re.compile(r"^##(?!#)\s*(.*?)\s*#*\s*$")
_DIGIT_HEADING = re.compile(r"^press\s+([0-9*#A-Da-d])$", re.IGNORECASE)
_SILENCE = "(silence)"
_CONFIRM = "(confirm)"
_FALLBACK = "*"
_IN_PARENTHESES = re.compile(r"\(\s*[^()|]*\)")
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
MAX_ENTRIES = 5000
"""Maximum number of `##` headings of a scene; a caller's words are compared with each."""
_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W_]+")


class Entry(Struct, frozen=True):
    """One answer: its phrases as written, and its text, a template that may contain tags."""

    line: int
    phrases: tuple[str, ...]
    reply: str
    words: tuple[tuple[str, ...], ...] = ()
    """The phrases in spoken form, for matching."""


class Entries(Struct, frozen=True):
    """The answers of a scene, or of the part before the first scene."""

    answers: tuple[Entry, ...] = ()
    fallbacks: tuple[Entry, ...] = ()
    silence: tuple[Entry, ...] = ()
    confirmations: tuple[Entry, ...] = ()
    digits: Mapping[str, Entry] = field(default_factory=dict)


class Found(Struct, frozen=True):
    """The entry that answers, the phrase that matched, and the score."""

    entry: Entry
    phrase: str
    evidence: Match


class Script(Struct, frozen=True):
    """All answers of a playbook. Those of the scene take precedence over the common ones."""

    scenes: Mapping[str, Entries]
    common: Entries = Entries()

    def phrases(self, scene: str) -> tuple[str, ...]:
        """The phrases expected in `scene`, each once, in the order of the playbook: a grammar for the recogniser."""
        entries = (*self._scene(scene).answers, *self.common.answers)
        return tuple(dict.fromkeys(phrase for entry in entries for phrase in entry.phrases))

    def match(self, scene: str, text: str, may_answer: Callable[[Entry, Match], bool] = lambda entry, match: True) -> Found | None:
        """The entry that answers `text`, or None. A whole phrase wins over its words in order, and these over a large part of them.

        `may_answer` can reject an entry because of its match.
        """
        heard, last = spoken_words(text), last_sentence(text)
        best: Found | None = None
        best_rank: tuple[float, ...] = ()
        for is_own, answers in ((1, self._scene(scene).answers), (0, self.common.answers)):
            for entry in answers:
                match = best_match(heard, entry.words, last)
                if match is None or not may_answer(entry, match):
                    continue
                sort, *closeness = rank(match)
                if (sort, is_own, *closeness) > best_rank:  # strictly greater: the first of equals wins
                    best, best_rank = Found(entry, entry.phrases[match.position], match), (sort, is_own, *closeness)
        return best

    def fallbacks(self, scene: str) -> tuple[Entry, ...]:
        """The `## *` entries, used in turn."""
        return self._scene(scene).fallbacks or self.common.fallbacks

    def silence(self, scene: str) -> tuple[Entry, ...]:
        """The `## (silence)` entries, used in turn."""
        return self._scene(scene).silence or self.common.silence

    def confirmations(self, scene: str) -> tuple[Entry, ...]:
        """The `## (confirm)` entries, used in turn."""
        return self._scene(scene).confirmations or self.common.confirmations

    def digit(self, scene: str, digit: str) -> Entry | None:
        """The `## press …` entry of that digit."""
        return self._scene(scene).digits.get(digit) or self.common.digits.get(digit)

    def _scene(self, scene: str) -> Entries:
        return self.scenes.get(scene, Entries())


def words_of(text: str) -> tuple[str, ...]:
    """`text` as words for comparison: lower case, accents and punctuation normalised; numbers to twelve and long digit strings in words."""
    folded = unicodedata.normalize("NFKC", text).casefold().replace("'", "").replace("\u2019", "")
    words: list[str] = []
    for token in _TOKEN.findall(folded):
        if not (token.isascii() and token.isdigit()):
            words.append(token)
        elif int(token[:4]) < len(_NUMBERS) and len(token) <= 2 and str(int(token)) == token:
            words.append(_NUMBERS[int(token)])
        else:
            words.extend(_NUMBERS[int(digit)] for digit in token)
    return tuple(words)


def split_script(text: str, *, first_line: int, findings: Findings) -> tuple[str, Entries]:
    """Split a scene's text at its `##` headings: the text before the first heading, and the entries. Mistakes go to `findings`."""
    before: list[str] = []
    blocks: list[tuple[int, str, list[str]]] = []
    for offset, line in enumerate(text.split("\n")):
        heading = _HEADING.match(line)
        if heading:
            if len(blocks) == MAX_ENTRIES:
                findings.error(first_line + offset, f"there are more than {MAX_ENTRIES} `##` headings in one scene")
                break
            blocks.append((first_line + offset, heading.group(1), []))
        else:
            (blocks[-1][2] if blocks else before).append(line)
    return "\n".join(before).strip(), _entries(blocks, findings)


def _entries(blocks: Sequence[tuple[int, str, list[str]]], findings: Findings) -> Entries:
    answers: list[Entry] = []
    special: dict[str, list[Entry]] = {_FALLBACK: [], _SILENCE: [], _CONFIRM: []}
    digits: dict[str, Entry] = {}
    said_in: dict[tuple[str, ...], int] = {}
    for line, title, body in blocks:
        reply = "\n".join(body).strip()
        if not reply:
            findings.error(line, f"there is no answer under `## {title}`")
        phrases = tuple(part.strip() for part in title.split("|") if part.strip())
        if len(phrases) == 1 and phrases[0].lower() in special:
            special[phrases[0].lower()].append(Entry(line, phrases, reply))
            continue
        spoken: list[str] = []
        if len(phrases) == 1 and _IN_PARENTHESES.fullmatch(phrases[0]):
            findings.warn(line, f"`## {phrases[0]}` is a phrase that a caller would say; did you mean `{_SILENCE}` or `{_CONFIRM}`?")
        for phrase in phrases:
            digit = _DIGIT_HEADING.match(phrase)
            if digit is None:
                _note_twice(spoken_words(phrase), phrase, line, said_in, findings)
                spoken.append(phrase)
            elif digits.setdefault(digit.group(1).upper(), Entry(line, (phrase,), reply)).line != line:
                findings.error(line, f"`## {phrase}` is given twice (first in line {digits[digit.group(1).upper()].line})")
        if not phrases:
            findings.error(line, "`##` must be followed by what the caller may say, `*`, `(silence)` or `(confirm)`")
        if spoken:
            answers.append(Entry(line, tuple(spoken), reply, tuple(spoken_words(phrase) for phrase in spoken)))
    return Entries(tuple(answers), tuple(special[_FALLBACK]), tuple(special[_SILENCE]), tuple(special[_CONFIRM]), digits)


def _note_twice(words: tuple[str, ...], phrase: str, line: int, said_in: dict[tuple[str, ...], int], findings: Findings) -> None:
    if phrase.lower() in (_FALLBACK, _SILENCE, _CONFIRM):
        findings.error(line, f"`{phrase}` cannot share a heading with phrases")
    elif not words:
        findings.error(line, f"{phrase!r} has no words that could be said")
    elif words in said_in:
        findings.error(line, f"the phrase {phrase!r} is given twice in one scene (first in line {said_in[words]})")
    said_in.setdefault(words, line)
