"""HTTP tools: how a request is filled in, and what is taken of its answer."""

from __future__ import annotations

from typing import Any

import pytest

from active_call.agent.playbook.templates import render
from active_call.agent.tools.http_tool import HttpTool, RequestError
from active_call.agent.tools.json_path import MISSING, find, steps_of

ORDERS = "https://api.example.com/orders/{{ order }}?by={{ caller }}"


def fill(template: str, names: Any) -> Any:
    return render(template, {"caller": "sip:ada@example.com", "token": "s3cret", **names})


def test_values_are_encoded_in_the_url_and_stay_within_their_part():
    request = HttpTool(ORDERS).request({"order": "a/b?x=%2e&c#d"}, fill)
    assert request.url == "https://api.example.com/orders/a%2Fb%3Fx%3D%252e%26c%23d?by=sip%3Aada%40example.com"
    assert request.body is None and request.headers == {}


@pytest.mark.parametrize("order", ["..", "."])
def test_value_does_not_climb_in_the_path(order):
    with pytest.raises(RequestError):
        HttpTool("https://api.example.com/orders/{{ order }}/x").request({"order": order}, fill)


def test_header_takes_variables_and_no_line_break():
    tool = HttpTool(ORDERS, headers={"Authorization": "Bearer {{ token }}", "X-Order": "{{ order }}"})
    assert tool.request({"order": "1\r\nX-Evil: 2"}, fill).headers == {"Authorization": "Bearer s3cret", "X-Order": "1 X-Evil: 2"}


def test_arguments_are_the_json_body_of_a_post_where_none_is_written():
    request = HttpTool("https://a.example/", "POST").request({"n": 3, "who": 'A "B"'}, fill)
    assert (request.body, request.headers) == ('{"n":3,"who":"A \\"B\\""}', {"Content-Type": "application/json"})


def test_body_as_json_keeps_the_types_of_arguments_and_as_a_template_escapes_them():
    tool = HttpTool("https://a.example/", "POST", body={"count": "{{ n }}", "note": "for {{ who }}", "list": ["{{ args.n }}", 7]})
    assert tool.request({"n": 3, "who": 'A"'}, fill).body == '{"count":3,"note":"for A\\"","list":[3,7]}'
    text = HttpTool("https://a.example/", "POST", body='{"note": "{{ who }}"}').request({"who": 'x", "admin": "1'}, fill)
    assert text.body == '{"note": "x\\", \\"admin\\": \\"1"}'


def test_answer_is_selected_rendered_or_told_as_it_is():
    answer = '{"order": {"state": "sent", "items": [{"n": 1}, {"n": 2}]}}'
    assert HttpTool("u").read(200, answer, {}, fill) == ('{"order":{"state":"sent","items":[{"n":1},{"n":2}]}}', False)
    assert HttpTool("u", select=steps_of("order.state")).read(200, answer, {}, fill) == ("sent", False)
    assert HttpTool("u", select=steps_of("order.items[*].n")).read(200, answer, {}, fill) == ("[1,2]", False)
    spoken = HttpTool("u", result="Order {{ order }} is {{ response.order.state }}.")
    assert spoken.read(200, answer, {"order": "7"}, fill) == ("Order 7 is sent.", False)
    assert HttpTool("u").read(204, "", {}, fill) == ("HTTP 204", False)
    assert HttpTool("u").read(200, "plain", {}, fill) == ("plain", False)


def test_errors_of_the_server_reach_the_model_in_words():
    assert HttpTool("u").read(404, '{"detail":  "no such order"}', {}, fill) == ('HTTP 404: {"detail": "no such order"}', True)
    text, is_error = HttpTool("u", select=steps_of("a.b")).read(200, "{}", {}, fill)
    assert is_error and "does not have" in text


def test_redirect_is_an_error_as_it_is_not_followed():
    text, is_error = HttpTool("u").read(302, "", {}, fill)
    assert is_error and text.startswith("HTTP 302") and "not followed" in text


def test_answer_with_a_template_in_it_is_data():
    assert HttpTool("u", result="{{ response.t }}").read(200, '{"t": "{{ token }}<hangup/>"}', {}, fill)[0] == "{{ token }}<hangup/>"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.b[1]", 2),
        ("a.b[-1]", 3),
        ("a['b'][0]", 1),
        ("a.b[9]", MISSING),
        ("a.x", MISSING),
        ("a.b[*]", [1, 2, 3]),
        ("", {"a": {"b": [1, 2, 3]}}),
    ],
)
def test_path_finds_a_part_of_a_json_value(path, expected):
    assert find({"a": {"b": [1, 2, 3]}}, steps_of(path)) == expected


def test_path_that_cannot_be_read_says_where():
    with pytest.raises(ValueError, match=r"cannot read '\[x\]'"):
        steps_of("a[x]")
