"""Execute the actions that a realtime model calls as functions: they end, transfer or change the call after its words were heard.

In: tags that the function calls were converted to. Out: commands, a change of the scene. A part of `realtime.conversation`.
"""

from __future__ import annotations

from collections.abc import Callable

from active_call.agent.outbox import Outbox
from active_call.agent.playbook_context import PlaybookContext
from active_call.agent.reply.actions import Actions
from active_call.agent.reply.tags import DigitsTag, GotoTag, HangupTag, MessageTag, ReferTag, SetVarTag, Tag
from active_call.contract import commands

OFFERED = ("hangup_call", "transfer_call", "goto_scene", "set_variable", "send_digits", "send_message")
"""The actions that make sense without text from the agent."""


class RealtimeActions:
    """The actions of one conversation. `leave` ends the conversation before a goodbye or a transfer; `enter` goes to a scene by name."""

    def __init__(
        self,
        context: PlaybookContext,
        outbox: Outbox,
        leave: Callable[[], None],
        hang_up: Callable[[str], None],
        enter: Callable[[str, float], None],
    ) -> None:
        self._context = context
        self._outbox = outbox
        self._leave = leave
        self._hang_up = hang_up
        self._enter = enter

    def act(self, action: Tag, now: float) -> bool:
        """Execute `action`. True if the conversation continues without another step here."""
        match action:
            case HangupTag(reason):
                self._leave()
                self._hang_up(reason or "goodbye")
            case ReferTag():
                self._leave()
                Actions(self._context, self._outbox).refer(action)
            case GotoTag(scene):
                self._enter(scene, now)
            case SetVarTag(key, value):
                self._context.set_variable(key, value)
                self._outbox.perform(commands.SetVar(key=key, value=value))
                return False
            case MessageTag():
                self._outbox.perform(commands.Message(body=action.body, content_type=action.content_type, refer=action.refer))
                return False
            case DigitsTag(digits):
                self._outbox.perform(commands.Dtmf(digits="".join(digits.split()).upper()))
                return False
            case _:
                self._outbox.note("action dropped", action=type(action).__name__, reason="a realtime model cannot use it")
                return False
        return True
