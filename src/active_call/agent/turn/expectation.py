"""What the agent has asked for, and how complete the caller's answer is: yes or no, digits, spelling, an e-mail address, an address.

In: the agent's words; later the caller's. Out: an `Expectation`, and with it a `Completeness`. Pauses within a number or an address are
long and no evidence of an end, so the missing part decides instead.
"""

from __future__ import annotations

import re
from enum import Enum

from msgspec import Struct

from active_call.agent.turn.turn_words import TurnWords, spoken_words, turn_words

_TOP_DOMAINS = frozenset(
    {
        "com", "net", "org", "edu", "gov", "io", "co", "uk", "de", "at", "ch", "fr", "es", "it", "nl", "be", "eu", "us", "ca", "au", "info",
        "biz", "me", "tv", "app", "dev", "in", "jp", "cn",
    }
)  # fmt: skip
_MISHEARD_DOTS = frozenset({"dot", "dots", "dock", "duck", "got"})
"""Misrecognitions of the last "dot" of an address without "at"."""
_CENTURIES = frozenset({"eighteen", "nineteen", "twenty", "thousand"})
_SENTENCE = re.compile(r"[^.?!…。？！]+[.?!…。？！]*")
_QUESTION_MARKS = ("?", "？")
_SMALL = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_SMALL_DE = ("null", "ein", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn", "elf", "zwölf")
PHONE_DIGITS = 7
"""Fewer digits are not a telephone number in most numbering plans (ITU-T E.164 names no minimum)."""
ANNOUNCED_DIGITS = 3
"""A number that a caller announces has at least this many digits."""
GROUP_DIGITS = 2
"""So many digits are as often the first group of a number as a whole one."""
WHOLE_PHONE_DIGITS = 10
"""Length of a number in the North American plan; most others have about as many digits."""


class Asked(Enum):
    """The kind of answer that the agent expects."""

    ANYTHING = "anything"
    """Nothing was asked, or only what the agent can do for the caller."""
    SOMETHING = "something"
    """One thing, in a question that is none of the kinds below: which day, what happened."""
    YES_NO = "yes or no"
    DIGITS = "digits"
    SPELLING = "spelling"
    EMAIL = "e-mail"
    ADDRESS = "address"
    BIRTHDAY = "date of birth"


class Completeness(Enum):
    """How complete the caller's words look."""

    SURE = "sure"
    """All that was asked for, or words that are a complete turn in themselves."""
    QUESTION = "question"
    """A complete sentence that asks something."""
    COMPLETE = "complete"
    """A complete sentence that answers the question, or in which the caller asks for something."""
    TOLD = "told"
    """A complete statement: the next sentence often says what it is for."""
    ANSWER = "answer"
    """One or two words that answer the question, but may continue: "yes", and then "but"; "two adults", and then "and one child"; "no thank
    you", and then "goodbye"."""
    GROUP = "group"
    """Trailing digits that may be part of a number."""
    LEADING = "leading"
    """A complete turn, but as often the beginning of one: "thank you", and then "goodbye"."""
    ATTENTION = "attention"
    """Over the agent's voice: words that only ask it to stop, such as "sorry" or "wait". What the caller wants follows."""
    OPEN = "open"
    """No evidence whether more follows."""
    UNFINISHED = "unfinished"
    """More must follow: a number lacks digits, or the last word is a conjunction or the like."""


_ANSWERS = (Completeness.SURE, Completeness.COMPLETE, Completeness.TOLD, Completeness.ANSWER, Completeness.OPEN)
PART_WORDS = 4
"""Fewer words answer only one of two questions, if no "and" is among them."""


class Expectation(Struct, frozen=True):
    """What is expected. `n_digits`: the exact number, if known; `at_least`: the minimum."""

    asked: Asked = Asked.ANYTHING
    n_digits: int | None = None
    at_least: int = 1
    is_invitation: bool = False
    """The question leaves open what the caller says, and a statement is seldom all of it: "Anything else?", "What happened?" """
    n_questions: int = 1
    """How many things were asked at once: "How many people, and on which day?" """

    @property
    def is_slot(self) -> bool:
        """Whether the answer is said in pieces with pauses between them."""
        return self.asked in (Asked.DIGITS, Asked.SPELLING, Asked.EMAIL, Asked.ADDRESS, Asked.BIRTHDAY)


NOTHING_EXPECTED = Expectation()


def expected_after(said: str, language: str | None = None) -> Expectation:
    """What the agent's words `said` ask for: their last question decides, else their last sentence."""
    words = turn_words(language)
    sentences = [sentence.strip() for sentence in _SENTENCE.findall(said) if sentence.strip(" .?!…。？！")]
    if not sentences:
        return NOTHING_EXPECTED
    question = next((sentence for sentence in reversed(sentences[-2:]) if sentence.endswith(_QUESTION_MARKS)), sentences[-1])
    if words.ask_email.search(question):
        return Expectation(Asked.EMAIL)
    if words.ask_spelling.search(question):
        return Expectation(Asked.SPELLING)
    if words.ask_birthday is not None and words.ask_birthday.search(question):
        return Expectation(Asked.BIRTHDAY)
    is_polar = _is_polar(question, words)
    if not is_polar and words.ask_digits.search(question):
        n_digits = _counted(question, words)
        is_phone = words.ask_phone.search(question) is not None
        return Expectation(Asked.DIGITS, n_digits, PHONE_DIGITS if is_phone else n_digits or 2)
    if not is_polar and words.ask_address.search(question):
        return Expectation(Asked.ADDRESS)
    invites = words.invites is not None and words.invites.search(question) is not None
    if is_polar:
        return Expectation(Asked.YES_NO, is_invitation=invites)
    if not question.endswith(_QUESTION_MARKS) or words.invites is None or invites:
        return NOTHING_EXPECTED
    narrates = words.narrates is not None and words.narrates.search(question.lower().rstrip(" ?")) is not None
    return Expectation(Asked.SOMETHING, is_invitation=narrates, n_questions=_n_questions(question, words))


def _n_questions(question: str, words: TurnWords) -> int:
    """2 if it asks a second thing after "and", with a question word in both parts; else 1."""
    said = spoken_words(question)
    asks = [place for place, word in enumerate(said) if word in words.requests]
    joined = any(word in words.joins for word in said[asks[0] : asks[-1]]) if asks else False
    return 2 if joined else 1


def announced_in(said: str, expected: Expectation, language: str | None = None) -> Expectation:
    """The expectation if the caller announces a number without a question ("my order number is …"): groups of digits."""
    if expected.is_slot or said.rstrip().endswith(_QUESTION_MARKS):
        return expected
    words = turn_words(language)
    found = words.announces.search(said.lower()) if words.announces is not None else None
    if found is None:
        return expected
    follows = spoken_words(said[found.end() :])
    is_number = not follows or count_digits(follows, words) > 0
    return Expectation(Asked.DIGITS, at_least=ANNOUNCED_DIGITS) if is_number else expected


def _is_polar(question: str, words: TurnWords) -> bool:
    """Whether it is a yes-or-no question."""
    if not question.endswith(_QUESTION_MARKS):
        return False
    text = " ".join(spoken_words(question))
    if any(text.endswith(f" {tag}") for tag in words.tags):
        return True
    first = text.split(" ", 1)[0] if text else ""
    return first in words.polar and not any(f" {request} " in f" {text} " for request in words.requests)


def _counted(question: str, words: TurnWords) -> int | None:
    """The number of digits that the question names: "your four digit code", "die letzten vier Ziffern"."""
    found = words.counted.search(question)
    if found is None:
        return None
    name = found[1].lower()
    if name.isdigit():
        return int(name) if 0 < int(name) <= 30 else None
    return next((table.index(name) for table in (_SMALL, _SMALL_DE) if name in table), None) or None


def completeness_of(text: str, expected: Expectation, language: str | None = None) -> Completeness:
    """How complete `text` is as an answer to `expected`. If anything definite was asked, a statement is the answer."""
    words = turn_words(language)
    said = spoken_words(text)
    if not said:
        return Completeness.OPEN
    if words.asks_to_wait(said):
        return Completeness.UNFINISHED
    found = _as_asked(said, text, expected, words)
    if expected.n_questions > 1 and found in _ANSWERS and len(said) < PART_WORDS and not words.joins.intersection(said):
        return Completeness.LEADING
    is_answer = expected.asked is not Asked.ANYTHING and not expected.is_invitation
    return Completeness.COMPLETE if found is Completeness.TOLD and is_answer else found


def _as_asked(said: list[str], text: str, expected: Expectation, words: TurnWords) -> Completeness:
    match expected.asked:
        case Asked.DIGITS:
            return _digits(said, text, expected, words)
        case Asked.EMAIL:
            return _email(said, text, words)
        case Asked.SPELLING if len(said[-1]) == 1 and len(said) > 1:
            return Completeness.OPEN  # a letter, not a word after which more must follow
        case Asked.SPELLING | Asked.ADDRESS:
            general = _general(said, text, words)
            return Completeness.OPEN if general in (Completeness.COMPLETE, Completeness.TOLD, Completeness.QUESTION) else general
        case Asked.BIRTHDAY:
            general = _general(said, text, words)
            is_open = general in (Completeness.COMPLETE, Completeness.TOLD, Completeness.QUESTION, Completeness.GROUP)
            return (Completeness.COMPLETE if _has_year(said) else Completeness.OPEN) if is_open else general
        case Asked.SOMETHING:
            general = _general(said, text, words)
            return Completeness.ANSWER if general is Completeness.OPEN else general
        case Asked.YES_NO if expected.is_invitation and all(word in words.yes for word in said):
            return Completeness.UNFINISHED  # "Anything else?" "Yes."
        case Asked.YES_NO if " ".join(said) in words.nods:
            return Completeness.COMPLETE
        case Asked.YES_NO if said[0] in words.yes | words.no and len(said) <= 4 and all(w in words.yes | words.no for w in said):
            is_sure = len(said) > 1 and not words.ends_with_thanks(said)
            return Completeness.SURE if is_sure else Completeness.ANSWER if len(said) == 1 else Completeness.COMPLETE
        case _:
            return _general(said, text, words)


def count_digits(said: list[str], words: TurnWords) -> int:
    """The number of digits said: figures, digit words, and "double five"."""
    total, factor = 0, 1
    for word in said:
        n = sum(char.isdigit() for char in word) or (1 if word in words.digits else 0)
        total += n * (factor if n == 1 else 1)
        factor = words.repeats.get(word, 1)
    return total


def _digits(said: list[str], text: str, expected: Expectation, words: TurnWords) -> Completeness:
    n = count_digits(said, words)
    if n == 0:
        return _general(said, text, words)
    if not _is_clean(said, words) and n < max(expected.n_digits or 0, expected.at_least):
        return Completeness.OPEN  # some may be misheard
    if words.is_open_at_end(said) and said[-1] not in words.digits:
        return Completeness.UNFINISHED
    if expected.n_digits is not None:
        return Completeness.UNFINISHED if n < expected.n_digits else Completeness.SURE
    if n < expected.at_least:
        return Completeness.UNFINISHED
    if expected.at_least == PHONE_DIGITS:
        return Completeness.COMPLETE if n >= WHOLE_PHONE_DIGITS else Completeness.OPEN
    return Completeness.GROUP if n <= GROUP_DIGITS else Completeness.OPEN


def _is_clean(said: list[str], words: TurnWords) -> bool:
    """Whether the words are only digits and words used in reading numbers."""
    return all(word.isdigit() or word in words.digits or word in words.repeats or word in words.unfinished for word in said)


def _has_year(said: list[str]) -> bool:
    """Whether there is a year of four digits, in figures or in English words ("nineteen eighty four")."""
    n_after = next((len(said) - place - 1 for place, word in enumerate(said) if word in _CENTURIES), 0)
    return n_after > 0 or any(word.isdigit() and len(word) == 4 for word in said)


def _email(said: list[str], text: str, words: TurnWords) -> Completeness:
    if any(word in words.unwilling for word in said):
        return _general(said, text, words)
    rest = text.partition("@")[2]
    at = next((place for place, word in enumerate(said) if word in words.at or "@" in word), None)
    if at is None and not rest:  # "at" is often misheard, the end of a domain is not
        is_domain = len(said) > 2 and said[-1] in _TOP_DOMAINS and said[-2] in words.dot
        return (
            Completeness.COMPLETE
            if is_domain
            else Completeness.OPEN
            if len(said) > 4 and _MISHEARD_DOTS.intersection(said[-3:])
            else Completeness.UNFINISHED
        )
    tail = said[at + 1 :] if at is not None else []
    domain = rest.lower().rstrip(" .").rsplit(".", 1)[-1] if "." in rest.rstrip(" .") else ""
    has_dot = bool(domain) or any(word in words.dot for word in tail)
    last = domain or (tail[-1] if tail else "")
    if has_dot and last in _TOP_DOMAINS:
        return Completeness.COMPLETE if last == "co" else Completeness.SURE
    return Completeness.UNFINISHED


def _general(said: list[str], text: str, words: TurnWords) -> Completeness:
    if " ".join(said) in words.whole:
        return Completeness.ANSWER if words.ends_with_thanks(said) else Completeness.SURE
    if " ".join(said) in words.leading:
        return Completeness.LEADING
    if words.says_goodbye(said):
        return Completeness.SURE
    if words.begins_with_thanks(said) or words.has_a_question(said):
        return Completeness.LEADING
    is_cut = text.rstrip().endswith(("-", "…", "...")) or " ".join(said) in words.nods  # a hum, if no yes or no was asked for
    is_open = words.is_open_at_end(said) or words.announces_a_question(said) or words.lacks_a_verb(said)
    if is_cut or is_open or _lacks_main_clause(text, words):
        return Completeness.UNFINISHED
    if 2 <= count_digits(said, words) < PHONE_DIGITS and (said[-1] in words.digits or said[-1].isdigit()):
        return Completeness.GROUP
    if len(said) > 2 and words.ask_digits.search(said[-1]) and not text.rstrip().endswith(_QUESTION_MARKS):
        return Completeness.LEADING  # "it is about my order number": the number may follow
    n_letters = sum(len(word) if ord(word[0]) > 0x2E80 else 0 for word in said)
    if (len(said) < 3 and n_letters < 4) or words.is_unsure_at_end(said):
        return Completeness.OPEN
    if text.rstrip().endswith(_QUESTION_MARKS):
        return Completeness.QUESTION
    return Completeness.COMPLETE if n_letters or words.asks_for_something(said) else Completeness.TOLD


def _lacks_main_clause(text: str, words: TurnWords) -> bool:
    """Whether the last sentence begins with "if" or the like and has no second part."""
    sentence = (_SENTENCE.findall(text) or [""])[-1].strip()
    said = spoken_words(sentence)
    is_clause = len(said) > 2 and said[0] in words.subordinate and not sentence.endswith(_QUESTION_MARKS)
    return is_clause and "," not in sentence.rstrip(" ,.")
