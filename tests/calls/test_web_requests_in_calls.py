"""A web request that cannot be sent at all is answered at once: nobody waits for it in silence."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from calls_kit import a_call

from active_call.call.conversation.web_requests import WebRequests
from active_call.contract import events

BOOK = """---
llm: {provider: script}
greeting: "Hello."
---
## web
<http url="https://api.example.com/" set_var="answer"/>It says {{ answer }}.
"""


@pytest.mark.parametrize(
    "error", [UnicodeEncodeError("ascii", "é", 0, 1, "ordinal not in range"), ValueError("unknown url type"), httpx.ReadError("x")]
)
def test_request_that_cannot_be_sent_is_answered_at_once(virtually: Any, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    async def request(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(WebRequests, "request", request)

    async def story() -> None:
        async with a_call(BOOK) as call:
            await call.until(lambda: len(call.of(events.TrackEnd)) >= 1)
            await call.says("web")
            await call.until(lambda: len(call.of(events.TrackEnd)) >= 2, 10)
            said = [event.text for event in call.of(events.AddHistory)]
            assert any("It says failed" in text for text in said), said
            assert not call.of(events.Error)

    virtually(story())
