"""The agent's own actions as functions for models with tool calls: each call is converted to the equivalent tag.

In: a playbook. Out: tools. A model without tool calls gets the tags instead (`wording.tools`). Both ways lead to the same steps of a reply.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from msgspec import Struct

from active_call.agent.playbook.scenes import Playbook
from active_call.agent.reply.tags import Tag, make_tag
from active_call.agent.tools.registry import Tool

DONE = "done, in its place behind the words before it"
"""The result of an action for the model."""


class Action(Struct, frozen=True):
    """One action. `arguments`: names and descriptions, with a final `?` if optional; `applies`: whether a playbook can use it."""

    name: str
    description: str
    arguments: Mapping[str, str]
    is_answered: bool = False
    applies: Callable[[Playbook], bool] = lambda _: True


ACTIONS: tuple[Action, ...] = (
    Action(
        "hangup_call",
        "End the call. What you say in the same reply is said first, so say goodbye in it.",
        {"reason?": "Why the call ends, in a word or two; the caller does not hear it."},
    ),
    Action(
        "transfer_call",
        "Transfer the caller to somebody else. What you say in the same reply is said first.",
        {
            "to": "A telephone number or SIP address that your instructions name.",
            "summary?": "Who calls and what about, in a sentence, for whoever takes the call.",
        },
    ),
    Action(
        "goto_scene",
        "Go to another part of the conversation. What you say in the same reply is said first.",
        {"scene": "The name of the part."},
        applies=lambda book: len(book.scenes) > 1,
    ),
    Action("set_variable", "Keep a value for later.", {"key": "Its name.", "value": "The value."}, is_answered=True),
    Action(
        "collect_input",
        "Ask the caller for a number or text, by keypad or voice; it is checked, and you are told it. Do not ask yourself.",
        {"type": "Which input.", "prompt?": "What the caller is asked; empty: the usual question."},
        applies=lambda book: bool(book.dtmf_collectors),
    ),
    Action("send_digits", "Press keys, for example in the menu of another system.", {"digits": "0-9, *, #, A-D."}),
    Action("send_message", "Send the caller a text message within the call.", {"body": "The text."}, is_answered=True),
    Action("play_file", "Play a sound file or URL that your instructions name.", {"file": "The file or URL."}),
    Action(
        "hold_call",
        "Put the caller on hold, with music, for a moment.",
        {"seconds?": "How long; the caller is then taken back."},
    ),
    Action(
        "switch_language",
        "Speak and listen in another language from now on, when the caller wants or uses it.",
        {"code": "Such as `de` or `zh-CN`."},
        applies=lambda book: bool(book.languages),
    ),
)
NAMES = tuple(action.name for action in ACTIONS)


def builtin_tools(playbook: Playbook) -> tuple[Tool, ...]:
    """The actions that `playbook` can use, or those named in its `llm.functions`."""
    wanted = playbook.llm.functions
    if isinstance(wanted, list):
        return tuple(_tool(action, playbook) for action in ACTIONS if action.name in wanted)
    return tuple(_tool(action, playbook) for action in ACTIONS if action.applies(playbook))


def _tool(action: Action, playbook: Playbook) -> Tool:
    properties: dict[str, dict[str, Any]] = {}
    for written, description in action.arguments.items():
        properties[written.rstrip("?")] = {"type": "string", "description": description}
    if action.name == "goto_scene":
        properties["scene"]["enum"] = [scene.id for scene in playbook.scenes]
    elif action.name == "switch_language" and playbook.languages:
        properties["code"]["enum"] = list(playbook.languages)
    elif action.name == "collect_input":
        properties["type"]["enum"] = list(playbook.dtmf_collectors)
        told = "; ".join(f"{name}: {one.description}" for name, one in playbook.dtmf_collectors.items() if one.description)
        properties["type"]["description"] += f" {told}" if told else ""
    elif action.name == "hold_call":
        properties["seconds"]["type"] = "number"
    needed = [name for name in action.arguments if not name.endswith("?")]
    schema = {"type": "object", "properties": properties, "required": needed}
    return Tool(action.name, action.description, schema, lower=partial(_lowered, action.name), is_answered=action.is_answered)


def _lowered(name: str, arguments: Mapping[str, Any]) -> Tag:
    attributes = {key.lower(): value if isinstance(value, str) else str(value) for key, value in arguments.items() if value is not None}
    return make_tag(name, attributes, name)
