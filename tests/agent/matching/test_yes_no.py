from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.agent.matching.yes_no import yes_or_no


@pytest.mark.parametrize(
    ("text", "language", "meant"),
    [
        ("Yes.", None, True),
        ("Yes, please.", "en-US", True),
        ("yeah that's right", None, True),
        ("oh yes please that would be great", None, True),
        ("I do", None, True),
        ("sure, go ahead", None, True),
        ("No.", None, False),
        ("No, thank you.", None, False),
        ("that's not right", None, False),
        ("never mind", None, False),
        ("I don't", None, False),
        ("yes no", None, None),
        ("yes I would like to know your opening hours", None, None),
        ("do you deliver flowers", None, None),
        ("elephants", None, None),
        ("", None, None),
        ("Ja, bitte", "de", True),
        ("nein, das ist falsch", "de-AT", False),
        ("Oui", "fr-CA", True),
        ("non merci", "fr", False),
        ("sí, claro", "es", True),
        ("对", "zh-CN", True),
        ("不是", "zh", False),
        ("yes", "xx", True),
    ],
)
def test_yes_and_no_are_told_apart(text: str, language: str | None, meant: bool | None) -> None:
    assert yes_or_no(text, language) is meant


@given(st.text(max_size=40), st.sampled_from([None, "", "en", "de_DE", "zh", "??"]))
def test_any_text_is_yes_no_or_neither(text: str, language: str | None) -> None:
    assert yes_or_no(text, language) in (True, False, None)
