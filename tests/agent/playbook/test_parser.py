from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.agent.playbook.front_matter import MAX_DEPTH
from active_call.agent.playbook.parser import parse_playbook, read_playbook
from active_call.base.errors import PlaybookError
from searches import searching


def parse(text: str, **environment: str):
    return parse_playbook(text, file="p.md", environment=environment)


FULL = """---
asr: {provider: aliyun, model: m1, apiKey: "${KEY}"}
tts:
  provider: aliyun
  speaker: longxiaochun
  extra: {anyThing_goes: 1}
llm:
  provider: openai
  baseUrl: "${URL:-http://localhost:11434/v1}"
  api_key: ${KEY}
  features: [http_tool, voice_emotion]
  maxTokens: 200
  tools: [{name: weather, url: "http://w/"}]
  mcp: [{url: "http://m/"}]
vad: {silence_padding: 200}
denoise: true
recorder: {recorderFile: "/tmp/{id}.wav"}
realtime: {provider: openai, turnDetection: {type: server_vad}}
ringbackDetection: {enabled: true}
greeting: Hi {{ name }}
interruption: {strategy: both, minSpeechMs: 200, filler_word_filter: true, volumeFadeMs: 100, ignoreFirstMs: 300}
followUp: {timeout: 4000, maxCount: 3}
dtmf:
  1: {action: goto, scene: b}
  "#": {action: hangup}
dtmfCollectors:
  pin: {digits: 4, finishKey: "#", validation: {pattern: "^[0-9]{4}$", errorMessage: "Four digits."}}
posthook: {url: "http://h/", summary: short, includeHistory: true}
sip:
  extractHeaders: [X-A, {name: X-B, pattern: "id=(.*)"}]
  hangupHeaders: {X-R: "{{ r }}"}
  bye_headers: [{name: X-S, value: "1"}]
---
Be kind.

# Scene: a
First.
<dtmf digit='2' action='transfer' target='sip:x@y'/>
<play file="hello.wav"/>

# Scene: b
Second.
"""


def test_every_key_of_the_front_matter_is_read_in_either_case():
    book = parse(FULL, KEY="secret")
    assert book.option.asr and (book.option.asr.model_type, book.option.asr.secret_key) == ("m1", "secret")
    assert book.option.tts and book.option.tts.extra == {"anyThing_goes": 1}
    assert book.option.vad and book.option.vad.silence_padding == 200
    assert book.option.denoise is True
    assert book.option.realtime and book.option.realtime.turn_detection == {"type": "server_vad"}
    assert (book.llm.base_url, book.llm.api_key, book.llm.max_tokens) == ("http://localhost:11434/v1", "secret", 200)
    assert book.llm.tools[0]["name"] == "weather"
    assert book.interruption.strategy == "both"
    assert (book.interruption.min_speech_ms, book.interruption.ignore_first_ms) == (200, 300)
    assert book.followup and (book.followup.timeout, book.followup.max) == (4000, 3)
    assert (book.dtmf["1"].scene, book.dtmf["#"].action) == ("b", "hangup")
    assert book.dtmf_collectors["pin"].digits == 4
    assert book.posthook and book.posthook.include_history
    assert book.hangup_headers == {"X-R": "{{ r }}", "X-S": "1"}
    assert book.greeting == "Hi {{ name }}"


def test_body_is_parted_into_global_prompt_and_scenes_with_their_directives():
    book = parse(FULL, KEY="k")
    assert book.prompt == "Be kind."
    assert [(s.id, s.text) for s in book.scenes] == [("a", "First."), ("b", "Second.")]
    assert book.start.dtmf["2"].target == "sip:x@y"
    assert book.start.play == ("hello.wav",)


def test_body_without_scenes_is_the_scene_main():
    book = parse("Just talk.")
    assert [(s.id, s.text) for s in book.scenes] == [("main", "Just talk.")]


def test_scene_heading_in_a_code_fence_is_text():
    assert [s.id for s in parse("# Scene: a\n```\n# Scene: b\n```\n").scenes] == ["a"]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 0, "empty"),
        ("---\ntts: {}\n", 1, "no closing line"),
        ("---\nllm:\n  maxTokens: many\n---\nx", 3, "llm.maxTokens"),
        ("---\ntts: {}\nasr: {}\ntts: {}\n---\nx", 4, "twice"),
        ("---\ntts: [\n---\nx", 2, "not YAML"),
        ("---\nllm:\n\tprovider: script\n---\nx", 3, "the line begins with a tab; YAML is indented by spaces"),
        ("---\nasr:\n  apiKey: ${NO_SUCH}\n---\nx", 3, "NO_SUCH"),
        ("---\ninterruption:\n  strategy: vat\n---\nx", 3, "did you mean 'vad'"),
        ("---\ndtmf:\n  '1': {action: goto, scene: nowhere}\n---\n# Scene: somewhere\n", 3, "no scene 'nowhere'"),
        ("---\ndtmf:\n  '12': {action: hangup}\n---\nx", 3, "not a digit"),
        ("# Scene: a\nx\n# Scene: a\n", 3, "twice (first in line 1)"),
        ("# Scene:\n", 1, "name"),
        ('# Scene: start\n\n<dtmf digit="1" action="goto" scene="strat"/>', 3, "did you mean 'start'"),
        ("# Scene: a\n<dtmf digit='1' action='jump'/>", 2, "unknown action 'jump'"),
        ("# Scene: a\n<dtmf digit='1' action='transfer'/>", 2, "target"),
        ("# Scene: a\n<play/>", 2, "file"),
        ("---\nllm: {provider: script}\n---\n# Scene: a\n## hello\n\n## bye\nx", 5, "there is no answer"),
        ("---\nllm: {provider: script}\n---\n## hello\na\n## Hello!\nb", 6, "first in line 4"),
        ("---\nllm: {provider: script}\n---\n## hello\n\n<goto\n scene='b'/>", 6, "no scene 'b'"),
        ("---\nllm: {provider: script}\n---\n<!-- a\nb -->\n## !!\na", 6, "no words"),
    ],
)
def test_mistake_is_reported_with_its_line(text, line, words):
    with pytest.raises(PlaybookError) as error:
        parse(text)
    assert error.value.line == line
    assert words in str(error.value)


def test_windows_line_ends_and_a_byte_order_mark_do_not_matter():
    book = parse("\ufeff---\r\ngreeting: hi\r\n---\r\n# Scene: a\r\nx\r\n")
    assert (book.greeting, book.start.id) == ("hi", "a")


def test_default_of_a_variable_also_serves_an_empty_one():
    assert parse("---\ngreeting: ${G:-hello}\n---\nx", G="").greeting == "hello"
    assert parse("---\ngreeting: ${G}\n---\nx", G="").greeting == ""


def test_text_of_somebody_else_does_not_read_the_environment():
    text = "---\ngreeting: ${G:-hello}\nasr:\n  apiKey: ${KEY}\n---\nx"
    with pytest.raises(PlaybookError, match="KEY: the environment is for the operator's playbook files") as error:
        parse_playbook(text, file="(inline)", environment=None, is_file=False)
    assert error.value.line == 4
    book = parse_playbook(text.replace("${KEY}", "abc"), file="(inline)", environment=None, is_file=False)
    assert book.greeting == "hello"


def test_value_of_a_variable_cannot_bring_keys_with_it():
    assert parse("---\ngreeting: ${G}\n---\nx", G="a\nllm: {}").greeting == "a\nllm: {}"


@given(st.integers(0, len(FULL)), st.integers(0, 40), st.text(alphabet="-:#{}[]<>/'\"&*|!\n \t0aX$~\x00", max_size=12), st.booleans())
@searching(50)
def test_whatever_stands_in_the_file_only_playbook_errors_come_out(place, cut, text, is_script):
    source = FULL.replace("provider: openai\n", "provider: script\n") if is_script else FULL
    with contextlib.suppress(PlaybookError):
        parse(source[:place] + text + source[place + cut :], KEY="k")


def test_realtime_model_of_a_playbook_has_effect_and_is_not_warned_of():
    book = parse("---\nrealtime: {provider: openai, model: gpt-realtime, secretId: x}\n---\nx")
    assert [warning.partition(": ")[2] for warning in book.warnings] == ["realtime.secretId has no effect"]


SIP = "---\nsip:\n  bye_headers:\n    - {name: X-A, valeu: b}\n---\nx"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("---\ntts:\n  provider: x\n  speeker: y\n---\n", 4, "did you mean 'speaker'"),
        ("---\na: 1\n---\nx", 2, "unknown key 'a'"),
        ("---\ngreting: hi\n---\nx", 2, "did you mean 'greeting'"),
        ("---\nllm:\n\n  temprature: 1\n---\nx", 4, "did you mean 'temperature'"),
        ("---\nfollowUp:\n  timeot: 1\n---\nx", 3, "did you mean 'timeout'"),
        ("---\nrefer:\n  briefing:\n    txt: hi\n---\nx", 4, "refer.briefing.txt: unknown key; did you mean 'text'"),
        ("---\ndtmf:\n  '1': {action: hangup, scen: x}\n---\nx", 3, "dtmf.1.scen: unknown key; did you mean 'scene'"),
        ("---\ndtmfCollectors:\n  pin: {digits: 4, validation: {patern: x}}\n---\nx", 3, "patern: unknown key; did you mean 'pattern'"),
        (SIP, 3, "sip.bye_headers.valeu: unknown key; did you mean 'value'"),
        ("# Scene: a\n<followup timeout='5000' mx='2'/>", 2, "<followup>.mx: unknown key; did you mean 'max'"),
    ],
)
def test_unknown_key_is_a_mistake_that_names_line_place_and_nearest_key(text, line, words):
    with pytest.raises(PlaybookError) as caught:
        parse(text)
    assert caught.value.line == line and words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("---\nasr: {sampleRate: 16000}\n---\nx", 2, "asr.sampleRate has no effect; write samplerate"),
        ("---\ntts: {wait_input_timeout: 3}\n---\nx", 2, "tts.waitInputTimeout has no effect"),
        ("---\nvad: {provider: silero}\n---\nx", 2, "vad.provider has no effect"),
        ("---\nvad:\n  type: silero\n  sensitivity: 0.7\n---\nx", 4, "voiceThreshold"),
        ("---\ncodec: pcmu\n---\nx", 2, "codec has no effect"),
    ],
)
def test_key_without_effect_is_a_warning_with_line(text, line, words):
    book = parse(text)
    assert any(f"p.md:{line}: " in warning and words in warning for warning in book.warnings), book.warnings


def test_every_mistake_is_found_in_one_reading():
    text = """---
llm: {provider: script, temperature: hot}
interruption: {strategy: vat}
followup: {timeout: soon}
---
# Scene: a
<dtmf digit="12" action="hangup"/>
## hello
<goto scene="nowhere"/>
## bye

# Scene: a
"""
    found = read_playbook(text, file="p.md", environment={}).findings.in_order
    assert [finding.line for finding in found] == [2, 3, 4, 7, 9, 10, 12]


def test_times_may_have_a_unit():
    book = parse(
        "---\nfollowup: {timeout: 8s}\neou: {timeout: 700ms}\ninactivityTimeout: 2m\n---\n# Scene: a\n<followup timeout='4s' max='2'/>Hi"
    )
    assert book.followup and book.followup.timeout == 8000
    assert book.option.eou and book.option.eou.timeout == 700
    assert book.option.inactivity_timeout == 120
    assert book.start.followup and (book.start.followup.timeout, book.start.followup.max) == (4000, 2)
    assert book.start.text == "Hi"


def test_way_of_thinking_is_known_or_refused_with_its_line():
    assert parse("---\nllm: {provider: openai, thinking: prefilled}\n---\nx").llm.thinking == "prefilled"
    with pytest.raises(PlaybookError) as caught:
        parse("---\nllm:\n  provider: openai\n  thinking: prefiled\n---\nx")
    assert caught.value.line == 4
    assert "'prefilled'" in str(caught.value)


@pytest.mark.parametrize(
    "text", ["[" * 20_000, "{a: " * 20_000, "- " * 20_000, "".join(" " * depth + "a:\n" for depth in range(300)), "? " * 20_000]
)
def test_front_matter_that_is_nested_too_deep_is_refused_at_once(text):
    begun = time.process_time()
    with pytest.raises(PlaybookError, match="not YAML: nested more than 64 levels"):
        parse(f"---\nllm: {{provider: script}}\nextra:\n {text}\n---\nx")
    assert time.process_time() - begun < 2.0


def test_front_matter_of_64_levels_is_read():
    depth = MAX_DEPTH - 2
    assert parse(f"---\nextra: {{a: {'[' * depth}1{']' * depth}}}\n---\nHello.") is not None


def test_many_scenes_cost_what_each_one_costs():
    def seconds(n_scenes: int) -> float:
        text = "---\nllm: {provider: script}\n---\n" + "".join(f"# Scene: s{number}\n## yes\nFine.\n" for number in range(n_scenes))
        begun = time.process_time()
        assert len(parse(text).scenes) == n_scenes
        return time.process_time() - begun

    seconds(100)
    assert seconds(8_000) < 40 * seconds(800)
