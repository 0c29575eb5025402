"""Match an utterance against expected phrases: a score for freely recognised text, never a forced choice.

A recognised text and phrases go in; the best phrase with its scores comes out, or None. Pure.

Theory. Words are aligned in order. A word counts by its phonetic similarity (`phones`), and little if callers put it around anything
("please", "could you tell me", the courtesies of `courtesy`). A short utterance without a matching word is compared by its phones as a
whole, because recognisers guess word boundaries ("don't buy", "go by"). Two shares describe a match:

- `phrase_share`: how much of the phrase was said. Below `MIN_SHARE` there is no match.
- `heard_share`: how much of what was said the phrase explains.

| match  | phrase_share | heard_share             | negated, or a low confidence | what it may trigger                                    |
|--------|--------------|-------------------------|------------------------------|--------------------------------------------------------|
| strong | ≥ 0.85       | ≥ 0.5, for one word 0.6 | no                           | anything                                               |
| weak   | ≥ 0.6        | any                     | any                          | an answer; hanging up only after a confirmation        |

A phrase that is the last of several sentences scores as if it was said alone ("… tomorrow at nine. Goodbye."). `is_inside`: content words
are on both sides of it. That is not how callers say goodbye: "how do I say goodbye to my contract" neither ends the call nor asks for a
confirmation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from msgspec import Struct

from active_call.agent.matching.courtesy import courteous, without_courtesies
from active_call.agent.matching.phones import likeness, likeness_of_all
from active_call.agent.matching.spoken_form import spoken_words

MIN_SHARE = 0.6
STRONG_PHRASE_SHARE = 0.85
STRONG_HEARD_SHARE = 0.5
ONE_WORD_HEARD_SHARE = 0.6
"""The limit if the phrase explains a single content word: "transfer my appointment" is not "transfer me"."""
WHOLE_SHARE = 0.97
"""From this share on the whole phrase was said."""
MIN_CONFIDENCE = 0.5
"""Recogniser confidence below which a match is weak."""
MIN_LIKENESS = 0.7
"""Words with less phonetic similarity are different words."""
LIGHT = 0.1
"""The weight of a function word, against 1. A phrase of function words only counts them in full."""
COURTESY = 0.02
"""The weight of a word in a courtesy, because these come in rows."""
QUESTION = 0.5
"""The weight of a question word: "my name is" does not ask "what is your name"."""
MAX_WORDS_BY_SOUND = 3
"""Maximum length of an utterance, without courtesies, that is compared as a whole by its phones."""
BY_SOUND_SHARE = 0.8
"""Maximum share of a match by phones alone: it is weak."""
MAX_HEARD_WORDS = 120
"""Of a longer utterance only the end is compared."""
OUT_OF_ORDER = 0.95
"""The weight of words in another order."""
_LIGHT_WORDS = frozenset(
    {
        "a", "an", "the", "i", "am", "is", "are", "was", "do", "does", "did", "to", "of", "in", "on", "at", "for", "and", "or", "my",
        "your", "me", "you", "we", "it", "that", "this", "there", "so", "just", "also", "now", "then", "well", "um", "uh", "hello", "hi",
        "hey", "please", "thanks", "thank", "very", "much", "okay", "yeah", "can", "could", "would", "will", "like", "want", "need",
        "may", "might", "tell", "say", "know", "let", "us", "have", "has", "be", "with",
        "请", "的", "了", "我", "你", "您", "吗", "呢", "啊", "想", "要", "是",
    }
)  # fmt: skip
_QUESTION_WORDS = frozenset({"what", "how", "when", "where", "who", "which", "why", "whose"})
_SENTENCE_END = re.compile(r"(?<![.!?…])[.!?…]++(?:\s+|$)|。|！|？")
_NEGATIONS = frozenset({"not", "no", "never", "without", "stop", "nothing", "nicht", "kein", "keine", "ne", "pas", "non", "不", "没", "别"})


class Match(Struct, frozen=True):
    """How well a phrase matches what was heard. `position`: index of the phrase."""

    position: int
    phrase_share: float
    heard_share: float
    n_words: int
    """Number of words of the phrase that were said."""
    n_telling: int
    """Number of content words among them."""
    is_negated: bool = False
    is_exact: bool = False
    is_inside: bool = False
    """Whether content words precede and follow it."""

    @property
    def is_whole(self) -> bool:
        """Whether the whole phrase was said, possibly with other words between."""
        return self.phrase_share >= WHOLE_SHARE

    @property
    def score(self) -> float:
        """0 to 1; orders the phrases."""
        return self.phrase_share * (0.6 + 0.4 * self.heard_share)

    def is_strong(self, confidence: float | None = None) -> bool:
        """Whether the match is strong enough for actions that cannot be undone. `confidence` is the recogniser's, None if unknown."""
        is_sure = confidence is None or confidence >= MIN_CONFIDENCE
        heard_share = STRONG_HEARD_SHARE if self.n_telling > 1 else ONE_WORD_HEARD_SHARE
        is_close = self.phrase_share >= STRONG_PHRASE_SHARE and self.heard_share >= heard_share
        return is_sure and not self.is_negated and is_close


def best_match(heard: Sequence[str], phrases: Sequence[Sequence[str]], last: Sequence[str] = ()) -> Match | None:
    """The phrase that matches `heard` best, of equal ones the first; None if none matches. Both in the form of `spoken_words`.

    `last`: the last of several sentences (`last_sentence`).
    """
    found = [match for position, phrase in enumerate(phrases) if (match := compare(heard, phrase, position, last)) is not None]
    return max(found, key=rank, default=None)


def last_sentence(heard: str) -> tuple[str, ...]:
    """The words of the last sentence of `heard`; empty if it is the only one."""
    *before, last = [words for part in _SENTENCE_END.split(heard) if (words := spoken_words(part))] or [()]
    return last if before else ()


def rank(match: Match) -> tuple[int, float, float]:
    """Sort key of matches: the exact phrase, then whole phrases (the longest first), then the closest."""
    if match.is_exact:
        return 3, 0.0, 0.0
    return (2, float(match.n_words), match.score) if match.is_whole else (1, match.score, 0.0)


def compare(heard: Sequence[str], phrase: Sequence[str], position: int = 0, last: Sequence[str] = ()) -> Match | None:
    """How well `phrase` matches `heard`, whose last sentence is `last`. None below `MIN_SHARE`."""
    if not heard or not phrase:
        return None
    if tuple(heard) == tuple(phrase):
        return Match(position, 1.0, 1.0, len(phrase), len(phrase), is_exact=True)
    match = _by_words(heard, phrase, position) or _by_sound(heard, phrase, position)
    if match is None or not last:
        return match
    alone = _by_words(last, phrase, position)
    is_sure = alone is not None and alone.is_whole and alone.is_strong() and not match.is_negated
    return alone if is_sure else match


def _by_words(heard: Sequence[str], phrase: Sequence[str], position: int) -> Match | None:
    said = _glued(heard[-MAX_HEARD_WORDS:], phrase)
    weights = _weights(phrase)
    used, gained = _aligned(said, phrase, weights)
    loose_used, loose_gained = _unordered(said, phrase, weights)
    if loose_gained * OUT_OF_ORDER > gained:
        used, gained = loose_used, loose_gained * OUT_OF_ORDER
    phrase_share = gained / sum(weights)
    if phrase_share < MIN_SHARE or not used:
        return None
    heard_weights = _weights(said)
    n_telling = sum(heard_weights[index] == 1.0 for index in used)
    courtesies = courteous(said)
    heard_weights = [COURTESY if courtesies[index] and index not in used else weight for index, weight in enumerate(heard_weights)]
    heard_share = sum(heard_weights[index] for index in used) / sum(heard_weights)
    telling = [index for index, weight in enumerate(heard_weights) if weight >= QUESTION]
    is_inside = bool(telling) and telling[0] < min(used) and telling[-1] > max(used)
    return Match(position, phrase_share, heard_share, len(used), n_telling, is_negated=_is_negated(said, phrase), is_inside=is_inside)


def _by_sound(heard: Sequence[str], phrase: Sequence[str], position: int) -> Match | None:
    """The same for a short utterance as a whole, by its phones, without the courtesies of both sides."""
    said, wanted = without_courtesies(tuple(heard)), without_courtesies(tuple(phrase))
    if len(said) > MAX_WORDS_BY_SOUND:
        return None
    share = min(likeness_of_all(said, wanted), BY_SOUND_SHARE)
    if share < MIN_SHARE:
        return None
    return Match(position, share, share, len(said), len(said), is_negated=_is_negated(heard, phrase))


def _weights(words: Sequence[str]) -> list[float]:
    weights = [LIGHT if word in _LIGHT_WORDS else QUESTION if word in _QUESTION_WORDS else 1.0 for word in words]
    return weights if max(weights) == 1.0 else [1.0] * len(words)


def _is_negated(heard: Sequence[str], phrase: Sequence[str]) -> bool:
    """Whether a negation was said that the phrase does not have. A leading "no" answers the question and negates nothing after it."""
    rest = heard[1:] if heard[0] == "no" else heard
    return bool(_NEGATIONS.intersection(rest) - set(phrase))


def _glued(heard: Sequence[str], phrase: Sequence[str]) -> list[str]:
    """`heard` in the spelling of the phrase: two words joined ("good bye"), one split, a repeated word counted once."""
    known = set(phrase)
    pairs = {first + second: (first, second) for first, second in pairwise(phrase)}
    words: list[str] = []
    position = 0
    while position < len(heard):
        word = heard[position]
        if words and word == words[-1] and not word.isdigit() and (word, word) not in pairs.values():
            position += 1  # repeated: "bye bye"
            continue
        both = word + heard[position + 1] if position + 1 < len(heard) else ""
        if both in known and word not in known:
            words.append(both)
            position += 2
            continue
        words += pairs[word] if word in pairs and word not in known else (word,)
        position += 1
    return words


def _aligned(heard: Sequence[str], phrase: Sequence[str], weights: Sequence[float]) -> tuple[set[int], float]:
    """The words of `heard` that match words of `phrase` in order, and the sum of their weights: the best alignment."""
    table: list[list[tuple[float, tuple[int, ...]]]] = [[(0.0, ())] * (len(heard) + 1)]
    for word, weight in zip(phrase, weights, strict=True):
        row: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
        for index, said in enumerate(heard):
            best = max(table[-1][index + 1], row[index], key=lambda cell: cell[0])
            alike = _alike(word, said)
            if alike and table[-1][index][0] + alike * weight > best[0]:
                best = (table[-1][index][0] + alike * weight, (*table[-1][index][1], index))
            row.append(best)
        table.append(row)
    gained, used = table[-1][-1]
    return set(used), gained


def _unordered(heard: Sequence[str], phrase: Sequence[str], weights: Sequence[float]) -> tuple[set[int], float]:
    """The same in any order. The words must be equal."""
    left = list(range(len(heard)))
    used: set[int] = set()
    gained = 0.0
    for word, weight in zip(phrase, weights, strict=True):
        index = next((index for index in left if heard[index] == word), None)
        if index is not None:
            left.remove(index)
            used.add(index)
            gained += weight
    return used, gained


def _alike(word: str, said: str) -> float:
    alike = likeness(word, said)
    return alike if alike >= MIN_LIKENESS else 0.0
