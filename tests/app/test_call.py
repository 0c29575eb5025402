"""Calls in the hands of a program: every method against the real call machine, in virtual time."""

from __future__ import annotations

import asyncio
import time

import pytest

from active_call import App, Call, CallEnded, CallRefused, CommandRefused, NoInput, Speech, TransferFailed
from active_call.testing.virtual_call import Caller, virtual_call


async def silent(caller: Caller) -> None:
    await caller.is_over()


def test_say_returns_what_was_heard_and_the_handlers_end_hangs_up() -> None:
    heard = []

    async def take(call: Call) -> None:
        await call.answer()
        heard.append(await call.say("Hello there."))

    result = virtual_call(take, silent)
    assert heard[0].text == "Hello there."
    assert heard[0].is_complete
    assert result.transcript == (("agent", "Hello there."),)
    assert (result.ended_by, result.record.status) == ("agent", "answered")
    assert [turn.text for turn in result.record.turns] == ["Hello there."]


def test_reject_refuses_with_its_code() -> None:
    async def take(call: Call) -> None:
        await call.reject(486, "Busy Here")

    assert virtual_call(take, silent).sip_code == 486


def test_handler_that_returns_without_an_answer_refuses() -> None:
    async def take(call: Call) -> None:
        pass

    assert virtual_call(take, silent).sip_code == 480


def test_handler_that_fails_before_the_answer_refuses_with_500_and_after_it_hangs_up() -> None:
    async def fails_at_once(call: Call) -> None:
        raise RuntimeError("no database")

    async def fails_later(call: Call) -> None:
        await call.answer()
        raise RuntimeError("no database")

    assert virtual_call(fails_at_once, silent, may_fail=True).sip_code == 500
    assert virtual_call(fails_later, silent, may_fail=True).ended_by == "agent"


@pytest.mark.parametrize("limits", [{"digits": 0}, {"max_digits": 0}, {"min_digits": 3, "max_digits": 2}])
def test_collect_refuses_limits_within_which_there_are_no_digits(limits: dict[str, int]) -> None:
    async def take(call: Call) -> None:
        await call.answer()
        await call.collect(**limits)  # type: ignore[arg-type]

    with pytest.raises(ValueError, match="expected at least one digit"):
        virtual_call(take, silent)


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt()])
def test_handler_that_leaves_the_program_ends_its_own_call_only(error: BaseException) -> None:
    async def leaves(call: Call) -> None:
        raise error

    assert virtual_call(leaves, silent, may_fail=True).sip_code == 500


def test_collect_gives_the_digits_and_the_first_cuts_the_prompt() -> None:
    pins = []

    async def take(call: Call) -> None:
        await call.answer()
        pins.append(await call.collect(digits=4, prompt="Please enter your personal number with four digits.", retries=1))

    async def caller(caller: Caller) -> None:
        await caller.is_answered()
        await caller.waits(0.5)
        await caller.press("1234")

    result = virtual_call(take, caller)
    assert pins == ["1234"]
    assert len(result.said) < len("Please enter your personal number with four digits.")


@pytest.mark.parametrize(("answer", "is_pressed"), [("eight", False), ("8", True)])
def test_ask_takes_a_key_as_an_answer_too_if_it_may(answer: str, is_pressed: bool) -> None:
    answers: list[Speech] = []

    async def take(call: Call) -> None:
        await call.answer()
        answers.append(await call.ask("How many legs has a spider?", keys=1))

    async def caller(caller: Caller) -> None:
        await caller.hears("spider")
        await (caller.press(answer) if is_pressed else caller.says(answer))
        await caller.is_over()

    result = virtual_call(take, caller)
    assert [(str(one), one.is_pressed) for one in answers] == [(answer, is_pressed)]
    assert result.said.count("spider") == 1


def test_ask_with_keys_counts_those_pressed_earlier_and_asks_again_after_silence() -> None:
    answers: list[str] = []

    async def take(call: Call) -> None:
        await call.answer()
        await call.say("Welcome to the longest of all welcomes, which nobody needs.")
        answers.append(await call.ask("Press two digits.", keys=2))
        answers.append(await call.ask("And two more, or the hash key.", keys=2))
        with pytest.raises(NoInput):
            await call.ask("And now?", keys=1, retries=1, timeout=3)

    async def caller(caller: Caller) -> None:
        await caller.hears("Welcome")
        await caller.press("42")
        await caller.hears("two more")
        await caller.press("7#")
        await caller.is_over()

    result = virtual_call(take, caller)
    assert answers == ["42", "7"]
    assert "Press two digits" not in result.said and result.said.count("And now?") == 2


def test_collect_asks_again_and_gives_up_in_the_end() -> None:
    failures = []

    async def take(call: Call) -> None:
        await call.answer()
        try:
            await call.collect(digits=4, prompt="PIN?", reprompt="Once more.", retries=1, timeout=3, digit_timeout=2)
        except NoInput as error:
            failures.append(error)

    async def caller(caller: Caller) -> None:
        await caller.hears("PIN?")
        await caller.press("12")
        await caller.hears("Once more.")
        await caller.is_over()

    virtual_call(take, caller)
    assert len(failures) == 1


@pytest.mark.parametrize(("pressed", "expected"), [("12#", "12"), ("123456", "1234"), ("12", "12")])
def test_collect_ends_by_finish_key_by_length_or_by_silence(pressed: str, expected: str) -> None:
    got = []

    async def take(call: Call) -> None:
        await call.answer()
        got.append(await call.collect(max_digits=4, prompt="Go.", digit_timeout=2))

    async def caller(caller: Caller) -> None:
        await caller.hears("Go.")
        await caller.press(pressed)
        await caller.is_over()

    virtual_call(take, caller)
    assert got == [expected]


def test_collect_with_check_asks_until_it_is_right() -> None:
    got = []

    async def take(call: Call) -> None:
        await call.answer()
        got.append(await call.collect(digits=2, prompt="Go.", check=lambda digits: digits == "42", timeout=3))

    async def caller(caller: Caller) -> None:
        await caller.hears("Go.")
        await caller.press("41")
        await caller.hears("Go.")
        await caller.press("42")
        await caller.is_over()

    virtual_call(take, caller)
    assert got == ["42"]


def test_ask_gives_the_answer_with_its_confidence() -> None:
    got = []

    async def take(call: Call) -> None:
        await call.answer()
        got.append(await call.ask("What is your name?"))

    async def caller(caller: Caller) -> None:
        await caller.hears("name?")
        await caller.says("Ada Lovelace")
        await caller.is_over()

    result = virtual_call(take, caller)
    assert got == ["Ada Lovelace"]
    assert got[0].confidence == 0.9
    assert ("caller", "Ada Lovelace") in result.transcript


def test_interruptible_speech_stops_when_the_caller_speaks_and_the_words_count_for_listen() -> None:
    seen = []

    async def take(call: Call) -> None:
        await call.answer()
        seen.append(await call.say("A very long story begins here and goes on and on and on.", interruptible=True))
        seen.append(await call.listen())

    async def caller(caller: Caller) -> None:
        await caller.is_answered()
        await caller.waits(0.5)
        await caller.says("stop it")
        await caller.is_over()

    virtual_call(take, caller)
    assert not seen[0].is_complete
    assert seen[1] == "stop it"


def test_listen_without_a_word_raises_no_input() -> None:
    async def take(call: Call) -> None:
        await call.answer()
        with pytest.raises(NoInput):
            await call.listen(timeout=2)
        await call.say("Bye.")

    assert virtual_call(take, silent).said == "Bye."


def test_callers_hangup_raises_call_ended_in_whatever_waits() -> None:
    seen: list[BaseException] = []

    async def take(call: Call) -> None:
        await call.answer()
        try:
            await call.say("A very long story that nobody hears to its end.")
        except CallEnded as ended:
            seen.append(ended)
        with pytest.raises(CallEnded):
            await call.say("Still there?")

    async def caller(caller: Caller) -> None:
        await caller.is_answered()
        await caller.waits(0.4)
        await caller.hangs_up()

    result = virtual_call(take, caller)
    assert isinstance(seen[0], CallEnded)
    assert seen[0].cause == "remote_bye"
    assert result.record.status == "answered"


def test_cancelled_speech_stops_and_leaves_the_call() -> None:
    async def take(call: Call) -> None:
        await call.answer()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await call.say("A very long story that takes more than half a second.")
        await call.say("Short.")

    result = virtual_call(take, silent)
    assert result.said == "Short."


def test_second_answer_is_refused_and_the_call_goes_on() -> None:
    async def take(call: Call) -> None:
        await call.answer()
        with pytest.raises(CommandRefused):
            await call.answer()
        await call.say("Fine.")

    assert virtual_call(take, silent).said == "Fine."


def test_hold_returns_when_agreed_and_unhold_takes_back() -> None:
    async def take(call: Call) -> None:
        await call.answer()
        async with call.on_hold():
            await asyncio.sleep(2)
        await call.say("Back.")

    assert virtual_call(take, silent).said == "Back."


def test_transfer_by_refer_ends_the_call() -> None:
    async def take(call: Call) -> None:
        await call.answer()
        await call.transfer("sip:desk@example.com", mode="refer")

    async def caller(caller: Caller) -> None:
        await caller.is_answered()
        while not caller.was_referred_to:
            await caller.waits(0.1)
        caller._leg.told(200)
        await caller.is_over()

    assert virtual_call(take, caller).record.status == "answered"


def test_transfer_that_fails_says_why_and_the_caller_is_still_here() -> None:
    seen = []

    async def take(call: Call) -> None:
        await call.answer()
        try:
            await call.transfer("sip:desk@example.com", mode="bridge")
        except TransferFailed as error:
            seen.append(error)
        await call.say("Nobody is there.")

    result = virtual_call(take, silent, others={"sip:desk@example.com": 486})
    assert seen[0].sip_code == 486
    assert result.said == "Nobody is there."


def test_bridged_transfer_lets_both_talk_until_the_target_hangs_up() -> None:
    async def desk(desk: Caller) -> None:
        await desk.waits(5)
        await desk.hangs_up()

    async def take(call: Call) -> None:
        await call.answer()
        outcome = await call.transfer("sip:desk@example.com", mode="bridge", then_hang_up=False)
        assert outcome.has_returned
        await call.say("Welcome back.")

    assert virtual_call(take, silent, others={"sip:desk@example.com": desk}).said == "Welcome back."


def test_program_places_a_call_and_bridges_it() -> None:
    app = App()

    async def desk(desk: Caller) -> None:
        await desk.is_answered()
        await desk.hears("A caller for you.")
        await desk.waits(5)
        await desk.hangs_up()

    @app.incoming(callee="9999")
    async def take(call: Call) -> None:
        await call.answer()
        other = await app.call("sip:desk@example.com")
        await other.say("A caller for you.")
        assert await call.bridge(other)
        await call.say("Goodbye.")

    result = virtual_call(app, silent, others={"sip:desk@example.com": desk})
    assert result.said == "Goodbye."
    assert result.placed == ("sip:desk@example.com",)


def test_placed_call_that_is_refused_raises_call_refused() -> None:
    app = App()
    seen = []

    @app.incoming()
    async def take(call: Call) -> None:
        await call.answer()
        try:
            await app.call("sip:desk@example.com")
        except CallRefused as error:
            seen.append(error.sip_code)

    virtual_call(app, silent, others={"sip:desk@example.com": 603})
    assert seen == [603]


def test_call_that_no_handler_takes_is_refused_with_404() -> None:
    app = App()

    @app.incoming(callee=r"\+1800")
    async def take(call: Call) -> None:
        await call.answer()

    assert virtual_call(app, silent).sip_code == 404


def test_variables_are_written_and_kept_in_the_record() -> None:
    async def take(call: Call) -> None:
        call.variables["customer"] = "ACME"
        assert call.variables["customer"] == "ACME"
        await call.answer()
        await call.say("Hi.")

    assert virtual_call(take, silent).record.variables["customer"] == "ACME"


def test_method_after_the_end_raises_an_exception_of_its_own() -> None:
    raised: list[CallEnded] = []

    async def take(call: Call) -> None:
        await call.answer()
        await call.hangup()
        for ask in (call.say, call.say, call.unless_over, call.unless_over):
            try:
                await ask(asyncio.sleep(1) if ask == call.unless_over else "Anybody there?")  # type: ignore[operator]
            except CallEnded as ended:
                raised.append(ended)
        for _ in range(2):
            with pytest.raises(CallEnded) as caught:
                await call.collect(digits=1)
            raised.append(caught.value)

    virtual_call(take, silent)
    assert len(raised) == 6
    assert {(ended.by, ended.cause) for ended in raised} == {("agent", "hangup")}
    assert len(set(map(id, raised))) == 6


def test_events_are_those_from_the_call_of_the_method_on_and_not_from_the_first_read() -> None:
    kinds: list[str] = []

    async def take(call: Call) -> None:
        events = call.events()
        await call.answer()
        await call.say("Hi.")
        await call.hangup()
        kinds.extend([type(event).__name__ async for event in events])

    virtual_call(take, silent)
    assert [kind for kind in kinds if kind in ("Answer", "TrackStart", "TrackEnd", "Hangup")] == [
        "Answer",
        "TrackStart",
        "TrackEnd",
        "Hangup",
    ]


def test_events_come_in_order_to_the_hangup() -> None:
    kinds: list[str] = []

    async def take(call: Call) -> None:
        async def read() -> None:
            kinds.extend([type(event).__name__ async for event in call.events()])

        reading = asyncio.ensure_future(read())
        await asyncio.sleep(0)
        await call.answer()
        await call.say("Hi.")
        await call.hangup()
        await reading

    virtual_call(take, silent)
    assert [kind for kind in kinds if kind in ("Answer", "TrackStart", "TrackEnd", "Hangup")] == [
        "Answer",
        "TrackStart",
        "TrackEnd",
        "Hangup",
    ]


def test_dtmf_is_sent() -> None:
    async def take(call: Call) -> None:
        await call.answer()
        await call.dtmf("42#")

    async def caller(caller: Caller) -> None:
        await caller.is_over()
        assert caller.digits_heard == "42#"

    virtual_call(take, caller)


def test_work_that_is_no_method_of_the_call_is_cancelled_when_the_caller_hangs_up() -> None:
    seen = []

    async def slow() -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            await asyncio.sleep(1)
            seen.append("tidied up")
            raise

    async def take(call: Call) -> None:
        await call.answer()
        try:
            await call.unless_over(slow())
        except CallEnded:
            seen.append("ended")

    async def caller(caller: Caller) -> None:
        await caller.is_answered()
        await caller.waits(2)
        await caller.hangs_up()

    virtual_call(take, caller)
    assert seen == ["tidied up", "ended"]


def test_call_as_a_context_hangs_up_at_its_end() -> None:
    app = App()

    async def desk(desk: Caller) -> None:
        await desk.is_over(timeout_s=5)

    @app.incoming()
    async def take(call: Call) -> None:
        await call.answer()
        with pytest.raises(ValueError, match="wrong"):
            async with await app.call("sip:desk@example.com"):
                raise ValueError("wrong")
        await call.say("Still here.")

    assert virtual_call(app, silent, others={"sip:desk@example.com": desk}).said == "Still here."


def test_work_in_a_thread_takes_no_virtual_time() -> None:
    async def take(call: Call) -> None:
        await call.answer()
        began = asyncio.get_running_loop().time()
        await asyncio.to_thread(time.sleep, 0.1)
        assert asyncio.get_running_loop().time() == began
        await call.say("Done.")

    assert virtual_call(take, silent).said == "Done."


def test_what_the_caller_said_is_kept_as_a_variable() -> None:
    async def take(call: Call) -> None:
        await call.answer()
        call.variables["name"] = await call.ask("Your name?")

    async def caller(caller: Caller) -> None:
        await caller.hears("Your name?")
        await caller.says("Ada")
        await caller.is_over()

    assert virtual_call(take, caller).record.variables["name"] == "Ada"
