"""A call by text, as the console needs it of the server. Imports nothing of the HTTP framework."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from active_call.agent.playbook.scenes import Playbook
from active_call.contract import events


class TextCall(Protocol):
    """A call by text."""

    @property
    def is_over(self) -> bool:
        """The agent has hung up, or the call has failed."""
        ...

    @property
    def scene(self) -> str:
        """The id of the scene that the conversation is in."""
        ...

    def variables(self) -> dict[str, Any]:
        """The variables of the call."""
        ...

    async def says(self, text: str) -> None:
        """The caller says `text`; returns when the agent has answered."""
        ...

    async def presses(self, digits: str) -> None:
        """The caller presses keys; returns when the agent has answered."""
        ...

    async def settled(self) -> None:
        """Returns when nothing is said or awaited any more."""
        ...

    async def close(self) -> None:
        """Hang up. Harmless a second time."""
        ...


BeginTextCall = Callable[[Playbook, Callable[[events.Event], None]], TextCall]
"""Begins a call by text; its events go to the second argument."""
