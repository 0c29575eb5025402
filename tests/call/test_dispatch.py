"""What commands and reports of the leg ask of the parts, with parts that only write down what they are asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from fake_call_ports import FakeCall

from active_call.base.errors import ActiveCallError, LocalProtocolError
from active_call.call.dispatch import COMMANDS, Commanded, carry_out
from active_call.call.events.leg_reports import LegReports, ReportedTo
from active_call.call.events.quality_series import QualitySeries
from active_call.call.parties.attention import Why
from active_call.call.parties.machine_types import CallStates, Hold, HoldAnswered, Input, PeerHeld, Reject, Stage
from active_call.contract import commands, events
from active_call.contract.options import CallOption
from active_call.legs import events as leg_events
from active_call.media.link import messages as link
from active_call.media.pool.pool import StreamLost
from active_call.testing.fakes.call import FakeLeg


class Part:
    """Writes down each method that is called, with its positional arguments."""

    def __init__(self, name: str, asked: list[tuple[Any, ...]], **values: object) -> None:
        self._name, self._asked = name, asked
        vars(self).update(values)

    def __getattr__(self, method: str) -> Callable[..., None]:
        return lambda *args, **_: self._asked.append((f"{self._name}.{method}", *args))


class Bench:
    def __init__(self) -> None:
        self.call = FakeCall()
        self.asked: list[tuple[Any, ...]] = []
        self.machine = self.part("machine", now=CallStates(True, Stage.ANSWERED))
        self.transfers = self.part("transfers", is_alone=False)
        self.quality = QualitySeries()
        self.turn = SimpleNamespace(agent_voiced=lambda *_: None)

    def part(self, name: str, **values: object) -> Any:
        return Part(name, self.asked, **values)

    def commanded(self) -> Commanded:
        parts = (self.part(name) for name in ("attention", "speech_output", "recording", "bridging"))
        return Commanded(self.call.state, self.call.ports, self.machine, *parts, self.transfers, self.call.hang_up)  # type: ignore[call-arg]

    def reports(self) -> LegReports:
        names = ("speech_input", "speech_output", "overlap", "call_progress", "answering", "media_watchdog", "recording")
        parts = (self.part(name) for name in names)
        time: Any = SimpleNamespace(utc_now=lambda: datetime(2026, 1, 1, tzinfo=UTC), to_epoch_ms=lambda at: int(at * 1000))
        over = self.part("leg").is_over
        reported_to = ReportedTo(self.machine, *parts, self.transfers, self.turn, self.call.hang_up, over, self.quality)  # type: ignore[call-arg, arg-type]
        return LegReports(self.call.state, self.call.ports, time, reported_to)


OPTION = CallOption(caller="1")


@pytest.mark.parametrize(
    ("command", "asked"),
    [
        (commands.Accept(option=OPTION), ("machine.accept_by_client", OPTION)),
        (commands.Reject(code=486, reason="Busy"), ("machine.feed", Reject(486, "Busy"))),
        (commands.Hold(mode="inactive", moh="m.wav"), ("machine.feed", Hold("inactive", "m.wav"))),
        (commands.Unhold(), ("machine.feed", Input.UNHOLD)),
        (commands.Pause(), ("attention.claim", Why.PAUSED)),
        (commands.Resume(), ("attention.release", Why.PAUSED)),
        (commands.Bridge(target_session_id="s.2"), ("bridging.bridge", "s.2")),
        (commands.Unbridge(), ("bridging.unbridge", None)),
        (commands.Record(action="pause"), ("recording.pause", True)),
        (commands.Record(action="start"), ("recording.begin",)),
        (commands.Interrupt(), ("speech_output.interrupt",)),
        (commands.Hangup(refer=True), ("transfers.withdraw",)),
    ],
)
def test_command_asks_its_part(command: commands.Command, asked: tuple[Any, ...]) -> None:
    bench = Bench()
    carry_out(bench.commanded(), command)
    assert bench.asked == [asked]


def test_every_command_of_a_call_is_in_the_table() -> None:
    known = {kind for kind in commands.CommandBase.__subclasses__() if kind.__module__ == commands.__name__}
    assert known - set(COMMANDS) == {commands.Refer, commands.Invite}  # a transfer is checked apart; a call is placed by the API
    assert set(COMMANDS) <= known


def test_refer_says_on_whose_behalf_it_is() -> None:
    bench, seen = Bench(), []  # type: ignore[var-annotated]
    bench.transfers.start = lambda command, *, asked_by: seen.append((command.callee, asked_by))
    carry_out(bench.commanded(), commands.Refer(callee="sip:a@b"), asked_by="agent")
    assert seen == [("sip:a@b", "agent")]


def test_commands_that_cannot_be_carried_out_raise() -> None:
    bench = Bench()
    call = bench.commanded()
    for command, reason in (
        (commands.Mute(), "no media stream"),
        (commands.Record(action="rewind"), "^action: expected one of .*, found 'rewind'"),
    ):
        with pytest.raises(ActiveCallError, match=reason):
            carry_out(call, command)
    bench.machine.now = CallStates(True, Stage.ANSWERED, is_ending=True)
    with pytest.raises(LocalProtocolError, match="already ending"):
        carry_out(call, commands.Hangup())
    assert bench.call.hung_up == [("client", "hangup", "")]


@pytest.mark.parametrize(
    "command",
    [
        commands.Refer(callee="sip:a@b"),
        commands.Bridge(target_session_id="s.2"),
        commands.Tts(text="Hello."),
        commands.Play(url="a.wav"),
        commands.Message(body="Hello."),
        commands.Dtmf(digits="1"),
        commands.Hold(),
    ],
)
def test_nothing_begins_after_the_hangup_of_a_client(command: commands.Command) -> None:
    """The target of a transfer would ring for nobody."""
    bench = Bench()
    bench.machine.now = CallStates(True, Stage.ANSWERED, is_ending=True)
    with pytest.raises(LocalProtocolError, match="the call is ending"):
        carry_out(bench.commanded(), command)
    assert bench.asked == [] and bench.call.emitted == []


def test_answer_is_told_once_and_starts_what_waits_for_it() -> None:
    bench = Bench()
    reports = bench.reports()
    reports.handle(leg_events.LegAnswered("v=0"))
    reports.handle(leg_events.LegAnswered("v=0"))
    reports.handle(leg_events.LegRinging(early_media=False))
    assert bench.call.emitted == [events.Answer(sdp="v=0")]
    assert bench.asked == [("machine.feed", Input.LEG_ANSWERED), ("media_watchdog.answered",), ("recording.begin_as_configured",)]


def test_holds_go_to_the_machine_and_to_the_transfers() -> None:
    bench = Bench()
    reports = bench.reports()
    reports.handle(leg_events.LegHeld(True, is_silent=True))
    reports.handle(leg_events.LegHoldAnswered(False, 488))
    assert bench.asked == [("machine.feed", PeerHeld(True)), ("transfers.caller_held", True), ("machine.feed", HoldAnswered(False, 488))]


def test_press_that_comes_by_two_ways_is_one_digit_and_counts_as_activity() -> None:
    bench = Bench()
    reports = bench.reports()
    bench.call.now_s = 7.0
    reports.handle(leg_events.LegDigit("5"))
    reports.handle_media(link.DigitReceived(1, "5", 100, 0.0))
    assert bench.call.emitted == [events.Dtmf(digit="5")]
    assert bench.call.state.last_activity_at == 7.0
    assert bench.asked == [("transfers.forward_digit", "5")]


def test_media_process_that_is_lost_and_media_that_cannot_be_configured_end_the_call() -> None:
    for report, cause in (
        (StreamLost(1, "killed"), "media_lost"),
        (link.OrderRefused(1, "ConfigureRtp", "no codec"), "no_media"),
    ):
        bench = Bench()
        bench.reports().handle_media(report)
        assert [how for _, how, _ in bench.call.hung_up] == [cause]
        assert bench.call.state.facts.error


@pytest.mark.parametrize(
    ("fails", "told"), [(False, events.Answer(sdp="v=0 new")), (True, events.Error(sender="command", error="renegotiate: no"))]
)
def test_new_offer_of_the_peer_is_answered_by_an_event(fails: bool, told: events.Event) -> None:
    class Browser(FakeLeg):
        ice_tag = ""

        async def renegotiate(self, offer: str) -> str:
            if fails:
                raise LocalProtocolError("no")
            return f"{offer} new"

        async def take_fragment(self, fragment: str) -> str:
            return fragment

    async def story() -> None:
        bench = Bench()
        with pytest.raises(LocalProtocolError, match="cannot accept another offer"):
            carry_out(bench.commanded(), commands.Renegotiate(offer="v=0"))
        bench.call.state.leg = Browser()
        carry_out(bench.commanded(), commands.Renegotiate(offer="v=0"))
        await bench.call.settle()
        assert bench.call.emitted == [told]

    asyncio.run(story())


def test_quality_of_the_stream_goes_into_the_series_of_the_call() -> None:
    bench = Bench()
    bench.reports().handle_media(link.QualityReported(1, 5.0, 250, 3, 1, 4.0))
    (sample,) = bench.quality.samples()
    assert (sample.timestamp, sample.received, sample.lost, sample.late) == (5000, 250, 3, 1)
    assert bench.asked == []


def test_variable_named_as_a_header_is_one_of_our_bye_without_an_agent_too() -> None:
    bench = Bench()
    carry_out(bench.commanded(), commands.SetVar(key="X-Ticket", value=4711))
    carry_out(bench.commanded(), commands.SetVar(key="ticket", value=4711))
    assert bench.call.state.bye_headers == {"X-Ticket": "4711"}
    assert bench.call.state.facts.variables == {"X-Ticket": 4711, "ticket": 4711}
