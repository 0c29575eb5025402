"""The layers of a model's reply: reasoning, forms for machines, tags, words. Each stream is cut into pieces of any size."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.agent.reply.json_form import MAX_WAIT_S
from active_call.agent.reply.parser import ReplyParser
from active_call.agent.reply.steps import Sentence, Step
from active_call.agent.reply.tags import GotoTag, HangupTag, SetVarTag, UnknownTag, WaitInput
from searches import searching

OPEN = "We open at nine."


def read(text: str, size: int, *, is_prefilled: bool = False) -> list[Step]:
    """The steps of `text`, without what was taken back."""
    reader = ReplyParser(first_cut_words=0, is_prefilled=is_prefilled)
    steps: list[Step] = []
    for start in range(0, len(text), size):
        found = reader.feed(text[start : start + size])
        steps = found if reader.take_retraction() else [*steps, *found]
    found = reader.finish()
    return found if reader.take_retraction() else [*steps, *found]


def said(steps: list[Step]) -> str:
    return " ".join(step.text for step in steps if isinstance(step, Sentence))


def done(steps: list[Step]) -> list[Step]:
    return [step for step in steps if not isinstance(step, (Sentence, UnknownTag))]


SIZES = pytest.mark.parametrize("size", [1, 3, 11, 10_000])


@SIZES
@pytest.mark.parametrize(
    "text",
    [
        "<think>Hours.</think>We open at nine.",
        '<THINK >Hours {"text": "x"} ```json {} ``` <hangup/></Think>\n\nWe open at nine.',
        "<thinking>a</thinking><thought>b</thought><reasoning>c</reasoning>We open at nine.",
        "<seed:think>x</seed:think>We open at nine.",
        "<reasoning_content>x</reasoning_content><analysis>y</analysis><answer>We open at nine.</answer>",
        "<|begin_of_thought|>x<|end_of_thought|><|begin_of_solution|>We open at nine.<|end_of_solution|>",
        "[THINK]Hm.[/THINK]We open at nine.",
        "◁think▷Let me see.◁/think▷We open at nine.",
        "<|channel>thought\nThe caller wants the hours.<channel|>We open at nine.",
        "<|channel|>analysis<|message|>Hours. <hangup/><|end|><|start|>assistant<|channel|>final<|message|>We open at nine.<|return|>",
        (
            '<|channel|>commentary to=functions.hours <|constrain|>json<|message|>{"a": 1}<|call|>'
            "<|start|>assistant<|channel|>final<|message|>We open at nine."
        ),
        "analysisThe user asks. I answer.assistantfinalWe open at nine.",
        "We open at nine.<|im_end|>",
        "We open at nine.<|endoftext|>Human: what about Sunday?\nAssistant: Closed.",
        "We open at nine.<｜end▁of▁sentence｜>And on Sunday?",
        "<|im_end|>We open at nine.",
        "&lt;think&gt;They ask for <hangup/>&lt;/think&gt;We open at nine.",
        "[THOUGHT]They ask.[/THOUGHT]We open at nine.",
        "<unused94>thought\nThey ask.<unused95>We open at nine.",
        "<|im_start|>assistant\nWe open at nine.<|im_end|>\n<|im_start|>user\nThanks.",
        "<|start_header_id|>assistant<|end_header_id|>\n\nWe open at nine.<|eot_id|>",
        "<start_of_turn>model\nWe open at nine.<end_of_turn>",
        "We open at nine.<｜end▁of▁sentence｜>",
        "<|START_THINKING|>Hm.<|END_THINKING|>We open at nine.",
        "The user asks for hours. <hangup/> I should be brief.\n</think>\n\nWe open at nine.",
        "We open at nine.<think>and then",
        "We open at nine.</s>",
        'We open at nine.<tool_call>{"name": "hangup", "arguments": {}}</tool_call>',
        "We open at nine.<function=hangup><parameter=x>1</parameter></function>",
        'We open at nine. [TOOL_CALLS] [{"name": "hangup", "arguments": {}}]',
        'We open at nine.<|python_tag|>{"name": "hangup"}',
        "We open at nine.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>hangup\n{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        'We open at nine. {"name": "hangup", "arguments": {"a": {"b": "}"}}}',
        'We open at nine. [{"name": "hangup", "arguments": {}}]',
        "We open at nine.\n```python\nprint('<hangup/>')\n```",
        "We open at nine.\n~~~\ncode\n~~~\n",
        "We open at nine.<!-- <hangup/> -->",
        '<|tool_call|>[{"name": "x"}]<|/tool_call|>We open at nine.',
    ],
)
def test_only_the_answer_is_said_and_nothing_is_done(text, size):
    steps = read(text, size)
    assert said(steps) == OPEN
    assert done(steps) == []


@SIZES
@pytest.mark.parametrize(
    "text",
    [
        '{"text": "We open at nine.", "waitInputTimeout": 5}',
        '<think>Hm.</think>\n{"text": "We open at nine.", "waitInputTimeout": 5}',
        '```json\n{"text": "We open at nine.", "waitInputTimeout": 5}\n```',
        '```JSON\n{"text": "We open at nine.", "waitInputTimeout": 5}\n```',
        '```\n{"text": "We open at nine.", "waitInputTimeout": 5}\n```',
        '<|channel|>final<|message|>{"text": "We open at nine.", "waitInputTimeout": 5}<|return|>',
    ],
)
def test_json_is_taken_wherever_it_stands(text, size):
    assert read(text, size) == [Sentence(OPEN), WaitInput(5)]


@SIZES
def test_words_behind_the_brace_are_words(size):
    steps = read('{"text": "We open at nine.", "tools": [{"name": "goto", "scene": "x"}]} Anything else?', size)
    assert steps == [Sentence(OPEN), GotoTag("x"), Sentence("Anything else?")]


@SIZES
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"text": "We are open from nine to fi', "We are open from nine to fi"),
        ('{"text": "It is \\u00e9', "It is é"),
        ('{"text": "It is \\u00', "It is"),
        ('```json\n{"text": "We are op', "We are op"),
        ('{"waitInputTimeout": 5, "te', ""),
        ('{"text": "One.", "tools": [{"name": "hang', "One."),
        ('{"text": "Line\nbreak.",}', "Line break."),
        ("{'text': 'Single.'}", "Single."),
    ],
)
def test_form_that_was_cut_gives_its_text_and_no_braces(text, words, size):
    steps = read(text, size)
    assert said(steps) == words
    assert done(steps) == []


@SIZES
def test_prefilled_reasoning_is_hidden_from_the_first_word(size):
    assert read("I think. <hangup/> So.</think>We open at nine.", size, is_prefilled=True) == [Sentence(OPEN)]
    assert read("I think and was cut", size, is_prefilled=True) == []


@SIZES
def test_json_in_an_attribute_stays_where_it_is(size):
    steps = read("""One. <set_var key="a" value='{"b": "```"}'/> Two. <hangup/>""", size)
    assert done(steps) == [SetVarTag("a", '{"b": "```"}'), HangupTag()]
    assert said(steps) == "One. Two."


@SIZES
def test_ordinary_angles_and_braces_are_said(size):
    assert said(read("Is a <b and 5 < 6? {yes} [no] `x`", size)) == "Is a <b and 5 < 6? {yes} [no] x"


MARKS = [
    "<think>", "</think>", "<|", "|>", "channel", "```", "json", '{"', '"}', "}", "<tool_call>", "</tool_call>", "[TOOL_CALLS]", "a ", "\n",
    "<", "[", "<|end|>", "<|channel|>", "final", "<|message|>", "~~~", "<!--", "-->", "<hangup/>", "analysis", "</", ">",
]  # fmt: skip


@given(st.lists(st.sampled_from(MARKS), max_size=14))
@searching(80)
def test_pieces_do_not_change_what_is_read(pieces):
    text = "".join(pieces)
    assert said(read(text, 1)).split() == said(read(text, 10_000)).split()
    assert done(read(text, 1)) == done(read(text, 10_000))


def test_long_json_costs_each_character_once():
    reader = ReplyParser()
    reader.feed('{"text": "')
    for _ in range(3000):
        reader.feed("word words ")
    assert said(reader.finish()) == ""


@SIZES
@pytest.mark.parametrize(
    "text",
    [
        "< think >Hours. <hangup/></ think >We open at nine.",
        "<think>Hours.<//think>We open at nine.",
        "<plan>Hours. <hangup/></plan>We open at nine.",
        "<chain-of-thought>x</chain-of-thought><cot>y</cot><self_reflection>z</self_reflection>We open at nine.",
        "<think_fast>x</think_fast><thinking_process>y</thinking_process>We open at nine.",
        "<|assistant|>We open at nine.<|user|>Transfer me.<hangup/>",
        'functions.hangup({"reason": "x"})We open at nine.',
        "print(default_api.hangup(reason='x'))We open at nine.",
        "<tool>hangup</tool>We open at nine.",
        "<execute>hangup()</execute><longcat_tool_call>x</longcat_tool_call>We open at nine.",
        "<tool_call>\u0130\u0130\u0130</tool_call>We open at nine.",
    ],
)
def test_more_that_is_written_for_machines(text, size):
    steps = read(text, size)
    assert said(steps) == OPEN
    assert done(steps) == []


@SIZES
def test_words_that_begin_like_a_call_are_said(size):
    assert said(read("Our tools. (Many.) The functions (all) print out", size)) == "Our tools. (Many.) The functions (all) print out"


@SIZES
@pytest.mark.parametrize("seconds", ["-5", "0", "true", '"5"', "1" + "0" * 400])
def test_wait_that_makes_no_sense_is_left_out_or_bounded(seconds, size):
    steps = read(f'{{"text": "We open at nine.", "waitInputTimeout": {seconds}}}', size)
    assert said(steps) == OPEN
    assert done(steps) in ([], [WaitInput(MAX_WAIT_S)])


@SIZES
def test_half_a_surrogate_does_not_lose_the_form(size):
    steps = read('{"text": "We \\ud83dopen \\ud83d\\ude00 at nine.", "tools": [{"name": "hangup"}]}', size)
    assert said(steps) == "We \ufffdopen at nine."
    assert done(steps) == [HangupTag()]


@pytest.mark.parametrize("opening", ["", "<!--", "```", "<tool_call>", '{"text":"', "functions.a(", "<think>"])
def test_long_forms_cost_each_character_once(opening):
    began = time.process_time()
    read(opening + "ab.<" * 5000, 1)
    assert time.process_time() - began < 3


def test_flush_completes_the_text_so_far_and_more_may_follow():
    reader = ReplyParser()
    assert reader.feed("Let me see") == []
    assert reader.flush() == [Sentence("Let me see")]
    assert reader.feed('<set_var key="a" value="1"/> Done') == [SetVarTag("a", "1")]
    assert reader.flush() == [Sentence("Done")]
    assert reader.finish() == []


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("<think><hangup/></think>Hello.", [Sentence("Hello.")]),
        ('<think>{"text": "No."}</think>Hello.', [Sentence("Hello.")]),
        ('{"text": "Hello. <hangup/>"}', [Sentence("Hello."), HangupTag()]),
    ],
)
def test_no_layer_sees_what_an_earlier_one_has_taken(text, steps):
    reader = ReplyParser()
    assert [*reader.feed(text), *reader.finish()] == steps
