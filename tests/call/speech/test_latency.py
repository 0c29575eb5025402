"""The turn trace: what each stage took adds up to the whole."""

from __future__ import annotations

import pytest

from active_call.call.speech.latency import TurnClock
from active_call.call.speech.leading_silence import LeadingSilence


def a_turn() -> TurnClock:
    clock = TurnClock()
    clock.caller_stopped(10.0)
    clock.mark("closed_at", 10.5)
    clock.mark("recognised_at", 10.6)
    clock.mark("model_asked_at", 10.61)
    clock.mark("model_spoke_at", 10.91)
    clock.mark("synthesis_asked_at", 10.92)
    clock.mark("synthesised_at", 11.0)
    return clock


def test_trace_attributes_every_wait_and_keeps_the_rest_as_ours() -> None:
    trace = a_turn().agent_voiced(11.04, "Hello.")
    assert trace is not None
    assert (trace.latency, trace.end_of_turn_wait, trace.recognition, trace.model, trace.synthesis) == (1040.0, 500.0, 100.0, 300.0, 80.0)
    assert trace.added == 60.0


def test_trace_only_counts_the_first_of_each_mark_and_once_per_turn() -> None:
    clock = a_turn()
    clock.mark("synthesised_at", 99.0)
    first = clock.agent_voiced(11.04, "Hello.")
    assert first is not None
    assert first.synthesis == 80.0
    assert clock.agent_voiced(13.0, "More.") is None


def test_speech_that_nobody_asked_for_has_no_trace() -> None:
    clock = TurnClock()
    assert clock.agent_voiced(1.0, "Greeting.") is None
    clock.caller_stopped(2.0)
    assert clock.agent_voiced(2.5, "Not an answer: nothing was recognised yet.") is None


def test_speech_that_resumes_starts_the_measurement_anew() -> None:
    clock = a_turn()
    clock.caller_stopped(12.0)
    clock.mark("closed_at", 12.5)
    clock.mark("recognised_at", 12.5)
    trace = clock.agent_voiced(12.6, "x")
    assert trace is not None
    assert (trace.latency, trace.model) == (600.0, None)


def test_model_owns_the_time_until_its_first_sentence_is_complete() -> None:
    clock = TurnClock()
    clock.caller_stopped(10.0)
    clock.mark("closed_at", 10.5)
    clock.mark("recognised_at", 10.6)
    clock.mark("model_asked_at", 10.6)
    for at in (10.9, 11.2, 11.5):
        clock.model_wrote(10.6, at)
    clock.mark("synthesis_asked_at", 11.51)
    clock.model_wrote(10.6, 12.5)
    clock.mark("synthesised_at", 11.71)
    trace = clock.agent_voiced(11.74, "Hello.")
    assert trace is not None
    assert (trace.model, trace.added) == (900.0, 40.0)


def test_waits_that_overlap_count_once_and_web_servers_are_others() -> None:
    clock = TurnClock()
    clock.caller_stopped(10.0)
    clock.mark("recognised_at", 10.2)
    clock.mark("model_asked_at", 10.2)
    clock.mark("closed_at", 10.5)
    clock.model_wrote(10.2, 10.6)
    clock.waited(10.6, 11.6)
    clock.model_wrote(11.6, 12.0)
    clock.mark("synthesis_asked_at", 12.0)
    clock.mark("synthesised_at", 12.3)
    trace = clock.agent_voiced(12.32, "Hello.")
    assert trace is not None
    assert trace.added == 20.0


def silence(ms: int, rate_hz: int = 16_000) -> bytes:
    return bytes(rate_hz * ms // 1000 * 2)


def tone(ms: int, rate_hz: int = 16_000) -> bytes:
    return b"\0\x20\0\xe0" * (rate_hz * ms // 2000)


@pytest.mark.parametrize("piece_ms", [7, 20, 100, 1000])
@pytest.mark.parametrize("rate_hz", [8000, 16_000])
def test_silence_before_the_first_sound_is_measured_in_pieces_of_any_length(piece_ms: int, rate_hz: int) -> None:
    sound, lead = silence(300, rate_hz) + tone(700, rate_hz), LeadingSilence()
    step = rate_hz * piece_ms // 1000 * 2
    found = [lead.take(sound[start : start + step], rate_hz, 5.0) for start in range(0, len(sound), step)]
    assert next(at for at in found if at is not None) == pytest.approx(5.3)


def test_sound_that_comes_later_than_its_silence_lasts_is_audible_when_it_comes() -> None:
    lead = LeadingSilence()
    assert lead.take(silence(100), 16_000, 5.0) is None
    assert lead.take(tone(100), 16_000, 7.0) == 7.0
    assert lead.take(tone(100), 16_000, 7.5) == 7.5


def test_leading_silence_of_an_engine_is_not_ours() -> None:
    clock = a_turn()
    clock.synthesised_at = None
    audible_at = LeadingSilence().take(silence(400) + tone(100), 16_000, 11.0)
    assert audible_at is not None
    clock.mark("synthesised_at", audible_at)
    trace = clock.agent_voiced(11.44, "Hello.")
    assert trace is not None
    assert (trace.latency, trace.synthesis, trace.added) == (1440.0, 480.0, 60.0)
