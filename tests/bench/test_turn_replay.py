"""Recorded turns and overlaps go through the call's own rules: the bounds that the benchmarks' held-out traces must hold, without sound."""

from __future__ import annotations

from active_call.media.link.messages import PauseHeard, SpeechEnded, SpeechStarted
from active_call.providers.speech_to_text import Alternative
from active_call.testing.spoken_calls.overlap_replay import replay_overlap
from active_call.testing.spoken_calls.turn_replay import replay_turn
from active_call.testing.spoken_calls.turn_trace import HeardFrom, TurnTrace, from_json, to_json

RATE_HZ = 16_000


def speech(*stretches: tuple[float, float, str]) -> TurnTrace:
    """Stretches of speech, each with its own text: when it begins and ends, what the recogniser has heard when it ends."""
    trace = TurnTrace(stretches[0][0], stretches[-1][1])
    for begin, end, _ in stretches:
        told, silent = round(begin + 0.08, 2), round(end + 0.2, 2)
        trace.reports.append((told, SpeechStarted(1, begin, int(begin * RATE_HZ), told, 0.9)))
        trace.reports.append((silent, SpeechEnded(1, end, int(end * RATE_HZ), silent, int(1000 * (end - begin)))))
        trace.reports.append((silent, PauseHeard(1, end, 210, 0.1, -60.0, None, None)))
    for first in range(len(stretches)):
        heard = HeardFrom()
        for last in range(first, len(stretches)):
            text = " ".join(said for _, _, said in stretches[first : last + 1])
            heard.partials.append((round(stretches[last][1] + 0.15, 2), text, 0.9))
            heard.finals[last] = (text, 0.9, 0.08)
        trace.heard.append(heard)
    return trace


def test_question_is_taken_soon_and_words_that_ask_for_more_are_waited_for():
    question = replay_turn(speech((0.6, 2.0, "What are your opening hours?")), "Hello.")
    assert question.heard == "What are your opening hours?" and question.delay_s is not None and question.delay_s <= 0.3
    pause = speech((0.6, 1.2, "I would like to"), (1.9, 2.8, "book a table for four."))
    assert replay_turn(pause, "Hello.").delay_s is not None, "the pause of 0.7 s does not end the turn"
    short = speech((0.6, 1.6, "My flight was cancelled."), (2.6, 3.4, "Can I get a refund?"))
    assert replay_turn(short, "Hello.").is_cut_off, "after a second of silence a whole sentence is taken for all"


def test_listener_does_not_stop_the_agent_and_who_wants_the_turn_does():
    says = "Here is the news of the week. The first tulips have arrived from Holland."
    listens = replay_overlap(speech((0.6, 0.9, "Uh-huh.")), says)
    assert listens.paused_at is not None and listens.resumed_at is not None and listens.yielded_at is None
    interrupts = replay_overlap(speech((0.6, 1.6, "I have another question.")), says)
    assert interrupts.yielded_at is not None


def over_the_news(text: str, confidence: float, seconds: float, *alternatives: Alternative) -> bool:
    """Whether speech of so many seconds that is heard as `text` stops an agent that reads the news."""
    trace = speech((0.6, 0.6 + seconds, text))
    trace.heard[0].partials.clear()
    trace.heard[0].finals[0] = (text, confidence, 0.2)
    trace.heard[0].alternatives[text] = alternatives
    overlap = replay_overlap(trace, "Here is the news of the week. The first tulips have arrived from Holland.")
    assert overlap.paused_at is not None and (overlap.yielded_at or overlap.resumed_at) is not None
    return overlap.yielded_at is not None


def test_misheard_word_of_a_listener_does_not_stop_the_agent():
    assert not over_the_news("Oh, how's she?", 0.58, 0.9, Alternative("Oh, I see.", 0.64), Alternative("I see.", 0.33))
    assert over_the_news("How is she?", 0.58, 0.9), "no word of a listener is as likely"


def test_short_refusal_of_low_confidence_stops_the_agent_if_no_word_of_a_listener_is_as_likely():
    assert over_the_news("No.", 0.66, 0.3)
    assert not over_the_news("No.", 0.66, 0.3, Alternative("Oh.", 0.8)), "it was a word of a listener"
    assert not over_the_news("Milky.", 0.66, 0.3), "no turn in itself: who wants the turn goes on"


def test_drafts_of_a_short_reply_do_not_stop_the_agent():
    trace = speech((0.6, 1.7, "Exactly."))
    trace.heard[0].partials = [(1.16, "It was that.", 0.79), (1.6, "How is it going?", 0.75)]
    trace.heard[0].finals[0] = ("Exactly.", 0.9, 0.2)
    overlap = replay_overlap(trace, "Here is the news of the week. The first tulips have arrived from Holland.")
    assert overlap.yielded_at is None and overlap.resumed_at is not None


def test_partial_words_of_long_speech_stop_the_agent_before_it_ends():
    trace = speech((0.6, 4.0, "No, I do not want any of that, please."))
    trace.heard[0].partials = [(1.16, "No, I do.", 0.8), (2.1, "No, I do not want", 0.83)]
    overlap = replay_overlap(trace, "Here is the news of the week. The first tulips have arrived from Holland.")
    assert overlap.yielded_at is not None and overlap.yielded_at <= 2.1


def test_trace_is_kept_as_json():
    trace = speech((0.6, 1.2, "I would like to"), (1.9, 2.8, "book a table."))
    trace.heard[0].alternatives["I would like to"] = (Alternative("I see.", 0.5),)
    assert from_json(to_json(trace)) == trace
