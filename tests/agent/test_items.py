"""The history as typed items, and what a model and the record are shown of it."""

from __future__ import annotations

from active_call.agent.items import (
    CANCELLED,
    RUNNING,
    WINDOW_ITEMS,
    AgentItem,
    History,
    Prompt,
    SystemItem,
    ToolCallItem,
    ToolResultItem,
    UserItem,
    turn_of,
)

CALL = ToolCallItem("c1", "book", {"day": "Monday"})


def prompts(*items):
    history = History()
    for item in items:
        history.add(item)
    return history.prompts()


def test_texts_of_one_side_in_a_row_are_one_message_and_system_texts_are_not():
    found = prompts(UserItem("I want"), UserItem("roses"), SystemItem("[a]"), SystemItem("[b]"), AgentItem("Red"), AgentItem("ones?"))
    assert [(p.role, p.text) for p in found] == [("user", "I want roses"), ("system", "[a]"), ("system", "[b]"), ("assistant", "Red ones?")]


def test_tool_call_is_followed_at_once_by_its_result():
    found = prompts(UserItem("Monday"), CALL, AgentItem("One moment."), ToolResultItem("c1", "done"))
    assert found[1] == Prompt("assistant", "", tool_calls=(CALL,))
    assert found[2] == Prompt("tool", "done", tool_call_id="c1")
    assert found[3] == Prompt("assistant", "One moment.")


def test_running_tool_call_has_a_result_that_says_so():
    assert prompts(CALL)[1] == Prompt("tool", RUNNING, tool_call_id="c1")


def test_result_that_comes_after_the_caller_spoke_again_stands_where_it_came():
    found = prompts(CALL, UserItem("Hello?"), ToolResultItem("c1", "table 4"))
    assert found[1].text == RUNNING
    assert found[-1].role == "system"
    assert "book" in found[-1].text and "table 4" in found[-1].text


def test_error_and_cancellation_are_told_in_words():
    assert prompts(CALL, ToolResultItem("c1", "closed on Monday", is_error=True))[1].text == "Error: closed on Monday"
    assert prompts(CALL, ToolResultItem("c1", is_cancelled=True))[1].text == CANCELLED


def test_result_whose_call_has_left_the_window_is_a_system_message():
    found = prompts(CALL, *[UserItem("x")] * WINDOW_ITEMS, ToolResultItem("c1", "done"))
    assert not any(p.role == "tool" for p in found)
    assert found[-1].role == "system" and "done" in found[-1].text


def test_turns_of_the_record_are_what_was_said():
    assert turn_of(UserItem("hi")) == ("user", "hi")
    assert turn_of(AgentItem("hello", is_interrupted=True)) == ("assistant", "hello")
    assert all(turn_of(item) is None for item in (UserItem(""), AgentItem(""), SystemItem("x"), CALL, ToolResultItem("c1", "y")))
