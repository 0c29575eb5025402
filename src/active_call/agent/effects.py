"""The inputs and effects of a conversation.

A conversation acts like any client of a call: it receives contract events and sends contract commands. In addition it asks a model, runs
tools and sends HTTP requests; the agent runner executes these. Replies are numbered: a model's text for a reply that is no longer current
is dropped. Tool calls have their own ids: their results are used even if the reply that started them is over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NewType

from active_call.agent.items import Prompt
from active_call.agent.realtime.events import RealtimeEvent, RealtimeOrder
from active_call.agent.tools.http_tool import HttpRequest
from active_call.agent.tools.registry import Tool, ToolSchema
from active_call.agent.turn.turn_detector import PauseSound, VendorTurn
from active_call.contract.commands import Command, Tts
from active_call.contract.events import Event

ReplyNumber = NewType("ReplyNumber", int)


# -- inputs ------------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Heard:
    """A contract event of the call."""

    event: Event


@dataclass(frozen=True, slots=True)
class ModelText:
    """A piece of the model's text for reply `reply`."""

    reply: ReplyNumber
    text: str


@dataclass(frozen=True, slots=True)
class ModelDone:
    """The model has finished reply `reply`. `error` is set if it failed (for logs, not for the caller)."""

    reply: ReplyNumber
    error: str = ""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model calls a tool in reply `reply`. `id` is the vendor's, unique in the call; `arguments` is JSON as the model wrote it.

    One per call, sent before the ModelDone of its reply, as soon as the arguments are complete.
    """

    reply: ReplyNumber
    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolFinished:
    """The tool call `id` has finished: `result` as text for the model, or `error` as text (then there is no result)."""

    id: str
    result: str = ""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ToolAnswered:
    """The HTTP request of the tool call `id` was answered with `status` and `text`, or failed with `error`."""

    id: str
    status: int = 0
    text: str = ""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ToolsFound:
    """Additional tools for the model, announced by an MCP server."""

    tools: tuple[Tool, ...]


@dataclass(frozen=True, slots=True)
class HttpAnswered:
    """The answer to an `<http>` request of reply `reply`. `text` follows `HTTP Response: …`."""

    reply: ReplyNumber
    request: int
    text: str


@dataclass(frozen=True, slots=True)
class PauseRefused:
    """`PauseReply` was refused because the reply is about to end."""


@dataclass(frozen=True, slots=True)
class PausedOnVoice:
    """The media process has paused the playback by `PauseOnVoice`, after the report that the caller speaks. Answer with PauseReply or
    ResumeReply. PauseOnVoice is then disarmed."""


@dataclass(frozen=True, slots=True)
class Summarised:
    """The requested summary; empty if it failed."""

    text: str = ""


@dataclass(frozen=True, slots=True)
class FromRealtime:
    """An event of the realtime model's session, for a realtime conversation only."""

    event: RealtimeEvent


@dataclass(frozen=True, slots=True)
class Paused:
    """Facts about the caller's pause, measured at fixed moments of it."""

    sound: PauseSound


@dataclass(frozen=True, slots=True)
class TurnProposed:
    """A result of the recogniser's own turn detector. `text`: the words of the turn, if it reports them."""

    turn: VendorTurn
    text: str = ""
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class TurnJudged:
    """The answer to JudgeTurn `question`: the probability of end of turn, 0 to 1."""

    question: int
    probability: float


AgentInput = (
    Heard | ModelText | ModelDone | ToolCall | ToolFinished | ToolAnswered | ToolsFound | HttpAnswered | Summarised
    | FromRealtime | Paused | PausedOnVoice | PauseRefused | TurnProposed | TurnJudged
)  # fmt: skip


# -- effects -----------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Perform:
    """Execute a contract command, as if a client had sent it."""

    command: Command


@dataclass(frozen=True, slots=True)
class AskModel:
    """Ask the model for reply `reply`. Its output arrives as ModelText, ToolCall and ModelDone. An earlier request is abandoned.

    `tools`: the tools that it may call.
    """

    reply: ReplyNumber
    prompts: tuple[Prompt, ...]
    scene: str
    temperature: float | None = None
    max_tokens: int | None = None
    tools: tuple[ToolSchema, ...] = ()
    query: str = ""
    """The caller's last words. Knowledge about them may be added to the prompts."""
    parallel_tool_calls: bool | None = None
    """Whether one reply may call several tools. None: the vendor's default."""


@dataclass(frozen=True, slots=True)
class Summarise:
    """Ask the model for a summary of `text`, in parallel with other requests. Answered by Summarised."""

    text: str
    instruction: str


@dataclass(frozen=True, slots=True)
class AbandonModel:
    """The request for reply `reply` is no longer needed."""

    reply: ReplyNumber


@dataclass(frozen=True, slots=True)
class PauseReply:
    """Pause the agent's speech at the current sample, because the caller speaks over it. Answered by PauseRefused if less than
    `unless_left_ms` is left. `fade_ms`: duration of the fade-out; None: the default of the media plane."""

    unless_left_ms: int
    fade_ms: int | None = None
    resumes_at_word: bool = False
    """Resume at the start of the current word instead of at the sample."""


@dataclass(frozen=True, slots=True)
class PauseOnVoice:
    """Make the media process pause the playback once, when the caller has spoken for `voiced_ms`; None disarms it. The other fields are
    as in PauseReply."""

    voiced_ms: int | None
    unless_left_ms: int = 0
    fade_ms: int | None = None


@dataclass(frozen=True, slots=True)
class ResumeReply:
    """End that pause: the rest of the reply is played."""


@dataclass(frozen=True, slots=True)
class PrepareSpeech:
    """Synthesise `command`, which will probably be said next, and keep the result; None: discard it."""

    command: Tts | None


@dataclass(frozen=True, slots=True)
class RunTool:
    """Run a registered tool. Answered by ToolFinished within `timeout_s` seconds, with an error if necessary."""

    id: str
    name: str
    arguments: Mapping[str, Any]
    timeout_s: float


@dataclass(frozen=True, slots=True)
class SendToolRequest:
    """Send the HTTP request of the tool call `id`. Answered by ToolAnswered within `timeout_s` seconds, with an error if necessary.

    `tool` names the tool; only its own hosts are allowed.
    """

    id: str
    tool: str
    request: HttpRequest
    timeout_s: float


@dataclass(frozen=True, slots=True)
class SwitchLanguage:
    """Recognise `code` from now on and speak it with `voice` (empty: the engine's default)."""

    code: str
    voice: str = ""


@dataclass(frozen=True, slots=True)
class MaskInput:
    """Start or stop masking: the caller's input is secret, visible only to the agent and not recorded."""

    is_secret: bool


@dataclass(frozen=True, slots=True)
class CancelTool:
    """The result of the tool call `id` is no longer needed: stop it. A ToolFinished that still arrives is dropped."""

    id: str


@dataclass(frozen=True, slots=True)
class SendHttp:
    """Send an HTTP request. Answered by HttpAnswered within 10 s."""

    reply: ReplyNumber
    request: int
    url: str
    method: str = "GET"
    body: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToRealtime:
    """A command for the realtime model's session."""

    order: RealtimeOrder


@dataclass(frozen=True, slots=True)
class ExpectPhrases:
    """Phrases that the caller is expected to say in the new scene, for the recogniser."""

    phrases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EndUtterance:
    """Ask the recogniser to finalise the current utterance now. Its final text follows as an event."""


@dataclass(frozen=True, slots=True)
class JudgeTurn:
    """Ask the audio turn model, if there is one, for the end of the caller's turn. Answered by TurnJudged."""

    question: int


@dataclass(frozen=True, slots=True)
class TurnDecided:
    """The caller's turn is over now; for the latency trace."""


@dataclass(frozen=True, slots=True)
class EmitEvent:
    """Emit a contract event to the watchers of the call (`addHistory`, `error`, …)."""

    event: Event


@dataclass(frozen=True, slots=True)
class Note:
    """Write a log entry: a constant message and fields."""

    message: str
    fields: Mapping[str, Any] = field(default_factory=dict)


AgentEffect = (
    Perform | AskModel | Summarise | AbandonModel | PauseReply | PauseOnVoice | ResumeReply | PrepareSpeech | RunTool | SendToolRequest
    | CancelTool | SendHttp | SwitchLanguage | MaskInput | ToRealtime | ExpectPhrases | EndUtterance | JudgeTurn | TurnDecided
    | EmitEvent | Note
)  # fmt: skip
