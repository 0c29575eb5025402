"""What a short, doubtful text may have been instead."""

from __future__ import annotations

import pytest

from active_call.providers.asr.short_replies import LISTENING, STOPPING, alternatives_of, rivals_of
from active_call.providers.speech_to_text import Alternative


@pytest.mark.parametrize(
    ("text", "rival"),
    [
        ("Oh, how's she?", "Oh, I see."),
        ("Brave.", "Great."),
        ("You are okay.", "Yeah, okay."),
        ("Don't know.", "Good to know."),
        ("Milky.", "Okay."),
        ("And on.", "Hang on."),
        ("No.", "Oh."),
    ],
)
def test_short_doubtful_text_is_compared_with_replies_that_sound_alike(text, rival):
    assert rival in rivals_of(text, 0.6, 1.2)


def test_text_that_is_long_or_sure_has_no_rival():
    assert rivals_of("Brave.", 0.96, 1.2) == rivals_of("Brave.", 0.6, 2.5) == rivals_of("", 0.0, 1.2) == ()
    assert rivals_of("I would like some bread.", 0.6, 1.5) == ()


def test_word_of_a_listener_may_have_been_a_command_only():
    assert rivals_of("Hmm.", 0.3, 0.8) == STOPPING and rivals_of("Okay.", 0.85, 0.8) == ()
    assert not set(rivals_of("Wait.", 0.6, 0.8)) - set(LISTENING)


def test_alternatives_are_the_likely_ones_the_likeliest_first():
    found = alternatives_of(-4.0, (("Okay.", -6.0), ("Oh, okay.", -3.0), ("Stop.", -11.0)))
    assert [one.text for one in found] == ["Oh, okay.", "Okay."]
    assert found[0].share == pytest.approx(2.718, abs=0.01) and found[1].share == pytest.approx(0.135, abs=0.01)
    assert alternatives_of(-5000.0, (("Okay.", -1.0),))[0].share < 1e9
    assert isinstance(found[0], Alternative)
