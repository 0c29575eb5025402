from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.agent.playbook.templates import MAX_OUTPUT_CHARS, render, visible_headers
from searches import searching

SIP = {"X-Twilio-CallSid": "CA1", "x-lower": "low", "X-Foo": "foo"}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("Hi {{ name }}!", "Hi Ann!"),
        ("{{ missing }}{{ missing.deeper.still }}", ""),
        ("{{ X-Twilio-CallSid }}", "CA1"),
        ("{{X-Twilio-CallSid}}", "CA1"),
        ("{{- X-Twilio-CallSid -}}", "CA1"),
        ("{{ x-twilio-callsid }}", "CA1"),
        ('{{ sip["X-TWILIO-CALLSID"] }}', "CA1"),
        ('{{ sip["X-No"] }}', ""),
        ('{{ X-No | default("a-b") }}', "a-b"),
        ('{{ X-Foo | default("a") | upper }}', "FOO"),
        ("{% if X-Foo %}yes{% else %}no{% endif %}{% if X-No %}yes{% else %}no{% endif %}", "yesno"),
        ('{{ X-Foo ~ "-X-Foo-" ~ X-Lower }}', "foo-X-Foo-low"),
        ("{{ '{{ X-Foo }}' }}", "{{ X-Foo }}"),
        ("{{ a-b }} {{ a - b }} {{ a-1 }}", "3 3 4"),
        ("{{ ax-b }}", "-2"),
        ("X-Foo is no variable here", "X-Foo is no variable here"),
    ],
)
def test_template_is_filled_in(template, text):
    found = render(template, {"name": "Ann", "a": 5, "b": 2, "ax": 0}, SIP)
    assert (found.text, found.error) == (text, "")


def test_subtraction_from_a_variable_called_x_stays_one():
    assert render("{{ x-y }} {{ X-Foo }}", {"x": 5, "y": 2}, SIP).text == "3 foo"


@pytest.mark.parametrize(
    "template",
    [
        "{{ 1/0 }}",
        "{% if %}",
        "{{ name.__class__.__mro__() }}",
        "{{ 'x' * 10**9 }}",
        "{{ 9**9**9 }}",
        "{{ '%99999999d' % 1 }}",
        "{{ 'a'.ljust(10**9) }}",
        "{% for i in range(10**9) %}x{% endfor %}",
        "{% for i in range(99) %}{% for j in range(99) %}{% for k in range(99) %}x{% endfor %}{% endfor %}{% endfor %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% include 'x' %}",
    ],
)
def test_bad_or_greedy_template_gives_an_error_and_no_exception(template):
    found = render("Hello. " + template, {"name": "Ann"}, {})
    assert found.error
    assert found.text.startswith("Hello. ")
    assert "{" not in found.text


def test_inner_attributes_are_not_there():
    assert render("{{ name.__class__.__mro__ }}{{ sip._values }}", {"name": "Ann"}, SIP).text == ""


def test_output_is_bounded():
    found = render("{% for i in range(1000) %}{% for j in range(1000) %}0123456789{% endfor %}{% endfor %}", {}, {})
    assert len(found.text) == MAX_OUTPUT_CHARS
    assert found.error


def test_headers_are_visible_by_default_when_they_begin_with_x():
    assert dict(visible_headers({"X-A": "1", "Subject": "s"}, [])) == {"X-A": "1"}


def test_extract_headers_narrows_and_cuts_out():
    headers = {"X-A": "1", "X-B": "id=77;z", "Subject": "s", "X-C": "none"}
    seen = visible_headers(headers, ["subject", {"name": "X-B", "pattern": "id=([0-9]+)"}, {"name": "X-C", "pattern": "^id"}])
    assert (seen["Subject"], seen["x-b"]) == ("s", "77")
    assert "X-A" not in seen
    assert "X-C" not in seen


@given(st.text(alphabet="{}%xX-'\"\\ aB1|()#", max_size=60))
@searching(100)
def test_any_text_can_be_rendered(template):
    render(template, {"a": 1}, SIP)


def test_headers_that_say_who_calls_are_seen_without_being_named() -> None:
    headers = {"Diversion": "<sip:1@x>", "p-asserted-identity": "<sip:2@x>", "Identity": "e", "Via": "v", "Call-ID": "c", "X-A": "a"}
    seen = visible_headers(headers, [])
    assert set(seen) == {"Diversion", "p-asserted-identity", "Identity", "X-A"}
    assert render('{{ sip["diversion"] }} {{ sip["P-Asserted-Identity"] }}', {}, seen).text == "<sip:1@x> <sip:2@x>"
    assert set(visible_headers(headers, ["Diversion"])) == {"Diversion"}
