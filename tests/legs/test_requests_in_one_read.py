"""Several messages of one call in one read: whatever they are, the call ends once, and nothing of it stays.

The far end's messages are kept back and given to the endpoint all at once, as one segment of a stream or as datagrams of one wake-up,
before anything is drained: by the time the leg hears of the first, the last may have ended the call.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from ipaddress import ip_network
from typing import Any

import pytest
from far_end import AGES_S, Habits, Party
from hypothesis import given
from hypothesis import strategies as st
from leg_stories import OPTION
from msgspec.structs import force_setattr
from sip_far_end import FLOW, PEER, US, SipFarEnd, SipStage

from active_call.base.errors import ActiveCallError
from active_call.legs.events import LegEnded, LegEvent
from active_call.legs.sip.dialling import DialPlan
from active_call.legs.trunks.policy import TrunkPolicy, Trunks
from active_call.sdp.negotiation import SrtpPolicy
from active_call.sip.access.access_list import AdmissionPolicy, TrunkAccess
from active_call.sip.access.request_admission import RequestAdmission
from active_call.sip.events import EndpointConfig, Flow, InternalFault, Listener, SipEvent
from active_call.testing.virtual_time import run_virtually

STREAM = Flow("tcp", US, PEER, 1)
BODIES = {"INFO": (b"Signal=1\r\nDuration=100\r\n", "application/dtmf-relay"), "MESSAGE": (b"hello", "text/plain")}
EXTRAS = {
    "REFER": (("Refer-To", "<sip:other@192.0.2.7>"),),
    "NOTIFY": (("Event", "refer"), ("Subscription-State", "active;expires=60")),
    "PRACK": (("RAck", "1 101 INVITE"),),
}
REQUESTS = ("INFO", "INVITE", "MESSAGE", "UPDATE", "REFER", "NOTIFY", "PRACK", "OPTIONS", "BYE", "FOO", "INVITE without sound")
MOVES = (*REQUESTS, "CANCEL", "ACK", "answers", "refuses", "rings")


class Stage(SipStage):
    """A stage whose wire can be held: what the far end sends meanwhile arrives in one read."""

    def __init__(self, *, is_stream: bool, srtp: SrtpPolicy | None = None) -> None:
        super().__init__()
        self._is_stream = is_stream
        self.is_held = False
        self.held: list[bytes] = []
        trunk = TrunkPolicy("carrier", srtp=srtp, networks=(ip_network("192.0.2.0/24"),))
        admission = RequestAdmission(AdmissionPolicy((TrunkAccess("carrier", networks=(ip_network("192.0.2.0/24"),)),)))
        self._endpoint._core.admission = admission
        self._endpoint._core.config = EndpointConfig(listeners=(Listener("udp", US, US), Listener("tcp", US, US)), user_agent="active-call")
        self._endpoint.set_listeners(self._endpoint._core.config.listeners)
        force_setattr(self._gateway.settings, "dial_plan", DialPlan(Trunks((trunk,))))
        self.calls: list[tuple[Any, list[LegEvent]]] = []
        """Calls that nobody waits for, and what they have told: an INVITE without our tag is a call of its own."""
        self.faults: list[SipEvent] = []
        take = self._endpoint.take_events
        self._endpoint.take_events = lambda: self._noted(take())  # type: ignore[method-assign]

    def _on_incoming(self, leg: Any) -> None:
        if self._incoming is not None and not self._incoming.done():
            super()._on_incoming(leg)
            return
        told: list[LegEvent] = []
        self.calls.append((leg, told))
        leg.attach(told.append)

    def end_calls(self) -> None:
        for leg, _ in self.calls:
            leg.hang_up(headers={}, by="agent", cause="goodbye", reason="")

    def _noted(self, events: list[SipEvent]) -> list[SipEvent]:
        self.faults += [event for event in events if isinstance(event, InternalFault)]
        return events

    def send(self, data: bytes) -> None:
        if self.is_held:
            self.held.append(data)
        elif self._is_stream:
            self._put_on_wire(lambda: self.run(lambda now: self._endpoint.receive_stream(data, STREAM, now)))
        else:
            super().send(data)

    def read_at_once(self) -> None:
        held, self.held, self.is_held = self.held, [], False
        self.run(lambda now: self._take(held, now))

    def _take(self, held: list[bytes], now: float) -> None:
        if self._is_stream:
            self._endpoint.receive_stream(b"".join(held), STREAM, now)
            return
        for data in held:
            self._endpoint.receive_datagram(data, FLOW, now)

    def leftovers(self) -> list[str]:
        n = self._endpoint.n_transactions
        return super().leftovers() + ([f"{n} transactions"] if n else []) + [str(fault) for fault in self.faults]


def move(far: Any, name: str) -> None:
    """Send one message, whatever state the call is in."""
    method = name.partition(" ")[0]
    if name == "CANCEL":
        far.cancels() if far._own_invite[0] else None
    elif name == "ACK":
        far.confirms()
    elif name == "answers":
        if far._invite is not None:
            far._answer()
    elif name == "refuses":
        if far._invite is not None:
            far._refuse(486, "Busy Here")
    elif name == "rings":
        far.rings_again()
    elif far._theirs:
        sound = far._sdp() if method in ("INVITE", "UPDATE") and "without" not in name else b""
        body, kind = BODIES.get(method, (sound, "application/sdp"))
        far._request(method, body, kind=kind, extra=EXTRAS.get(method, ()))


async def brought_to(stage: Stage, state: str) -> Party:
    """A call in that state, the wire held."""
    if state in ("offered", "ringing", "answered", "up"):
        party = await stage.incoming(Habits(confirms=state == "up"))
        if state == "ringing":
            await party.leg.ring()
        elif state != "offered":
            asyncio.get_running_loop().create_task(quietly(party.leg.accept(OPTION)))
    else:
        party = await stage.outgoing(Habits(never_answers=state != "up outbound"))
        asyncio.get_running_loop().create_task(quietly(party.leg.dial(OPTION)))
        await asyncio.sleep(0 if state == "dialling" else 3.0)
    await asyncio.sleep(0.1)
    stage.is_held = True
    return party


async def quietly(doing: Any) -> None:
    with contextlib.suppress(ActiveCallError):
        await doing


STATES = ("offered", "ringing", "answered", "up", "dialling", "ringing outbound", "up outbound")


def play(story: Any, caplog_errors: list[logging.LogRecord]) -> None:
    failures: list[dict[str, Any]] = []

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
        await story()

    handler = logging.Handler()
    handler.emit = lambda record: caplog_errors.append(record) if record.levelno >= logging.ERROR else None  # type: ignore[method-assign]
    logging.getLogger("active_call").addHandler(handler)
    try:
        run_virtually(run())
    finally:
        logging.getLogger("active_call").removeHandler(handler)
    assert failures == []
    assert [record.getMessage() for record in caplog_errors] == []


async def check_end(stage: Stage, party: Party) -> None:
    await asyncio.sleep(1.0)
    party.hang_up()
    stage.end_calls()
    await asyncio.sleep(AGES_S)
    await party.leg.release()
    for _, told in stage.calls:
        assert [type(event) for event in told].count(LegEnded) == 1
    assert party.kinds.count("Ended") == 1
    assert party.kinds[-1] == "Ended"
    assert stage.leftovers() == []
    assert all(stream.closed for stream in stage.streams)


@pytest.mark.parametrize("is_stream", [False, True], ids=["datagrams", "stream"])
@given(
    state=st.sampled_from(STATES),
    moves=st.lists(st.sampled_from(MOVES), min_size=1, max_size=6),
    srtp=st.sampled_from((None, SrtpPolicy.PREFERRED)),
)
def test_any_messages_in_one_read_end_the_call_once_and_leave_nothing(
    is_stream: bool, state: str, moves: list[str], srtp: SrtpPolicy | None
) -> None:
    async def story() -> None:
        stage = Stage(is_stream=is_stream, srtp=srtp)
        party = await brought_to(stage, state)
        for name in moves:
            move(party.far, name)
        stage.read_at_once()
        await check_end(stage, party)

    play(story, [])


@pytest.mark.parametrize("is_stream", [False, True], ids=["datagrams", "stream"])
@pytest.mark.parametrize("state", ["up", "up outbound"])
@pytest.mark.parametrize("first", REQUESTS)
def test_request_and_bye_in_one_read_end_the_call_once(is_stream: bool, state: str, first: str) -> None:
    async def story() -> None:
        stage = Stage(is_stream=is_stream)
        party = await brought_to(stage, state)
        move(party.far, first)
        move(party.far, "BYE")
        stage.read_at_once()
        await asyncio.sleep(0.1)
        assert party.end.cause == "remote_bye"
        await check_end(stage, party)

    play(story, [])


@pytest.mark.parametrize("is_stream", [False, True], ids=["datagrams", "stream"])
@pytest.mark.parametrize("srtp", [None, SrtpPolicy.REQUIRED, SrtpPolicy.OFF])
@pytest.mark.parametrize("moves", [("CANCEL",), ("CANCEL", "CANCEL"), ("BYE",), ("INVITE", "CANCEL"), ()])
def test_invite_and_what_ends_it_in_one_read_leave_nothing(is_stream: bool, srtp: SrtpPolicy | None, moves: tuple[str, ...]) -> None:
    async def story() -> None:
        stage = Stage(is_stream=is_stream, srtp=srtp)
        stage.is_held = True
        far = stage._far_ends["call-1@peer"] = SipFarEnd(stage, Habits(), "call-1@peer")
        far.invites()
        for name in moves:
            move(far, name)
        stage.read_at_once()
        await asyncio.sleep(1.0)
        stage.end_calls()
        await asyncio.sleep(AGES_S)
        for _, told in stage.calls:
            assert [type(event) for event in told].count(LegEnded) == 1
        assert bool(stage.calls) == (srtp is not SrtpPolicy.REQUIRED)  # refused by the gateway itself, which needs no leg
        assert stage.leftovers() == []

    play(story, [])


@pytest.mark.parametrize("operation", ["hang_up", "reject"])
def test_end_that_was_lost_is_told_by_the_next_attempt_to_end_it(operation: str) -> None:
    async def story() -> None:
        stage = Stage(is_stream=False)
        party = await brought_to(stage, "offered")
        stage.is_held = False
        stage._endpoint.hang_up(party.leg.call_handle, 0.0)  # type: ignore[attr-defined]
        stage._endpoint.take_events()
        if operation == "hang_up":
            party.hang_up()
        else:
            assert party.leg.reject(486, "Busy Here") is False
        await asyncio.sleep(0.1)
        assert party.kinds == ["Ended"]
        await asyncio.sleep(AGES_S)
        assert stage.leftovers() == []

    play(story, [])


def test_error_in_one_event_ends_its_call_and_leaves_the_others_of_the_read_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        stage = Stage(is_stream=True)
        broken = await brought_to(stage, "up")
        stage.is_held = False
        other = await brought_to(stage, "up")
        monkeypatch.setattr(broken.leg._requests, "received", lambda *_: 1 / 0)  # type: ignore[attr-defined]
        move(broken.far, "INFO")
        move(other.far, "MESSAGE")
        move(other.far, "BYE")
        stage.read_at_once()
        await asyncio.sleep(0.1)
        assert (broken.end.by, broken.end.cause) == ("system", "error")
        assert other.end.cause == "remote_bye"
        assert "Message" in other.kinds
        await asyncio.sleep(AGES_S)
        assert broken.seen.is_over
        assert stage.leftovers() == []

    errors: list[logging.LogRecord] = []
    with pytest.raises(AssertionError, match="could not be handled"):
        play(story, errors)
    assert len(errors) == 1


def test_error_in_an_alarm_of_a_call_ends_it_and_no_other() -> None:
    async def story() -> None:
        stage = Stage(is_stream=False)
        broken = await brought_to(stage, "up")
        stage.is_held = False
        other = await brought_to(stage, "up")
        stage.is_held = False
        core = stage._endpoint._core
        call = stage._endpoint._calls.require(broken.leg.call_handle)
        stage.run(lambda now: core.layer.timers.start(now + 1, lambda _: 1 / 0, call))
        await asyncio.sleep(2)
        assert (broken.end.by, broken.end.cause) == ("system", "error")
        assert broken.seen.is_over
        assert not other.seen.is_over
        other.leg.hang_up(headers={}, by="agent", cause="goodbye", reason="")
        await asyncio.sleep(AGES_S)
        assert [type(fault.error) for fault in stage.faults] == [ZeroDivisionError]

    errors: list[logging.LogRecord] = []
    with pytest.raises(AssertionError, match="error in the SIP core"):
        play(story, errors)
    assert len(errors) == 1


def test_incoming_call_that_cannot_be_taken_up_gets_500(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        stage = Stage(is_stream=False)
        monkeypatch.setattr(stage._gateway, "_on_incoming", lambda _: 1 / 0)
        far = stage._far_ends["call-1@peer"] = SipFarEnd(stage, Habits(), "call-1@peer")
        far.invites()
        await asyncio.sleep(AGES_S)
        assert far.seen.refused_with == 500
        assert stage.leftovers() == []

    errors: list[logging.LogRecord] = []
    with pytest.raises(AssertionError, match="could not be handled"):
        play(story, errors)
