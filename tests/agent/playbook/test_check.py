"""`playbook check` tells every mistake with its line, and leaves alone what is meant as it is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from active_call.agent.playbook.check import PlaybookResources, check_playbook
from active_call.agent.playbook.tag_check import ATTRIBUTES
from active_call.agent.reply import tags as directives

PROVIDERS = {"asr": ("pocketsphinx", "openai"), "tts": ("espeak", "openai"), "llm": ("openai",)}
PLAYBOOKS = sorted((Path(__file__).parents[3] / "playbooks").glob("*.md"))
HEAD = "---\nllm: {provider: openai}\n---\n"


def found(text: str) -> list[tuple[int, bool, str]]:
    def missing(sound: str) -> str:
        return "" if sound == "there.wav" else "there is no file"

    reading = check_playbook(text, file="p.md", resources=PlaybookResources({}, PROVIDERS, missing))
    return [(finding.line, finding.is_error, finding.text) for finding in reading.findings.in_order]


@pytest.mark.parametrize(
    ("body", "line", "words"),
    [
        ("Bye. <hang-up/>", 4, "did you mean <hangup>"),
        ("Bye. <hang_up/>", 4, "did you mean <hangup>"),
        ("Bye. <Hangupp/>", 4, "did you mean <hangup>"),
        ("One\n<transfer to='x'/>", 5, "did you mean <refer>"),
        ('<refer too="sip:a@b"/>', 4, "no attribute 'too'; did you mean 'to'"),
        ('<refer too="sip:a@b"/>', 4, "'to' is missing"),
        ('<goto scne="main"/>', 4, "did you mean 'scene'"),
        ('<refer to=sip:a@b" />', 4, "a quote"),
        ("a\n\nBye <hangup", 6, "has no end"),
        ("a\n\nBye <hangup\nand more <b>", 6, "has no end"),
        ('<refer to="sip:a@b/>', 4, "quote in the tag is never closed"),
        ('<goto "main"/>', 4, "is not an attribute"),
        ("<http url='ftp://example.com/x'/>", 4, "must begin with http"),
        ("<http url='example.com/x'/>", 4, "must begin with http"),
        ("a\n# Scene: x\n<followup timeout='8x' max='3'/>", 6, "followup>.timeout"),
        ("a\n# Scene: x\n<followup timeout='8s' max='-1'/>", 6, "found '-1'"),
        ("a\n# Scene: x\n<followup timeout='8x' max='-1'/>", 6, "found '-1'"),
        ("a\n{{ name", 5, "template cannot be filled in"),
        ("a\n{{ name }", 5, "template cannot be filled in"),
        ("a\n{% if x %}\nb\n\nc", 5, "template cannot be filled in"),
        ("a\n{% endif %}", 5, "template cannot be filled in"),
        ("a {{ x | nofilter }}", 4, "template cannot be filled in"),
        ("a\n<play file='gone.wav'/>", 5, "'gone.wav' cannot be played"),
        ("a\n# Scene - x\nb", 5, "is not a scene heading"),
        ("a\n# scene x\nb", 5, "is not a scene heading"),
        ("a\n## Scene: x\nb", 5, "is not a scene heading"),
        ("# Scene: a\n<goto scene='bb'/>", 5, "no scene 'bb'"),
        ("# Scene: a\n<dtmf digit='1' action='goto' scene='bb'/>", 5, "no scene 'bb'"),
        ("<dtmf digit='1' action='goto'/>", 4, "dtmf: the action goto needs a `scene`"),
        ("# Scene: a\n<dtmf digit='1' action='goto' scene=''/>", 5, "dtmf: the action goto needs a `scene`"),
        ("<goto scene=''/>", 4, "<goto>: 'scene' is missing"),
        ("# Scene: a\nx\n# Scene: a\ny", 6, "given twice"),
    ],
)
def test_mistake_in_the_body_is_told_with_its_line(body: str, line: int, words: str) -> None:
    entries = found(HEAD + body)
    assert any(at == line and is_error and words in text for at, is_error, text in entries), entries


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("---\nllm:\n  provider: opnai\n---\nHi", 3, "did you mean 'openai'"),
        ("---\nasr: {provider: aliyun}\n---\nHi", 2, "unknown provider 'aliyun'"),
        (
            "---\nllm: {provider: openai}\ntts:\n  fallback: [espaek]\n---\nHi",
            4,
            "tts.fallback: unknown provider 'espaek'; did you mean 'espeak'?",
        ),
        ("---\nllm: {provider: openai, fallback: [script]}\n---\nHi", 2, "llm.fallback: unknown provider 'script'"),
        ("---\nasr: {fallback: [a, b, c, d, e]}\n---\nHi", 2, "asr.fallback"),
        ("---\ntts: {provider: supertonic}\n---\nHi", 2, "unknown provider"),
        ("---\ngreeting: 'Hi {{ name'\n---\nHi", 2, "template"),
        ("---\nambiance: {path: gone.wav}\n---\nHi", 2, "cannot be played"),
        ("---\nrefer: {moh: gone.wav}\n---\nHi", 2, "cannot be played"),
        ("---\ndtmf:\n  '1': {action: goto}\n---\nHi", 3, "dtmf: the action goto needs a `scene`"),
        ("---\ndtmf:\n  '1': {action: transfer, target: not a uri}\n---\nHi", 3, "dtmf: target: expected a SIP address"),
        ("---\nasr: {provider: nonne}\n---\nHi", 2, "unknown provider 'nonne'; did you mean 'none'?"),
        ("---\nasr: none\n---\nHi", 2, "asr: expected `key: value` lines, found text; write `asr: {provider: none}`"),
        ("---\nllm: script\n---\nHi", 2, "llm: expected `key: value` lines, found text"),
        ("---\nvad: true\n---\nHi", 2, "vad: expected `key: value` lines, found true or false"),
        ("---\nllm: {temperature: hot}\n---\nHi", 2, "llm.temperature: expected a number, found text"),
        ("---\nllm: {features: rolling_summary}\n---\nHi", 2, "llm.features: expected a list, found text"),
        ("---\ngreeting: Hi <collect type='ordr'/>\ndtmfCollectors: {order: {digits: 4}}\n---\nHi", 2, "did you mean 'order'?"),
        ("---\ngreeting: Bye <hang-up/>\n---\nHi", 2, "<hang-up> is not a tag; did you mean <hangup>?"),
        ("---\ntts: {volume: 99}\n---\nHi", 2, "tts.volume: expected 1 to 10, found 99"),
        ("---\nllm:\n  baseUrl: localhost\n---\nHi", 3, "llm.baseUrl: expected a URL such as https://"),
        ("---\nposthook:\n  url: ftp://x/\n---\nHi", 3, "posthook.url: expected a URL such as https://"),
        ("---\nposthook:\n  url: http://x/\n  method: FLY\n---\nHi", 4, "posthook.method: expected one of GET, POST"),
        ("---\nsip:\n  extractHeaders: [{name: X-A, pattern: '('}]\n---\nHi", 3, "the pattern of 'X-A' cannot be read"),
        ("---\nsip:\n  extractHeaders: [{pattern: 'a'}]\n---\nHi", 3, "expected a name, or {name, pattern}"),
        ("---\nsip:\n  hangupHeaders: {X-A: '{{ x'}\n---\nHi", 3, "the template of 'X-A' cannot be filled in"),
    ],
)
def test_mistake_in_the_front_matter_is_told_with_its_line(text: str, line: int, words: str) -> None:
    entries = found(text)
    assert any(at == line and is_error and words in message for at, is_error, message in entries), entries


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("Just words.", 1, "no front matter"),
        (HEAD + "Bye <hangup>", 4, "is not closed"),
        ("---\neou: {type: nosuch}\n---\nHi", 2, "eou.type: unknown 'nosuch' counts as not given (known: adaptive"),
        (HEAD + "# Scene: a\nx\n# Scene: lonely\ny", 6, "nothing leads to the scene 'lonely'"),
        ("---\nllm: {provider: script}\n---\n# Scene: a\n## hi\nSay <blink/> this", 6, "<blink> is not a tag"),
        ("---\nfollowup: {timeout: 8, max: 2}\n---\nHi", 2, "8 ms is very short; did you mean 8s?"),
        ("---\nllm: {features: [intent_clarificaton]}\n---\nHi", 2, "did you mean 'intent_clarification'?"),
        ("---\nllm: {provider: script}\n---\n## (silense)\nHello?", 4, "did you mean `(silence)` or `(confirm)`?"),
        (
            "---\nllm: {provider: script}\ntools: {x: {description: d, url: 'https://a.example'}}\n---\n## hi\nHo",
            3,
            "a script calls no tools",
        ),
    ],
)
def test_what_is_allowed_and_doubtful_is_a_warning(text: str, line: int, words: str) -> None:
    entries = found(text)
    assert any(at == line and not is_error and words in message for at, is_error, message in entries), entries
    assert not any(is_error for _, is_error, _ in entries)


@pytest.mark.parametrize(
    "body",
    [
        "Use <instructions>markup</instructions> of your own, 1 < 2, a<b.",
        "{% if x %}yes{% endif %} {{ X-Twilio-CallSid }} {{ sip['X-A'] }}",
        "<play file='there.wav'/><play file='{{ sound }}'/><refer to=\"{{ number }}\" autoHangup='true'/>",
        "# Scene: a\n<goto scene='{{ next }}'/>\n# Scene: b\nx",
        "# Scene: a\nWhen asked about news, go to the scene news.\n# Scene: news\nx",
        "# Scene: a\n<dtmf digit='1' action='goto' scene='b'/>\n# Scene: b\n<followup timeout='8s' max='2'/>x",
        "```\n# Scene - in a fence\n```",
    ],
)
def test_what_is_right_is_left_alone(body: str) -> None:
    assert found(HEAD + body) == []


def test_everything_is_told_at_once() -> None:
    text = HEAD + "<hang-up/>\n<refer too='x'/>\n{{ a\n"
    assert len({line for line, is_error, _ in found(text) if is_error}) == 3


@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda path: path.stem)
def test_playbooks_of_the_repository_are_without_a_finding(path: Path) -> None:
    assert found(path.read_text(encoding="utf-8")) == []


def test_every_tag_that_is_acted_on_is_known_here() -> None:
    assert set(directives._MADE) <= set(ATTRIBUTES)


def test_end_of_a_tag_that_never_began_is_a_warning() -> None:
    assert (5, False, "</hangup> closes nothing; write `<hangup/>`") in found(HEAD + "a\nbye </hangup>")
    assert not [text for _, _, text in found(HEAD + "bye <hangup></hangup>") if "closes nothing" in text]


@pytest.mark.parametrize(
    "text",
    [
        "---\nasr: {provider: none}\n---\nHi",
        "---\nposthook: {url: 'https://example.com/{{ id }}', method: put}\n---\nHi",
        "---\nllm: {baseUrl: 'http://localhost:8000/v1'}\n---\nHi",
        "---\ndtmf: {'1': {action: transfer, target: '{{ desk }}'}, '2': {action: transfer, target: '+15550001'}}\n---\nHi",
        "---\nsip: {extractHeaders: [X-A, {name: X-B, pattern: 'a(.*)'}], hangupHeaders: {X-A: '{{ x }}'}}\n---\nHi",
        "---\ntts: {volume: 10}\neou: {type: fixed, timeout: 500}\n---\nHi",
    ],
)
def test_value_that_the_call_can_use_is_no_finding(text: str) -> None:
    assert found(text) == []
