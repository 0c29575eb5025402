"""Begins the text calls of the console. `text_calls` is loaded by the first one, because it brings the simulated parts of tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from active_call.agent.playbook.scenes import Playbook
from active_call.call.dependencies import CallDependencies
from active_call.contract import events

if TYPE_CHECKING:
    from active_call.server.text_calls import TextCall


def begin_talk(playbook: Playbook, services: CallDependencies, on_event: Callable[[events.Event], None]) -> TextCall:
    """A text call with `playbook`, from the console."""
    from active_call.server.text_calls import TextCall

    return TextCall(playbook, services, on_event, caller="sip:you@console")
