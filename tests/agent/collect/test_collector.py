"""One collecting: when it is complete, what fits, what is no input."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from active_call.agent.collect.collector import Collector, Entered, More, NotMeant, Refused
from active_call.agent.playbook.scenes import CollectorOption


def collector(**option) -> Collector:
    return Collector(CollectorOption(**option))


def press(one: Collector, keys: str):
    return [one.press(key) for key in keys][-1]


def test_exact_number_of_digits_is_complete_with_the_last_one():
    one = collector(digits=4)
    assert press(one, "471") == More()
    assert one.press("1") == Entered("4711")


def test_finish_key_ends_a_number_of_any_length_and_too_few_are_refused():
    one = collector(min_digits=2, max_digits=8, finish_key="#")
    assert press(one, "123#") == Entered("123")
    assert press(one, "1#") == Refused()
    assert one.stop() == Refused()
    assert press(one, "12345678") == Entered("12345678")


def test_pattern_judges_the_whole_value_and_tells_the_playbooks_message():
    one = collector(digits=3, validation={"pattern": "[1-3]+", "errorMessage": "Only one to three."})
    assert press(one, "124") == Refused("Only one to three.")
    assert press(one, "123") == Entered("123")


def test_spoken_digits_and_keys_are_one_entry():
    one = collector(digits=4)
    assert one.press("4") == More()
    assert one.say("seven one one") == Entered("4711")
    assert one.say("what is that") == NotMeant()
    assert one.say("I have two questions") == NotMeant()


def test_kinds_of_input_are_kept_apart():
    assert collector(digits=1, input="dtmf").say("four") == NotMeant()
    assert collector(digits=1, input="speech").press("4") == More(is_new=False)


def test_text_is_what_is_said_first():
    one = Collector(CollectorOption(), is_text=True)
    assert one.press("4") == More(is_new=False)
    assert one.say("  Ada   Lovelace ") == Entered("Ada Lovelace")


@given(st.lists(st.one_of(st.sampled_from("0123456789*#ABCDx"), st.text(max_size=20)), max_size=40), st.integers(1, 6), st.integers(0, 6))
def test_value_that_is_entered_always_fits(inputs, low, more):
    one = collector(min_digits=low, max_digits=low + more, finish_key="#")
    for item in inputs:
        outcome = one.press(item) if len(item) == 1 else one.say(item)
        if isinstance(outcome, Entered):
            assert low <= len(outcome.value) <= low + more and not one.has_begun
    assert isinstance(one.stop(), Entered | Refused)
