"""The interface of a text call for the console. Imports nothing of the HTTP framework."""

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
        """The id of the conversation's current scene."""
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
        """Returns when no speech or answer is pending."""
        ...

    async def close(self) -> None:
        """Hang up. May be called again."""
        ...


BeginTextCall = Callable[[Playbook, Callable[[events.Event], None]], TextCall]
"""Begins a text call; its events go to the second argument."""
