"""What whole calls use and cost: the record, the event at the end, and budgets that end a call with a sentence. In virtual time."""

from __future__ import annotations

import asyncio
from datetime import date
from typing import Any

import pytest
from calls_kit import Engines, Model, Network, Voice, a_call

from active_call.agent.playbook.parser import parse_playbook
from active_call.base.world import World
from active_call.call.cost.last_sentence import PLAY_ID, SAY
from active_call.call.cost.spending import DayBudget, Spending
from active_call.call.requests import BeginAgent, EndAgent
from active_call.contract import commands, events
from active_call.contract.options import BudgetOption, CallOption, ReferOption
from active_call.providers.guarding.guarded_chat import GuardedChatModel
from active_call.providers.guarding.guarded_speech_to_text import GuardedSpeechToText
from active_call.providers.guarding.guarded_text_to_speech import GuardedTextToSpeech
from active_call.providers.speech.speech_cache import CachedTextToSpeech
from active_call.providers.usage.prices import Price, PriceTable
from active_call.providers.usage.units import Billed, Unit, Used
from active_call.testing.fakes.call import FakeLeg
from active_call.testing.virtual_time import VirtualClock

BOOK = """---
llm: {model: m}
greeting: Good morning.
BUDGET---
Answer in one sentence.
"""
GREETING = "Good morning."
REPLY = "We are open until six. "


def book(budget: str = "") -> str:
    return BOOK.replace("BUDGET", f"{budget}\n" if budget else "")


def prices(**of: float) -> PriceTable:
    """By kind, for a second, a character or a token."""
    units = {
        "asr": ("second", 1.0),
        "tts": ("character", 1.0),
        "llm": ("million input tokens", 1e6),
        "telephony": ("minute", 1.0),
    }
    names = {"asr": "recogniser", "tts": "voice", "llm": "model", "telephony": "acme"}
    rows = [Price(kind, names[kind], "*", units[kind][0], price * units[kind][1], date(2026, 1, 1), "a test") for kind, price in of.items()]
    if "llm" in of:
        rows.append(Price("llm", "model", "*", "million output tokens", 0.0, date(2026, 1, 1), "a test"))
    return PriceTable(rows)


class Metered(Engines):
    """The engines of a call behind their walls."""

    def __init__(self) -> None:
        super().__init__(voice=Voice())
        world = World(VirtualClock(asyncio.get_running_loop()))
        self.guarded_recogniser = GuardedSpeechToText(self.recogniser, world)
        self.voice_wall = CachedTextToSpeech(GuardedTextToSpeech(self.voice, world))
        self.model_wall = GuardedChatModel(self.model, world)

    def get_recogniser(self, _: object, trust: object = None) -> Any:
        return self.guarded_recogniser

    def get_synthesiser(self, _: object, trust: object = None) -> Any:
        return self.voice_wall

    def get_responder(self, _: object, trust: object = None) -> Any:
        return self.model_wall


def used_of(kind: Any, provider: str) -> Used:
    return Used(Billed(kind, provider), {Unit.CHARACTERS: 1.0})


def units_of(record: Any, kind: str) -> dict[str, float]:
    (row,) = [row for row in record.usage if row["kind"] == kind]
    found: dict[str, float] = row["units"]
    return found


def test_record_and_event_say_what_each_engine_used_and_what_it_costs(virtually: Any) -> None:
    async def story() -> None:
        leg = FakeLeg()
        leg.kind, leg.trunk = "sip", "acme"
        spending = Spending(prices(tts=0.001, telephony=0.06))
        async with a_call(book(), leg=leg, engines=Metered(), spending=spending) as call:
            await call.until(lambda: len(call.of(events.TrackEnd)) >= 1)
            call.engines.model.will_say = [REPLY.strip()]
            await call.says("When do you close?", 2.0)
            await call.until(lambda: len(call.of(events.TrackEnd)) >= 2)
            live = call.session.handle().describe()
            assert live.cost is not None and live.cost["total"] > 0 and len(live.usage) >= 2
            call.session.hang_up(by="api", cause="hangup")
            record = await call.over()
            assert units_of(record, "tts")["characters"] == len(GREETING) + len(REPLY.strip())
            assert units_of(record, "llm")["requests"] == 1 and units_of(record, "llm")["outputTokens"] == pytest.approx(6, abs=1)
            (model,) = [row for row in record.usage if row["kind"] == "llm"]
            assert model["estimated"] and "cost" not in model  # nobody has said what it costs
            seconds = units_of(record, "telephony")["seconds"]
            assert seconds == pytest.approx(record.duration_s, abs=0.1)
            assert record.cost is not None and record.cost["unpriced"] and not record.cost["complete"] and record.cost["estimated"]
            spoken = (len(GREETING) + len(REPLY.strip())) * 0.001
            assert record.cost["total"] == pytest.approx(spoken + seconds / 60 * 0.06, abs=1e-5)
            (told,) = [event for event in call.of(events.Metrics) if event.key == "usage"]
            assert told.data == {"usage": list(record.usage), "cost": record.cost}
            assert call.events.index(told) < call.events.index(call.of(events.Hangup)[0])
            assert spending.day.spent == pytest.approx(record.cost["total"], abs=1e-5)

    virtually(story())


def test_budget_of_the_playbook_ends_the_call_with_its_sentence(virtually: Any) -> None:
    async def story() -> None:
        budget = 'budget: {perCall: 0.030, say: "Our time is up. Goodbye."}'
        async with a_call(book(budget), engines=Metered(), spending=Spending(prices(tts=0.001))) as call:
            await call.until(lambda: len(call.of(events.TrackEnd)) >= 1)  # 0.013
            call.engines.model.will_say = ["This is a rather long answer that nobody can afford."]
            await call.says("When do you close?")
            record = await call.over()
            assert call.spoken[-1] == "Our time is up. Goodbye." and call.spoken.count("Our time is up. Goodbye.") == 1
            assert [event.play_id for event in call.of(events.TrackEnd)][-1] == PLAY_ID
            assert record.hangup_reason == "budget" and call.of(events.Hangup)[0].reason == "noBalance"
            assert "perCall" in next(event for event in call.of(events.Error) if event.sender == "budget").error
            assert call.engines.model.abandoned <= 1 and len(call.engines.model.asked) == 1

    virtually(story())


def test_last_sentence_is_made_when_most_of_the_budget_is_used_and_costs_nothing_then(virtually: Any) -> None:
    async def story() -> None:
        option = CallOption(budget=BudgetOption(characters=15))
        async with a_call(book(), engines=Metered(), defaults=option) as call:
            await call.until(lambda: len(call.of(events.TrackEnd)) >= 1)  # 13 of 15: nearly spent
            await call.until(lambda: SAY in call.spoken)  # its own characters are the rest
            record = await call.over()
            assert units_of(record, "tts")["cachedCharacters"] == len(SAY) and call.spoken.count(SAY) == 1

    virtually(story())


def test_limit_of_tokens_holds_where_no_price_is_known(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(book(), engines=Metered(), option=CallOption(budget=BudgetOption(tokens=10))) as call:
            call.engines.model.will_say = [REPLY]
            await call.until(lambda: len(call.of(events.TrackEnd)) >= 1)
            await call.says("When do you close?")
            record = await call.over()
            assert record.hangup_reason == "budget" and call.spoken[-1] == SAY and record.cost is not None and "total" not in record.cost
            assert "tokens" in next(event for event in call.of(events.Error) if event.sender == "budget").error

    virtually(story())


def test_sentence_that_cannot_be_spoken_is_not_waited_for(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(book(), engines=Metered(), defaults=CallOption(budget=BudgetOption(tokens=1))) as call:
            await call.until(lambda: len(call.of(events.TrackEnd)) >= 1)
            call.engines.voice.fails = True
            call.engines.model.will_say = [REPLY]
            await call.says("When do you close?")
            assert (await call.over()).hangup_reason == "budget"

    virtually(story())


def test_empty_sentence_ends_the_call_without_a_word(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(book(), engines=Metered(), defaults=CallOption(budget=BudgetOption(characters=5, say=""))) as call:
            assert (await call.over()).hangup_reason == "budget"
            assert call.spoken == [GREETING]

    virtually(story())


def test_day_that_is_spent_ends_the_calls_of_all(virtually: Any) -> None:
    async def story() -> None:
        day = DayBudget(per_day=0.02, clock=VirtualClock(asyncio.get_running_loop()))
        spending = Spending(prices(tts=0.001), day)
        async with a_call(book(), engines=Metered(), spending=spending) as call:
            await call.until(lambda: len(call.of(events.TrackEnd)) >= 1)
            assert not spending.is_spent
            day.add(0.02)  # another call
            call.session.handle().send(commands.Tts(text="One more."))
            assert (await call.over()).hangup_reason == "budget"
            assert spending.is_spent and call.spoken[-1] == SAY

    virtually(story())


def test_legs_of_transfers_are_billed_and_a_caller_who_is_with_somebody_else_is_not_cut_off(virtually: Any) -> None:
    async def story() -> None:
        target = FakeLeg(call_id="far", caller="", callee="sip:desk@example.com")
        target.kind, target.trunk = "sip", "acme"
        day = DayBudget(per_day=1.0, clock=VirtualClock(asyncio.get_running_loop()))
        spending = Spending(prices(tts=0.001, telephony=0.06), day)
        async with a_call(book(), engines=Metered(), spending=spending, network=Network([target])) as call:
            await call.until(lambda: len(call.of(events.TrackEnd)) >= 1)
            call.session.post(commands.Refer(callee="sip:desk@example.com", options=ReferOption(mode="bridge")))
            await call.until(lambda: any(event.state == "connected" for event in call.of(events.Transfer)))
            day.add(5.0)
            call.session.parts.cost.note(used_of("tts", "voice"))
            await asyncio.sleep(10.0)
            assert not call.of(events.Hangup)
            target.end("callee", "remote_bye")
            await call.until(lambda: any(event.returned for event in call.of(events.Transfer)))
            record = await call.over()  # the agent's first sentence is too much
            assert record.hangup_reason == "budget" and call.spoken[-1] == SAY
            assert units_of(record, "telephony")["seconds"] == pytest.approx(10.0, abs=1.0)

    virtually(story())


def test_model_of_a_program_is_counted_without_a_price(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(book(), engines=Metered()) as call:
            await call.until(lambda: len(call.of(events.TrackEnd)) >= 1)
            call.session.request(EndAgent())
            model = Model()
            model.will_say = ["Yes we are."]
            await call.session.request(BeginAgent(parse_playbook(book(), file="own.md", environment={}), model=model))
            await call.until(lambda: len(call.of(events.TrackEnd)) >= 2)
            await call.says("Are you open?")
            await call.until(lambda: len(call.of(events.TrackEnd)) >= 3)
            call.session.hang_up(by="api", cause="hangup")
            record = await call.over()
            (row,) = [row for row in record.usage if row["kind"] == "llm"]
            assert row["provider"] == "program" and row["estimated"] and "cost" not in row

    virtually(story())


def test_voice_of_unknown_price_spends_the_budget_all_the_same(virtually: Any) -> None:
    """Its characters count at the dearest price that the table has for a voice; the record names it as without a price."""

    async def story() -> None:
        dear = Price("tts", "another", "*", "character", 0.01, date(2026, 1, 1), "a test")
        budget = 'budget: {perCall: 0.10, say: "Goodbye."}'
        async with a_call(book(budget), engines=Metered(), spending=Spending(PriceTable([dear]))) as call:
            record = await call.over()
            assert record.cost is not None and record.cost["unpriced"] == ["tts voice"] and "total" not in record.cost
            assert record.hangup_reason == "budget"

    virtually(story())
