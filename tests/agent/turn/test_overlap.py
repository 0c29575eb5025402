"""What becomes of a reply over which the caller speaks, by the table of the rules; and the lists of back-channels."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.agent.turn.backchannels import Kind, OverlapText, backchannels
from active_call.agent.turn.overlap import MAX_S, AskAgain, Overlap, Resume, Yield, decide, is_doubtful, is_unsure

NOTHING = OverlapText(Kind.NOTHING)


def words(n: int) -> OverlapText:
    return OverlapText(Kind.WORDS, n)


BACKCHANNEL = OverlapText(Kind.BACKCHANNEL)


@pytest.mark.parametrize(
    ("overlap", "now", "verdict"),
    [
        (Overlap(1.0, 0.9, OverlapText(Kind.STOP, 1)), 1.2, Yield()),
        (Overlap(1.0, 0.9, words(3)), 1.3, Yield()),
        (Overlap(1.0, 0.9, words(2)), 1.3, AskAgain(1.9)),
        (Overlap(1.0, 0.9, words(2)), 1.9, Yield()),
        (Overlap(1.0, 0.9, words(1), is_final=True), 1.3, Yield()),
        (Overlap(1.0, 0.9, words(1), is_early=True), 1.3, Yield()),
        (Overlap(1.0, 0.9, NOTHING), 1.3, AskAgain(3.0)),
        (Overlap(1.0, 0.9, NOTHING), 3.0, Yield()),
        (Overlap(1.0, 0.9, BACKCHANNEL), 3.0, Yield()),
        (Overlap(1.0, 0.9, NOTHING, voice_ended_at=1.2), 1.2, AskAgain(1.2 + 0.35)),
        (Overlap(1.0, 0.9, NOTHING, voice_ended_at=1.2), 1.56, Resume()),
        (Overlap(1.0, 0.9, NOTHING, voice_ended_at=1.6), 1.96, AskAgain(1.6 + 0.7)),
        (Overlap(1.0, 0.9, BACKCHANNEL, voice_ended_at=1.2), 1.2, AskAgain(1.5)),
        (Overlap(1.0, 0.9, BACKCHANNEL, voice_ended_at=1.2), 1.5, Resume()),
        (Overlap(1.0, 0.9, BACKCHANNEL, is_final=True, voice_ended_at=1.2), 1.2, Resume()),
        (Overlap(1.0, 0.9, words(1), voice_ended_at=2.0), 2.0, Yield()),
        (Overlap(1.0, 0.9, OverlapText(Kind.ECHO), voice_ended_at=1.2), 1.2, Resume()),
    ],
)
def test_rules_decide_in_their_order(overlap, now, verdict):
    found = decide(overlap, now)
    if isinstance(verdict, AskAgain):
        assert isinstance(found, AskAgain) and found.at == pytest.approx(verdict.at)
    else:
        assert found == verdict


@pytest.mark.parametrize(
    ("text", "confidence", "spoke_s", "doubtful"),
    [
        (words(2), 0.6, 0.3, True),
        (words(3), 0.6, 0.3, False),
        (words(2), 0.6, 0.7, False),
        (words(2), 0.8, 0.3, False),
        (words(1), 0.81, 0.18, True),
        (words(2), None, 0.3, False),
        (OverlapText(Kind.STOP, 1), 0.6, 0.3, False),
    ],
)
def test_short_sound_of_which_the_recogniser_is_not_sure_is_doubtful(text, confidence, spoke_s, doubtful):
    assert is_doubtful(text, confidence, spoke_s) is doubtful


def test_what_was_heard_more_surely_as_a_back_channel_before_is_doubtful_also_as_three_words():
    """ "Oh really?" was heard as "Mm." (0.94), then as "Go to leave." (0.42)."""
    assert not is_doubtful(words(3), 0.6, 0.7) and is_doubtful(words(3), 0.6, 0.7, backchannel=0.66)
    assert not is_doubtful(words(3), 0.6, 0.7, backchannel=0.5) and not is_doubtful(words(3), 0.8, 0.7, backchannel=0.9)
    assert not is_doubtful(words(4), 0.6, 0.7, backchannel=0.66) and not is_doubtful(words(3), 0.6, 1.3, backchannel=0.66)


def test_short_text_without_a_rival_is_doubtful_only_with_little_confidence():
    assert is_doubtful(words(2), 0.7, 0.4) and not is_doubtful(words(2), 0.7, 0.4, has_rival=False)
    assert is_doubtful(words(2), 0.35, 0.4, has_rival=False) and not is_doubtful(words(2), 0.35, 0.7, has_rival=False)


def test_partial_words_of_which_the_recogniser_is_not_sure_do_not_count_yet():
    assert is_unsure(words(3), 0.55, 2.0) and not is_unsure(words(3), 0.65, 2.0) and not is_unsure(words(4), 0.55, 2.0)
    assert is_unsure(words(4), 0.75, 1.0) and not is_unsure(words(4), 0.85, 1.0) and not is_unsure(words(3), None, 0.5)


def test_text_that_sounds_like_a_back_channel_of_several_words_is_one():
    english = backchannels("en")
    assert english.read("Make sense.").kind is Kind.BACKCHANNEL
    assert english.read("Make sense.", is_question=True).kind is Kind.WORDS
    assert english.may_become_one("That is not") and not english.may_become_one("Why is that?")
    assert english.read("That is not right.").kind is Kind.WORDS


def test_question_whether_anybody_is_there_is_told_from_others():
    assert backchannels("en").only_calls("Hello? Are you there?") and backchannels("de").only_calls("Hallo, hören Sie mich?")
    assert not backchannels("en").only_calls("Hello, what is the price?") and not backchannels("en").only_calls("")


def test_phrase_that_is_misheard_still_asks_to_stop():
    assert backchannels("en").read("Sold on.").kind is Kind.STOP, "hold on"
    assert backchannels("en").read("I sold it.").kind is Kind.WORDS


@given(
    text=st.builds(OverlapText, st.sampled_from(Kind), st.integers(0, 9)),
    is_final=st.booleans(),
    is_early=st.booleans(),
    ends_after=st.none() | st.floats(0, 5),
)
def test_every_overlap_is_decided_in_the_end(text, is_final, is_early, ends_after):
    ended_at = None if ends_after is None else 0.9 + ends_after
    overlap = Overlap(1.0, 0.9, text, is_final, ended_at, is_early)
    verdict = decide(overlap, 1.0)
    for _ in range(3):
        if not isinstance(verdict, AskAgain):
            break
        assert verdict.at <= max(1.0, ended_at or 0) + MAX_S
        verdict = decide(overlap, verdict.at)
    assert isinstance(verdict, Yield | Resume)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en-US", "uh-huh"), ("en", "Okay, yeah."), ("en", "I see"), ("de-DE", "Ja, genau."), ("de", "ach so"), ("es", "sí, claro"),
        ("es-MX", "de acuerdo"), ("fr", "d'accord"), ("fr-CA", "ah oui"), ("zh-CN", "嗯，好的"), ("zh", "知道了"), ("ja", "はい、そうです"),
        ("it", "va bene"), ("pt-BR", "tá, entendi"), ("nl", "snap ik"), ("fi", "mhm"), (None, "mm-hmm"),
    ],
)  # fmt: skip
def test_back_channels_of_each_language_are_known(language, text):
    assert backchannels(language).read(text).kind is Kind.BACKCHANNEL


@pytest.mark.parametrize(
    ("language", "text", "kind"),
    [
        ("en", "", Kind.NOTHING),
        ("en", "okay but what does it cost", Kind.WORDS),
        ("en", "wait", Kind.STOP),
        ("en", "yeah hold on a second", Kind.STOP),
        ("de", "Moment", Kind.STOP),
        ("es", "un momento por favor", Kind.STOP),
        ("fr", "attendez", Kind.STOP),
        ("zh", "等一下", Kind.STOP),
        ("zh", "多少钱", Kind.WORDS),
        ("ja", "いくらですか", Kind.WORDS),
    ],
)
def test_other_words_are_none(language, text, kind):
    assert backchannels(language).read(text).kind is kind


def test_agreement_is_an_answer_while_the_agent_asks():
    lists = backchannels("en")
    assert lists.read("yes", own="Your table is booked.").kind is Kind.BACKCHANNEL
    assert lists.read("yes", own="Shall I book it?", is_question=True) == OverlapText(Kind.WORDS, 1)
    assert lists.read("uh-huh", own="Shall I book it?", is_question=True).kind is Kind.BACKCHANNEL


def test_own_words_in_their_order_are_an_echo():
    lists = backchannels("en")
    own = "We are open from nine to five."
    assert lists.read("open from nine", own=own).kind is Kind.ECHO
    assert lists.read("nine", own=own).kind is Kind.WORDS
    assert lists.read("from nine open", own=own).kind is Kind.WORDS


@pytest.mark.parametrize(
    ("heard", "kind"),
    [
        ("Here's the news of the week.", Kind.ECHO),
        ("here is the news of all", Kind.ECHO),
        ("tulips have arrived", Kind.ECHO),
        ("the news of today please", Kind.WORDS),
        ("have tulips arrived", Kind.WORDS),
        ("the first order is late", Kind.WORDS),
    ],
)
def test_agents_own_words_are_an_echo_even_if_one_is_misheard(heard: str, kind: Kind) -> None:
    own = "Here is the news of the week. The first tulips have arrived."
    assert backchannels("en").read(heard, own=own).kind is kind
