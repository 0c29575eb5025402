"""The words of the contract for the end of a call."""

from __future__ import annotations

import pytest

from active_call.call.events.hangup_reason import hangup_reason


@pytest.mark.parametrize(
    ("cause", "by", "was_answered", "word"),
    [
        ("remote_bye", "caller", True, "caller"),
        ("remote_bye", "callee", True, "callee"),
        ("cancelled", "caller", False, "canceled"),
        ("inactivity", "system", True, "inactivityTimeout"),
        ("timeout", "system", False, "noAnswer"),
        ("timeout", "system", True, "system"),
        ("rejected", "callee", False, "rejected"),
        ("far_hangup", "callee", True, "refer"),
        ("autohangup", "agent", True, "autohangup"),
        ("answerMachine", "system", True, "answerMachine"),
        ("no balance left", "client", True, "no balance left"),
    ],
)
def test_cause_becomes_a_word_that_clients_know_and_their_own_text_stays(cause: str, by: str, was_answered: bool, word: str) -> None:
    assert hangup_reason(cause, by, was_answered=was_answered) == word
