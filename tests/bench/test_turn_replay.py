"""Recorded turns and overlaps go through the call's own rules: the bounds that the benchmarks' held-out traces must hold, without sound."""

from __future__ import annotations

from active_call.media.link.messages import PauseHeard, SpeechEnded, SpeechStarted
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


def test_trace_is_kept_as_json():
    trace = speech((0.6, 1.2, "I would like to"), (1.9, 2.8, "book a table."))
    assert from_json(to_json(trace)) == trace
