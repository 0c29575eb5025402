"""Read a number that the caller says in pieces, with corrections. Pure.

In: what was entered before, and a recognised text. Out: what is entered now. Callers correct themselves as they do among people:

| the caller says                                   | then                                                                            |
|---------------------------------------------------|---------------------------------------------------------------------------------|
| "four seven five, no, four" (sorry, I mean, oops) | the digits after it replace as many before it                                   |
| the same, with a number of known length           | unless they resemble those, they replace as many as it takes to reach the length |
| "four, not five"                                  | the last five becomes a four                                                    |
| "let me start again"                              | nothing before it counts                                                        |
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from active_call.agent.collect.spoken_digits import digits_of, tokens_of

_CORRECTING = (
    "no", "nope", "oops", "sorry", "correction", "rather", "i mean", "i meant", "scratch that", "make that", "no wait",
    "nein", "entschuldigung", "verzeihung", "korrektur", "quatsch", "vielmehr", "ich meine",
    "perdón", "perdon", "digo", "quiero decir", "mejor dicho", "non", "pardon", "plutôt", "je veux dire", "不 对", "不 是", "错 了",
)  # fmt: skip
_RESTARTING = (
    "start again", "start over", "begin again", "start from scratch", "from the beginning", "from the start", "forget that",
    "von vorn", "von vorne", "von anfang an", "de nuevo", "otra vez", "desde el principio", "recommence", "depuis le début",
    "重 新", "重 来",
)  # fmt: skip
_REPLACED = ("not", "nicht", "pas")
"""Before the wrong digits: "four, not five"."""
_AROUND_WORDS = (
    "wait let me i will i'll it that that's but again lassen sie mich ich fange noch einmal sondern es war je recommence mais sino"
)
_NEUTRAL = frozenset(_AROUND_WORDS.split())
"""Words around a correction that mean nothing else."""


class Entry(Struct, frozen=True):
    """What is entered after a text. `is_new`: the text changed it, or announced a correction."""

    value: str
    is_new: bool
    is_pure: bool = True
    """The text contains nothing but digits and corrections."""
    n_digits: int = 0
    """How many digits the text contains."""
    is_correcting: bool = False
    """The text ends with the announcement of a correction, which the next text contains."""


def read_entry(before: str, text: str, *, length: int | None = None, is_correcting: bool = False) -> Entry:
    """What is entered when the caller says `text` after `before`. `length`: how many digits are expected; None: not known.

    `is_correcting`: the previous text has announced a correction.
    """
    value, is_pure, is_marked, n_digits = before, True, False, 0
    correcting = is_correcting and bool(before)
    for mark, tokens in _parts(tokens_of(text)):
        if mark == "restart":
            value, correcting, is_marked = "", False, True
        elif mark == "correct":
            correcting, is_marked = bool(value), True
        wrong = next((at for at, token in enumerate(tokens) if token in _REPLACED), None)
        digits, is_only = digits_of([token for token in tokens if token not in _REPLACED and token not in _NEUTRAL])
        is_pure, n_digits = is_pure and is_only, n_digits + len(digits)
        if not digits:
            continue
        if wrong is not None and value:
            right, bad = _right_and_wrong(tokens, wrong, digits)
            value, correcting = _replaced(value, bad, right), False
        else:
            value, correcting = (_corrected(value, digits, length) if correcting else value + digits), False
    return Entry(value, bool(n_digits) or (is_marked and bool(before)), is_pure, n_digits, correcting)


def _parts(tokens: Sequence[str]) -> list[tuple[str, list[str]]]:
    """The tokens between announcements, each with the announcement before it: `correct`, `restart`, or nothing."""
    parts: list[tuple[str, list[str]]] = [("", [])]
    at = 0
    while at < len(tokens):
        for mark, phrases in (("restart", _RESTARTING), ("correct", _CORRECTING)):
            found = max((phrase for phrase in phrases if _begins(tokens, at, phrase)), key=len, default="")
            if found:
                parts.append((mark, []))
                at += len(found.split())
                break
        else:
            parts[-1][1].append(tokens[at])
            at += 1
    return parts


def _begins(tokens: Sequence[str], at: int, phrase: str) -> bool:
    words = phrase.split()
    return list(tokens[at : at + len(words)]) == words


def _right_and_wrong(tokens: Sequence[str], at: int, digits: str) -> tuple[str, str]:
    """The right digits and the wrong ones around a "not" at `at`: "four not five", "not five but four"."""
    right, wrong = digits_of(tokens[:at])[0], digits_of(tokens[at + 1 :])[0]
    if right:
        return right, wrong
    half = len(digits) // 2
    return digits[half:], digits[:half]


def _replaced(value: str, wrong: str, right: str) -> str:
    """`value` with its last `wrong` as `right`; without such digits, `right` replaces the last ones."""
    at = value.rfind(wrong) if wrong else -1
    return value[:at] + right + value[at + len(wrong) :] if at >= 0 else _corrected(value, right, None)


def _corrected(value: str, digits: str, length: int | None) -> str:
    """`value` with its last digits replaced by `digits`."""
    n_replaced = len(digits)
    is_said_again = n_replaced > 1 and sum(a != b for a, b in zip(value[-n_replaced:], digits, strict=False)) * 2 <= n_replaced
    if length is not None and not is_said_again and 1 <= len(value) + n_replaced - length <= len(value):
        n_replaced = len(value) + n_replaced - length
    return value[: max(0, len(value) - n_replaced)] + digits
