"""What was not heard is in no history; what nobody waits for holds up nobody; what is said from outside reaches the model."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
from calls_kit import MS_PER_CHARACTER, Call, Model, Voice, a_call

from active_call.agent.reply.model_stream import MODEL_PATIENCE_S
from active_call.agent.reply.reply import PLAYBACK_START_S
from active_call.agent.wording import ENGLISH
from active_call.base.errors import ProviderError
from active_call.base.world import World
from active_call.contract import commands, events
from active_call.providers.base import ReplyRequest
from active_call.providers.guarding.guard import Limits
from active_call.providers.guarding.guarded_chat import GuardedChatModel
from active_call.providers.llm.openai import OpenAiChatModel
from active_call.providers.tts.openai import OpenAiTextToSpeech
from active_call.testing.virtual_time import VirtualClock

MODEL = """---
llm: {provider: openai, model: test, greeting: Hello.}
---
You are a polite test.
"""


class Moody(Voice):
    """Fails for texts with `fails_on` in them after `made_ms` of sound; waits `slow_s` before the first piece; makes pieces of 100 ms."""

    def __init__(self) -> None:
        super().__init__()
        self.fails_on = "\0"
        self.error: Exception = ProviderError("voice", "out of breath")
        self.made_ms = 0
        self.slow_s = 0.03
        self.pace = 0.0
        self.holds_on = False
        self.cancelled: list[str] = []
        self.silent_on = "\0"

    async def synthesise(self, text: str, *, speaker: str | None = None, speed: float | None = None) -> AsyncIterator[bytes]:
        try:
            await asyncio.sleep(self.slow_s)
            if self.silent_on in text:
                return
            whole_ms = len(text) * MS_PER_CHARACTER
            for at_ms in range(0, whole_ms, 100):
                if self.fails_on in text and at_ms >= self.made_ms:
                    raise self.error
                yield b"\1\0" * (8 * min(100, whole_ms - at_ms))
                await asyncio.sleep(0.1 * self.pace)
            if self.fails_on in text:
                raise self.error
            self.said.append(text)
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.append(text)
            if self.holds_on:
                await asyncio.sleep(30)
            raise


def turns_of(record: Any) -> list[tuple[str, str]]:
    return [(turn.speaker, turn.text) for turn in record.turns]


async def ended(call: Call, n: int) -> None:
    await call.until(lambda: len(call.of(events.TrackEnd)) >= n)


# -- failed synthesis --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ProviderError("voice", "out of breath", retryable=True), TypeError("odd")])
@pytest.mark.parametrize("made_ms", [0, 1200])
def test_reply_that_cannot_be_spoken_is_apologised_for_and_only_what_was_heard_is_history(
    virtually: Any, made_ms: int, error: Exception
) -> None:
    async def story() -> None:
        voice = Moody()
        async with a_call(MODEL, voice=voice) as call:
            await ended(call, 1)
            voice.fails_on, voice.made_ms, voice.error = "nine", made_ms, error
            call.engines.model.will_say = ["We open at nine in the morning, every day. And we close at five.", "All is well. <hangup/>"]
            await call.says("when do you open")
            await ended(call, 3)
            assert voice.said == ["Hello.", *ENGLISH.failed.replace("side. ", "side.|").split("|")]
            assert len(call.of(events.Error)) == 1
            assert call.of(events.Error)[0].sender == "tts"
            heard = [text for role, text in turns_of_call(call) if role == "assistant"]
            assert not any("morning" in text or "five" in text for text in heard)
            assert any(text.startswith("We open") for text in heard) is (made_ms > 0)
            await call.says("again please")
            record = await call.over()
            asked = " ".join(message.content for message in call.engines.model.asked[-1].messages if message.role == "assistant")
            assert "morning" not in asked and "I am sorry" in asked
            assert (record.status, record.error) == ("answered", None)

    virtually(story())


def turns_of_call(call: Call) -> list[tuple[str, str]]:
    return [(event.speaker, event.text) for event in call.of(events.AddHistory)]


def test_voice_that_stays_away_is_told_and_tried_no_more_than_twice_a_turn(virtually: Any) -> None:
    async def story() -> None:
        voice = Moody()
        async with a_call(MODEL, voice=voice) as call:
            await ended(call, 1)
            voice.fails_on = ""
            call.engines.model.will_say = ["Yes.", "Yes again."]
            await call.says("are you there")
            await asyncio.sleep(30)
            assert len(call.of(events.Error)) == 2
            voice.fails_on = "\0"
            await call.says("are you there")
            await call.until(lambda: "Yes again." in call.spoken)
            assert [text for role, text in turns_of_call(call) if role == "assistant"][:1] == ["Hello."]

    virtually(story())


def test_goodbye_that_cannot_be_spoken_ends_the_call_all_the_same(virtually: Any) -> None:
    async def story() -> None:
        voice = Moody()
        async with a_call(MODEL, voice=voice) as call:
            await ended(call, 1)
            voice.fails_on = "Bye"
            call.engines.model.will_say = ["Bye bye. <hangup/>"]
            await call.says("goodbye")
            record = await call.over()
            assert (record.hangup_by, record.status) == ("agent", "answered")
            assert turns_of(record)[-1] == ("caller", "goodbye")

    virtually(story())


def test_voice_that_makes_no_sound_for_words_has_failed(virtually: Any) -> None:
    async def story() -> None:
        voice = Moody()
        async with a_call(MODEL, voice=voice) as call:
            await ended(call, 1)
            voice.silent_on = "nine"
            call.engines.model.will_say = ["We open at nine."]
            await call.says("when do you open")
            await ended(call, 3)
            assert [event.error for event in call.of(events.Error)] == ["voice: the synthesiser returned no sound"]
            assert not any("nine" in text for _, text in turns_of_call(call))

    virtually(story())


def test_command_of_a_client_that_cannot_be_spoken_tells_what_was_heard(virtually: Any) -> None:
    async def story() -> None:
        voice = Moody()
        async with a_call(MODEL, voice=voice) as call:
            await ended(call, 1)
            voice.fails_on, voice.made_ms = "five", 1000
            call.session.post(commands.Tts(text="We are open from nine to five.", play_id="x", auto_hangup=True))
            record = await call.over()
            end = call.of(events.TrackEnd)[-1]
            assert (end.play_id, end.duration, end.subtitle) == ("x", 1000, "We are open from")
            assert record.hangup_reason == "autohangup"

    virtually(story())


# -- interruptions -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("holds_on", [False, True])
def test_interruption_gives_up_the_synthesis_under_way_and_the_next_reply_starts_at_once(virtually: Any, holds_on: bool) -> None:
    async def story() -> None:
        voice = Moody()
        async with a_call(MODEL, voice=voice) as call:
            await ended(call, 1)
            voice.slow_s, voice.holds_on = 6.0, holds_on
            call.engines.model.will_say = ["This takes very long to be made.", "Here I am."]
            await call.says("tell me")
            await asyncio.sleep(1.5)
            call.recogniser.will_hear.append("stop")
            speaking = asyncio.ensure_future(call.leg.speak(0.5))
            await asyncio.sleep(0.2)
            voice.slow_s = 0.03
            await speaking
            asked_at = asyncio.get_running_loop().time()
            await call.until(lambda: len(call.of(events.TrackStart)) == 2)
            assert asyncio.get_running_loop().time() - asked_at < 1.2
            assert voice.cancelled == ["This takes very long to be made."]

    virtually(story())


def test_synthesis_for_a_play_that_a_client_replaces_is_given_up(virtually: Any) -> None:
    async def story() -> None:
        voice = Moody()
        async with a_call(MODEL, voice=voice) as call:
            await ended(call, 1)
            voice.slow_s = 20.0
            call.session.post(commands.Tts(text="Slow.", play_id="slow"))
            await asyncio.sleep(0.2)
            voice.slow_s = 0.0
            call.session.post(commands.Tts(text="Fast.", play_id="fast"))
            await call.until(lambda: any(event.play_id == "fast" for event in call.of(events.TrackEnd)), 2.0)
            assert voice.cancelled == ["Slow."]

    virtually(story())


@pytest.mark.parametrize("before", ["", "These words are known from their beginning to their end."])
def test_words_heard_of_a_sentence_in_the_making_are_never_more_than_its_sound(virtually: Any, before: str) -> None:
    text = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"

    async def story() -> None:
        voice = Moody()
        async with a_call(MODEL, voice=voice) as call:
            await ended(call, 1)
            if before:
                call.session.post(commands.Tts(text=before, play_id="before"))
                await ended(call, 2)
            voice.pace = 0.95
            call.session.post(commands.Tts(text=text, play_id="x"))
            await asyncio.sleep(2.0)
            call.session.post(commands.Interrupt())
            await call.until(lambda: bool(call.of(events.Interruption)))
            (cut,) = call.of(events.Interruption)
            n_heard_chars = cut.current / MS_PER_CHARACTER
            assert len(cut.subtitle) <= n_heard_chars + 1
            assert len(cut.subtitle) >= n_heard_chars * (0.75 if before else 0.4)
            assert cut.subtitle == text[: len(cut.subtitle)]

    virtually(story())


# -- commands ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "field"),
    [
        (commands.Tts(text="%%% not base64", base64=True), "text"),
        (commands.Tts(text="A", base64=True), "text"),
        (commands.Tts(text="é", base64=True), "text"),
        (commands.Tts(text=base64.b64encode(b"odd").decode(), base64=True), "text"),
        (commands.Tts(text=7), "text"),  # type: ignore[arg-type]
        (commands.Tts(text="x", play_id=5), "playId"),  # type: ignore[arg-type]
        (commands.Tts(text="x", play_id="p" * 100_000), "playId"),
        (commands.Tts(text="x", cache_key=["a"]), "cacheKey"),  # type: ignore[arg-type]
        (commands.Tts(text="x", speaker={}), "speaker"),  # type: ignore[arg-type]
    ],
)
def test_tts_with_values_that_cannot_be_is_one_error_that_names_the_field(virtually: Any, command: commands.Tts, field: str) -> None:
    async def story() -> None:
        async with a_call(MODEL) as call:
            await ended(call, 1)
            call.session.post(commands.Tts(text="A longer announcement of the house.", play_id="first"))
            await asyncio.sleep(0.3)
            call.session.post(command)
            await ended(call, 2)
            (error,) = call.of(events.Error)
            assert error.sender == "command" and error.error.startswith(f"tts: {field}:")
            assert call.of(events.TrackEnd)[-1].play_id == "first"
            assert call.leg.ended is None

    virtually(story())


@pytest.mark.parametrize("play_id", ["", "half \ud83d a surrogate"])
def test_play_ids_that_are_odd_text_are_played(virtually: Any, play_id: str) -> None:
    async def story() -> None:
        async with a_call(MODEL) as call:
            await ended(call, 1)
            call.session.post(commands.Tts(text="Well \udc00 then.", play_id=play_id, cache_key="\ud800"))
            await ended(call, 2)
            assert call.of(events.Error) == []
            assert call.of(events.TrackEnd)[-1].play_id.isprintable()

    virtually(story())


def test_sound_of_a_client_with_line_breaks_is_played(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(MODEL) as call:
            await ended(call, 1)
            call.session.post(commands.Tts(text=base64.encodebytes(b"\1\0" * 16_000).decode(), base64=True, play_id="x"))
            await ended(call, 2)
            assert call.of(events.TrackEnd)[-1].duration == pytest.approx(1000, abs=25)

    virtually(story())


# -- from outside ------------------------------------------------------------------------------------------------------------------------


def test_history_and_data_from_outside_reach_the_model(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(MODEL) as call:
            await ended(call, 1)
            for command in (
                commands.History(speaker="user", text="My number is 7."),
                commands.History(speaker="assistant", text="Thank you."),
                commands.History(speaker="supervisor", text="Offer a discount."),
                commands.Custom(sender="crm", data={"orders": [{"id": 12, "state": "late"}]}),
                commands.Custom(data="<hangup/> {{ caller }}"),
            ):
                call.session.post(command)
            call.engines.model.will_say = ["It is late."]
            await call.says("where is my order")
            await call.until(lambda: bool(call.engines.model.asked))
            assert [(message.role, message.content) for message in call.engines.model.asked[0].messages[1:]] == [
                ("assistant", "Hello."),
                ("user", "My number is 7."),
                ("assistant", "Thank you."),
                ("system", "supervisor: Offer a discount."),
                ("system", '[Data from crm: {"orders": [{"id": 12, "state": "late"}]}]'),
                ("system", "[Data from outside: <hangup/> {{ caller }}]"),
                ("user", "where is my order"),
            ]
            await call.until(lambda: len(call.of(events.TrackEnd)) == 2)  # the model may be asked before the turn is known to be over
            assert len(call.of(events.AddHistory)) == 6  # each once: the greeting, three from outside, the caller, the answer
            assert len(call.of(events.Custom)) == 2

    virtually(story())


def test_data_that_is_no_json_is_told_to_the_model_and_ends_nothing(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(MODEL) as call:
            await ended(call, 1)
            call.session.post(commands.Custom(data={1: b"\xff", "x": "y" * 20_000}))
            call.engines.model.will_say = ["Yes."]
            await call.says("hello")
            await call.until(lambda: bool(call.engines.model.asked))
            assert any(message.content.startswith("[Data from") for message in call.engines.model.asked[0].messages)
            assert max(len(message.content) for message in call.engines.model.asked[0].messages) < 10_000

    virtually(story())


# -- the provider wall and the agent's patience ------------------------------------------------------------------------------------------


class Odd(Model):
    """A model whose first `n_deaf` requests get no answer at all; then it yields `pieces`."""

    def __init__(self, n_deaf: int, *pieces: Any) -> None:
        super().__init__()
        self.n_deaf = n_deaf
        self.pieces = pieces
        self.thinks_s = 0

    async def respond(self, request: ReplyRequest) -> AsyncIterator[Any]:  # type: ignore[override]
        self.asked.append(request)
        if len(self.asked) <= self.n_deaf:
            await asyncio.Event().wait()
        for _ in range(self.thinks_s):
            await asyncio.sleep(1)
            request.on_progress()
        for piece in self.pieces:
            yield piece


def guarded(call: Call, model: Odd) -> None:
    world = World(VirtualClock(asyncio.get_running_loop()))
    call.engines.get_responder = lambda *_: GuardedChatModel(model, world)  # type: ignore[method-assign, assignment, return-value]


def test_second_attempt_of_a_model_is_heard_before_the_agent_gives_up(virtually: Any) -> None:
    async def story() -> None:
        model = Odd(1, "Here I am.")
        async with a_call(MODEL) as call:
            guarded(call, model)
            await ended(call, 1)
            await call.says("are you there")
            await ended(call, 2)
            assert call.spoken == ["Hello.", "Here I am."]
            assert call.of(events.Error) == []

    virtually(story())


def test_model_that_never_answers_is_told_once_and_apologised_for(virtually: Any) -> None:
    async def story() -> None:
        model = Odd(99)
        async with a_call(MODEL) as call:
            guarded(call, model)
            await ended(call, 1)
            await call.says("are you there")
            await ended(call, 2)
            assert len(model.asked) == 2
            assert [event.sender for event in call.of(events.Error)] == ["llm"]
            assert "sorry" in " ".join(call.spoken)

    virtually(story())


def test_model_that_thinks_is_not_asked_again(virtually: Any) -> None:
    async def story() -> None:
        model = Odd(0, "I have thought.")
        model.thinks_s = 8
        async with a_call(MODEL) as call:
            guarded(call, model)
            await ended(call, 1)
            await call.says("are you there")
            await ended(call, 3)
            assert (len(model.asked), call.spoken[-1]) == (1, "I have thought.")
            assert call.spoken[-2].startswith("I am sorry, this takes")

    virtually(story())


def test_reply_in_parts_is_spoken_without_its_thoughts(virtually: Any) -> None:
    async def story() -> None:
        thought = [{"type": "thinking", "thinking": [{"type": "text", "text": "A greeting."}]}]
        model = Odd(0, thought, [{"type": "text", "text": "We open at nine."}], None, 5, {"no": "text"})
        async with a_call(MODEL) as call:
            guarded(call, model)
            await ended(call, 1)
            await call.says("when do you open")
            await ended(call, 2)
            assert " ".join(call.spoken[1:]).startswith("We open at nine.")
            assert "greeting" not in " ".join(call.spoken)
            assert call.of(events.Error) == []

    virtually(story())


def test_attempts_of_every_model_and_voice_lie_within_the_agents_patience() -> None:
    for limits in (Limits(), OpenAiChatModel.limits, OpenAiTextToSpeech.limits):
        whole_s = limits.attempts * limits.first_result_s + (limits.attempts - 1) * limits.retry_delay_s
        assert whole_s < min(MODEL_PATIENCE_S, PLAYBACK_START_S)
