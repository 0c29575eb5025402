from __future__ import annotations

import pytest

from active_call.agent.reply.sentences import SentenceSplitter, speakable


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three? Four; five", ["One.", "Two!", "Three?", "Four;", "five"]),
        ("It costs 3.5 euros. Fine.", ["It costs 3.5 euros.", "Fine."]),
        ("Dr. Smith, e.g. J. Doe, is in. Good.", ["Dr. Smith, e.g. J. Doe, is in.", "Good."]),
        (
            "We open at 9 a.m. and close. We open at 9 a.m. Come early.",
            ["We open at 9 a.m. and close.", "We open at 9 a.m.", "Come early."],
        ),
        ("Is it? No. Room no. 5 is.", ["Is it?", "No.", "Room no. 5 is."]),
        ("See https://example.com/a.b?c=d. Bye.", ["See https://example.com/a.b?c=d.", "Bye."]),
        ("你好。今天天气好吗？好！", ["你好。", "今天天气好吗？", "好！"]),
        ("- **One**\n- `two`\n# Three\n1. four", ["One", "two", "Three", "1. four"]),
        ("Wait... what?! Yes.", ["Wait...", "what?!", "Yes."]),
        ('He said "no." Then left.', ['He said "no."', "Then left."]),
        ("5 * 3 is *fifteen*.", ["5 * 3 is fifteen."]),
        ("[our page](http://x/)", ["our page"]),
        ("El Sr. López paga 5 € inkl. MwSt. und geht. Gracias.", ["El Sr. López paga 5 € inkl. MwSt. und geht.", "Gracias."]),
        ("Press\n*\nnow", ["Press", "*", "now"]),
        ("...\n---\n", []),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_text_is_cut_into_sentences(text, sentences, size):
    splitter = SentenceSplitter(first_cut_words=0)
    found = [s for start in range(0, len(text), size) for s in splitter.feed(text[start : start + size])]
    assert [*found, *splitter.flush()] == sentences


def test_first_piece_may_end_at_a_comma_and_only_the_first():
    splitter = SentenceSplitter(first_cut_words=4)
    found = splitter.feed("Well, that is a good question, and")
    assert found
    found += splitter.feed(" here is a long answer, really, ")
    found += splitter.feed("believe me. ")
    assert found == ["Well, that is a good question,", "and here is a long answer, really, believe me."]


def test_endless_sentence_is_cut():
    splitter = SentenceSplitter()
    found = splitter.feed("word " * 500)
    assert found and max(map(len, found)) <= 400


def test_nothing_but_marks_is_not_spoken():
    assert speakable("** -- !") == ""
