"""What the agent's words ask for, and how much of it the caller's words are."""

from __future__ import annotations

import pytest

from active_call.agent.turn.expectation import (
    NOTHING_EXPECTED,
    PHONE_DIGITS,
    Asked,
    Completeness,
    Expectation,
    completeness_of,
    expected_after,
)
from active_call.agent.turn.turn_words import _tables, turn_words

SURE, QUESTION, COMPLETE, TOLD, ANSWER, GROUP, LEADING, _ATTENTION, OPEN, UNFINISHED = Completeness


@pytest.mark.parametrize("language", list(_tables()))
def test_every_language_has_every_list(language):
    assert turn_words(f"{language}-XX") is not None


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ("", Asked.ANYTHING),
        ("How can I help you?", Asked.ANYTHING),
        ("Would you like to book a table?", Asked.YES_NO),
        ("That is seven in the evening. Is that correct?", Asked.YES_NO),
        ("Your name is Baker, right?", Asked.YES_NO),
        ("Hello. What can I do for you?", Asked.ANYTHING),
        ("Can you tell me what happened?", Asked.SOMETHING),
        ("Which day would suit you?", Asked.SOMETHING),
        ("We are open until six.", Asked.ANYTHING),
        ("Could you give me your account number?", Asked.DIGITS),
        ("May I have your order number?", Asked.DIGITS),
        ("Please enter or say your four-digit PIN.", Asked.DIGITS),
        ("What is your phone number?", Asked.DIGITS),
        ("Could you spell your last name for me?", Asked.SPELLING),
        ("What is your e-mail address?", Asked.EMAIL),
        ("And the address, please?", Asked.ADDRESS),
        ("Do you have an account number?", Asked.YES_NO),
        ("What is your number? Take your time.", Asked.DIGITS),
    ],
)
def test_question_says_what_is_expected(said, asked):
    assert expected_after(said).asked is asked


def test_digits_are_counted_and_phone_numbers_have_at_least_seven():
    assert expected_after("Say the last four digits of your card number.").n_digits == 4
    assert expected_after("Bitte nennen Sie die sechsstellige Nummer.", "de").n_digits == 6
    assert expected_after("What is your phone number?") == Expectation(Asked.DIGITS, None, PHONE_DIGITS)


@pytest.mark.parametrize(
    ("text", "completeness"),
    [
        ("yes", LEADING),
        ("Yes, please.", SURE),
        ("thank you", LEADING),
        ("no, thank you", ANSWER),
        ("thank you, goodbye", SURE),
        ("I would like to book a table", COMPLETE),
        ("I would like to", UNFINISHED),
        ("I need a table for", UNFINISHED),
        ("um", UNFINISHED),
        ("my name is", UNFINISHED),
        ("I'm calling because,", UNFINISHED),
        ("My flight was cancelled.", TOLD),
        ("When I press the button.", UNFINISHED),
        ("When I press the button, nothing happens.", TOLD),
        ("When do you close today?", QUESTION),
        ("My order number is four two seven", GROUP),
        ("I think the second one", TOLD),
        ("My card was charged twice and I want my money back.", COMPLETE),
        ("Baker", OPEN),
        ("我想订一张桌子", COMPLETE),
        ("", OPEN),
    ],
)
def test_open_answers_are_judged_by_their_last_words(text, completeness):
    assert completeness_of(text, NOTHING_EXPECTED) is completeness


def test_a_sentence_that_tells_something_is_the_answer_where_something_was_asked():
    told = "My flight was cancelled."
    assert completeness_of(told, Expectation(Asked.SOMETHING)) is COMPLETE
    assert completeness_of(told, NOTHING_EXPECTED, "de") is COMPLETE, "without a list of wishes each sentence may be one"


@pytest.mark.parametrize(
    ("text", "completeness"),
    [
        ("one two", UNFINISHED),
        ("one two three", UNFINISHED),
        ("one two double three", SURE),
        ("1234", SURE),
        ("12 34", SURE),
        ("one two three and", UNFINISHED),
        ("I don't have the number here", COMPLETE),
    ],
)
def test_a_number_of_known_length_is_measured_by_what_is_missing(text, completeness):
    assert completeness_of(text, Expectation(Asked.DIGITS, 4, 4)) is completeness


def test_what_may_have_been_misheard_in_a_number_is_not_waited_for_as_long_as_what_is_missing():
    six = Expectation(Asked.DIGITS, 6, 6)
    assert completeness_of("A31629", six) is OPEN
    assert completeness_of("31629", six) is UNFINISHED
    assert completeness_of("Visit anneticsample.org.", Expectation(Asked.EMAIL)) is COMPLETE, "the at was misheard"


def test_a_date_of_birth_is_open_until_the_year_is_said():
    born = expected_after("What is your date of birth?")
    assert born.asked is Asked.BIRTHDAY and born.is_slot
    assert completeness_of("The third of May.", born) is OPEN
    assert completeness_of("The third of May 1984.", born) is COMPLETE
    assert completeness_of("the ninth of june nineteen seventy two", born) is COMPLETE


def test_a_word_or_two_answer_what_was_asked():
    assert completeness_of("Two adults", Expectation(Asked.SOMETHING)) is ANSWER
    assert completeness_of("Two adults", NOTHING_EXPECTED) is OPEN


def test_a_phone_number_is_open_from_seven_digits_on():
    phone = Expectation(Asked.DIGITS, None, PHONE_DIGITS)
    assert completeness_of("five five five", phone) is UNFINISHED
    assert completeness_of("555 1234", phone) is OPEN
    assert completeness_of("212 555 1234", phone) is COMPLETE


@pytest.mark.parametrize(
    ("text", "completeness"),
    [
        ("cat", UNFINISHED),
        ("cat dot baker", UNFINISHED),
        ("cat dot baker at", UNFINISHED),
        ("cat dot baker at example", UNFINISHED),
        ("cat dot baker at example dot com", SURE),
        ("cat.baker@example.com", SURE),
        ("cat.baker@example", UNFINISHED),
        ("cat at example dot co", COMPLETE),
        ("I don't have one sorry", COMPLETE),
    ],
)
def test_an_email_address_lacks_its_domain_until_it_is_said(text, completeness):
    assert completeness_of(text, Expectation(Asked.EMAIL)) is completeness


def test_yes_or_no_is_whole_at_once_and_more_words_are_judged_as_any():
    polar = Expectation(Asked.YES_NO)
    assert completeness_of("yeah sure", polar) is SURE
    assert completeness_of("no but", polar) is UNFINISHED
    assert completeness_of("ja genau", polar, "de-DE") is SURE


@pytest.mark.parametrize(
    ("asked", "text", "completeness"),
    [
        ("I see. Anything else?", "My mother has her birthday on Sunday.", TOLD),
        ("Is there anything else I can do for you?", "We are coming with a small child.", TOLD),
        ("I see. Anything else?", "Yes.", UNFINISHED),
        ("I see. Anything else?", "No.", ANSWER),
        ("I see. Anything else?", "Do you take credit cards?", QUESTION),
        ("What is the problem with the car?", "The brakes make a noise,", TOLD),
        ("What happened?", "I lost my key.", TOLD),
        ("Which day would suit you?", "Next Tuesday would be fine.", COMPLETE),
        ("Is the address still correct?", "I have moved house.", COMPLETE),
    ],
)
def test_statement_after_an_invitation_is_seldom_all(asked, text, completeness):
    assert completeness_of(text, expected_after(asked)) is completeness


@pytest.mark.parametrize(
    ("text", "completeness"),
    [
        ("One moment.", UNFINISHED),
        ("Let me check.", UNFINISHED),
        ("Yes, um, just a second, please.", UNFINISHED),
        ("Yes, I can wait.", TOLD),
        ("I would like to give it to her.", COMPLETE),
        ("Can you check whether my order?", UNFINISHED),
        ("Can you check whether it works?", QUESTION),
        ("I was told that.", UNFINISHED),
        ("Do you have?", UNFINISHED),
        ("Could you please?", UNFINISHED),
        ("We have been customers since.", UNFINISHED),
        ("I think so.", SURE),
        ("Thanks for your help.", LEADING),
        ("Thank you so much, have a nice day.", SURE),
        ("That is all, thank you, goodbye.", SURE),
        ("I have a question.", LEADING),
        ("But I have another question.", LEADING),
        ("I have a question about my last bill.", TOLD),
    ],
)
def test_ending_says_whether_more_follows(text, completeness):
    assert completeness_of(text, NOTHING_EXPECTED) is completeness


def test_caller_who_asks_to_wait_before_a_number_has_not_begun_it():
    expected = expected_after("Please tell me your customer number.")
    assert completeness_of("One moment.", expected) is UNFINISHED
