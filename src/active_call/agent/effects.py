"""What goes into and comes out of the agent.

The agent is like any client of a call: it hears contract events and asks for contract commands. Beside these it talks to a model and to
the web, which the session does for it. Replies are numbered; what arrives for a number that is no longer current is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NewType

from active_call.contract.commands import Command
from active_call.contract.events import Event

ReplyNumber = NewType("ReplyNumber", int)


# -- inputs ------------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Heard:
    """A contract event of the call."""

    event: Event


@dataclass(frozen=True, slots=True)
class ModelText:
    """The model has said more of reply `reply`."""

    reply: ReplyNumber
    text: str


@dataclass(frozen=True, slots=True)
class ModelDone:
    """The model has said all of reply `reply`; `error` when it could not (the text is for logs, not for the caller)."""

    reply: ReplyNumber
    error: str = ""


@dataclass(frozen=True, slots=True)
class HttpAnswered:
    """An `<http>` request of reply `reply` has come back; `text` is `HTTP Response: …`'s rest."""

    reply: ReplyNumber
    request: int
    text: str


AgentInput = Heard | ModelText | ModelDone | HttpAnswered


# -- effects -----------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Perform:
    """Carry out a contract command, as if a client had sent it."""

    command: Command


@dataclass(frozen=True, slots=True)
class Prompt:
    """One message for the model: role and text."""

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class AskModel:
    """Ask the model for reply `reply`; its text comes back as ModelText and ModelDone. Any earlier request is abandoned."""

    reply: ReplyNumber
    prompts: tuple[Prompt, ...]
    scene: str
    temperature: float | None = None
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class AbandonModel:
    """Nobody waits for reply `reply` any more."""

    reply: ReplyNumber


@dataclass(frozen=True, slots=True)
class SendHttp:
    """Make an HTTP request and bring the answer back as HttpAnswered, within 10 s."""

    reply: ReplyNumber
    request: int
    url: str
    method: str = "GET"
    body: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExpectPhrases:
    """What the caller may well say in the scene that begins."""

    phrases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tell:
    """Emit a contract event to whoever watches the call (`addHistory`, `error`, …)."""

    event: Event


@dataclass(frozen=True, slots=True)
class Note:
    """Something for the log: a constant message and fields."""

    message: str
    fields: Mapping[str, Any] = field(default_factory=dict)


AgentEffect = Perform | AskModel | AbandonModel | SendHttp | ExpectPhrases | Tell | Note
