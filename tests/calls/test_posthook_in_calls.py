"""A call that is over is reported to its playbook's URL, after its record."""

from __future__ import annotations

from typing import Any

from calls_kit import a_call
from msgspec.structs import force_setattr

from active_call.contract import events

BOOK = """---
llm: {provider: script}
greeting: "Hello."
posthook: {url: "https://crm.example/calls"}
---
## hello
Hello.
"""


class Posthooks:
    def __init__(self) -> None:
        self.begun: list[tuple[str, str]] = []

    def begin(self, playbook: Any, record: Any) -> None:
        self.begun.append((playbook.file, record.turns[0].text))


def test_answered_call_is_reported_once_with_its_record(virtually: Any) -> None:
    hooks = Posthooks()

    async def story() -> None:
        async with a_call(BOOK) as call:
            force_setattr(call.dependencies, "posthooks", hooks)
            await call.until(lambda: len(call.of(events.TrackEnd)) >= 1)
            call.session.hang_up(by="test", cause="test")
            await call.over()
            assert len(call.records.written) == 1

    virtually(story())
    assert hooks.begun == [("test.md", "Hello.")]
