"""Classify who has answered an outbound call, from sound and words, and update the verdict when that changes.

In: facts with their times in ms. Out: a `Verdict` when the kind changes or its confidence rises. This module reads no clock.

Theory. Words decide if there are any: only machines say the phrases of machines (`phrases`). Without words the length of the first speech
decides: a person says a short word and waits, a recorded greeting continues. A verdict from sound alone has a confidence below `SURE`.

| fact                                                    | verdict                     |
|---------------------------------------------------------|-----------------------------|
| a phrase of a kind                                      | that kind, 0.85; 0.95 twice |
| beep                                                    | voicemail, 0.9              |
| 1100 Hz or 2100 Hz of a fax or modem                    | fax, 0.95                   |
| special information tone, congestion                    | announcement, 0.95          |
| short words that greet or ask                           | human, 0.85                 |
| short speech, then 0.7 s of silence                     | human, 0.6                  |
| 2.8 s of speech without a pause of 0.7 s, without words | voicemail, 0.5              |
| 2.8 s of speech with words that match no phrase         | human, 0.5                  |
| 8 s of speech without a pause and without words         | hold (music), 0.75          |

A machine verdict stays until words of another kind arrive. After screening, a menu or hold, a person may take over: a short greeting
changes the verdict back to human. A voicemail verdict stays, because its greeting may begin with `hello`.
"""

from __future__ import annotations

import difflib
from typing import Final, assert_never

from msgspec import Struct
from msgspec.structs import replace

from active_call.agent.answering.phrases import RANK, Kind, is_greeting, matches, normalised

SURE: Final = 0.7
"""From this confidence on a call may be ended because of the verdict."""
MACHINES: Final[frozenset[Kind]] = frozenset({"voicemail", "mailboxFull", "fax", "announcement"})
"""Kinds after which no person will answer."""

_DECIDE_MS: Final = 2800
"""Duration of speech after which a verdict is given: within 3 s."""
_MUSIC_MS: Final = 8000
_SHORT_MS: Final = 1800
_AFTER_SHORT_MS: Final = 700
_SHORT_WORDS: Final = 6
_SAME_MENU: Final = 0.85
_MAX_MENUS: Final = 20


class SpeechBegan(Struct, frozen=True):
    """Speech on the callee's side has started."""

    at_ms: int


class SpeechEnded(Struct, frozen=True):
    """Speech ended at `at_ms`."""

    at_ms: int


class Words(Struct, frozen=True):
    """The text recognised so far for the utterance `index`. `is_final`: it will not change."""

    at_ms: int
    index: int
    text: str
    is_final: bool


class Tone(Struct, frozen=True):
    """A tone of `media/detect/call_progress`: `beep`, `fax`, `answer`, `sit`, `congestion`. Others are ignored here."""

    at_ms: int
    kind: str
    duration_ms: int = 0


Fact = SpeechBegan | SpeechEnded | Words | Tone


class Verdict(Struct, frozen=True):
    """Who answers: `kind`, confidence (0 to 1), the start and end of the evidence, and its words or tone."""

    kind: Kind
    confidence: float
    start_ms: int
    end_ms: int
    text: str = ""
    n_repeats: int = 0
    """For a menu: how often the same words were heard before."""

    @property
    def is_sure_machine(self) -> bool:
        """Whether no person will answer, with enough confidence to act on it."""
        return self.kind in MACHINES and self.confidence >= SURE


class AnsweringClassifier:
    """The classifier of one call. Facts must arrive in time order."""

    def __init__(self) -> None:
        self.verdict: Verdict | None = None
        """The current verdict."""
        self._first_ms: int | None = None
        self._began_ms: int | None = None
        self._run_ms = 0
        """The beginning of speech without a pause of `_AFTER_SHORT_MS`: recorded greetings pause between their sentences."""
        self._ended_ms: int | None = None
        self._is_short = False
        self._words: dict[int, str] = {}
        self._menus: list[str] = []

    def handle(self, fact: Fact) -> Verdict | None:
        """Take a fact. Returns the verdict if it has changed."""
        match fact:
            case SpeechBegan(at_ms):
                self._first_ms = at_ms if self._first_ms is None else self._first_ms
                if self._ended_ms is None or at_ms - self._ended_ms >= _AFTER_SHORT_MS:
                    self._run_ms = at_ms
                self._began_ms, self._ended_ms = at_ms, None
                return None
            case SpeechEnded(at_ms):
                if self._began_ms is not None:
                    self._ended_ms = at_ms
                    self._is_short = at_ms - self._began_ms <= _SHORT_MS
                    self._began_ms = None
                return None
            case Words():
                return self._heard(fact)
            case Tone():
                return self._tone(fact)
            case _:
                assert_never(fact)

    def next_timeout_ms(self) -> int | None:
        """When `handle_timeout` must be called if no fact arrives before."""
        if self._began_ms is not None:
            is_open = self.verdict is None
            return self._run_ms + _DECIDE_MS if is_open else self._began_ms + _MUSIC_MS if self._may_be_music else None
        if self._ended_ms is not None and self.verdict is None and self._is_short:
            return self._ended_ms + _AFTER_SHORT_MS
        return None

    def handle_timeout(self, now_ms: int) -> Verdict | None:
        """Time has passed. Returns the verdict if it has changed."""
        due_ms = self.next_timeout_ms()
        if due_ms is None or now_ms < due_ms:
            return None
        text = " ".join(self._words.values())
        if self._began_ms is None:
            return self._decide("human", 0.6, now_ms, text)
        if self.verdict is not None:
            return self._decide("hold", 0.75, now_ms, "")
        return self._decide("human", 0.5, now_ms, text) if normalised(text) else self._decide("voicemail", 0.5, now_ms, "")

    @property
    def _may_be_music(self) -> bool:
        """Whether long sound without words may be music: after a verdict without words, or after the words of a `hold` announcement."""
        weak = self.verdict is not None and (self.verdict.confidence < SURE or self.verdict.kind == "menu")
        return weak and not (self._words and self._words[max(self._words)].strip())

    def _heard(self, said: Words) -> Verdict | None:
        before = self._words.get(said.index - 1, "")
        self._words = {**({said.index - 1: before} if before else {}), said.index: said.text}
        text, earlier = normalised(said.text), normalised(before)
        if not text:
            return None
        kind, n_phrases = _kind_of(text)
        if kind is None and earlier:
            kind, n_phrases = _across(earlier, text)
        if kind == "menu" and said.is_final:
            return self._menu(said, text, n_phrases)
        if kind is not None:
            return self._decide(kind, 0.95 if n_phrases > 1 else 0.85, said.at_ms, said.text)
        is_person = said.is_final and len(text.split()) <= _SHORT_WORDS and is_greeting(text)
        if is_person and (self.verdict is None or self.verdict.kind not in MACHINES or self.verdict.confidence < SURE):
            return self._decide("human", 0.85, said.at_ms, said.text)
        return None

    def _menu(self, said: Words, text: str, n_phrases: int) -> Verdict | None:
        n_repeats = sum(difflib.SequenceMatcher(None, text, menu, autojunk=False).ratio() >= _SAME_MENU for menu in self._menus)
        self._menus = [*self._menus, text][-_MAX_MENUS:]
        told = self._decide("menu", 0.95 if n_phrases > 1 else 0.85, said.at_ms, said.text)
        if not n_repeats or self.verdict is None:
            return told
        self.verdict = replace(self.verdict, n_repeats=n_repeats, text=said.text, end_ms=max(said.at_ms, self.verdict.start_ms))
        return self.verdict

    def _tone(self, tone: Tone) -> Verdict | None:
        match tone.kind:
            case "beep":
                return self._decide("voicemail", 0.9, tone.at_ms, "beep", start_ms=tone.at_ms - tone.duration_ms, is_news=True)
            case "fax" | "answer":
                return self._decide("fax", 0.95, tone.at_ms, tone.kind, start_ms=tone.at_ms - tone.duration_ms)
            case "sit" | "congestion":
                return self._decide("announcement", 0.95, tone.at_ms, tone.kind, start_ms=tone.at_ms - tone.duration_ms)
            case _:
                return None

    def _decide(
        self, kind: Kind, confidence: float, at_ms: int, text: str, *, start_ms: int | None = None, is_news: bool = False
    ) -> Verdict | None:
        """Set the verdict. None if it adds nothing to the last one."""
        last = self.verdict
        if last is not None and last.kind == kind and last.confidence >= confidence and not is_news:
            return None
        began = start_ms if start_ms is not None else self._first_ms if self._first_ms is not None else at_ms
        self.verdict = Verdict(kind, confidence, min(began, at_ms), at_ms, text)
        return self.verdict


def _kind_of(text: str) -> tuple[Kind | None, int]:
    """The kind whose phrases occur in the normalised `text`, and how many of them."""
    for kind in RANK:
        found = matches(kind, text)
        if found:
            return kind, len(found)
    return None, 0


def _across(earlier: str, text: str) -> tuple[Kind | None, int]:
    """Like `_kind_of`, for a phrase that is split by a pause."""
    joined, edge = f"{earlier} {text}", len(earlier)
    for kind in RANK:
        if any(start < edge < end for start, end in matches(kind, joined)):
            return kind, 1
    return None, 0
