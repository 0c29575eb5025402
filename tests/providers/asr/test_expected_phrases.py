"""Texts that a recogniser is asked about a second time."""

from __future__ import annotations

import pytest

from active_call.providers.asr.expected_phrases import HUMS, hums_for


@pytest.mark.parametrize(
    ("text", "log_probability", "seconds", "hums"),
    [
        ("For us.", -2.9, 0.9, HUMS),
        ("No.", -0.4, 0.7, ()),
        ("For us.", -2.9, 2.0, ()),
        ("I would like to pay.", -4.0, 1.2, ()),
    ],
)
def test_short_doubtful_text_may_have_been_a_hum(text, log_probability, seconds, hums):
    assert hums_for(text, log_probability, seconds) == hums
