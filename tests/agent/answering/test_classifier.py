"""Who has answered, from facts with times."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.agent.answering.classifier import AnsweringClassifier, Fact, SpeechBegan, SpeechEnded, Tone, Verdict, Words
from active_call.agent.answering.phrases import PHRASES, normalised


def classified(*facts: Fact) -> list[Verdict]:
    """The verdicts on `facts`; deadlines between them are kept."""
    classifier, told = AnsweringClassifier(), []
    for fact in facts:
        due_ms = classifier.next_timeout_ms()
        while due_ms is not None and due_ms < fact.at_ms:
            told.append(classifier.handle_timeout(due_ms))
            due_ms = classifier.next_timeout_ms()
        told.append(classifier.handle(fact))
    while (due_ms := classifier.next_timeout_ms()) is not None:
        told.append(classifier.handle_timeout(due_ms))
    return [verdict for verdict in told if verdict is not None]


def said(text: str, index: int = 0, at_ms: int = 2000) -> Words:
    return Words(at_ms, index, text, True)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Hello?", "human"),
        ("Hi, you've reached Anna. I can't come to the phone right now.", "voicemail"),
        ("Please leave your message after the tone.", "voicemail"),
        ("The mailbox is full and cannot accept any messages at this time. Goodbye.", "mailboxFull"),
        ("Hi, if you record your name and reason for calling, I'll see if this person is available.", "screening"),
        ("Thank you for calling. Press 1 for sales, press 2 for support.", "menu"),
        ("The number you have dialed is not in service.", "announcement"),
        ("All our agents are busy. Please stay on the line.", "hold"),
        ("Bitte hinterlassen Sie eine Nachricht nach dem Signalton.", "voicemail"),
        ("Kein Anschluss unter dieser Nummer.", "announcement"),
        ("Ja, hallo?", "human"),
        ("Deje su mensaje después de la señal.", "voicemail"),
        ("Dígame.", "human"),
        ("Bonjour, laissez un message après le bip.", "voicemail"),
        ("Allô ?", "human"),
        ("您拨打的电话已关机。", "announcement"),
        ("请在嘀声后留言。", "voicemail"),
        ("喂，你好。", "human"),
    ],
)
def test_words_tell_who_has_answered(text: str, kind: str) -> None:
    (verdict,) = classified(SpeechBegan(0), said(text))
    assert verdict.kind == kind
    assert verdict.confidence >= 0.7
    assert verdict.start_ms == 0


PEOPLE = (
    "She is out, would you like to leave a message?",
    "Il est absent, voulez-vous laisser un message ?",
    "Lo siento, la doctora no se encuentra disponible.",
    "Herr Meier ist zurzeit nicht erreichbar.",
)


@pytest.mark.parametrize(
    "text", ["I was about to leave the house.", "The press one day asked me that? No!", "Who left you a message?", *PEOPLE]
)
def test_words_of_people_are_no_machine(text: str) -> None:
    verdicts = classified(SpeechBegan(0), SpeechEnded(1500), said(text))
    assert [verdict for verdict in verdicts if verdict.is_sure_machine] == []


def test_short_speech_and_silence_is_a_human_without_words() -> None:
    (verdict,) = classified(SpeechBegan(0), SpeechEnded(700))
    assert (verdict.kind, verdict.end_ms) == ("human", 1400)


def test_long_speech_without_words_is_a_weak_voicemail_within_three_seconds() -> None:
    first, *_ = classified(SpeechBegan(0), SpeechEnded(6000))
    assert (first.kind, first.end_ms <= 3000, first.is_sure_machine) == ("voicemail", True, False)


def test_sound_without_words_that_does_not_end_is_music() -> None:
    assert classified(SpeechBegan(0))[-1].kind == "hold"


def test_a_phrase_that_a_pause_cuts_in_two_is_found() -> None:
    assert classified(SpeechBegan(0), said("please leave a", 0, 900), said("message for anna", 1, 2000))[-1].kind == "voicemail"


def test_a_person_takes_over_after_screening_but_not_after_a_mailbox() -> None:
    screening = said("Please state your name and the reason for your call.")
    assert [verdict.kind for verdict in classified(screening, said("Hello?", 1, 9000))] == ["screening", "human"]
    assert [verdict.kind for verdict in classified(said("leave a message after the tone"), said("Hello", 1, 9000))] == ["voicemail"]


def test_hello_that_becomes_a_greeting_of_a_mailbox_is_reclassified() -> None:
    verdicts = classified(SpeechBegan(0), SpeechEnded(600), said("Hi.", 0, 700), said("Leave your name and number", 1, 3000))
    assert [verdict.kind for verdict in verdicts] == ["human", "voicemail"]


def test_the_same_menu_again_is_counted() -> None:
    menu = "For sales press 1, for support press 2."
    verdicts = classified(
        said(menu), said(menu, 1, 20_000), said("For billing press 1, for returns press 2, for hours press 3.", 2, 40_000)
    )
    assert [(verdict.kind, verdict.n_repeats) for verdict in verdicts] == [("menu", 0), ("menu", 1)]


@pytest.mark.parametrize(("tone", "kind"), [("beep", "voicemail"), ("fax", "fax"), ("answer", "fax"), ("sit", "announcement")])
def test_tones_tell_who_has_answered(tone: str, kind: str) -> None:
    (verdict,) = classified(Tone(1000, tone, 300))
    assert (verdict.kind, verdict.start_ms, verdict.end_ms, verdict.is_sure_machine) == (kind, 700, 1000, True)


def test_every_phrase_is_written_as_it_is_compared() -> None:
    assert [phrase for kinds in PHRASES.values() for phrases in kinds.values() for phrase in phrases if normalised(phrase) != phrase] == []


_TEXTS = st.sampled_from([phrase for kinds in PHRASES.values() for phrases in kinds.values() for phrase in phrases]) | st.text(max_size=40)
_FACTS = st.lists(
    st.tuples(
        st.integers(0, 5000),
        st.one_of(
            st.just(SpeechBegan(0)),
            st.just(SpeechEnded(0)),
            st.builds(Words, st.just(0), st.integers(0, 6), _TEXTS, st.booleans()),
            st.builds(Tone, st.just(0), st.sampled_from(["beep", "fax", "answer", "sit", "congestion", "busy"]), st.integers(0, 2000)),
        ),
    ),
    max_size=25,
)


@given(_FACTS)
def test_any_order_of_facts_gives_sound_verdicts_and_ends_waiting(steps: list[tuple[int, Fact]]) -> None:
    classifier, now_ms = AnsweringClassifier(), 0
    for gap_ms, fact in steps:
        now_ms += gap_ms
        moved = type(fact)(**{**{name: getattr(fact, name) for name in fact.__slots__}, "at_ms": now_ms})
        for verdict in (classifier.handle_timeout(now_ms), classifier.handle(moved)):
            assert verdict is None or (0 < verdict.confidence <= 1 and verdict.start_ms <= verdict.end_ms <= now_ms)
    for _ in range(3):  # to a verdict, then perhaps to music; no deadline stays
        due_ms = classifier.next_timeout_ms()
        if due_ms is not None:
            classifier.handle_timeout(max(due_ms, now_ms))
    assert classifier.next_timeout_ms() is None


def test_greeting_that_pauses_between_its_sentences_is_told_within_three_seconds_of_its_beginning():
    told = classified(SpeechBegan(0), SpeechEnded(1900), SpeechBegan(2200), SpeechEnded(4500), SpeechBegan(4800), SpeechEnded(6000))
    assert (told[0].kind, told[0].confidence, told[0].end_ms) == ("voicemail", 0.5, 2800)


def test_person_who_speaks_again_after_a_silence_is_timed_from_there():
    told = classified(SpeechBegan(0), SpeechEnded(1900), SpeechBegan(3000), SpeechEnded(4000))
    assert [verdict.kind for verdict in told] == ["human"]


def test_words_of_two_utterances_are_told_in_their_order() -> None:
    told = classified(SpeechBegan(0), said("the florist round the corner", 0, 900), Words(1500, 1, "what do", is_final=False))
    assert told[0].text == "the florist round the corner what do"
