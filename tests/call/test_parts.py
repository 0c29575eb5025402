"""Parts of a call, each by itself with the ports of a call that is not there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_call_ports import FakeCall, FakeMachine

from active_call.agent.effects import FinalForAgent
from active_call.base.errors import LocalProtocolError, MediaError
from active_call.call.call_time import CallTime
from active_call.call.dependencies import RecordingPolicy
from active_call.call.events.event_output import EventOutput
from active_call.call.events.journal import Journal
from active_call.call.items import Fatal, FromLeg
from active_call.call.opening.routing import Accepted, LeftOpen, Refused
from active_call.call.parties.executor import CallExecutor
from active_call.call.parties.machine import CallMachine
from active_call.call.parties.machine_types import Hold, Input, PeerHeld, Reject, Stage
from active_call.call.parties.own_leg import OnLeg, OwnLeg
from active_call.call.sound.call_progress import CallProgressWatch
from active_call.call.sound.media_watchdog import MediaWatchdog
from active_call.call.sound.recording import Recording
from active_call.call.state import Phase
from active_call.contract import events
from active_call.contract.options import AmbianceOption, CallOption, RingbackDetectionOption
from active_call.legs.events import LegEnded, LegHeld, LegMedia
from active_call.media.link import messages as link
from active_call.media.link.messages import MediaProblem, RecordingEnded, StreamDead, ToneReported
from active_call.media.receive.one_way_audio import NOTHING_S
from active_call.store.troubles import Troubles
from active_call.testing.fakes.call import FakeLeg, FakeStream
from active_call.testing.virtual_time import VirtualClock, run_virtually


def virtually(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    run_virtually(story())


def a_time() -> CallTime:
    return CallTime(VirtualClock(asyncio.get_running_loop()))


# -- media watchdog


def test_watchdog_keeps_a_problem_before_the_answer_and_tells_it_when_it_lasts() -> None:
    async def story() -> None:
        call = FakeCall()
        watchdog = MediaWatchdog(call.state.facts, call.ports, call.hang_up)
        watchdog.problem(MediaProblem(1, "nothing_received", "no sound"))
        watchdog.dead(StreamDead(1, 20.0))
        assert call.emitted == []
        call.state.facts.answered_at = datetime(2026, 1, 1, tzinfo=UTC)
        watchdog.answered()
        await asyncio.sleep(NOTHING_S + 0.1)
        call.work_off()
        assert call.emitted == [events.MediaProblem(problem="nothing_received", detail="no sound", over=False)]
        await asyncio.sleep(20)
        call.work_off()
        assert call.hung_up == [("system", "rtp_timeout", "no media from the peer for 40 s")]

    virtually(story)


# -- recording


def a_recording(call: FakeCall, *, policy: RecordingPolicy | None) -> tuple[Recording, Troubles]:
    troubles = Troubles()
    dependencies = SimpleNamespace(records=Records(), recording=policy, recordings=Path("/tmp"), troubles=troubles)
    return Recording(call.state, call.emitted.append, Journal(call.state.facts), dependencies), troubles  # type: ignore[arg-type]


def test_recording_begins_by_the_policy_and_goes_on_with_another_leg() -> None:
    async def story() -> None:
        call = FakeCall()
        recording, _ = a_recording(call, policy=RecordingPolicy(True, 8000, lambda _: Path("/tmp/call.ogg")))
        recording.begin_as_configured()
        assert not recording.is_running  # there is no stream yet
        call.leg.stream = first = FakeStream(lambda _: None)
        recording.begin_as_configured()
        call.state.leg = FakeLeg()
        call.state.leg.stream = second = FakeStream(lambda _: None)
        recording.pause(True)
        recording.go_on()
        assert (first.recordings, second.recordings) == (["/tmp/call.ogg"], ["/tmp/call-2.ogg"])
        assert second.recording_is_paused

    virtually(story)


def test_recording_that_fails_is_told_and_stands_among_the_troubles() -> None:
    call = FakeCall()
    recording, troubles = a_recording(call, policy=None)
    recording.ended(RecordingEnded(1, "/tmp/a.wav", 0.0, "disk full"))
    assert call.emitted == [events.Error(sender="recorder", error="disk full")]
    assert "disk full" in str(troubles.current())
    recording.ended(RecordingEnded(1, "/tmp/b.wav", 1.0, ""))
    assert not troubles.current()
    with pytest.raises(LocalProtocolError, match="no sound to record yet"):
        recording.pause(True)


# -- call progress


class Sounds:
    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails

    def pieces(self, source: str, rate_hz: int, *, repeat: bool = False) -> Any: ...

    async def whole(self, source: str, rate_hz: int) -> Path:
        if self.fails:
            raise MediaError(f"{source}: no such file")
        return Path("/tmp/rain.pcm")


def test_tone_is_told_when_it_changes_and_a_beep_as_an_answering_machine() -> None:
    async def story() -> None:
        call = FakeCall(option=CallOption(ringback_detection=RingbackDetectionOption(enabled=True)))
        progress = CallProgressWatch(call.state, call.ports, a_time(), None, call.emitted.append, lambda: False)
        for kind, confidence in (("ringback", 0.9), ("ringback", 0.9), ("busy", 0.2), ("busy", 0.9), ("beep", 0.9)):
            progress.heard(ToneReported(1, kind, confidence, 440.0, 500, 0.0))
        states = [(event.state, event.prev_state, event.is_final) for event in call.emitted if isinstance(event, events.RingbackState)]
        assert states == [("ringback", None, False), ("busy", "ringback", True)]
        assert [event.text for event in call.emitted if isinstance(event, events.AnswerMachineDetection)] == ["beep"]

    virtually(story)


def test_ambience_that_cannot_be_fetched_is_told_past_the_agent() -> None:
    async def story() -> None:
        call = FakeCall(option=CallOption(ambiance=AmbianceOption(path="rain.wav")))
        call.leg.stream = FakeStream(lambda _: None)
        told: list[events.Event] = []
        progress = CallProgressWatch(call.state, call.ports, a_time(), Sounds(fails=True), told.append, lambda: False)
        progress.begin_ambience()
        await call.settle()
        assert (told, call.emitted) == ([events.Error(sender="ambiance", error="rain.wav: no such file")], [])

    virtually(story)


# -- the executor of the call's machine


class Setup:
    accept_timeout_s = 30.0

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: self.asked.append(name)


class Attention:
    def claim(self, *_: object, **__: object) -> None: ...
    def release(self, *_: object) -> None: ...


def an_executor(call: FakeCall) -> tuple[CallExecutor, Setup]:
    setup = Setup()
    machine = CallMachine(is_inbound=True, accept_timeout_s=30.0)
    return CallExecutor(machine, call.state, call.ports, Attention(), setup, call.hang_up), setup  # type: ignore[arg-type]


def test_executor_keeps_the_option_of_the_first_accept_only() -> None:
    call = FakeCall()
    executor, setup = an_executor(call)
    executor.feed(Input.BEGIN)
    executor.accept(CallOption(caller="first"))
    with pytest.raises(LocalProtocolError, match="already being answered"):
        executor.accept(CallOption(caller="second"))
    assert call.state.own_option.caller == "first"
    assert setup.asked == ["ask_who_takes_it", "answer"]
    assert executor.deciding_until is None


def test_executor_rejects_once_the_time_is_over() -> None:
    call = FakeCall()
    executor, _ = an_executor(call)
    executor.feed(Input.BEGIN)
    executor.handle_timeout(29.9)
    assert call.leg.rejected is None
    executor.handle_timeout(30.0)
    assert call.leg.rejected == (408, "Request Timeout")
    assert call.state.facts.error == "nobody accepted the call within 30 s"


def test_executor_takes_back_a_reject_and_a_hold_that_the_leg_cannot_ask_for() -> None:
    call = FakeCall()
    executor, _ = an_executor(call)
    executor.feed(Input.BEGIN)
    with pytest.raises(LocalProtocolError):
        executor.feed(Reject(200, "OK"))
    assert (executor.now.is_ending, executor.deciding_until, call.emitted) == (False, 30.0, [])
    executor.feed(Input.LEG_ANSWERED)
    with pytest.raises(LocalProtocolError):
        executor.feed(Hold())  # the leg is not up
    assert not executor.now.wants_hold


def test_executor_carries_out_decisions_and_drops_late_ones(caplog: pytest.LogCaptureFixture) -> None:
    call = FakeCall()
    executor, setup = an_executor(call)
    executor.feed(Input.BEGIN)
    executor.decided(LeftOpen())
    executor.decided(Accepted(None, CallOption(), {"name": "Ann"}))  # type: ignore[arg-type]
    assert (call.state.facts.variables, call.state.given_texts) == ({"name": "Ann"}, ["Ann"])
    with caplog.at_level("INFO"):
        executor.decided(Refused(486, "Busy Here"))
    assert (call.leg.rejected, executor.now.stage) == (None, Stage.ANSWERING)
    assert "decision comes too late" in caplog.text
    executor.failed(Fatal(MediaError("no room"), 503))
    assert call.leg.rejected == (503, "Service Unavailable")
    assert setup.asked == ["ask_who_takes_it", "answer"]


# -- the call's own leg


class Transfers:
    def __init__(self, *, goes_on: bool = False, is_alone: bool = False) -> None:
        self.goes_on, self.is_alone, self.n_withdrawn = goes_on, is_alone, 0

    def caller_gone(self) -> bool:
        return self.goes_on

    def withdraw(self) -> None:
        self.n_withdrawn += 1


def an_own_leg(call: FakeCall, transfers: Transfers) -> tuple[OwnLeg, FakeMachine, Setup]:
    machine, asked = FakeMachine(), Setup()
    parts = OnLeg(machine, asked, asked, asked, asked, asked, lambda: transfers)  # type: ignore[arg-type]
    return OwnLeg(call.state, call.ports, Journal(call.state.facts), parts), machine, asked


def test_call_ends_with_its_leg_unless_a_transfer_goes_on() -> None:
    call, ended = FakeCall(), LegEnded(by="caller", cause="remote_bye")
    own, _, _ = an_own_leg(call, Transfers())
    own.is_over(ended)
    assert own.ended is ended
    own, _, _ = an_own_leg(call, Transfers(goes_on=True))
    own.is_over(ended)
    assert own.ended is None
    own.end_if_gone()
    assert own.ended is ended


def test_hang_up_while_only_the_target_is_called_withdraws_that_call() -> None:
    call, transfers = FakeCall(), Transfers(is_alone=True)
    own, machine, _ = an_own_leg(call, transfers)
    own.hang_up(by="client", cause="enough")
    assert (transfers.n_withdrawn, machine.fed, call.leg.ended) == (1, [], None)


def test_call_goes_on_with_the_leg_that_it_adopts() -> None:
    async def story() -> None:
        call, successor = FakeCall(), FakeLeg(call_id="new")
        before = call.leg
        own, machine, asked = an_own_leg(call, Transfers())
        own.adopt(successor, is_held=True)
        await call.settle()
        assert call.state.leg is successor
        assert machine.fed == [Input.LEG_REPLACED, PeerHeld(True)]
        assert asked.asked == ["leave_stream", "continue_with", "leg_changed", "go_on", "listen"]
        assert before.released
        assert call.state.facts.call_id == "fake-call-id"

    virtually(story)


def test_what_the_old_leg_told_is_not_taken_for_news_of_the_new_one() -> None:
    call, successor = FakeCall(), FakeLeg(call_id="new")
    before, recorded = call.leg, LegMedia(link.RecordingEnded(1, "/tmp/a.wav", 1000))
    own, _, _ = an_own_leg(call, Transfers())
    own.listen_to(before)
    before.sink(LegHeld(True))
    before.sink(LegMedia(link.CallerAudio(1, 0, b"")))
    before.sink(LegMedia(link.SentAudio(1, 0, b"")))
    call.state.leg = successor
    before.sink(LegMedia(link.CallerAudio(1, 0, b"")))
    before.sink(LegMedia(link.SentAudio(1, 0, b"")))
    told = LegHeld(True)
    sound = [LegMedia(link.CallerAudio(1, 0, b"")), LegMedia(link.SentAudio(1, 0, b""))]
    assert call.posted == [FromLeg(before, told), *sound]  # the sound of the old leg is dropped at once
    assert not own.concerns_call(before, told)
    assert own.concerns_call(successor, told)
    assert own.concerns_call(before, recorded)


# -- events


class Records:
    def __init__(self) -> None:
        self.updated = 0

    def update(self, _: object) -> None:
        self.updated += 1


def test_event_goes_to_the_log_the_watchers_and_the_agent_with_one_time_stamp() -> None:
    async def story() -> None:
        call, records, to_agent, seen = FakeCall(), Records(), [], []  # type: ignore[var-annotated]
        journal, time = Journal(call.state.facts), a_time()
        output = EventOutput(journal, time, records, call.ports.log, to_agent.append)  # type: ignore[arg-type]
        unwatch = output.watch(seen.append)
        subscription = output.event_log.subscribe()
        await asyncio.sleep(2)
        output.emit(events.Ringing())
        output.tell(events.Dtmf(digit="1"))
        unwatch()
        output.tell(events.Hangup(reason="bye"))
        stamp = time.to_epoch_ms(time.now())
        assert [event.timestamp for event in seen] == [stamp, stamp]
        assert [type(event).__name__ for event in to_agent] == ["Ringing"]
        assert [type(item.event).__name__ for item in subscription.take()] == ["Ringing", "Dtmf", "Hangup"]
        assert records.updated == 1
        late: list[events.Event] = []
        output.watch(late.append)
        assert [event.reason for event in late if isinstance(event, events.Hangup)] == ["bye"]

    virtually(story)


@pytest.mark.parametrize("is_secret", [False, True])
def test_text_of_utterances_together_is_for_the_agent_only(is_secret: bool) -> None:
    async def story() -> None:
        call, to_agent = FakeCall(), []  # type: ignore[var-annotated]
        output = EventOutput(Journal(call.state.facts), a_time(), Records(), call.ports.log, to_agent.append)  # type: ignore[arg-type]
        subscription = output.event_log.subscribe()
        output.is_secret = is_secret
        output.emit(FinalForAgent(index=2, text="five", start_time=7, end_time=8, whole_from=1, whole_text="four five"))
        (told,) = [item.event for item in subscription.take()]
        assert type(told) is events.AsrFinal, "utterance 1 may have been secret"
        assert [(event.text, event.whole_from, event.whole_text) for event in to_agent] == [("five", 1, "four five")]

    virtually(story)


def test_words_of_a_model_that_tells_no_times_began_with_the_voice() -> None:
    async def story() -> None:
        call, time = FakeCall(), a_time()
        output = EventOutput(Journal(call.state.facts), time, Records(), call.ports.log, lambda _: None)  # type: ignore[arg-type]
        subscription = output.event_log.subscribe()
        began_ms = time.to_epoch_ms(time.now())
        output.tell(events.Speaking(start_time=began_ms))
        await asyncio.sleep(1.5)
        output.tell(events.AsrFinal(index=1, text="yes"))
        output.tell(events.AsrFinal(index=2, text="no", start_time=7, end_time=8))
        times = [(item.event.start_time, item.event.end_time) for item in subscription.take() if isinstance(item.event, events.AsrFinal)]
        assert times == [(began_ms, time.to_epoch_ms(time.now())), (7, 8)]

    virtually(story)


def test_phase_of_the_facts_moves_forward_only() -> None:
    facts, now = FakeCall().state.facts, datetime(2026, 1, 1, tzinfo=UTC)
    assert facts.reach(Phase.ANSWERED, now)
    assert not facts.reach(Phase.RINGING, now)
    assert (facts.phase, facts.ringing_at) == (Phase.ANSWERED, None)
