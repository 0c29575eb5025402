"""One item, one command, one watcher or one task that fails costs itself only; what is settled twice is reported; the end is never lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from calls_kit import Always, a_call, fault_in
from hypothesis import given
from hypothesis import strategies as st
from test_scripted_calls import PLAYBOOK

from active_call.base.errors import LocalProtocolError, ProviderError
from active_call.call.faults import MAX_FAULTS
from active_call.call.items import Later
from active_call.call.mailbox import MAILBOX_SIZE, Mailbox
from active_call.call.opening.routing import Accepted, LeftOpen
from active_call.contract import commands, events
from active_call.testing.fakes.call import FakeLeg
from active_call.testing.virtual_time import run_virtually
from searches import searching


def errors_of(call: Any) -> list[tuple[str, str]]:
    return [fault_in(event) for event in call.of(events.Error)]


# -- settling twice ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (commands.Accept(), commands.Accept()),
        (commands.Accept(), commands.Ringing()),
        (commands.Accept(), commands.Reject()),
    ],
)
def test_command_for_an_answered_call_is_reported_and_the_call_goes_on(virtually: Any, first: Any, second: Any) -> None:
    async def story() -> None:
        async with a_call(None, router=Always(lambda _: LeftOpen())) as call:
            call.session.post(first)
            await call.until(lambda: bool(call.of(events.MediaReady)))
            call.session.post(second)
            await asyncio.sleep(1)
            assert errors_of(call) == [(type(second).__name__.lower(), "the call is already answered")]
            assert call.leg.ended is None
            assert call.of(events.Reject) == []

    virtually(story())


def test_second_accept_while_the_first_is_under_way_is_reported_and_the_call_is_answered(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(None, leg=FakeLeg(accepted_after_s=1.0), router=Always(lambda _: LeftOpen())) as call:
            for _ in range(3):
                call.session.post(commands.Accept())
            await call.until(lambda: bool(call.of(events.MediaReady)))
            await asyncio.sleep(1)
            assert errors_of(call) == [("accept", "the call is already being answered")] * 2
            assert call.leg.ended is None
            assert len(call.of(events.Answer)) == 1

    virtually(story())


def test_router_that_decides_after_a_client_has_accepted_changes_nothing(virtually: Any) -> None:
    class Slow:
        async def route(self, call: Any) -> Any:
            await asyncio.sleep(2)
            return Accepted(None)  # type: ignore[arg-type]

    async def story() -> None:
        async with a_call(None, router=Slow()) as call:
            call.session.post(commands.Accept())
            await asyncio.sleep(5)
            assert call.leg.ended is None
            assert errors_of(call) == []

    virtually(story())


def test_rejecting_and_hanging_up_twice_ends_once(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(None, router=Always(lambda _: LeftOpen())) as call:
            for command in (commands.Reject(code=486), commands.Reject(code=603), commands.Accept(), commands.Hangup()):
                call.session.perform(command)
            record = await call.over()
            assert call.leg.rejected == (486, "")
            assert [event.code for event in call.of(events.Reject)] == [486]
            assert [sender for sender, _ in errors_of(call)] == ["reject", "accept", "hangup"]
            assert (record.status, record.sip_code, record.error) == ("rejected", 486, None)

    virtually(story())


def test_reject_while_the_answer_is_under_way_is_no_error(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(None, leg=FakeLeg(accepted_after_s=1.0), router=Always(lambda _: LeftOpen())) as call:
            call.session.post(commands.Accept())
            await asyncio.sleep(0.5)
            call.session.post(commands.Reject(code=486))
            record = await call.over()
            assert (record.status, record.error) == ("rejected", None)

    virtually(story())


def test_reject_with_a_code_that_refuses_nothing_leaves_the_call_ringing(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(None, router=Always(lambda _: LeftOpen())) as call:
            call.session.post(commands.Reject(code=200))
            await asyncio.sleep(0.1)
            assert [sender for sender, _ in errors_of(call)] == ["reject"]
            assert call.of(events.Reject) == []
            call.session.post(commands.Accept())
            await call.until(lambda: bool(call.of(events.MediaReady)))

    virtually(story())


_HARMLESS = [
    commands.Accept(), commands.Ringing(), commands.Ringing(early_media=True), commands.Reject(), commands.Tts(text="Hi."),
    commands.Tts(text="%%%", base64=True), commands.Play(url="nowhere.wav"), commands.Interrupt(), commands.Interrupt(graceful=True),
    commands.Pause(), commands.Resume(), commands.Mute(), commands.Unmute(track_id="?"), commands.Message(body="x"),
    commands.Hangup(refer=True), commands.Bridge(target_session_id="?"), commands.Unbridge(), commands.Unhold(), commands.Hold(),
    commands.Dtmf(digits="?"), commands.Record(action="?"), commands.Record(action="pause"), commands.History(speaker="x", text="y"),
    commands.Custom(data={"a": [1]}), commands.SetVar(key="a", value=object()), commands.Invite(),
]  # fmt: skip


@given(st.lists(st.sampled_from(_HARMLESS), max_size=8))
@searching(8)
def test_no_command_ends_an_answered_call(sent: list[Any]) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            for command in sent:
                call.session.post(command)
                await asyncio.sleep(0.03)
            await asyncio.sleep(0.5)
            assert call.leg.ended is None
            assert not [error for _, error in errors_of(call) if "unforeseen" in error]

    run_virtually(story())


# -- walls -------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [TypeError("no such thing"), LocalProtocolError("not now")])
def test_item_that_fails_is_told_once_and_the_call_goes_on(virtually: Any, error: Exception) -> None:
    def fail() -> None:
        raise error

    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            call.session.post(Later(fail))
            await call.says("opening hours")
            await call.until(lambda: len(call.of(events.TrackEnd)) == 2)
            ((sender, text),) = errors_of(call)
            assert sender == "call" and str(error) in text
            await call.says("goodbye")
            record = await call.over()
            assert (record.status, record.error) == ("answered", None)

    virtually(story())


def test_faults_without_end_end_the_call_with_a_reason(virtually: Any) -> None:
    def fail(_: float) -> None:
        raise KeyError("broken")

    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            call.session.state.agent.settle = fail  # type: ignore[method-assign, union-attr]
            call.session.post(Later(lambda: None))
            for _ in range(MAX_FAULTS):
                await asyncio.sleep(0.1)
                call.session.post(Later(lambda: None))
            record = await call.over()
            assert (record.status, record.hangup_by) == ("failed", "system")
            assert f"{MAX_FAULTS} faults" in (record.error or "") and "broken" in (record.error or "")
            assert call.leg.ended is not None

    virtually(story())


def test_watcher_and_task_that_fail_end_nothing(virtually: Any) -> None:
    def broken(_: events.Event) -> None:
        raise RuntimeError("blind")

    async def failing() -> None:
        raise ValueError("lost")

    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            unwatch = call.session.watch(broken)
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            call.session.spawn(failing(), "side task")
            await call.until(lambda: bool(call.of(events.Error)))
            assert errors_of(call) == [("side task", "unforeseen ValueError: lost")]
            unwatch()
            unwatch()
            await call.says("goodbye")
            assert (await call.over()).status == "answered"

    virtually(story())


def test_watcher_of_a_call_that_is_over_is_told_its_hangup(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            call.session.post(commands.Hangup(reason="enough"))
            await call.over()
            late: list[events.Event] = []
            call.session.watch(late.append)
            assert [event.reason for event in late if isinstance(event, events.Hangup)] == ["enough"]

    virtually(story())


def test_engine_that_cannot_be_made_refuses_the_call_with_a_500(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(None, router=Always(lambda _: LeftOpen())) as call:
            call.engines.recogniser.open = None  # type: ignore[method-assign, assignment]
            call.session.post(commands.Accept())
            record = await call.over()
            assert call.leg.rejected is not None and call.leg.rejected[0] == 500
            assert record.status == "failed"

    virtually(story())


# -- the end ------------------------------------------------------------------------------------------------------------------------------


def test_end_of_the_leg_gets_through_a_mailbox_that_is_full(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            for _ in range(MAILBOX_SIZE + 100):
                call.session.post(Later(lambda: None))
            call.leg.end("caller", "remote_bye")
            record = await call.over()
            assert (record.hangup_by, record.hangup_reason) == ("caller", "remote_bye")

    virtually(story())


def test_mailbox_that_overflows_ends_the_call_with_a_reason(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            for _ in range(MAILBOX_SIZE + 100):
                call.session.post(Later(lambda: None))
            record = await call.over()
            assert (record.status, record.hangup_reason) == ("failed", "overload")
            assert "100 items dropped" in (record.error or "")

    virtually(story())


def test_mailbox_keeps_order_and_room_for_what_is_essential() -> None:
    mailbox: Mailbox[int] = Mailbox(lambda item: item < 0, is_last=lambda item: item == 9, size=3, reserved=2)
    assert [mailbox.put(item) for item in (1, 2, 3, 4, -1, -2, -3)] == [True, True, True, False, True, True, False]
    assert mailbox.put(9)
    assert [mailbox.get_nowait() for _ in range(6)] == [1, 2, 3, -1, -2, 9]
    assert (mailbox.n_refused, mailbox.is_empty()) == (2, True)


# -- errors that pass ---------------------------------------------------------------------------------------------------------------------

MODEL = """---
llm: {provider: openai, model: test, greeting: Hello.}
---
You are a polite test.
"""


def test_model_error_that_was_recovered_from_is_told_once_and_fails_no_record(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(MODEL) as call:
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            call.engines.model.will_say = [ProviderError("model", "brown-out"), TypeError("odd"), "All is well. <hangup/>"]
            for _ in range(3):
                await call.says("are you there?")
                await call.quiet()
                await asyncio.sleep(1)
                await call.quiet()
            record = await call.over()
            assert errors_of(call) == [("llm", "model: brown-out"), ("llm", "unforeseen TypeError: odd")]
            assert (record.status, record.error) == ("answered", None)

    virtually(story())


def test_recogniser_error_that_was_recovered_from_fails_no_record(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            call.recogniser.will_hear.append(ProviderError("recogniser", "out of order"))
            await call.leg.speak()
            await asyncio.sleep(4)
            await call.says("goodbye")
            record = await call.over()
            assert (record.status, record.error) == ("answered", None)
            assert errors_of(call) == [("asr", "recogniser: out of order")]

    virtually(story())
