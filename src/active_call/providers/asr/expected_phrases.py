"""What a caller may well say, weighed against what a model has heard: texts that the model is asked about a second time.

A text as heard and the expected phrases enter; rivals leave, few and near in sound, which the engine rates with the same model on the same
sound. A phrase never replaces what the model finds clearly likelier: it gets a prior of e^`PRIOR`, no more. Short utterances only: a
telephone band leaves little of "goodbye", and nothing around it helps; a long sentence explains itself. Pure.
"""

from __future__ import annotations

import functools
import re

from active_call.providers.asr.phones import distance, sounds_of

PRIOR = 6.0
"""In nats. Of 96 utterances (8 voices and noises) misheard phrases lay 1 to 6 nats below what was heard, other sentences 10 and more."""
SURE_NEARNESS = 3.0
"""In nats: a phrase that is so much less likely than what was heard has a confidence of a half. Below it the caller is asked."""
MAX_WORDS = 8
MAX_RIVALS = 4
MIN_LIKENESS = 0.3
_WORD = re.compile(r"[a-z0-9']+")
_HEADS = re.compile(
    r"(?:(?:thank you|thanks|okay|ok|no|yes|all right|alright|well|so|that's all|that is all|please|very much|for your help)\W+)+",
    re.IGNORECASE,
)
"""What callers say before a phrase, that is heard well and stays."""


@functools.lru_cache(maxsize=512)
def rivals_of(text: str, phrases: tuple[str, ...]) -> tuple[str, ...]:
    """Texts with one of `phrases` that `text` may have been, the nearest first; none for a long text and one that is a phrase already."""
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
            if likeness >= MIN_LIKENESS:
                near[f"{text[:end]}{phrase[:1].upper()}{phrase[1:].rstrip(' .?!')}."] = likeness
    return tuple(sorted(near, key=lambda rival: -near[rival])[:MAX_RIVALS])


def _plain(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(text.lower().replace("good-bye", "goodbye").replace("’", "'")))


def _likeness(said: tuple[str, ...], wanted: tuple[str, ...]) -> float:
    one, other = ([phone for word in words for phone in sounds_of(word)] for words in (said, wanted))
    longest = max(len(one), len(other))
    return 1.0 - distance(one, other) / longest if one and other else 0.0
