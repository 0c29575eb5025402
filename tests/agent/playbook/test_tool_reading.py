"""Tools in a playbook's front matter: the forms that are read, and the mistakes that are told with their lines."""

from __future__ import annotations

import pytest

from active_call.agent.playbook.check import PlaybookResources, check_playbook
from active_call.agent.playbook.parser import parse_playbook
from active_call.base.errors import PlaybookError

HEAD = "---\nllm: {provider: openai}\n"


def tools_of(matter: str):
    return parse_playbook(f"{HEAD}{matter}---\nHello.\n", file="t.md", environment={"KEY": "k"}).tools


PARAMETERS = '{"type": "object", "properties": {"order": {"type": "string", "description": "Its number."}}, "required": ["order"]}'


def test_mapping_list_and_openais_form_are_read_alike():
    short = "tools:\n  status:\n    description: Status.\n    parameters: {order: Its number.}\n    url: https://a.example/{{ order }}\n"
    strict = PARAMETERS.replace('"required"', '"additionalProperties": false, "required"')
    listed = f"tools:\n  - name: status\n    description: Status.\n    url: https://a.example/{{{{ order }}}}\n    parameters: {strict}\n"
    function = f'{{"name": "status", "description": "Status.", "strict": true, "parameters": {strict}}}'
    vendors = f'tools:\n  - {{"type": "function", "url": "https://a.example/{{{{ order }}}}", "function": {function}}}\n'
    assert tools_of(short) == tools_of(listed) == tools_of(vendors) != ()
    assert tools_of(listed.replace(strict, PARAMETERS))[0].parameters["required"] == ["order"]


def test_everything_that_a_tool_may_say_is_kept():
    (tool,) = tools_of(
        "tools:\n  pay:\n    url: https://a.example/pay\n    method: post\n    headers: {Authorization: 'Bearer ${KEY}'}\n    timeout: 4s\n"
        "    select: receipt.id\n    setVar: receipt\n    sayMeanwhile: One moment.\n    cancellable: false\n"
        "    resultAt: now\n    allow: [b.example]\n"
    )
    assert (tool.timeout_s, tool.say_meanwhile, tool.cancellable, tool.result_at) == (4.0, "One moment.", False, "now")
    assert tool.http is not None
    assert (tool.http.method, tool.http.headers, tool.http.select) == ("POST", {"Authorization": "Bearer k"}, ("receipt", "id"))
    assert (tool.http.variable, tool.http.hosts) == ("receipt", ("b.example",))


@pytest.mark.parametrize(
    ("tool", "line", "said"),
    [
        ("{url: ftp://x}", 4, "expected an http(s) URL"),
        ("{description: x}", 4, "missing; expected a URL"),
        ("{url: 'https://{{ host }}/x'}", 4, "list the allowed hosts"),
        ("{url: https://x.example/, method: FETCH}", 4, "unknown method 'FETCH'"),
        ("{url: https://x.example/, resultAt: later}", 4, "unknown time 'later'"),
        ("{url: 'https://x.example/{{ a'}", 4, "cannot be filled in"),
        ("{url: https://x.example/, select: 'a[b'}", 4, "cannot read"),
        ("{url: https://x.example/, parameters: {a: {pattern: '['}}}", 4, "the pattern cannot be read"),
        ("{url: https://x.example/, headers: {'a b': c}}", 4, "is not a header name"),
        ("{url: https://x.example/, timeout: soon}", 4, "timeout"),
    ],
)
def test_mistake_names_the_tool_and_what_was_expected(tool, line, said):
    with pytest.raises(PlaybookError) as caught:
        tools_of(f"tools:\n  pay: {tool}\n")
    assert caught.value.line == line and "tools.pay" in str(caught.value) and said in str(caught.value)


def test_name_of_an_action_is_taken_and_an_unknown_key_is_a_mistake():
    with pytest.raises(PlaybookError, match="'hangup_call' is already an action of the agent"):
        tools_of("tools:\n  hangup_call: {url: https://x.example/}\n")
    with pytest.raises(PlaybookError, match=r"4: tools\.a\.urll: unknown key; did you mean 'url'\?"):
        tools_of("tools:\n  a: {url: https://x.example/, urll: b}\n")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('## a\n<collect type="ordr"/>Yes.\n', "there is no collector 'ordr'; did you mean 'order'?"),
        ('## a\n<language code="fr"/>Oui.\n', "'fr' is not in `languages`"),
        ('## a\n<collect type="order"/><collect type="text" var="n"/><language code="de-AT"/>Ja. <hold/><send_digits digits="1"/>\n', ""),
    ],
)
def test_check_finds_collectors_and_languages_that_are_not_there(body, said):
    matter = "---\nllm: {provider: script}\nlanguages: [de]\ndtmfCollectors: {order: {digits: 2}}\n---\n"
    reading = check_playbook(matter + body, file="t.md", resources=PlaybookResources({}))
    errors = [entry.text for entry in reading.findings.entries if entry.is_error]
    assert len(errors) == bool(said) and all(said in error for error in errors)


@pytest.mark.parametrize(
    ("collector", "said"),
    [
        ("{input: ears}", "unknown kind 'ears'"),
        ("{minDigits: 5, maxDigits: 4}", "minDigits is more than maxDigits"),
        ("{finishKey: '##'}", "is not a key"),
        ("{validation: {pattern: '('}}", "cannot be read"),
    ],
)
def test_collector_that_cannot_work_is_a_mistake(collector, said):
    with pytest.raises(PlaybookError, match=said):
        parse_playbook(f"---\ndtmfCollectors: {{pin: {collector}}}\n---\nHi.\n", file="t.md", environment={})
