"""When the caller may interrupt the agent, and which sounds are not words.

`none`: only a digit with an action interrupts. `vad`: voice interrupts, at once or after `minSpeechMs`. `asr`: recognised words do, but
never a partial filler. `both`: voice or words, whichever comes first (as in the original program). In every strategy but `none` a final
text with words also interrupts, so that the caller is heard even if an engine reports no voice.
"""

from __future__ import annotations

from msgspec import Struct

from active_call.agent.playbook.scenes import InterruptionOption
from active_call.agent.script import words_of

GREETING_IGNORE_MS = 1000
"""Callers say "hello?" into the first second of a greeting, which is not an interruption."""

_FILLERS = frozenset(
    {
        "ah", "aha", "ahem", "eh", "er", "erm", "ha", "hm", "hmm", "hmmm", "huh", "mhm", "mm", "mmm", "mmhm", "mmhmm", "oh", "ooh", "uh",
        "uhhuh", "um", "umm", "uhm", "hum", "äh", "ähm", "euh", "este", "嗯", "呃", "啊", "哦", "唔", "额",
    }
)  # fmt: skip


def has_words(text: str) -> bool:
    """Whether `text` contains a word, even a filler."""
    return bool(words_of(text))


def is_filler(text: str) -> bool:
    """Whether `text` consists only of sounds like "uh" and "mm-hm"."""
    words = words_of(text)
    return bool(words) and all(word in _FILLERS for word in words)


class Interruptions(Struct, frozen=True):
    """The interruption settings of the playbook."""

    option: InterruptionOption

    @property
    def by_voice(self) -> bool:
        """Whether voice interrupts."""
        return self.option.strategy in ("vad", "both")

    @property
    def by_partial_words(self) -> bool:
        """Whether partial texts interrupt."""
        return self.option.strategy in ("asr", "both")

    @property
    def is_off(self) -> bool:
        """Whether only a digit with an action interrupts."""
        return self.option.strategy == "none"

    @property
    def min_speech_s(self) -> float:
        """Minimum speech before voice interrupts, in seconds."""
        return max(0, self.option.min_speech_ms) / 1000

    @property
    def fade_out_ms(self) -> int | None:
        """Fade-out of the agent's voice when it is cut; None: the default of the media process."""
        return self.option.volume_fade_ms or None

    def ignored_s(self, *, is_greeting: bool) -> float:
        """The protected time at the beginning of an utterance, in seconds."""
        if self.option.ignore_first_ms is not None:
            return max(0, self.option.ignore_first_ms) / 1000
        return GREETING_IGNORE_MS / 1000 if is_greeting else 0.0

    def is_answer(self, text: str) -> bool:
        """Whether the caller's text needs an answer."""
        return has_words(text) and not (self.option.filler_word_filter and is_filler(text))

    def is_sure_word(self, text: str) -> bool:
        """Whether a partial text already contains more than a filler."""
        return has_words(text) and not is_filler(text)
