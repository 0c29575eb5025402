"""The port through which a collector acts on a cascade conversation."""

from __future__ import annotations

from active_call.agent.items import SystemItem
from active_call.agent.outbox import Outbox
from active_call.agent.playbook_context import PlaybookContext
from active_call.agent.reply.replies import Replies
from active_call.agent.reply.scripted import plain_words
from active_call.agent.reply.steps import Step
from active_call.agent.turn.barge_in import BargeIn
from active_call.agent.turn.caller_turn import CallerTurn
from active_call.agent.turn.floor import Floor


class CascadeCollectPort:
    """A `CollectPort` over the parts of a cascade conversation."""

    def __init__(
        self, context: PlaybookContext, floor: Floor, replies: Replies, barge_in: BargeIn, caller: CallerTurn, outbox: Outbox
    ) -> None:
        self._context = context
        self._floor = floor
        self._replies = replies
        self._barge_in = barge_in
        self._caller = caller
        self._outbox = outbox

    def ask_again(self, text: str, now: float) -> None:
        """Say `text` as a separate reply."""
        self._replies.begin(plain_words(text), now)

    def cut(self, now: float) -> None:
        """Stop the agent's speech."""
        self._caller.took_part()
        self._barge_in.cut(now)
        self._barge_in.forget()
        self._barge_in.is_greeting = False
        self._floor.release()

    def go_on(self, rest: tuple[Step, ...], told: str, now: float, *, by_caller: bool) -> None:
        """The collector has finished: a script says `rest`, a model gets `told`."""
        if by_caller:
            self._caller.add_key(told, 0)
            if self._context.has_model and self._barge_in.settling is None:
                self._caller.take_turn(now)
            elif not self._context.has_model:
                self._caller.write_down()
                self._replies.begin(list(rest), now)
            return
        self._outbox.remember(SystemItem(told))
        if self._context.has_model:
            self._replies.ask(now)
        else:
            self._replies.begin(list(rest), now)

    def leave(self, text: str, now: float) -> None:
        """The caller has said something else: answer it as a normal turn."""
        self._caller.on_final(text, now)
