"""How likely a sequence of English words is, by the trigram model in PocketSphinx's wheel. It weighs texts that sound alike: "a table free
for tonight" against "a fable free-forked hide".

A text enters; the natural log of the probability of its words leaves. Knows no sound.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Final

UNKNOWN: Final = -13.0
"""The natural log of the probability of a word that the model does not have: less than most of its words ("gardener" has -13.4)."""
LEAST_OF_AN_END: Final = -8.0
"""An end of the text that the model finds less likely than this is not rarer: callers stop in the middle of a sentence."""
LOG_UNIT: Final = 1e-4
"""PocketSphinx's logs have the base 1.0001."""
N_BEFORE: Final = 2
BEGIN, END = "<s>", "</s>"
_DIGITS: Final = dict(enumerate(("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")))
_WORD: Final = re.compile(r"[a-z]+(?:'[a-z]+)*|\d")
_FAREWELL: Final = re.compile(r"\bgood[- ]bye?\b")

LogProbability = Callable[[Sequence[str]], float]
"""Of the first word, after the others, the nearest first; far below any word's for an unknown word."""


class WordSequences:
    """Rates texts by `log_probability`."""

    def __init__(self, log_probability: LogProbability) -> None:
        self._log_probability = log_probability

    def rate(self, text: str) -> float:
        """The natural log of the probability of the words in `text`."""
        before: list[str] = [BEGIN]
        total = 0.0
        for word in plain_words(text):
            if self._log_probability([word]) <= 2 * UNKNOWN:
                total += UNKNOWN
                before = []
            else:
                total += self._log_probability([word, *before[::-1]])
                before = [*before, word][-N_BEFORE:]
        return total + max(LEAST_OF_AN_END, self._log_probability([END, *before[::-1]]))


def plain_words(text: str) -> tuple[str, ...]:
    """The words of `text` in lower case, with digits as words."""
    plain = _FAREWELL.sub("goodbye", text.lower().replace("\u2019", "'"))
    return tuple(_DIGITS[int(word)] if word.isdigit() else word for word in _WORD.findall(plain))


@functools.cache
def english() -> WordSequences | None:
    """The model of PocketSphinx's wheel, loaded once (0.1 s, 27 MB); None if the package is not installed."""
    if find_spec("pocketsphinx") is None:
        return None
    from pocketsphinx import Config, LogMath, NGramModel, get_model_path, set_loglevel

    set_loglevel("FATAL")
    model = NGramModel(Config(), LogMath(), f"{get_model_path('en-us')}/en-us.lm.bin")
    return WordSequences(lambda words: model.prob(list(words)) * LOG_UNIT)
