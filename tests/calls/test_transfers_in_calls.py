"""Stories of transfers: by REFER, by calling the target, and back to the agent; each with its one last word and its one record."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from calls_kit import Call, Network, a_call, fault_in

from active_call.contract import commands, events
from active_call.contract.options import AgcOption, AmbianceOption, AsrOption, CallOption, RecorderOption, ReferOption, SipOption
from active_call.legs.events import LegDigit, LegHeld, LegMedia, LegMessage, LegTransferRequested
from active_call.media.link import messages as link
from active_call.media.sounds.hold_melody import hold_melody
from active_call.testing.fakes.call import FakeLeg

DESK = "sip:desk@example.com"
PLAYBOOK = f"""---
llm: {{provider: script}}
greeting: Welcome.
---
## operator
I will connect you. <refer to="{DESK}" timeout="20"/>
## hello
Hello again.
"""
MODEL_PLAYBOOK = """---
llm: {provider: openai, model: test}
refer: {allow: ["*@example.com", "+49*"]}
greeting: Welcome.
---
You connect callers.
"""


def a_target(**options: Any) -> FakeLeg:
    return FakeLeg(call_id="far-call-id", caller="", callee=DESK, **options)


async def greeted(call: Call) -> None:
    await call.until(lambda: bool(call.of(events.TrackEnd)))


async def asked_for_the_operator(call: Call) -> None:
    await greeted(call)
    await call.says("operator")
    await call.until(lambda: bool(call.of(events.Transfer)))


def states(call: Call) -> list[str]:
    return [event.state for event in call.of(events.Transfer)]


def last_word(call: Call) -> Any:
    """The one final event."""
    (last,) = [event for event in call.of(events.Transfer) if event.returned is not None]
    assert last is call.of(events.Transfer)[-1]
    return last


def far_events(call: Call) -> list[str]:
    return [type(event).__name__ for event in call.events if event.refer]


# -- by REFER ----------------------------------------------------------------------------------------------------------------------------


def test_transfer_by_refer_that_succeeds_hangs_up_at_once(virtually: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            await asked_for_the_operator(call)
            assert call.leg.referred_to == [DESK]
            assert call.spoken[-1] == "I will connect you."
            call.leg.told(100, final=False)
            call.leg.told(200)
            record = await call.over()
            assert states(call) == ["referring", "progress", "completed"]
            assert (last_word(call).code, last_word(call).returned) == (200, False)
            assert (record.hangup_by, record.hangup_reason, record.status) == ("agent", "transferred", "answered")
            (transfer,) = record.transfers
            assert (transfer["target"], transfer["state"], transfer["code"]) == (DESK, "completed", 200)
            assert "farLegs" not in transfer

    caplog.set_level("INFO")
    virtually(story())
    (line,) = [record for record in caplog.records if record.message == "transfer"]
    fields = ("direction", "caller", "callee", "trunk", "target", "state")
    assert all(hasattr(line, name) for name in fields)
    assert (vars(line)["target"], vars(line)["state"]) == (DESK, "completed")


def test_refused_refer_has_the_target_called_with_music_meanwhile(virtually: Any) -> None:
    async def story() -> None:
        target = a_target(answers_after_s=3.0)
        async with a_call(PLAYBOOK, network=Network([target])) as call:
            await asked_for_the_operator(call)
            call.leg.told(603, refused=True)
            await call.until(lambda: bool(call.of(events.Ringing)[-1].refer))
            stream = call.leg.stream
            assert stream is not None
            assert (stream.music, stream.n_music) == (hold_melody(8000), 1)
            assert not stream.listens
            await call.until(lambda: "connected" in states(call))
            assert stream.music == b""
            assert (stream.hears, target.stream.hears) == ({target.stream}, {stream})
            assert states(call) == ["referring", "calling", "progress", "connected"]
            assert (call.of(events.Transfer)[1].code, call.of(events.Transfer)[1].reason) == (603, "the call was declined")
            target.end("callee", "remote_bye")
            await call.until(lambda: "completed" in states(call))
            assert (last_word(call).state, last_word(call).returned) == ("completed", True)
            assert stream.hears == set()
            assert stream.listens
            assert far_events(call) == ["Ringing", "Answer", "Hangup"]
            await call.until(lambda: call.spoken[-2:] == ["You are back with me.", "Is there anything else I can do for you?"])
            await call.quiet()
            await call.says("hello")
            await call.until(lambda: call.spoken[-1] == "Hello again.")
            call.leg.end("caller", "remote_bye")
            record = await call.over()
            (transfer,) = record.transfers
            (far,) = transfer["farLegs"]
            assert (far["callId"], far["hangupReason"], far["media"]) == ("far-call-id", "remote_bye", {"packets_sent": 1})
            assert target.released

    virtually(story())


def test_peer_without_refer_is_not_asked(virtually: Any) -> None:
    async def story() -> None:
        target = a_target()
        leg = FakeLeg(allowed=frozenset({"INVITE", "BYE"}))
        async with a_call(PLAYBOOK, leg=leg, network=Network([target])) as call:
            await asked_for_the_operator(call)
            await call.until(lambda: "connected" in states(call))
            assert leg.referred_to == []
            assert states(call)[0] == "calling"

    virtually(story())


def test_silent_peer_is_passed_over_when_its_time_is_up(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK, network=Network([a_target()])) as call:
            await asked_for_the_operator(call)
            began = asyncio.get_running_loop().time()
            await call.until(lambda: "calling" in states(call))
            assert abs(asyncio.get_running_loop().time() - began - 20) < 0.1  # the tag's timeout
            assert call.of(events.Transfer)[1].code == 408
            await call.until(lambda: "connected" in states(call))

    virtually(story())


# -- failures ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "words"), [(486, "the line is busy"), (404, "there is no such number"), (603, "the call was declined")])
def test_target_that_refuses_gives_the_caller_back_and_the_model_knows_why(virtually: Any, code: int, words: str) -> None:
    async def story() -> None:
        target = a_target(answers=False, refuses=(code, ""))
        async with a_call(MODEL_PLAYBOOK, network=Network([target])) as call:
            call.engines.model.will_say += [f'One moment. <refer to="{DESK}" mode="bridge"/>', "I am sorry. What now?"]
            await greeted(call)
            await call.says("the desk please")
            await call.until(lambda: "failed" in states(call))
            assert (last_word(call).code, last_word(call).reason, last_word(call).returned) == (code, words, True)
            await call.until(lambda: call.spoken[-1].endswith("What now?"))
            told = call.engines.model.asked[-1].messages[-1]
            assert (told.role, words in told.content, str(code) in told.content) == ("system", True, True)
            assert call.leg.stream is not None
            assert call.leg.stream.listens
            assert call.leg.ended is None

    virtually(story())


def test_target_that_nobody_answers_at_is_withdrawn_in_time(virtually: Any) -> None:
    async def story() -> None:
        target = a_target(answers_after_s=300)
        async with a_call(PLAYBOOK, network=Network([target])) as call:
            await greeted(call)
            call.session.post(commands.Refer(callee=DESK, options=ReferOption(mode="bridge", timeout=12)))
            began = asyncio.get_running_loop().time()
            await call.until(lambda: "failed" in states(call))
            assert abs(asyncio.get_running_loop().time() - began - 12) < 0.1
            assert (last_word(call).code, last_word(call).reason) == (408, "nobody answered")
            assert target.ended is not None
            assert target.dialled is not None
            assert target.dialled.handshake_timeout == 17
            await call.until(lambda: call.spoken[-1] == "I am sorry, I could not connect you.")
            await asyncio.sleep(0.1)
            assert far_events(call)[-1] == "Hangup"
            assert target.released

    virtually(story())


def test_second_transfer_waits_for_the_first_and_works_after_it(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK, network=Network([a_target(answers=False), a_target()])) as call:
            await greeted(call)
            call.session.post(commands.Refer(callee="+15550123", options=ReferOption(mode="bridge")))
            call.session.post(commands.Refer(callee="+15550124", options=ReferOption(mode="bridge")))
            await call.until(lambda: "failed" in states(call))
            assert "in progress" in call.of(events.Error)[0].error
            call.session.post(commands.Refer(callee="+15550124", options=ReferOption(mode="bridge")))
            await call.until(lambda: "connected" in states(call))
            assert [option.callee for option in call.network.wanted] == ["sip:+15550123@example.com", "sip:+15550124@example.com"]

    virtually(story())


@pytest.mark.parametrize("options", [ReferOption(mode="telepathy"), ReferOption(call_id="s.other")])
def test_transfer_that_cannot_even_begin_gives_the_caller_back(virtually: Any, options: ReferOption) -> None:
    async def story() -> None:
        network = Network()
        async with a_call(PLAYBOOK, network=network) as call, a_call(None, network=network, session_id="s.other"):
            await greeted(call)
            call.session.post(commands.Refer(callee=DESK, options=options))
            await call.until(lambda: bool(call.of(events.Transfer)))
            assert (states(call), last_word(call).returned) == (["failed"], True)
            assert fault_in(call.of(events.Error)[-1])[0] == "refer"
            await call.says("hello")
            await call.until(lambda: call.spoken[-1] == "Hello again.")

    virtually(story())


def test_call_that_is_not_answered_is_not_transferred(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            call.session.post(commands.Refer(callee=DESK))
            await call.until(lambda: bool(call.of(events.Error)))
            assert fault_in(call.of(events.Error)[0]) == ("refer", "the call is not answered")
            await greeted(call)
            assert call.of(events.Transfer) == []

    virtually(story())


# -- while it lasts ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["referring", "calling", "connected"])
def test_caller_who_hangs_up_ends_everything_in_any_phase(virtually: Any, phase: str) -> None:
    async def story() -> None:
        target = a_target(answers_after_s=2.0)
        async with a_call(PLAYBOOK, network=Network([target])) as call:
            await asked_for_the_operator(call)
            if phase != "referring":
                call.leg.told(603, refused=True)
                await call.until(lambda: phase in states(call))
                await asyncio.sleep(0.1)
            call.leg.end("caller", "remote_bye")
            record = await call.over()
            assert last_word(call).state == ("completed" if phase == "connected" else "cancelled")
            assert last_word(call).returned is False
            assert call.events.index(last_word(call)) < call.events.index(call.of(events.Hangup)[-1])
            assert not call.of(events.Hangup)[-1].refer
            if phase != "referring":
                assert target.ended is not None
                assert target.released
                assert far_events(call)[-1] == "Hangup"
                assert record.transfers[0]["farLegs"][0]["callId"] == "far-call-id"
            assert len(call.records.written) == 1
            await asyncio.sleep(5)
            assert [task.get_name() for task in asyncio.all_tasks() if "s.test" in task.get_name()] == []

    virtually(story())


def test_auto_hangup_ends_the_call_when_the_target_has_hung_up(virtually: Any) -> None:
    async def story() -> None:
        target = a_target()
        async with a_call(PLAYBOOK, network=Network([target])) as call:
            await greeted(call)
            call.session.post(commands.Refer(callee=DESK, options=ReferOption(mode="bridge", auto_hangup=True)))
            await call.until(lambda: "connected" in states(call))
            target.end("callee", "remote_bye")
            record = await call.over()
            assert (last_word(call).state, last_word(call).returned) == ("completed", False)
            assert (record.hangup_by, record.hangup_reason) == ("callee", "far_hangup")

    virtually(story())


def test_far_leg_is_hung_up_and_written_to_by_command(virtually: Any) -> None:
    async def story() -> None:
        target = a_target()
        async with a_call(PLAYBOOK, network=Network([target])) as call:
            await greeted(call)
            call.session.post(commands.Hangup(refer=True))
            await call.until(lambda: bool(call.of(events.Error)))
            call.session.post(commands.Refer(callee=DESK, options=ReferOption(mode="bridge")))
            await call.until(lambda: "connected" in states(call))
            call.session.post(commands.Message(body="order 66", refer=True))
            target.sink(LegMessage("got it", "text/plain"))
            await asyncio.sleep(0.1)
            assert target.messages == ["order 66"]
            assert (call.of(events.Message)[0].body, call.of(events.Message)[0].refer) == ("got it", True)
            call.session.post(commands.Hangup(refer=True))
            await call.until(lambda: "completed" in states(call))
            assert target.ended is not None
            assert call.leg.ended is None
            assert last_word(call).returned is True

    virtually(story())


def test_early_sound_of_the_target_is_heard_instead_of_the_music(virtually: Any) -> None:
    async def story() -> None:
        target = a_target(has_early_media=True, answers_after_s=3.0)
        async with a_call(PLAYBOOK, network=Network([target])) as call:
            await greeted(call)
            call.session.post(commands.Refer(callee=DESK, options=ReferOption(mode="bridge")))
            await call.until(lambda: bool(call.leg.stream and call.leg.stream.hears))
            assert call.leg.stream is not None
            assert call.leg.stream.music == b""
            assert target.stream.hears == set()  # the caller is not heard before the answer
            assert (call.of(events.Ringing)[-1].early_media, call.of(events.Transfer)[-1].code) == (True, 183)
            await call.until(lambda: "connected" in states(call))
            assert target.stream.hears == {call.leg.stream}

    virtually(story())


def test_digits_are_forwarded_where_that_is_asked_for(virtually: Any) -> None:
    async def story() -> None:
        target = a_target(has_telephone_events=False)
        async with a_call(PLAYBOOK, network=Network([target])) as call:
            await greeted(call)
            call.session.post(commands.Refer(callee=DESK, options=ReferOption(mode="bridge", forward_dtmf=True)))
            call.leg.press("1")  # nobody is there yet
            await call.until(lambda: "connected" in states(call))
            call.leg.press("2")
            call.leg.press("2")
            target.press("9")
            target.sink(LegDigit("#"))
            await asyncio.sleep(0.1)
            assert target.messages == ["INFO 2", "INFO 2"]
            assert call.leg.stream is not None
            assert call.leg.stream.digits_sent == "9#"
            assert [(event.digit, event.refer) for event in call.of(events.Dtmf)] == [
                ("1", False),
                ("2", False),
                ("2", False),
                ("9", True),
                ("#", True),
            ]

    virtually(story())


def test_far_leg_is_recognised_and_the_caller_goes_on_being_so_where_that_is_asked_for(virtually: Any) -> None:
    async def story() -> None:
        target = a_target()
        options = ReferOption(mode="bridge", asr=AsrOption(), pause_parent_asr=False)
        async with a_call(PLAYBOOK, network=Network([target])) as call:
            await greeted(call)
            call.session.post(commands.Refer(callee=DESK, options=options))
            await call.until(lambda: "connected" in states(call))
            call.recogniser.will_hear.append("sales department")
            await target.speak()
            await call.until(lambda: bool(call.of(events.AsrFinal)))
            assert (call.of(events.AsrFinal)[0].text, call.of(events.AsrFinal)[0].refer) == ("sales department", True)
            n_spoken = len(call.spoken)
            await call.says("hello")
            await call.until(lambda: len(call.of(events.AsrFinal)) == 2)
            assert (call.of(events.AsrFinal)[1].text, call.of(events.AsrFinal)[1].refer) == ("hello", False)
            await asyncio.sleep(2)
            assert len(call.spoken) == n_spoken  # the agent is not part of this

    virtually(story())


def test_either_side_on_hold_leaves_the_other_with_music(virtually: Any) -> None:
    async def story() -> None:
        target = a_target()
        async with a_call(PLAYBOOK, network=Network([target])) as call:
            await greeted(call)
            call.session.post(commands.Refer(callee=DESK, options=ReferOption(mode="bridge")))
            await call.until(lambda: "connected" in states(call))
            target.sink(LegHeld(True, is_silent=True))
            await asyncio.sleep(0.1)
            assert call.leg.stream is not None
            assert call.leg.stream.music
            assert (call.of(events.Hold)[0].on_hold, call.of(events.Hold)[0].refer) == (True, True)
            target.sink(LegHeld(False))
            call.leg.sink(LegHeld(True, is_silent=True))
            await asyncio.sleep(0.1)
            assert not call.leg.stream.music
            assert target.stream.music
            call.leg.sink(LegHeld(True, is_silent=False))
            await asyncio.sleep(0.1)
            assert not target.stream.music

    virtually(story())


def test_inactivity_does_not_end_a_call_that_is_with_somebody_else(virtually: Any) -> None:
    async def story() -> None:
        target = a_target()
        async with a_call(PLAYBOOK, network=Network([target]), option=CallOption(inactivity_timeout=30)) as call:
            await greeted(call)
            call.session.post(commands.Refer(callee=DESK, options=ReferOption(mode="bridge")))
            await call.until(lambda: "connected" in states(call))
            await asyncio.sleep(600)
            assert call.leg.ended is None
            target.end("callee", "remote_bye")
            await call.quiet()
            await call.until(lambda: bool(call.of(events.Inactivity)), 60)

    virtually(story())


def test_options_of_the_transfer_are_those_of_the_far_leg(virtually: Any) -> None:
    async def story() -> None:
        target = a_target(has_telephone_events=False)
        option = CallOption(ambiance=AmbianceOption(path="office.wav"))
        async with a_call(PLAYBOOK, network=Network([target]), option=option) as call:
            await greeted(call)
            call.session.post(commands.Refer(callee=DESK, options=ReferOption(mode="bridge", denoise=True, agc=AgcOption())))
            await call.until(lambda: "connected" in states(call))
            assert target.stream.improvement[0] is True
            assert target.stream.improvement[1] is not None
            assert target.stream.hears_tones == (True, False)  # its digits come as sound
            assert call.leg.stream is not None
            assert call.leg.stream.n_ambience_stops == 1  # the agent's office is not the target's

    virtually(story())


# -- how the target is called ------------------------------------------------------------------------------------------------------------


def test_target_is_called_as_the_own_number_over_the_own_trunk(virtually: Any) -> None:
    async def story() -> None:
        leg = FakeLeg(caller="sip:+15551111@trunk.pstn.example.com", callee="sip:+15559999@203.0.113.9")
        own = CallOption(refer=ReferOption(mode="bridge", timeout=25, sip=SipOption(headers={"X-From": "agent"})))
        async with a_call(PLAYBOOK, leg=leg, network=Network([a_target(), a_target()]), option=own) as call:
            await greeted(call)
            call.session.post(commands.Refer(callee="tel:+1-555-0177"))
            await call.until(lambda: "connected" in states(call))
            (wanted,) = call.network.wanted
            assert (wanted.callee, wanted.caller) == ("sip:+15550177@trunk.pstn.example.com", "+15559999")
            assert wanted.sip is not None
            assert wanted.sip.headers == {"X-From": "agent"}

    virtually(story())


def test_peer_is_asked_by_refer_to_call_a_number_at_its_own_host(virtually: Any) -> None:
    async def story() -> None:
        leg = FakeLeg(caller="sip:1001@pbx.example.com", callee="sip:800@203.0.113.9")
        async with a_call(PLAYBOOK, leg=leg) as call:
            await greeted(call)
            call.session.post(commands.Refer(callee="901", options=ReferOption(mode="refer")))
            await call.until(lambda: bool(call.leg.referred_to))
            assert call.leg.referred_to == ["sip:901@pbx.example.com"]
            call.leg.told(200)
            await call.over()

    virtually(story())


def test_target_of_a_call_that_we_placed_uses_its_credentials_at_the_same_host(virtually: Any) -> None:
    async def story() -> None:
        leg = FakeLeg(caller="+15559999", callee="sip:+15551111@trunk.example.com:5062;transport=tcp")
        option = CallOption(
            callee=leg.callee, caller=leg.caller, sip=SipOption(username="u", password="p", enable_srtp=True, headers={"X-Own": "1"})
        )
        network = Network([a_target(answers=False), a_target(answers=False)])
        async with a_call(PLAYBOOK, leg=leg, direction="outbound", option=option, network=network) as call:
            await greeted(call)
            for target in ("+15550177", "sip:x@elsewhere.example.com"):
                n_ends = states(call).count("failed")
                call.session.post(commands.Refer(callee=target, options=ReferOption(mode="bridge")))
                await call.until(lambda n_ends=n_ends: states(call).count("failed") > n_ends)
            near, elsewhere = call.network.wanted
            assert (near.callee, near.caller) == ("sip:+15550177@trunk.example.com:5062;transport=tcp", "+15559999")
            assert near.sip == SipOption(username="u", password="p", enable_srtp=True)
            assert elsewhere.sip is None

    virtually(story())


# -- attended ----------------------------------------------------------------------------------------------------------------------------


def test_attended_transfer_asks_the_caller_to_take_our_place(virtually: Any) -> None:
    async def story() -> None:
        network = Network()
        desk = FakeLeg(call_id="desk-call", contact="sip:desk@10.0.0.1")
        async with a_call(PLAYBOOK, network=network) as call, a_call(PLAYBOOK, network=network, leg=desk, session_id="s.desk") as other:
            await greeted(call)
            await greeted(other)
            call.session.post(commands.Refer(callee=DESK, options=ReferOption(call_id="s.desk")))
            await call.until(lambda: bool(call.leg.referred_to))
            assert call.leg.referred_to == ["sip:desk@10.0.0.1?Replaces=desk-call"]
            call.leg.told(200)
            await call.over()
            assert states(call) == ["referring", "completed"]

    virtually(story())


def test_attended_transfer_that_the_peer_refuses_bridges_the_two_calls(virtually: Any) -> None:
    async def story() -> None:
        network = Network()
        desk = FakeLeg(contact="sip:desk@10.0.0.1")
        async with a_call(PLAYBOOK, network=network) as call, a_call(PLAYBOOK, network=network, leg=desk, session_id="s.desk") as other:
            await greeted(call)
            await greeted(other)
            call.session.post(commands.Refer(callee=DESK, options=ReferOption(call_id="s.desk")))
            await asyncio.sleep(0.1)
            call.leg.told(501, refused=True)
            await call.until(lambda: "connected" in states(call))
            await asyncio.sleep(0.1)
            assert call.leg.stream is not None
            assert call.leg.stream.hears == {desk.stream}
            assert [event.state for event in other.of(events.Bridge)] == ["joined"]
            assert call.of(events.Bridge) == []
            desk.end("caller", "remote_bye")
            await other.over()
            await call.until(lambda: "completed" in states(call))
            assert last_word(call).returned is True
            assert call.leg.ended is None
            assert call.session.parts.transfers.records()[0]["farLegs"] == [{"sessionId": "s.desk"}]

    virtually(story())


def test_report_of_a_stream_that_died_ends_the_far_leg_only(virtually: Any) -> None:
    async def story() -> None:
        target = a_target()
        async with a_call(PLAYBOOK, network=Network([target])) as call:
            await greeted(call)
            call.session.post(commands.Refer(callee=DESK, options=ReferOption(mode="bridge")))
            await call.until(lambda: "connected" in states(call))
            target.sink(LegMedia(link.StreamDead(1, 20.0)))
            await call.until(lambda: "completed" in states(call))
            assert [event.reason for event in call.of(events.Hangup)] == ["rtp_timeout"]
            assert call.leg.ended is None

    virtually(story())


# -- asked for by the peer ---------------------------------------------------------------------------------------------------------------

WELCOMING = CallOption(refer=ReferOption(on_request="bridge", timeout=20))


def test_transfer_that_the_peer_asks_for_is_declined_by_default(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            await greeted(call)
            call.leg.sink(LegTransferRequested(DESK, "<sip:boss@example.com>"))
            await call.until(lambda: bool(call.leg.transfers_answered))
            assert call.leg.transfers_answered == [False]
            (request,) = call.of(events.TransferRequest)
            assert (request.refer_to, request.referred_by) == (DESK, "<sip:boss@example.com>")
            await call.says("hello")
            await call.until(lambda: call.spoken[-1] == "Hello again.")

    virtually(story())


def test_peer_that_transfers_us_hears_how_it_goes_and_leaves_us_with_the_target(virtually: Any) -> None:
    async def story() -> None:
        target = a_target(answers_after_s=3.0)
        async with a_call(PLAYBOOK, network=Network([target]), option=WELCOMING) as call:
            await greeted(call)
            call.leg.sink(LegHeld(True))  # as a transferor does
            call.leg.sink(LegTransferRequested(DESK, None))
            await call.until(lambda: "connected" in states(call))
            assert call.leg.transfers_answered == [True]
            assert call.leg.transfers_told == [(180, False), (200, True)]
            assert call.of(events.Transfer)[-1].initiator == "caller"
            call.leg.end("caller", "remote_bye")
            await call.until(lambda: "completed" in states(call))
            assert (last_word(call).returned, call.session.state.leg) == (True, target)
            assert target.stream.hears == set()
            await call.until(lambda: call.spoken == ["Welcome.", "Welcome."])
            assert target.stream.listens
            assert [event.on_hold for event in call.of(events.Hold)] == [True, False]
            await call.until(lambda: call.of(events.TrackEnd)[-1].timestamp > last_word(call).timestamp)
            call.recogniser.will_hear.append("hello")
            await target.speak()
            await call.until(lambda: call.spoken[-1] == "Hello again.")
            assert call.recogniser.closed == 1  # that of the first leg
            assert call.leg.released
            target.end("callee", "remote_bye")
            record = await call.over()
            assert (record.hangup_by, record.hangup_reason, record.call_id) == ("callee", "remote_bye", "fake-call-id")
            assert record.transfers[0]["farLegs"] == [{"callId": "far-call-id", "callee": DESK, "adopted": True}]
            assert record.media["beforeTransfer"] == {"packets_sent": 1}
            assert target.released

    virtually(story())


def test_peer_that_transfers_us_and_stays_is_hung_up_so_that_the_target_hears_the_agent(virtually: Any) -> None:
    async def story() -> None:
        target = a_target()
        async with a_call(PLAYBOOK, network=Network([target]), option=WELCOMING) as call:
            await greeted(call)
            call.leg.sink(LegTransferRequested(DESK, None))
            await call.until(lambda: "completed" in states(call))
            assert call.leg.ended is not None and call.leg.ended.by == "system"
            assert call.session.state.leg is target
            await call.until(lambda: call.spoken == ["Welcome.", "Welcome."])
            target.end("callee", "remote_bye")
            assert (await call.over()).status == "answered"

    virtually(story())


def test_attended_transfer_of_the_peer_carries_its_replaces_to_the_target(virtually: Any) -> None:
    async def story() -> None:
        target = a_target(answers_after_s=3.0)
        network = Network([target])
        async with a_call(PLAYBOOK, network=network, option=WELCOMING) as call:
            await greeted(call)
            replaces = (("Replaces", "id;to-tag=1;from-tag=2"),)
            call.leg.ask_for_transfer(DESK, headers=replaces)
            await call.until(lambda: "connected" in states(call))
            assert [request.headers for request in network.wanted_by] == [replaces]
            call.leg.end("caller", "remote_bye")
            await call.until(lambda: "completed" in states(call))
            target.end("callee", "remote_bye")
            await call.over()

    virtually(story())


@pytest.mark.parametrize("answers", [True, False])
def test_peer_that_leaves_before_the_target_has_answered(virtually: Any, answers: bool) -> None:
    async def story() -> None:
        target = a_target(answers=answers, answers_after_s=3.0)
        async with a_call(PLAYBOOK, network=Network([target]), option=WELCOMING) as call:
            await greeted(call)
            call.leg.sink(LegTransferRequested(DESK, None))
            await call.until(lambda: "progress" in states(call))
            call.leg.end("caller", "remote_bye")
            await call.until(lambda: states(call)[-1] in ("completed", "failed"))
            if answers:
                await call.until(lambda: call.spoken == ["Welcome.", "Welcome."])
                assert call.session.state.leg is target
                call.session.post(commands.Hangup(reason="enough"))
            record = await call.over()
            assert record.hangup_reason == ("enough" if answers else "remote_bye")
            assert len(call.records.written) == 1
            assert target.released

    virtually(story())


def test_call_that_waits_alone_for_the_target_can_be_ended(virtually: Any) -> None:
    async def story() -> None:
        target = a_target(answers_after_s=15.0)
        async with a_call(PLAYBOOK, network=Network([target]), option=WELCOMING) as call:
            await greeted(call)
            call.leg.sink(LegTransferRequested(DESK, None))
            await call.until(lambda: "progress" in states(call))
            call.leg.end("caller", "remote_bye")
            await asyncio.sleep(1)
            call.leg.sink(LegMedia(link.StreamDead(1, 20.0)))  # nobody speaks into it any more
            await asyncio.sleep(1)
            assert not call.task.done()
            call.session.post(commands.Hangup())
            await call.over()
            assert target.ended is not None
            assert (last_word(call).state, last_word(call).code) == ("failed", 487)

    virtually(story())


def test_target_that_refuses_a_transfer_of_the_peer_leaves_us_with_the_peer(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK, network=Network([a_target(answers=False)]), option=WELCOMING) as call:
            await greeted(call)
            call.leg.sink(LegTransferRequested(DESK, None))
            await call.until(lambda: "failed" in states(call))
            assert call.leg.transfers_told == [(180, False), (486, True)]
            await call.until(lambda: call.spoken[-2:] == ["You are back with me.", "Is there anything else I can do for you?"])
            await call.quiet()
            await call.says("hello")
            await call.until(lambda: call.spoken[-1] == "Hello again.")

    virtually(story())


# -- taken over --------------------------------------------------------------------------------------------------------------------------


def a_successor(call: Call, **options: Any) -> FakeLeg:
    return FakeLeg(caller="sip:+15557777@example.com", call_id="new-call-id", replaces=call.leg, **options)


def test_leg_that_replaces_ours_goes_on_with_the_same_agent(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            await greeted(call)
            successor = a_successor(call)
            call.session.take_over(successor)
            await call.until(lambda: "completed" in states(call))
            assert states(call) == ["progress", "completed"]
            assert (last_word(call).target, last_word(call).initiator) == ("sip:+15557777@example.com", "caller")
            assert call.session.state.leg is successor
            assert (call.leg.ended.cause if call.leg.ended else "") == "replaced"
            await call.until(lambda: call.spoken == ["Welcome.", "Welcome."])  # to somebody else
            await call.until(lambda: call.of(events.TrackEnd)[-1].timestamp > last_word(call).timestamp)
            call.recogniser.will_hear.append("hello")
            await successor.speak()
            await call.until(lambda: call.spoken[-1] == "Hello again.")
            successor.end("caller", "remote_bye")
            record = await call.over()
            assert (record.call_id, record.hangup_reason, record.error) == ("fake-call-id", "remote_bye", None)
            assert (record.transfers[0]["target"], record.transfers[0]["state"]) == (successor.caller, "completed")
            assert call.leg.released
            assert successor.released

    virtually(story())


def test_recording_goes_on_with_the_leg_that_replaces_ours_and_stays_paused(virtually: Any) -> None:
    async def story() -> None:
        option = CallOption(recorder=RecorderOption(recorder_file="/tmp/{id}.wav"))
        async with a_call(PLAYBOOK, option=option) as call:
            await greeted(call)
            call.session.post(commands.Record(action="pause"))
            successor = a_successor(call)
            call.session.take_over(successor)
            await call.until(lambda: "completed" in states(call))
            assert successor.stream is not None
            assert successor.stream.recordings == ["/tmp/s.test-2.wav"]
            assert successor.stream.recording_is_paused
            successor.end("caller", "remote_bye")
            record = await call.over()
            assert (record.recording, record.recording_ms) == ("/tmp/s.test.wav", 1000)
            both = ["/tmp/s.test.wav", "/tmp/s.test-2.wav"]
            assert record.media["recordings"] == [{"path": path, "durationMs": 1000} for path in both]

    virtually(story())


def test_leg_that_replaces_ours_and_is_gone_leaves_everything_as_it_was(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            await greeted(call)
            successor = a_successor(call, is_cancelled=True)
            call.session.take_over(successor)
            await call.until(lambda: "failed" in states(call))
            assert (last_word(call).code, call.session.state.leg) == (487, call.leg)
            await call.until(lambda: call.spoken[-1] == "Is there anything else I can do for you?")
            await call.quiet()
            await call.says("hello")
            await call.until(lambda: call.spoken[-1] == "Hello again.")
            assert successor.released

    virtually(story())


def test_leg_that_replaces_one_that_is_busy_is_refused(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK, network=Network([a_target()])) as call:
            await greeted(call)
            call.session.post(commands.Refer(callee=DESK, options=ReferOption(mode="bridge")))
            await call.until(lambda: "connected" in states(call))
            successor = a_successor(call)
            call.session.take_over(successor)
            await call.until(lambda: successor.rejected is not None)
            assert successor.rejected == (486, "Busy Here")
            assert states(call)[-1] == "connected"

    virtually(story())


@pytest.mark.parametrize("comes", [True, False])
def test_caller_who_hangs_up_while_another_leg_takes_over(virtually: Any, comes: bool) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            await greeted(call)
            successor = a_successor(call, accepted_after_s=1.0, is_cancelled=not comes)
            call.session.take_over(successor)
            await call.until(lambda: bool(states(call)))
            call.leg.end("caller", "remote_bye")
            if comes:
                await call.until(lambda: "completed" in states(call))
                assert call.session.state.leg is successor
                call.session.post(commands.Hangup())
            record = await call.over()
            assert states(call)[-1] == ("completed" if comes else "failed")
            assert record.hangup_reason == ("hangup" if comes else "remote_bye")
            assert successor.released

    virtually(story())


def test_call_that_ends_while_another_leg_takes_over_leaves_none(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            await greeted(call)
            successor = a_successor(call, accepted_after_s=60.0)
            call.session.take_over(successor)
            await call.until(lambda: bool(states(call)))
            call.task.cancel()
            await call.over()
            assert (states(call)[-1], successor.released) == ("cancelled", True)
            assert successor.ended is not None

    virtually(story())


# -- whom an agent may have called -------------------------------------------------------------------------------------------------------

COSTLY = "sip:+19005551234@evil.example"
NAMING = """---
llm: {provider: openai, model: test}
greeting: Welcome.
refer: {mode: bridge}
---
You connect callers to desk@example.com, and to nobody else.
"""


@pytest.mark.parametrize("mode", ["bridge", "refer", "auto"])
def test_target_that_a_model_makes_up_is_not_called(virtually: Any, mode: str) -> None:
    async def story() -> None:
        async with a_call(NAMING, network=Network([a_target()])) as call:
            call.engines.model.will_say += [f'One moment. <refer to="{COSTLY}" mode="{mode}"/>', "I cannot do that."]
            await greeted(call)
            await call.says("connect me to my friend")
            await call.until(lambda: "failed" in states(call))
            assert (last_word(call).code, last_word(call).returned) == (403, True)
            assert fault_in(call.of(events.Error)[-1])[0] == "refer"
            assert (call.leg.referred_to, call.network.wanted) == ([], [])
            await call.until(lambda: call.spoken[-1] == "I cannot do that.")

    virtually(story())


def test_transfer_of_a_model_is_held_to_the_bounds_of_the_contract(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(NAMING, network=Network([a_target()])) as call:
            call.engines.model.will_say += [f'One moment. <refer to="{DESK}" timeout="99999999"/>', "I cannot do that."]
            await greeted(call)
            await call.says("the desk please")
            await call.until(lambda: "failed" in states(call))
            assert (last_word(call).code, last_word(call).returned) == (400, True)
            assert "timeout" in call.of(events.Error)[-1].error
            await call.until(lambda: call.spoken[-1] == "I cannot do that.")

    virtually(story())


def test_target_that_the_playbook_spells_out_is_called(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(NAMING, network=Network([a_target()])) as call:
            call.engines.model.will_say += [f'One moment. <refer to="{DESK}"/>']
            await greeted(call)
            await call.says("the desk please")
            await call.until(lambda: "connected" in states(call))
            ((_, request),) = call.network.asked
            assert (request.by, request.is_listed) == ("agent", True)

    virtually(story())


@pytest.mark.parametrize("suffix", [";method=BYE", "?X-Evil=1", ";maddr=10.0.0.1", "?Replaces=a"])
def test_target_with_more_than_the_playbook_says_is_not_called(virtually: Any, suffix: str) -> None:
    async def story() -> None:
        async with a_call(NAMING, network=Network([a_target()])) as call:
            call.engines.model.will_say += [f'One moment. <refer to="{DESK}{suffix}" mode="refer"/>', "Sorry."]
            await greeted(call)
            await call.says("the desk please")
            await call.until(lambda: "failed" in states(call))
            assert call.leg.referred_to == []

    virtually(story())


def test_client_of_the_api_may_have_anybody_called(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(NAMING, network=Network([a_target()])) as call:
            await greeted(call)
            call.session.post(commands.Refer(callee="sip:anybody@elsewhere.example"))
            await call.until(lambda: "connected" in states(call))

    virtually(story())


def test_peers_wish_for_a_forbidden_target_is_declined(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK, network=Network([a_target()], forbidden={COSTLY}), option=WELCOMING) as call:
            await greeted(call)
            call.leg.sink(LegTransferRequested(COSTLY, None))
            await call.until(lambda: bool(call.leg.transfers_answered))
            assert (call.leg.transfers_answered, call.network.wanted, states(call)) == ([False], [], [])

    virtually(story())
