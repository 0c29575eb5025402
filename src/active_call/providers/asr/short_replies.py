"""What a short, doubtful text may have been instead: a listener's word ("okay", "oh, I see") or a word that stops the speaker ("wait").

The recognised text enters; rivals leave, which the engine rates on the same sound; from the ratings, `alternatives` leave. The text itself
stays: whether a listener's word is likely depends on the conversation, which the agent knows. English. Pure.

Of 166 short utterances by nine voices in noise of 20 to 44 dB, 11 of 19 misheard words of listeners ("Oh, how's she?" for "Oh, I see",
"Brave" for "Great") lay at most 3.9 nats above the nearest listener's word, and 13 of 81 commands and answers.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Final

from active_call.providers.asr.expected_phrases import HUMS
from active_call.providers.asr.phones import distance, sounds_of
from active_call.providers.asr.word_sequences import plain_words
from active_call.providers.speech_to_text import Alternative

MAX_S: Final = 2.0
"""Longer sound, including what is kept around an utterance, is no single reply of a listener."""
MAX_WORDS: Final = 4
SURE: Final = 0.95
"""A text of this confidence has no rival."""
UNSURE_LISTENING: Final = 0.8
"""A listener's word below this confidence may have been a command: hums are taken on little evidence."""
LEAST_SHARE: Final = 0.0025
"""Alternatives that are less likely than the text by this factor (6 nats) are left out."""
MAX_NATS: Final = 20.0
N_LISTENING, N_STOPPING = 8, 4
"""How many rivals of each kind are rated, the most alike."""
USUAL: Final = ("Okay.", "Oh.", "Oh, okay.", "Hmm, okay.")
"""Always rated: the commonest, of which a telephone leaves so little that the text may be unlike ("Milky")."""

_WORDS: Final = (
    "okay", "yes", "yeah", "yep", "right", "sure", "great", "good", "nice", "fine", "cool", "perfect", "lovely", "exactly", "really", "wow",
    "oh", "thanks", "thank you", "I see", "of course", "got it", "all right", "makes sense", "good to know", "understood", "interesting",
    "I know", "I understand", "sounds good", "that is good", "that is great", "that is nice", "okay, okay", "yeah, yeah", "right, right",
    "yes, yes",
)  # fmt: skip
_HEADS: Final = ("oh", "ah", "okay", "yeah", "yes", "hmm", "right")
_TAILS: Final = (
    "okay", "right", "sure", "great", "good", "nice", "yeah", "yes", "I see", "wow", "really", "thanks", "that is good", "that is great",
    "that is nice",
)  # fmt: skip
STOPPING: Final = (
    "Stop.", "Wait.", "No.", "Hold on.", "Hang on.", "Hello?", "Hello? Hello?", "Help.", "Sorry?", "What?", "Excuse me.", "Stop it.",
)  # fmt: skip


def _written(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}{'?' if text.endswith('really') else '.'}"


LISTENING: Final = (
    *(_written(word) for word in _WORDS),
    *(_written(f"{head}, {tail}") for head in _HEADS for tail in _TAILS if tail != head),
    *HUMS,
)
_KNOWN_LISTENING: Final = frozenset(plain_words(text) for text in LISTENING)
_KNOWN_STOPPING: Final = frozenset(plain_words(text) for text in STOPPING)


@functools.lru_cache(maxsize=512)
def rivals_of(text: str, confidence: float, seconds: float) -> tuple[str, ...]:
    """The texts to rate beside `text`, which was recognised in `seconds` of sound; none if it is long or sure."""
    words = plain_words(text)
    if not 0 < len(words) <= MAX_WORDS or seconds > MAX_S or confidence >= SURE:
        return ()
    if words in _KNOWN_LISTENING:
        return STOPPING if confidence < UNSURE_LISTENING else ()
    listening = (*_most_alike(words, LISTENING, N_LISTENING), *USUAL)
    stopping = () if words in _KNOWN_STOPPING else _most_alike(words, STOPPING, N_STOPPING)
    return tuple(dict.fromkeys((*listening, *stopping)))


def alternatives_of(log_probability: float, rated: Sequence[tuple[str, float]]) -> tuple[Alternative, ...]:
    """The rated texts that are nearly as likely as the recognised one, the likeliest first."""
    shares = [Alternative(text, math.exp(min(MAX_NATS, rate - log_probability))) for text, rate in rated]
    return tuple(sorted((one for one in shares if one.share >= LEAST_SHARE), key=lambda one: -one.share))


def _most_alike(words: tuple[str, ...], texts: Sequence[str], n: int) -> tuple[str, ...]:
    said = _phones(words)
    return tuple(sorted(texts, key=lambda text: _unlikeness(said, _phones(plain_words(text))))[:n])


def _unlikeness(one: tuple[str, ...], other: tuple[str, ...]) -> float:
    return distance(one, other) / max(1, len(one), len(other))


@functools.lru_cache(maxsize=512)
def _phones(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(phone for word in words for phone in sounds_of(word))
