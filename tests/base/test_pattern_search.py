"""Patterns of users over texts of strangers: what they find, and that none holds the process."""

from __future__ import annotations

import logging
import re
import signal
import threading
import time
from collections.abc import Callable

import pytest

from active_call.agent.collect.collector import Collector, Entered
from active_call.agent.playbook.scenes import CollectorOption
from active_call.agent.playbook.templates import visible_headers
from active_call.agent.tools.registry import ArgumentsError, Tool, read_arguments
from active_call.base import pattern_search
from active_call.call.opening.routing import Rule
from active_call.legs.sip.rewriting import HeaderRule, Rewrite
from active_call.sip.syntax.uri import Uri, parse_uri

SLOW = [
    (r"^sip:(\+?\d+)+@pbx", "sip:" + "1" * 60 + "@x"),
    (r"(a|aa)+$", "a" * 80 + "b"),
    (r"(.*)*x", "a" * 60),
    (r"^(([a-z])+.)+[A-Z]([a-z])+$", "a" * 80),
    (r"(\w+\s?)*:$", "word " * 20),
    (r"(?=(a+)+b)", "a" * 60),
    (r"^(?:(?:a?){40})*$", "a" * 60 + "b"),
    (r"(x+x+)+y", "x" * 60),
]


@pytest.mark.parametrize(("pattern", "text"), SLOW)
def test_search_that_would_take_hours_ends_without_a_match_and_is_told(pattern: str, text: str, caplog: pytest.LogCaptureFixture) -> None:
    begun = time.process_time()
    assert pattern_search.search(pattern, text) is None
    assert pattern_search.fullmatch(pattern, text) is None
    assert pattern_search.substitute(re.compile(pattern), "y", text) == text
    assert time.process_time() - begun < 2.0
    told = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert told
    assert all(vars(record)["pattern"] == pattern and text not in record.getMessage() for record in told)


HOLDS = r"(\d+)+x"
DIGITS = "1" * 30
TOOL = Tool("note", "", {"type": "object", "properties": {"text": {"type": "string", "pattern": HOLDS}}})


def uri(user: str) -> Uri:
    return parse_uri(f"sip:{user}@x.example")


def entered(collector: Collector) -> object:
    return [collector.press(key) for key in DIGITS][-1]


PLACES: dict[str, Callable[[], object]] = {
    "handler rule": lambda: Rule("x.md", caller=re.compile(HOLDS)).matches(DIGITS, ""),
    "callee rewrite": lambda: Rewrite.of(HOLDS, "").apply(DIGITS) != DIGITS,
    "trunk rule": lambda: HeaderRule(from_user=re.compile(HOLDS)).matches(uri(DIGITS), uri("a")),
    "header to extract": lambda: visible_headers({"X-A": DIGITS}, [{"name": "X-A", "pattern": HOLDS}]),
    "collector": lambda: isinstance(entered(Collector(CollectorOption(digits=30, validation={"pattern": HOLDS}))), Entered),
}


@pytest.mark.parametrize("place", PLACES)
def test_pattern_in_any_place_ends_in_time_and_does_not_match(place: str) -> None:
    begun = time.process_time()
    assert not PLACES[place]()
    assert time.process_time() - begun < 2.0


def test_pattern_of_a_tool_ends_in_time_and_one_that_cannot_be_read_allows_all() -> None:
    with pytest.raises(ArgumentsError, match="pattern"):
        read_arguments(TOOL, f'{{"text": "{DIGITS}"}}')
    foreign = Tool("note", "", {"type": "object", "properties": {"text": {"type": "string", "pattern": r"^\p{L}+$"}}})
    assert read_arguments(foreign, '{"text": "x"}') == {"text": "x"}


def test_patterns_find_what_they_find_without_a_limit() -> None:
    found = pattern_search.search(r"sip:(\d+)@", "sip:123@pbx")
    assert found is not None
    assert found[1] == "123"
    assert pattern_search.fullmatch(re.compile("[0-9]{4}"), "12345") is None
    assert pattern_search.substitute(re.compile("^00"), "+", "0049") == "+49"
    with pytest.raises(re.error):
        pattern_search.search("(", "x")


def test_signal_and_timer_are_left_as_they_were() -> None:
    before = signal.getsignal(signal.SIGVTALRM)
    pattern_search.search(*SLOW[0])
    assert signal.getsignal(signal.SIGVTALRM) == before
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)


def test_another_thread_searches_too() -> None:
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(pattern_search.search("b", "abc")))
    thread.start()
    thread.join()
    assert found[0] is not None
