"""The inputs and effects of a conversation.

A conversation acts like any client of a call: it receives contract events and sends contract commands. In addition it asks a model, runs
tools and sends HTTP requests; the agent runner executes these. Replies are numbered: a model's text for a reply that is no longer current
is dropped. Tool calls have their own ids: their results are used even if the reply that started them is over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NewType

from msgspec import Struct, field

from active_call.agent.items import Prompt
from active_call.agent.realtime.events import RealtimeEvent, RealtimeOrder
from active_call.agent.tools.http_tool import HttpRequest
from active_call.agent.tools.registry import Tool, ToolSchema
from active_call.agent.turn.turn_detector import PauseSound, VendorTurn
from active_call.contract.commands import Command, Tts
from active_call.contract.events import AsrFinal, Event
from active_call.providers.speech_to_text import Alternative

ReplyNumber = NewType("ReplyNumber", int)


# -- inputs ------------------------------------------------------------------------------------------------------------------------------


class FinalForAgent(AsrFinal, frozen=True, kw_only=True, rename="camel", tag="asrFinal"):
    """A final text with what only the agent needs: an earlier utterance may have been secret. Everybody else gets the `AsrFinal`.

    `whole_text`: the text of the utterances from `whole_from` (an index) to this one, recognised together: it replaces their texts.
    """

    whole_from: int | None = None
    whole_text: str = ""
    alternatives: tuple[Alternative, ...] | None = None
    """Short replies that are nearly as likely by their sound, the likeliest first; None if the recogniser does not rate them."""


class Heard(Struct, frozen=True):
    """A contract event of the call."""

    event: Event


class ModelText(Struct, frozen=True):
    """A piece of the model's text for reply `reply`."""

    reply: ReplyNumber
    text: str


class ModelDone(Struct, frozen=True):
    """The model has finished reply `reply`. `error` is set if it failed (for logs, not for the caller)."""

    reply: ReplyNumber
    error: str = ""


class ToolCall(Struct, frozen=True):
    """The model calls a tool in reply `reply`. `id` is the vendor's, unique in the call; `arguments` is JSON as the model wrote it.

    One per call, sent before the ModelDone of its reply, as soon as the arguments are complete.
    """

    reply: ReplyNumber
    id: str
    name: str
    arguments: str


class ToolFinished(Struct, frozen=True):
    """The tool call `id` has finished: `result` as text for the model, or `error` as text (then there is no result)."""

    id: str
    result: str = ""
    error: str | None = None


class ToolAnswered(Struct, frozen=True):
    """The HTTP request of the tool call `id` was answered with `status` and `text`, or failed with `error`."""

    id: str
    status: int = 0
    text: str = ""
    error: str | None = None


class ToolsFound(Struct, frozen=True):
    """Additional tools for the model, announced by an MCP server."""

    tools: tuple[Tool, ...]


class HttpAnswered(Struct, frozen=True):
    """The answer to an `<http>` request of reply `reply`. `text` follows `HTTP Response: …`."""

    reply: ReplyNumber
    request: int
    text: str


class PauseRefused(Struct, frozen=True):
    """`PauseReply` was refused because the reply is about to end."""


class PausedOnVoice(Struct, frozen=True):
    """The media process has paused the playback by `PauseOnVoice`, after the report that the caller speaks. Answer with PauseReply or
    ResumeReply. PauseOnVoice is then disarmed."""


class Summarised(Struct, frozen=True):
    """The requested summary; empty if it failed."""

    text: str = ""


class FromRealtime(Struct, frozen=True):
    """An event of the realtime model's session, for a realtime conversation only."""

    event: RealtimeEvent


class Paused(Struct, frozen=True):
    """Facts about the caller's pause, measured at fixed moments of it."""

    sound: PauseSound


class TurnProposed(Struct, frozen=True):
    """A result of the recogniser's own turn detector. `text`: the words of the turn, if it reports them."""

    turn: VendorTurn
    text: str = ""
    confidence: float | None = None


class TurnJudged(Struct, frozen=True):
    """The answer to JudgeTurn `question`: the probability of end of turn, 0 to 1."""

    question: int
    probability: float


AgentInput = (
    Heard | ModelText | ModelDone | ToolCall | ToolFinished | ToolAnswered | ToolsFound | HttpAnswered | Summarised
    | FromRealtime | Paused | PausedOnVoice | PauseRefused | TurnProposed | TurnJudged
)  # fmt: skip


# -- effects -----------------------------------------------------------------------------------------------------------------------------


class Perform(Struct, frozen=True):
    """Execute a contract command, as if a client had sent it."""

    command: Command


class AskModel(Struct, frozen=True):
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


class Summarise(Struct, frozen=True):
    """Ask the model for a summary of `text`, in parallel with other requests. Answered by Summarised."""

    text: str
    instruction: str


class AbandonModel(Struct, frozen=True):
    """The request for reply `reply` is no longer needed."""

    reply: ReplyNumber


class PauseReply(Struct, frozen=True):
    """Pause the agent's speech at the current sample, because the caller speaks over it. Answered by PauseRefused if less than
    `unless_left_ms` is left. `fade_ms`: duration of the fade-out; None: the default of the media plane."""

    unless_left_ms: int
    fade_ms: int | None = None
    resumes_at_word: bool = False
    """Resume at the start of the current word instead of at the sample."""


class PauseOnVoice(Struct, frozen=True):
    """Make the media process pause the playback once, when the caller has spoken for `voiced_ms`; None disarms it. The other fields are
    as in PauseReply."""

    voiced_ms: int | None
    unless_left_ms: int = 0
    fade_ms: int | None = None


class ResumeReply(Struct, frozen=True):
    """End that pause: the rest of the reply is played."""


class PrepareSpeech(Struct, frozen=True):
    """Synthesise `command`, which will probably be said next, and keep the result; None: discard it."""

    command: Tts | None


class RunTool(Struct, frozen=True):
    """Run a registered tool. Answered by ToolFinished within `timeout_s` seconds, with an error if necessary."""

    id: str
    name: str
    arguments: Mapping[str, Any]
    timeout_s: float


class SendToolRequest(Struct, frozen=True):
    """Send the HTTP request of the tool call `id`. Answered by ToolAnswered within `timeout_s` seconds, with an error if necessary.

    `tool` names the tool; only its own hosts are allowed.
    """

    id: str
    tool: str
    request: HttpRequest
    timeout_s: float


class SwitchLanguage(Struct, frozen=True):
    """Recognise `code` from now on and speak it with `voice` (empty: the engine's default)."""

    code: str
    voice: str = ""


class MaskInput(Struct, frozen=True):
    """Start or stop masking: the caller's input is secret, visible only to the agent and not recorded."""

    is_secret: bool


class CancelTool(Struct, frozen=True):
    """The result of the tool call `id` is no longer needed: stop it. A ToolFinished that still arrives is dropped."""

    id: str


class SendHttp(Struct, frozen=True):
    """Send an HTTP request. Answered by HttpAnswered within 10 s."""

    reply: ReplyNumber
    request: int
    url: str
    method: str = "GET"
    body: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class ToRealtime(Struct, frozen=True):
    """A command for the realtime model's session."""

    order: RealtimeOrder


class ExpectPhrases(Struct, frozen=True):
    """Phrases that the caller is expected to say in the new scene, for the recogniser."""

    phrases: tuple[str, ...]


class EndUtterance(Struct, frozen=True):
    """Ask the recogniser to finalise the current utterance now. Its final text follows as an event."""


class JudgeTurn(Struct, frozen=True):
    """Ask the audio turn model, if there is one, for the end of the caller's turn. Answered by TurnJudged."""

    question: int


class TurnDecided(Struct, frozen=True):
    """The caller's turn is over now; for the latency trace."""


class EmitEvent(Struct, frozen=True):
    """Emit a contract event to the watchers of the call (`addHistory`, `error`, …)."""

    event: Event


class Note(Struct, frozen=True):
    """Write a log entry: a constant message and fields."""

    message: str
    fields: Mapping[str, Any] = field(default_factory=dict)


AgentEffect = (
    Perform | AskModel | Summarise | AbandonModel | PauseReply | PauseOnVoice | ResumeReply | PrepareSpeech | RunTool | SendToolRequest
    | CancelTool | SendHttp | SwitchLanguage | MaskInput | ToRealtime | ExpectPhrases | EndUtterance | JudgeTurn | TurnDecided
    | EmitEvent | Note
)  # fmt: skip
