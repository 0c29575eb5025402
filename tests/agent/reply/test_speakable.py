"""Written text made fit for the ear, whole and in pieces of any size."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from active_call.agent.playbook.templates import Rendered
from active_call.agent.reply.scripted import read_rendered
from active_call.agent.reply.sentences import SentenceSplitter
from active_call.agent.reply.speakable import as_pronounced, speakable, speakable_text
from searches import searching


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("Fish &amp; chips cost &pound;5, that&#39;s all.", "Fish & chips cost £5, that's all."),
        ("R&D at AT&T, a&b;", "R&D at AT&T, a&b;"),
        ("5 &amp;lt; 6 &#x26; 7&nbsp;pm", "5 < 6 & 7 pm"),
        ("&notareal; thing", "&notareal; thing"),
        ("Booked 🎉. See you soon 😊", "Booked. See you soon"),
        ("Hi 👨‍👩‍👧‍👦 from 🇩🇪 and 👍🏽!", "Hi from and!"),
        ("Press 1️⃣ or #️⃣ now ☎️", "Press 1 or # now"),
        ("🎉", ""),
        ("It is 20 °C, ½ price, № 5, ™", "It is 20 °C, ½ price, № 5, ™"),
        ("**Bold** and *soft* and ~~gone~~ and `code` and __under__", "Bold and soft and gone and code and under"),
        ("## Opening hours ##", "Opening hours"),
        ("> - **Quoted**", "Quoted"),
        ("- [x] done", "done"),
        ("![A rose](http://x/a.png) here", "A rose here"),
        ('See [our page](https://e.com/a_(b) "Title") now', "See our page now"),
        ("| Mon | 9-5 |", "Mon, 9-5"),
        ("Day | Hours", "Day, Hours"),
        ("|---|:---:|", ""),
        ("--- | ---", ""),
        ("[1]: https://example.com", ""),
        ("Water <b>is</b> wet<br/>today", "Water is wet today"),
        ("2 * 3 is 6, 2*3, 4**2", "2 * 3 is 6, 2*3, 4**2"),
        ("snake_case and a_b@example.com", "snake_case and a_b@example.com"),
        ("#1 in C# and F#", "#1 in C# and F#"),
        ("5 > 3 and 2 < 4", "5 > 3 and 2 < 4"),
        ("Dial *67 or press * or press *.", "Dial *67 or press * or press *."),
        ("At 9:30, $5.50, -5 degrees, 50%", "At 9:30, $5.50, -5 degrees, 50%"),
        ("1\\. One \\# two", "1. One # two"),
        ("Hello\u200b there\ufeff", "Hello there"),
    ],
)
def test_line_is_made_fit_for_the_ear(written, said):
    assert speakable(written) == said
    assert speakable(said) == said


def test_code_in_a_fence_is_left_out_of_a_whole_text():
    assert speakable_text('Type this:\n```python\nprint("hi")\n```\nThen press enter.') == "Type this:\nThen press enter."


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("See https://www.example.com/hours?utm=1#x. Bye", "See example.com/hours. Bye"),
        ("Go to http://example.com/", "Go to example.com"),
        ("(https://example.com/" + "a" * 60 + ")", "(example.com)"),
        ("<speak>One <break time='1s'/> two &amp; three</speak>", "<speak>One <break time='1s'/> two &amp; three</speak>"),
    ],
)
def test_what_goes_to_the_voice(written, said):
    assert as_pronounced(written) == said


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Fish &amp; chips. Yes &amp; no.", ["Fish & chips.", "Yes & no."]),
        ("आज मौसम अच्छा है। कल मिलेंगे।", ["आज मौसम अच्छा है।", "कल मिलेंगे।"]),
        ("كيف حالك؟ أنا بخير.", ["كيف حالك؟", "أنا بخير."]),
        ("آپ کیسے ہیں؟ ٹھیک۔ شکریہ", ["آپ کیسے ہیں؟", "ٹھیک۔", "شکریہ"]),
        ("Բարև։ Լավ։", ["Բարև։", "Լավ։"]),
        ("မင်္ဂလာပါ။ ကောင်းတယ်။", ["မင်္ဂလာပါ။", "ကောင်းတယ်။"]),
        ("សួស្តី។ បាទ។", ["សួស្តី។", "បាទ។"]),
        ("Das sind 5 Stück bzw. Kisten. Gut.", ["Das sind 5 Stück bzw. Kisten.", "Gut."]),
        ("Am 3. Mai um neun. Ja.", ["Am 3. Mai um neun.", "Ja."]),
        ("Termin: 3. Mai. Ja.", ["Termin: 3. Mai.", "Ja."]),
        ("Im 2. Stock. Ja.", ["Im 2. Stock.", "Ja."]),
        ("Das heißt, d.h. Montag, z. B. morgen, u.a. Brot. Ja.", ["Das heißt, d.h. Montag, z. B. morgen, u.a. Brot.", "Ja."]),
        ("We open at 9 a.m. Monday. Yes.", ["We open at 9 a.m. Monday.", "Yes."]),
        ("We open at 9 a.m. Come.", ["We open at 9 a.m.", "Come."]),
        ("La Sra. López y el Dr. Ruiz. Sí.", ["La Sra. López y el Dr. Ruiz.", "Sí."]),
        ("M. Dupont et Mme. Noir. Oui.", ["M. Dupont et Mme. Noir.", "Oui."]),
        ("The U.S. Army. It is in the U.S. The end.", ["The U.S. Army.", "It is in the U.S.", "The end."]),
        ("Press 3. Then wait.", ["Press 3.", "Then wait."]),
        ("It costs 3.50. No. 5 is J. R. Smith at St. Mary.", ["It costs 3.50.", "No. 5 is J. R. Smith at St. Mary."]),
        ("See [Who is Dr. X? ](https://e.com). Yes.", ["See Who is Dr. X?", "Yes."]),
        ("| Day | Hours |\n|---|---|\n| Mon | 9-5 |\n", ["Day, Hours", "Mon, 9-5"]),
        ("你好。」他说。", ["你好。", "他说。"]),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_sentences_end_where_they_end(text, sentences, size):
    splitter = SentenceSplitter(first_cut_words=0)
    found = [s for start in range(0, len(text), size) for s in splitter.feed(text[start : start + size])]
    assert [*found, *splitter.flush()] == sentences


@pytest.mark.parametrize("mark", ["`", "```", "~~~", "<!--", "!?", "<a ", '<a b="', "[", "[a](", "&amp", "*", "<b", "\n", "| "])
def test_long_runs_of_marks_cost_little(mark):
    text = (mark * 4000)[:4000]
    before = time.process_time()
    as_pronounced(text)
    read_rendered(Rendered((text,)))
    assert time.process_time() - before < 3.0


@given(st.text(max_size=200))
@searching(100)
def test_any_text_can_be_made_speakable(text):
    as_pronounced(text)
    speakable(text)


@given(
    st.lists(st.sampled_from(["&", "amp;", "#39;", "[", "](", ")", "http://x", "a", ". ", "*", "`", "|", "\n", "3. ", "Mai ", "!", "🎉"]))
)
@example(["amp;", "[", "](", "\n", ")"])
@example(["!", "[", "amp;", "](", ")"])
@searching(100)
def test_pieces_do_not_change_the_sentences(pieces):
    whole = SentenceSplitter(first_cut_words=0)
    parts = SentenceSplitter(first_cut_words=0)
    expected = [*whole.feed("".join(pieces)), *whole.flush()]
    assert [*(s for piece in pieces for s in parts.feed(piece)), *parts.flush()] == expected


@pytest.mark.parametrize(
    "text", ["|" * 30_000 + "x", "a | b" + " " * 30_000 + "c", "|-" * 15_000 + "x", "| " * 15_000 + "x"], ids=["|", " ", "|-", "| "]
)
def test_table_that_never_ends_is_read_in_time(text: str) -> None:
    begun = time.process_time()
    speakable(text)
    assert time.process_time() - begun < 3.0


@pytest.mark.parametrize(
    ("written", "said"),
    [("|---|:-:|", ""), ("a  |  b", "a, b"), ("| a || b |", "a, b"), ("a| |b", "a, , b"), ("- - -", ""), ("x | - ", "x, -")],
)
def test_row_of_a_table_is_spoken_as_a_list(written: str, said: str) -> None:
    assert speakable(written) == said
