"""Every example of docs/playbooks.md in a whole call, in virtual time: what it says happens."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from calls_kit import Call, Network, a_call

from active_call.agent.playbook.check import PlaybookResources, check_playbook
from active_call.contract import events
from active_call.legs.events import LegTransferRequested
from active_call.testing.fakes.call import FakeLeg

TEXT = (Path(__file__).parents[2] / "docs" / "playbooks.md").read_text(encoding="utf-8")


def examples(text: str) -> list[tuple[str, int, str, str]]:
    """Each fenced example with the heading that it stands under, its number there, and its kind. Headings inside of one are its own."""
    found: list[tuple[str, int, str, str]] = []
    title, number = "", 0
    for heading, kind, block in re.findall(r"(?ms)^## ([^\n]*)$|^```(\w+)\n(.*?)^```", text):
        if heading:
            title, number = heading, 0
        elif kind in ("markdown", "yaml"):
            found.append((title, number, kind, block))
            number += 1
    return found


BLOCKS = examples(TEXT)
SCRIPT = """## the operator please
One moment. <refer to="sip:desk@example.com"/>

## the news please
Here is the news of the week in full length, and it takes a while to read all of it to you. There is bread. There are rolls.

## goodbye
<set_var key="outcome" value="sold"/>Goodbye. <hangup/>

## *
What?
"""


async def greeted(call: Call) -> None:
    await call.until(lambda: bool(call.of(events.TrackEnd)))
    await call.quiet()


async def menu(call: Call) -> None:
    await greeted(call)
    await call.until(lambda: "Ask for our opening hours, or press two for the news." in call.spoken)
    await call.quiet()
    await call.says("when are you open please")
    await call.until(lambda: "We are open from nine to six." in call.spoken)
    await call.quiet()
    call.leg.press("2")
    await call.until(lambda: "The tulips have arrived." in call.spoken)
    await call.quiet()
    await call.says("go back")
    await call.until(lambda: call.spoken.count("Ask for our opening hours, or press two for the news.") == 2)
    await call.quiet()
    await call.says("operator")
    await call.until(lambda: bool(call.leg.referred_to))
    assert call.leg.referred_to == ["sip:desk@example.com"]
    call.leg.told(486)
    await call.until(lambda: bool(call.of(events.Transfer)) and call.of(events.Transfer)[-1].returned is True)
    await call.quiet()
    await call.says("thank you goodbye")
    record = await call.over()
    assert record.hangup_by == "agent" and "Thank you for calling." in call.spoken


async def transfers(call: Call) -> None:
    await greeted(call)
    call.leg.sink(LegTransferRequested("sip:other@example.com", None))
    await call.until(lambda: bool(call.leg.transfers_answered))
    assert call.leg.transfers_answered == [True], "by onRequest"
    other = call.network.legs[0]
    await call.until(lambda: bool(call.of(events.Transfer)) and call.of(events.Transfer)[-1].state == "failed")
    assert other.ended is not None
    await call.says("the operator please")
    await call.until(lambda: bool(call.leg.referred_to))
    call.leg.told(405)
    await call.until(lambda: len(call.network.wanted) == 2)
    desk = call.network.legs[1]
    await call.until(lambda: desk.stream is not None and desk.stream in call.leg.stream.hears)
    desk.end("callee", "bye")
    assert (await call.over()).hangup_reason != "", "the caller is not brought back, by autoHangup"


async def warm_transfer(call: Call) -> None:
    await greeted(call)
    await call.says("the operator please")
    await call.until(lambda: any("A caller of Green Garden Flowers is waiting." in text for text in call.spoken))
    assert call.spoken[-1].startswith("A caller of Green Garden Flowers is waiting. It is about this: the operator please.")
    desk = call.network.legs[0]
    await call.until(lambda: desk.stream is not None and desk.stream.is_playing)
    desk.press("1")
    await call.until(lambda: desk.stream in call.leg.stream.hears)


async def headers(call: Call) -> None:
    await greeted(call)
    assert call.spoken[-1] == "Welcome, CA123, account 77."
    await call.says("goodbye")
    await call.over()
    assert call.leg.hangup_headers == {"X-Outcome": "sold"}


async def interruptions(call: Call) -> None:
    await greeted(call)
    await call.says("the news please")
    await call.until(lambda: len(call.of(events.TrackStart)) == 2)
    await asyncio.sleep(2)
    speaking = asyncio.create_task(call.says("uh huh", 0.4))
    await call.until(lambda: call.leg.stream is not None and call.leg.stream.paused, 0.3)
    await speaking
    await call.until(lambda: call.leg.stream is not None and not call.leg.stream.paused, 1)
    await call.quiet()
    assert not call.of(events.Interruption)


async def with_a_model(call: Call) -> None:
    model = call.engines.model
    model.will_say += ['An order, gladly. <goto scene="order"/>', "Which flowers?", "Ten roses. Goodbye. <hangup/>"]
    await greeted(call)
    await call.says("I would like to order flowers please")
    await call.until(lambda: bool(model.asked))
    system = model.asked[0].messages[0].content
    assert "friendly assistant of a flower shop" in system and "Find out what the caller wants" in system
    await call.until(lambda: "Which flowers?" in call.spoken)
    assert "Take the order of" in model.asked[1].messages[0].content, "the scene's text"
    await call.quiet()
    await call.says("ten roses please")
    assert (await call.over()).hangup_by == "agent"


CHECKS: dict[tuple[str, int], Callable[[Call], Awaitable[None]]] = {
    ("A menu in five minutes", 0): menu,
    ("Transfers", 0): transfers,
    ("Transfers", 1): warm_transfer,
    ("Variables and SIP headers", 0): headers,
    ("Interruptions", 0): interruptions,
    ("With a model", 0): with_a_model,
}
DESK = "sip:desk@example.com"
HEADERS = {"X-Twilio-CallSid": "CA123", "X-Account": "id=77", "From": "<sip:+15550100@example.com>;tag=1"}


def book_of(kind: str, block: str) -> str:
    """The example as a whole playbook."""
    if kind == "markdown":
        return block
    greeting = "Welcome, {{ X-Twilio-CallSid }}, account {{ X-Account }}." if "extractHeaders" in block else "Welcome."
    return f'---\nllm: {{provider: script}}\ngreeting: "{greeting}"\n{block}---\n{SCRIPT}'


def a_network(title: str, number: int) -> Network:
    """Who can be reached by a transfer."""
    desk = FakeLeg(call_id="far", caller="", callee=DESK)
    unwilling = FakeLeg(call_id="other", caller="", callee="sip:other@example.com", answers=False)
    return Network([unwilling, desk] if (title, number) == ("Transfers", 0) else [desk])


@pytest.mark.parametrize(("title", "number", "kind", "block"), BLOCKS, ids=[f"{title} {number}" for title, number, _, _ in BLOCKS])
def test_example_of_the_guide_does_what_it_says(virtually: Any, title: str, number: int, kind: str, block: str) -> None:
    book = book_of(kind, block).replace("${OPENAI_API_KEY}", "none")
    findings = check_playbook(book, file="own.md", resources=PlaybookResources({})).findings
    assert [entry.text for entry in findings.entries if entry.is_error or "unknown key" in entry.text] == []

    async def story() -> None:
        async with a_call(book, leg=FakeLeg(headers=HEADERS), network=a_network(title, number)) as call:
            await CHECKS[title, number](call)

    virtually(story())


def test_every_example_of_the_guide_is_run() -> None:
    assert {(title, number) for title, number, _, _ in BLOCKS} == set(CHECKS)
