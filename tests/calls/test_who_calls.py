"""Trunk, headers and what is read out of them, as a playbook and a handler see them."""

from __future__ import annotations

from typing import Any

from calls_kit import a_call

from active_call.call.opening.routing import Decision, IncomingCall
from active_call.contract import events
from active_call.testing.fakes.call import FakeLeg

HEADERS = {
    "From": '"Bob" <sip:+15550100@example.com>;tag=1',
    "To": "<sip:+15550199@example.com>",
    "Diversion": "<sip:+15550177@twilio.com>;reason=no-answer",
    "Privacy": "none",
    "X-Twilio-VerStat": "TN-Validation-Passed-A",
}
SAYS = (
    "{{ trunk }}, {{ caller_name }} {{ caller_number }}, by {{ diversion_number }} {{ diversion_reason }}, {{ verstat }}, "
    '{{ sip["Privacy"] }}, {{ sip["Call-ID"] }}.'
)


def playbook(settings: str = "") -> str:
    return f"---\nllm: {{provider: script}}\ngreeting: >-\n  {SAYS}\n{settings}---\n## goodbye\nBye. <hangup/>\n"


def spoken(virtually: Any, book: str, **leg: Any) -> str:
    async def story() -> str:
        async with a_call(book, leg=FakeLeg(headers=HEADERS, **leg)) as call:
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            call.session.hang_up(by="test", cause="over")
            record = await call.over()
            assert record.trunk == leg.get("trunk", "")
            return " ".join(call.spoken)

    return str(virtually(story()))


def test_playbook_knows_the_trunk_and_who_calls(virtually: Any) -> None:
    said = spoken(virtually, playbook(), trunk="twilio")
    assert said == ("twilio, Bob +15550100, by +15550177 no-answer, TN-Validation-Passed-A, none, .")


def test_extract_headers_narrows_the_headers_and_not_the_facts(virtually: Any) -> None:
    said = spoken(virtually, playbook("sip: {extractHeaders: [Call-ID]}\n"))
    assert said == ", Bob +15550100, by +15550177 no-answer, TN-Validation-Passed-A, , ."


def test_variables_of_the_call_win_over_what_is_read(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(playbook(), leg=FakeLeg(headers=HEADERS), variables={"caller_name": "Alice", "trunk": "mine"}) as call:
            await call.until(lambda: bool(call.spoken))
            assert call.spoken[0].startswith("mine, Alice +15550100")

    virtually(story())


def test_handler_is_told_the_trunk(virtually: Any) -> None:
    seen: list[str] = []

    class Handler:
        async def route(self, call: IncomingCall) -> Decision:
            seen.append(call.trunk)
            return call.reject(603, "No")

    async def story() -> None:
        async with a_call(None, leg=FakeLeg(trunk="telnyx"), router=Handler()) as call:
            await call.over()

    virtually(story())
    assert seen == ["telnyx"]
