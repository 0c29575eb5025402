"""Compares the phrases that a caller is expected to say with what the model recognised, and selects texts to rate a second time.

The recognised text and the expected phrases enter; rivals leave: few texts that sound similar, which the engine rates with the same model
on the same sound. A phrase never replaces a text that the model finds clearly likelier: its prior is e^`PRIOR`, no more. This is for short
utterances only: the telephone band leaves little of "goodbye", and there is no context to help; a long sentence has context. Pure.
"""

from __future__ import annotations

import functools
import re

from active_call.providers.asr.phones import distance, sounds_of

PRIOR = 6.0
"""In nats. In 96 utterances (8 voices and noises) misheard phrases lay 1 to 6 nats below the recognised text, others 10 and more."""
SURE_NEARNESS = 3.0
"""In nats: a phrase that is this much less likely than the recognised text has a confidence of 0.5. Below that the agent asks."""
HUMS = ("Mm.", "Hmm.", "Uh-huh.")
"""Sounds made with a closed mouth. A model seldom writes them as such; it writes a word or two ("for us", "sense", "amen")."""
HUM_MAX_S = 1.4
"""Longer sound, including what is kept around an utterance (0.4 s), is not a hum."""
HUM_MAX_WORDS = 3
HUM_SURE = -1.2
"""In nats: a likelier text is not a hum. "No" and "wait" have -0.1 to -0.6 in two voices, hums -1.5 to -4."""
MAX_WORDS = 8
MAX_RIVALS = 4
MIN_LIKENESS = 0.3
SHORT_WORDS = 2
_WORD = re.compile(r"[a-z0-9']+")
_HEADS = re.compile(
    r"(?:(?:and|but|thank you|thanks|okay|ok|no|yes|all right|alright|well|so|that's all|that is all|please|very much|for your help)\W+)+",
    re.IGNORECASE,
)
"""Introductory words before a phrase. They are recognised well and stay unchanged."""
_QUESTION = re.compile(r"(?:what|where|when|who|how|why|which|can|could|do|does|is|are|will|would|may|have)\b", re.IGNORECASE)
"""A phrase that begins with these words is a question. With a full stop instead of a question mark its score is 4 to 5 nats lower."""


@functools.lru_cache(maxsize=512)
def alternatives_to(text: str, phrases: tuple[str, ...], *, is_doubtful: bool = False) -> tuple[str, ...]:
    """Texts with one of `phrases` that `text` may have been, the nearest first. None for a long text or one that is already a phrase.

    `is_doubtful`: if the text is a word or two, it may have been any phrase of one word: "To fight" was "Goodbye".
    """
    if not phrases or len(text.split()) > MAX_WORDS:
        return ()
    found = _HEADS.match(text)
    ends = {0, found.end()} if found else {0}
    near: dict[str, float] = {}
    for end in ends:
        said = _plain(text[end:])
        if not said:
            continue
        for phrase in phrases:
            wanted = _plain(phrase)
            if wanted == said:
                return ()
            likeness = _likeness(said, wanted)
            is_short = is_doubtful and len(said) <= SHORT_WORDS and len(wanted) == 1
            if likeness >= MIN_LIKENESS or is_short:
                near[text[:end] + _written(phrase, follows=text[:end].rstrip())] = likeness
    return tuple(sorted(near, key=lambda rival: -near[rival])[:MAX_RIVALS])


def _written(phrase: str, *, follows: str) -> str:
    """`phrase` as a separate sentence, or as the continuation of the sentence in `follows`."""
    bare = phrase.rstrip(" .?!")
    begins = bare[:1] if follows and follows[-1].isalpha() else bare[:1].upper()
    return f"{begins}{bare[1:]}{'?' if _QUESTION.match(bare) else '.'}"


def as_sentence(text: str) -> str:
    """`text` with a capital and a mark at its end, as recognised text is written. Without them its score is 3 to 5 nats lower."""
    if not text or text[-1] in ".?!":
        return text[:1].upper() + text[1:]
    return _written(text, follows="")


def is_phrase(text: str, phrases: tuple[str, ...]) -> bool:
    """Whether `text` is one of `phrases`, ignoring introductory words (`_HEADS`)."""
    found = _HEADS.match(text)
    said = {_plain(text), _plain(text[found.end() :])} if found else {_plain(text)}
    return any(_plain(phrase) in said for phrase in phrases)


def hums_for(text: str, log_probability: float, seconds: float) -> tuple[str, ...]:
    """The hums that a short sound, recognised as `text`, may have been. None if `text` is likely enough.

    In two voices the nearest hum lay 0 to 5.4 nats below the recognised text for hums, and 7.6 and more for single words; one of 18 was on
    the wrong side.
    """
    is_doubtful = log_probability < HUM_SURE and seconds <= HUM_MAX_S and len(text.split()) <= HUM_MAX_WORDS
    return HUMS if is_doubtful else ()


def _plain(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(text.lower().replace("good-bye", "goodbye").replace("’", "'")))


def _likeness(said: tuple[str, ...], wanted: tuple[str, ...]) -> float:
    one, other = ([phone for word in words for phone in sounds_of(word)] for words in (said, wanted))
    longest = max(len(one), len(other))
    return 1.0 - distance(one, other) / longest if one and other else 0.0
