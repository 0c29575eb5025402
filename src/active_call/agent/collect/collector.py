"""The state of one collector: what was entered, whether it is complete and valid. Pure, without time.

In: keys and recognised texts. Out: `More` (keep waiting), `Entered` (a valid value), `Refused` (invalid; the caller is asked again while
attempts are left), `NotMeant` (words that are not input). `collecting` handles the times.

    keys     collected until `digits`/`maxDigits` are there, the finish key is pressed, or `interDigitTimeout` expires
    speech   its digits are added to the keys, with the caller's corrections (`spoken_entry`); complete when there are `digits`/`maxDigits`.
             With fewer that are enough, or while the caller goes on speaking, the caller may add some or correct them
    text     the first utterance is the value
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from active_call.agent.collect.spoken_entry import Entry, read_entry
from active_call.agent.playbook.scenes import CollectorOption
from active_call.base import pattern_search

MAX_DIGITS = 64
MAX_TEXT_CHARS = 500
_KEYS = "0123456789*#ABCD"


class More(Struct, frozen=True):
    """Not complete yet. `is_new`: input was added."""

    is_new: bool = True


class Entered(Struct, frozen=True):
    """A valid value."""

    value: str


class Refused(Struct, frozen=True):
    """The value is invalid. `reason` is the playbook's message, empty if it has none."""

    reason: str = ""


class NotMeant(Struct, frozen=True):
    """Words that are not input."""


Outcome = More | Entered | Refused | NotMeant


class Collector:
    """The entry of one value."""

    def __init__(self, option: CollectorOption, *, is_text: bool = False) -> None:
        self._option = option
        self.is_text = is_text
        """The value is what the caller says in one turn."""
        self._entered = ""
        self._is_correcting = False
        """The caller has announced a correction of what was entered."""
        self._low = option.digits or option.min_digits or 1
        self._high = option.digits or option.max_digits or MAX_DIGITS

    @property
    def has_begun(self) -> bool:
        """Whether something was entered."""
        return bool(self._entered)

    @property
    def is_enough(self) -> bool:
        """Whether what was entered may be all."""
        return not self.is_text and bool(self._entered) and self._low <= len(self._entered) <= self._high

    def press(self, key: str) -> Outcome:
        """A key was pressed."""
        if self.is_text or self._option.input == "speech" or key not in _KEYS:
            return More(is_new=False)
        if key == self._option.finish_key:
            return self._judge()
        self._entered += key
        is_full = len(self._entered) >= self._high
        waits_for_finish = self._option.finish_key is not None and self._option.digits is None and self._high == MAX_DIGITS
        return self._judge() if is_full and not waits_for_finish else More()

    def say(self, text: str, *, goes_on: bool = False) -> Outcome:
        """A final text was recognised. `goes_on`: the caller is already speaking again, perhaps to correct it."""
        if self.is_text:
            self._entered = " ".join(text.split())[:MAX_TEXT_CHARS]
            return self._judge()
        if self._option.input == "dtmf":
            return NotMeant()
        length = self._low if self._low == self._high else None
        entry = read_entry(self._entered, text, length=length, is_correcting=self._is_correcting)
        finish = self._option.finish_key
        is_finished = bool(finish) and entry.value.endswith(finish or "")
        value = entry.value.removesuffix(finish) if finish else entry.value
        if not self._is_input(entry, value):
            return NotMeant()
        self._entered, self._is_correcting = value, entry.is_correcting
        if is_finished:
            return self._judge()
        return More() if goes_on or self._is_correcting or len(value) < self._high else self._judge()

    def _is_input(self, entry: Entry, value: str) -> bool:
        """Whether a text is input. "I have two questions" is not."""
        return entry.is_new and (entry.is_pure or entry.n_digits >= self._low or (bool(self._entered) and not self.is_enough))

    def stop(self) -> Outcome:
        """No more input follows."""
        return self._judge()

    def begin_again(self) -> None:
        """Discard what was entered."""
        self._entered, self._is_correcting = "", False

    def _judge(self) -> Outcome:
        value = self._entered
        self.begin_again()
        if not self.is_text and not self._low <= len(value) <= self._high:
            return Refused()
        rule: dict[str, Any] = self._option.validation or {}
        pattern = rule.get("pattern")
        if pattern and pattern_search.fullmatch(str(pattern), value) is None:
            return Refused(str(rule.get("errorMessage") or rule.get("error_message") or ""))
        return Entered(value) if value else Refused()
