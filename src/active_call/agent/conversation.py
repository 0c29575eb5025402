"""The interface of a conversation: inputs in, effects out. There are two kinds.

    cascade    speech is recognised, a model or a script answers in text, the text is synthesised
    realtime   a realtime model hears the caller's sound and answers with sound

Both are pure: no clock, no sockets, no model client. The agent runner drives either by this Protocol and does not know which one it has.
`now` is monotonic seconds.
"""

from __future__ import annotations

from typing import Any, Protocol

from active_call.agent.effects import AgentEffect, AgentInput


class Conversation(Protocol):
    """One conversation of one call. Every method with effects returns the new ones, in order."""

    def start(self, now: float) -> list[AgentEffect]:
        """Begin, before the call has sound. Must be called first, once."""
        ...

    def handle(self, item: AgentInput, now: float) -> list[AgentEffect]:
        """Take one input."""
        ...

    def next_timeout(self) -> float | None:
        """When to call `handle_timeout`; None if no timer is set."""
        ...

    def handle_timeout(self, now: float) -> list[AgentEffect]:
        """Fire what is due at `now`. No effect at any other time."""
        ...

    def set_variable(self, key: str, value: Any) -> None:
        """Set a variable from outside; keys `X-*` become headers of the BYE."""
        ...

    def hangup_headers(self) -> dict[str, str]:
        """The current headers for the BYE."""
        ...

    @property
    def scene(self) -> str:
        """The id of the current scene."""
        ...

    @property
    def is_answering(self) -> bool:
        """A reply has been requested and is not heard to its end yet."""
        ...

    def close(self, heard: tuple[str, str] | None) -> list[AgentEffect]:
        """The call is over. `heard`: the play id of the current reply and its heard text. No other method may be called afterwards."""
        ...
