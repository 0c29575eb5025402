"""Transfers with the ports of a call that is not there: what the executor asks of the call, and in which order."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from fake_call_ports import FakeCall, FakeMachine

from active_call.agent.playbook.parser import parse_playbook
from active_call.base.errors import ActiveCallError, LocalProtocolError, NotAllowed
from active_call.call.call_time import CallTime
from active_call.call.events.subscription import EventLog
from active_call.call.handle import CallHandle, describe
from active_call.call.parties.attention import Attention, Claim, Why
from active_call.call.parties.bridging import BridgeListener
from active_call.call.parties.machine_types import Input, TalkingWith, TransferBegins
from active_call.call.parties.parties import CONNECTED, WAITING, WITH_AGENT
from active_call.call.transfer.executor import TransferExecutor
from active_call.call.transfer.ports import TransferPorts
from active_call.contract import commands, events
from active_call.contract.options import CallOption, ReferOption, SipOption
from active_call.legs.events import LegAnswered, LegEnded, LegRinging, LegTransferProgress, LegTransferRequested
from active_call.legs.trunks.outbound_guard import ANYTHING, OutboundRequest
from active_call.testing.fakes.call import FakeLeg, FakeStream, join_fakes
from active_call.testing.virtual_time import VirtualClock, run_virtually

DESK = "sip:desk@example.com"


class FakeAttention:
    def __init__(self) -> None:
        self.state = Attention()

    def claim(self, why: Why, *, hears: bool = False, music: Any = None) -> None:
        self.state = self.state.with_claim(Claim(why, hears, music))

    def release(self, why: Why) -> None:
        self.state = self.state.without(why)


class FakeBridging:
    def __init__(self) -> None:
        self.listener: BridgeListener | None = None
        self.parted: list[str] = []

    def invite(self, other: CallHandle, listener: BridgeListener) -> str:
        self.listener = listener
        return "bridge"

    def is_in(self, bridge_id: str) -> bool:
        return bridge_id == "bridge" and not self.parted

    def part(self, reason: str) -> None:
        self.parted.append(reason)


class Silence:
    """Music that nobody hears."""

    def start(self, why: str, source: str | None = None) -> None:
        pass

    def stop(self, why: str) -> None:
        pass


class Bench:
    """A transfer executor and everything around it."""

    def __init__(self) -> None:
        self.call, self.machine = FakeCall(), FakeMachine()
        self.call.leg.stream = FakeStream(lambda _: None)
        self.attention, self.bridging = FakeAttention(), FakeBridging()
        self.target = FakeLeg(call_id="far")
        self.target.stream = FakeStream(lambda _: None)
        self.wanted: list[CallOption] = []
        self.error: ActiveCallError | None = None
        self.calls: dict[str, CallHandle] = {}
        self.adopted: list[object] = []
        self.transfers = TransferExecutor(
            TransferPorts(
                state=self.call.state,
                call=self.call.ports,
                time=CallTime(VirtualClock(asyncio.get_running_loop())),
                tell=self.call.emitted.append,
                hang_up=self.call.hang_up,
                network=self,
                machine=self.machine,
                attention=self.attention,  # type: ignore[arg-type]
                bridging=self.bridging,  # type: ignore[arg-type]
                engines=None,  # type: ignore[arg-type]
                join=join_fakes,  # type: ignore[arg-type]
                make_music=lambda _: Silence(),  # type: ignore[arg-type, return-value]
                adopt=lambda leg, *, is_held: self.adopted.append(leg),
                end_if_gone=lambda: self.adopted.append("end"),
            )
        )

    def find(self, session_id: str) -> CallHandle | None:
        return self.calls.get(session_id)

    def new_leg(self, option: CallOption, request: OutboundRequest = ANYTHING) -> FakeLeg:
        self.wanted.append(option)
        if self.error is not None:
            raise self.error
        return self.target

    def check_outbound(self, callee: str, request: OutboundRequest) -> object:
        if request.by == "agent" and not request.is_listed:
            raise NotAllowed(f"{callee} is not listed", rule="outbound_target")
        return None

    def way_out(self, trunk: str) -> str:
        return ""

    def refer(self, mode: str = "bridge", **option: Any) -> None:
        self.transfers.start(commands.Refer(callee=DESK, options=ReferOption(mode=mode, **option)))

    def from_target(self, *told: Any) -> None:
        for event in told:
            self.target.sink(event)
        self.call.work_off()

    @property
    def states(self) -> list[str]:
        return [event.state for event in self.call.emitted if isinstance(event, events.Transfer)]


def virtually(story: Callable[[Bench], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        bench = Bench()
        try:
            await story(bench)
        finally:
            bench.call.close()

    run_virtually(run())


def test_target_that_answers_is_joined_and_the_caller_returns_when_it_hangs_up() -> None:
    async def story(bench: Bench) -> None:
        bench.target.is_silent = True
        bench.refer()
        assert bench.machine.fed == [TransferBegins()]
        assert bench.attention.state.has(Why.TRANSFER_MUSIC)
        assert bench.transfers.mix == WAITING
        await bench.call.settle()
        bench.from_target(LegRinging(early_media=False), LegAnswered(""))
        await bench.call.settle()
        assert bench.states == ["calling", "progress", "connected"]
        assert bench.transfers.mix == CONNECTED
        assert not bench.attention.state.claims
        assert isinstance(bench.call.leg.stream, FakeStream)
        assert bench.call.leg.stream.hears == {bench.target.stream}
        bench.from_target(LegEnded(by="callee", cause="remote_bye"))
        assert bench.states[-1] == "completed"
        assert bench.machine.fed[1:] == [Input.CALLER_RETURNED, Input.TRANSFER_OVER]
        assert (bench.machine.now.talking_with, bench.transfers.mix) == (TalkingWith.AGENT, None)

    virtually(story)


def test_extra_headers_are_sent_in_the_refer_besides_those_of_sip(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(bench: Bench) -> None:
        sent: list[dict[str, str]] = []
        monkeypatch.setattr(FakeLeg, "refer", lambda _leg, _target, headers, **_: sent.append(headers))
        bench.refer("refer", sip=SipOption(headers={"X-A": "1", "X-B": "1"}), extra_headers={"X-B": "2"})
        assert sent == [{"X-A": "1", "X-B": "2"}]

    virtually(story)


def test_relay_that_is_made_as_the_call_ends_is_closed() -> None:
    async def story(bench: Bench) -> None:
        bench.target.is_silent = True
        bench.refer()
        await bench.call.settle()
        bench.from_target(LegAnswered(""))
        for _ in range(3):
            await asyncio.sleep(0)
        assert isinstance(bench.call.leg.stream, FakeStream)
        assert bench.call.leg.stream.hears == {bench.target.stream}
        await bench.transfers.close()  # what the mailbox holds is not handled any more
        assert bench.call.leg.stream.hears == bench.target.stream.hears == set()  # type: ignore[union-attr]

    virtually(story)


def test_second_transfer_is_refused_while_one_is_under_way() -> None:
    async def story(bench: Bench) -> None:
        bench.target.is_silent = True
        bench.refer()
        with pytest.raises(LocalProtocolError, match=r"a transfer to .* is already in progress"):
            bench.refer()
        bench.machine.machine.receive(Input.TRANSFER_OVER)
        bench.machine.feed(Input.BRIDGE_BEGINS)
        with pytest.raises(LocalProtocolError, match="the call is bridged"):
            bench.refer()

    virtually(story)


def test_target_that_must_not_be_called_is_a_403_and_nothing_is_sent() -> None:
    async def story(bench: Bench) -> None:
        with pytest.raises(NotAllowed):
            bench.transfers.start(commands.Refer(callee=DESK), asked_by="agent")
        (told,) = bench.call.emitted
        assert isinstance(told, events.Transfer)
        assert (told.state, told.code, told.returned) == ("failed", 403, True)
        assert (bench.machine.fed, bench.wanted) == ([], [])

    virtually(story)


def test_address_that_cannot_be_dialled_fails_the_transfer_with_484() -> None:
    async def story(bench: Bench) -> None:
        bench.error = LocalProtocolError("no address")
        bench.refer()
        last = bench.call.emitted[-1]
        assert isinstance(last, events.Transfer)
        assert (last.state, last.code, last.returned) == ("failed", 484, True)
        assert not bench.transfers.is_under_way

    virtually(story)


def test_refer_that_succeeds_hangs_up_and_the_caller_stays_away_from_the_agent() -> None:
    async def story(bench: Bench) -> None:
        bench.call.leg.direction, bench.call.leg.answered = "inbound", True
        bench.refer("refer")
        bench.transfers.progress(LegTransferProgress(200, "OK", final=True))
        assert bench.states == ["referring", "completed"]
        assert bench.call.hung_up == [("agent", "transferred", "")]
        assert Input.CALLER_RETURNED not in bench.machine.fed

    virtually(story)


def test_attended_transfer_bridges_by_the_handle_of_the_other_call() -> None:
    async def story(bench: Bench) -> None:
        other = FakeCall("s.desk")
        described = describe(other.state.facts, other.leg, WITH_AGENT, "")
        bench.calls["s.desk"] = CallHandle("s.desk", lambda _: None, lambda _: asyncio.Future(), EventLog().subscribe, lambda: described)
        bench.refer(call_id="s.desk")
        bench.call.work_off()
        assert bench.bridging.listener is not None
        bench.bridging.listener.joined()
        assert bench.states == ["calling", "connected"]
        assert bench.transfers.records()[0]["farLegs"] == [{"sessionId": "s.desk"}]
        bench.transfers.withdraw()
        assert (bench.bridging.parted, bench.states[-1]) == (["cancelled"], "completed")

    virtually(story)


@pytest.mark.parametrize(
    ("source", "given", "is_allowed"),
    [
        ("", [], False),
        ("Say hello.", [], False),  # its Call-ID was chosen by the caller
        ("", ["hello"], True),
        ("", ["hello there"], False),
        ('<refer to="sip:desk@example.com" callId="hello"/>', [], True),
        ("callId: hello", [], True),
        ('callId="hello.world"', [], False),
    ],
)
def test_agent_does_not_connect_its_caller_to_a_call_that_its_author_did_not_name(source: str, given: list[str], is_allowed: bool) -> None:
    async def story(bench: Bench) -> None:
        other = FakeCall("s.desk")
        described = describe(other.state.facts, other.leg, WITH_AGENT, "")
        bench.calls["hello"] = CallHandle("s.desk", lambda _: None, lambda _: asyncio.Future(), EventLog().subscribe, lambda: described)
        text = f"---\nllm: {{model: m}}\n---\nTalk. {source}\n"
        bench.call.state.playbook = parse_playbook(text, file="p.md", environment={})
        bench.call.state.given_texts = given
        command = commands.Refer(callee="sip:+19005550100@anywhere.example", options=ReferOption(mode="bridge", call_id="hello"))
        if is_allowed:
            bench.transfers.start(command, asked_by="agent")
            bench.call.work_off()
            assert bench.bridging.listener is not None
            return
        with pytest.raises(NotAllowed) as refused:
            bench.transfers.start(command, asked_by="agent")
        assert refused.value.rule == "outbound_target"
        assert bench.states == ["failed"] and bench.bridging.listener is None

    virtually(story)


@pytest.mark.parametrize(
    ("caller", "shown"),
    [
        ("911", None),
        ("+15550911", None),
        ('"The Bank" <sip:+15550911@bank.example>', None),
        ("+15550100", "+15550100"),
        ('"Harbour Bakery" <+15550100>', '"Harbour Bakery" <+15550100>'),
        ("+1555010", None),
        ("given", "given"),
    ],
)
def test_agent_shows_no_number_that_neither_its_author_wrote_nor_the_call_has(caller: str, shown: str | None) -> None:
    async def story(bench: Bench) -> None:
        text = f"---\nllm: {{model: m}}\n---\nTransfer to {DESK}. Our number is +15550100.\n"
        bench.call.state.playbook = parse_playbook(text, file="p.md", environment={})
        bench.call.state.given_texts = ["given"]
        command = commands.Refer(callee=DESK, caller=caller, options=ReferOption(mode="bridge"))
        bench.transfers.start(command, asked_by="agent")
        bench.transfers.withdraw()
        bench.transfers.start(command)
        (agents, clients) = bench.wanted
        assert (agents.caller if shown is not None else None, clients.caller) == (shown, caller)
        assert agents.caller != caller or shown is not None

    virtually(story)


def test_target_is_not_called_in_the_place_of_an_attended_call_that_is_over() -> None:
    async def story(bench: Bench) -> None:
        other = FakeCall("s.desk")
        facts = [describe(other.state.facts, other.leg, WITH_AGENT, "")]
        facts[0] = msgspec.structs.replace(facts[0], attended_target="sip:desk@10.0.0.1?Replaces=x")
        gone = msgspec.structs.replace(facts[0], attended_target="")
        told = iter([facts[0], facts[0], gone, gone, gone])
        bench.calls["s.desk"] = CallHandle("s.desk", lambda _: None, lambda _: asyncio.Future(), EventLog().subscribe, lambda: next(told))
        bench.call.leg.direction, bench.call.leg.answered = "inbound", True
        bench.refer("refer", call_id="s.desk")
        assert bench.call.leg.referred_to == []
        assert bench.states[-1] == "failed"

    virtually(story)


def test_refer_of_a_peer_is_declined_unless_the_options_say_otherwise() -> None:
    async def story(bench: Bench) -> None:
        leg = bench.call.leg
        leg.direction, leg.answered = "inbound", True
        leg.attach(lambda event: bench.transfers.requested(event) if isinstance(event, LegTransferRequested) else None)
        leg.sink(LegTransferRequested(DESK, None))
        assert (leg.transfers_answered, bench.machine.fed) == ([False], [])
        bench.call.state.option = CallOption(refer=ReferOption(on_request="bridge"))
        bench.target.is_silent = True
        leg.sink(LegTransferRequested(DESK, None))
        await bench.call.settle()
        bench.transfers.caller_gone()
        assert bench.transfers.is_alone
        bench.from_target(LegAnswered(""))
        assert bench.adopted == [bench.target]
        assert bench.states[-1] == "completed"

    virtually(story)


def test_leg_with_replaces_takes_over_and_one_that_is_gone_changes_nothing() -> None:
    async def story(bench: Bench) -> None:
        gone, comes = FakeLeg(call_id="gone"), FakeLeg(call_id="comes")
        bench.transfers.taken_over(gone)
        assert bench.machine.now.talking_with is TalkingWith.TAKEOVER
        gone.sink(LegEnded(by="caller", cause="cancelled", code=487))
        bench.call.work_off()
        assert (bench.states, bench.adopted) == (["progress", "failed"], ["end"])
        bench.transfers.taken_over(comes)
        comes.sink(LegAnswered(""))
        bench.call.work_off()
        assert (bench.states[2:], bench.adopted[1:]) == (["progress", "completed"], [comes, "end"])
        assert [entry["state"] for entry in bench.transfers.records()] == ["failed", "completed"]

    virtually(story)
