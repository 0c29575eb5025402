"""What both kinds of conversation share: the playbook's context, the state, the timers and the outbox.

In: inputs and times, as `conversation` defines. Out: effects. Each kind defines how it handles inputs and timers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from active_call.agent.effects import AgentEffect, AgentInput
from active_call.agent.items import Item
from active_call.agent.outbox import Outbox
from active_call.agent.playbook.scenes import Playbook
from active_call.agent.playbook_context import PlaybookContext
from active_call.agent.turn.phase import Phase, State
from active_call.agent.turn.timers import Timer, Timers


class PlaybookConversation:
    """The base of a conversation under a playbook.

    `has_functions`: the model gets the agent's own actions as functions. `says_clauses`: the synthesiser takes text clause by clause.
    """

    def __init__(
        self,
        playbook: Playbook,
        variables: Mapping[str, Any],
        sip_headers: Mapping[str, str] | None,
        *,
        has_functions: bool,
        says_clauses: bool = False,
    ) -> None:
        self.playbook = playbook
        self._outbox = Outbox()
        self._phase = Phase()
        self._timers = Timers()
        self.next_timeout: Callable[[], float | None] = self._timers.next_at
        """When to call `handle_timeout`, in monotonic seconds; None if no timer is running."""
        self._context = PlaybookContext(
            playbook, variables, sip_headers or {}, self._outbox.note, has_functions=has_functions, says_clauses=says_clauses
        )

    # -- implemented by each kind

    def _on_input(self, item: AgentInput, now: float) -> None:
        """Handle one input. Not called after the end of the conversation."""
        raise NotImplementedError

    def _on_timer(self, timer: Timer, now: float) -> None:
        """`timer` is due."""
        raise NotImplementedError

    def _take(self, now: float) -> list[AgentEffect]:
        """Return the effects that were collected until `now`."""
        raise NotImplementedError

    # -- used by the call

    @property
    def state(self) -> State:
        """The state of the conversation."""
        return self._phase.state

    @property
    def is_answering(self) -> bool:
        """A reply has been requested and is not heard to its end yet."""
        return self.state in (State.THINKING, State.SPEAKING)

    @property
    def history(self) -> list[Item]:
        """What was said, heard and done so far."""
        return self._outbox.history.items

    @property
    def scene(self) -> str:
        """The id of the current scene."""
        return self._context.scene.id

    def set_variable(self, key: str, value: Any) -> None:
        """Set a variable from outside; keys `X-*` become headers of the BYE."""
        self._context.set_variable(key, value)

    def hangup_headers(self) -> dict[str, str]:
        """The current headers for the BYE."""
        return self._context.hangup_headers()

    def handle(self, item: AgentInput, now: float) -> list[AgentEffect]:
        """Take one input."""
        if self.state is State.ENDED:
            return []
        self._on_input(item, now)
        return self._take(now)

    def handle_timeout(self, now: float) -> list[AgentEffect]:
        """Fire what is due at `now`. Call it at `next_timeout`; no effect at any other time."""
        while (timer := self._timers.take_due(now)) is not None:
            self._on_timer(timer, now)
        return self._take(now)
