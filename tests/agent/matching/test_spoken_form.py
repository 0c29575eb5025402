from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.agent.matching.spoken_form import spoken_words


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("forty two", "42"),
        ("four two", "42"),
        ("five five five oh one nine nine", "555-0199"),
        ("double five five zero one double nine", "5550199"),
        ("one hundred and five", "105"),
        ("two thousand five hundred", "2,500"),
        ("nineteen eighty four", "1984"),
        ("twelve million", "12 million"),
        ("three thirty p.m.", "3:30 PM"),
        ("the first one", "the 1st 1"),
        ("my e-mail is cat dot baker at example dot com", "My email is cat.baker@example.com."),
        ("I'm sorry, I can't", "i am sorry I cannot"),
        ("you're opening ours", "YOUR opening hours"),
        ("where's it?", "where is it"),
        ("Good-bye!", "goodbye"),
        ("bye", "goodbye"),
        ("Thank you, good-by,", "thank you, good bye"),
        ("My flight was canceled.", "my flight was cancelled"),
        ("The tire and the tires, a check for the theater", "the tyre and the tyres a cheque for the theatre"),
        ("Two metres from my neighbors", "two meters from my neighbours"),
        ("My licence and the program", "my license and the programme"),
        ("half passed four", "half past four"),
        ("to-morrow", "tomorrow"),
        ("OK", "okay"),
        ("it costs $5", "it costs five dollars"),
        ("it was £12.50", "it was twelve pounds and fifty pence"),
        ("$1,200", "one thousand two hundred dollars"),
        ("at 5:00 p.m.", "at five o'clock pm"),
        ("at 9 AM", "at nine a.m."),
        ("Oh, two oh seven", "0207"),
        ("the 21st of June", "the twenty first of june"),
        ("Dr. Anderson, my neighbour", "doctor Anderson my neighbor"),
        ("bye-bye", "bye bye"),
        ("jane_doe@mail.example.org", "Jane Doe at mail dot example dot org"),
        ("don’t", "do not"),
    ],
)
def test_texts_that_sound_alike_have_the_same_words(one: str, other: str) -> None:
    assert spoken_words(one) == spoken_words(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("15", "50"), ("no", "now"), ("oh no", "0 no"), ("Paul's", "Paul is"), ("3.5", "35"), ("oh two things", "0 2 things")],
)
def test_texts_that_do_not_sound_alike_differ(one: str, other: str) -> None:
    assert spoken_words(one) != spoken_words(other)


def test_other_languages_keep_their_words() -> None:
    assert spoken_words("Où êtes-vous ?") == ("où", "êtes", "vous")
    assert spoken_words("营业时间5") == ("营", "业", "时", "间", "5")


@given(st.text(max_size=60))
def test_any_text_gives_words_without_case_and_its_own_form_is_the_same(text: str) -> None:
    words = spoken_words(text)
    assert all(word and not any(char.isspace() for char in word) for word in words)
    assert spoken_words(text) == words


@given(st.integers(min_value=0, max_value=99), st.integers(min_value=0, max_value=9))
def test_number_of_two_digits_is_its_digits(tens_and_units: int, last: int) -> None:
    assert "".join(spoken_words(str(tens_and_units))) == str(tens_and_units)
    assert spoken_words(f"{last} 7") == (str(last), "7")
