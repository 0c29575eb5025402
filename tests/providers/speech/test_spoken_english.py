from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.providers.speech.spoken_english import SpokenWord, spoken_english, spoken_words

CASES = {
    "Call +1 (555) 010-2345 or 555-0199.": "Call plus 1, 5 5 5, 0 1 0, 2 3 4 5 or 5 5 5, 0 1 9 9.",
    "Ring 0800 123 456 or 5550199.": "Ring 0 8 0 0, 1 2 3, 4 5 6 or 5 5 5, 0 1 9 9.",
    "Mail cat.baker@example.com.": "Mail cat dot baker at example dot com.",
    "Visit www.example.com/help.": "Visit www dot example dot com slash help.",
    "At 3:30 pm, 15:45, 10:00 or 10:05.": "At 3 30 P M, 3 45 P M, 10 o'clock or 10 oh 5.",
    "From 9am to 5 p.m.": "From 9 A M to 5 P M.",
    "It costs $12.50, €3, £4.99 or $0.99.": "It costs 12 dollars and 50 cents, 3 euros, 4 pounds and 99 pence or 99 cents.",
    "That is $1, $1,250.00 or $5 million.": "That is 1 dollar, 1250 dollars or 5 million dollars.",
    "On 12/05/2024, 2024-05-12 or Jan. 5th, 2025.": "On December 5th, 20 24, May 12th, 20 24 or January 5th, 20 25.",
    "Since 1998, in the 1990s.": "Since 19 98, in the 19 90s.",
    "Your code is 4271. Room 205.": "Your code is 4 2 7 1. Room 2 0 5.",
    "Order #A-1234, flight BA245.": "Order number A, 1 2 3 4, flight B A 2 4 5.",
    "Dr. Smith lives in St. James St. near Mr. Lee.": "Doctor Smith lives in Saint James Street near Mister Lee.",
    "e.g. 5 km, 1 ft or 25°C. It is.": "for example 5 kilometers, 1 foot or 25 degrees Celsius. It is.",
    "Open 9-5, 24/7, 2019-2024.": "Open 9 to 5, 24 7, 2019 to 2024.",
    "Your ETA and ID, please.": "Your E T A and I D, please.",
}


@pytest.mark.parametrize(("written", "spoken"), CASES.items())
def test_what_voices_misread_is_said_in_words(written: str, spoken: str) -> None:
    assert spoken_english(written) == spoken


@pytest.mark.parametrize(
    "text",
    [
        "It may rain in May.",
        "We have 1,250,000 people and 10 000 000 fish.",
        "Version 3.11, ratio 3.14159265, section 3.2.1.",
        "Press 1 or 2. The total is 42.",
        "I am at home, and it is no use.",
        "Is it 7 o'clock? That's 1 of 2.",
        "Use the IT desk or the US one.",
    ],
)
def test_ordinary_text_is_said_as_it_stands(text: str) -> None:
    assert spoken_english(text) == text


def test_words_that_are_said_as_one_thing_stay_together() -> None:
    assert spoken_words("Call (555) 010-2345 now") == [
        SpokenWord("Call", "Call"),
        SpokenWord("(555) 010-2345", "5 5 5, 0 1 0, 2 3 4 5"),
        SpokenWord("now", "now"),
    ]


@given(st.text(alphabet=st.sampled_from("0123456789 .,:;-/+()$€#@abpmAPMStDr'\n\t"), max_size=60))
def test_every_written_word_is_kept_in_order(text: str) -> None:
    words = spoken_words(text)
    if not (text.isupper() and " " in text):
        assert " ".join(word.written for word in words).split() == text.split()


@pytest.mark.parametrize("unit", ["1,", "1,000,", "1.", "_", "a", "a.", "½", "-", "a-", "www.", "(1", "1 ", "$1,"])
@pytest.mark.parametrize("end", ["", "!x"])
def test_name_of_a_caller_without_an_end_is_read_in_time(unit: str, end: str) -> None:
    """A caller's name in a greeting may be as long as the headers of its INVITE."""
    text = (unit * 16_000)[:16_000] + end
    begun = time.process_time()
    spoken_words(text)
    assert time.process_time() - begun < 3.0
