"""What a conversation is, for the call that it belongs to: inputs in, effects out. There are two kinds.

    cascade    speech is recognised, a model or a script answers in text, the text is synthesised
    realtime   a realtime model hears the caller's sound and answers with sound

Both are pure: no clock, no sockets, no model of their own. The agent runner drives either by this Protocol and does not know which it has.
`now` is monotonic seconds.
"""

from __future__ import annotations

from typing import Any, Protocol

from active_call.agent.effects import AgentEffect, AgentInput


class Conversation(Protocol):
    """One conversation of one call. Every method that returns effects returns those that are new, in order."""

    def start(self, now: float) -> list[AgentEffect]:
        """Begin, before the call has sound. To be called once, first."""
        ...

    def handle(self, item: AgentInput, now: float) -> list[AgentEffect]:
        """Take one input."""
        ...

    def next_timeout(self) -> float | None:
        """When to call `handle_timeout`; None when only an input can change anything."""
        ...

    def handle_timeout(self, now: float) -> list[AgentEffect]:
        """Do what is due at `now`; harmless at any other time."""
        ...

    def set_variable(self, key: str, value: Any) -> None:
        """Set a variable from outside; keys `X-*` become headers of the BYE."""
        ...

    def hangup_headers(self) -> dict[str, str]:
        """The headers of the BYE, as they are now."""
        ...

    @property
    def scene(self) -> str:
        """The id of the scene that the conversation is in."""
        ...

    def close(self, heard: tuple[str, str] | None) -> list[AgentEffect]:
        """The call is over. `heard`: the play id of the reply under way, and what was heard of it. Nothing is done after this."""
        ...
