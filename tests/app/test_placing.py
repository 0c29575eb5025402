"""The order that `App.call` gives to the server."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from active_call import App, CallOption
from active_call.app.app import CallServer
from active_call.base.errors import NotAllowed


class FakeRegistry:
    """Notes the options of calls, and places none."""

    def __init__(self) -> None:
        self.options: list[CallOption] = []

    def place(self, option: CallOption, *, variables: Mapping[str, Any] | None = None) -> None:
        self.options.append(option)
        raise NotAllowed("no call in this test", rule="test")


@pytest.mark.parametrize(
    ("timeout", "given", "until_answered"),
    [(None, None, None), (30, None, 30), (0.4, None, 1), (20.5, None, 21), (None, 15, 15), (40, 15, 40)],
)
def test_seconds_until_the_answer_are_those_of_the_call_else_of_its_option(
    timeout: float | None, given: int | None, until_answered: int | None
) -> None:
    app, registry = App(), FakeRegistry()
    app.begin(cast("CallServer", SimpleNamespace(registry=registry)))
    with pytest.raises(NotAllowed):
        asyncio.run(app.call("sip:ada@example.com", timeout=timeout, option=CallOption(handshake_timeout=given)))
    assert registry.options[0].handshake_timeout == until_answered
