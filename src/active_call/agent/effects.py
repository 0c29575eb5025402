"""What goes into and comes out of a conversation.

A conversation is like any client of a call: it hears contract events and asks for contract commands. Beside these it asks a model, runs
tools and sends HTTP requests; the agent runner does that for it. Replies are numbered; a model's text for a number that is no longer
current is dropped. Tool calls have ids of their own: their results are taken also when the reply that started them is over.
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
    """The model has said more of reply `reply`."""

    reply: ReplyNumber
    text: str


@dataclass(frozen=True, slots=True)
class ModelDone:
    """The model has said all of reply `reply`; `error` when it could not (the text is for logs, not for the caller)."""

    reply: ReplyNumber
    error: str = ""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model calls a tool in reply `reply`. `id` is the vendor's, unique in the call; `arguments` is JSON as the model wrote it.

    It comes before the ModelDone of its reply, one for each call, as soon as the arguments are complete.
    """

    reply: ReplyNumber
    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolFinished:
    """The tool call `id` is over: `result` as text for the model, or `error` in words (then there is no result)."""

    id: str
    result: str = ""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ToolAnswered:
    """The request of the tool call `id` was answered with `status` and `text`, or failed: `error` in words."""

    id: str
    status: int = 0
    text: str = ""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ToolsFound:
    """More tools that the model may call from now on: an MCP server has told them."""

    tools: tuple[Tool, ...]


@dataclass(frozen=True, slots=True)
class HttpAnswered:
    """An `<http>` request of reply `reply` has come back; `text` is `HTTP Response: …`'s rest."""

    reply: ReplyNumber
    request: int
    text: str


@dataclass(frozen=True, slots=True)
class PauseRefused:
    """The reply was not paused, as `PauseReply` had asked: so little is left of it that it ends first."""


@dataclass(frozen=True, slots=True)
class PausedOnVoice:
    """The media process has paused what sounds, as `PauseOnVoice` had asked, behind the news that the caller speaks. It is answered by
    PauseReply or ResumeReply, and asks for no pause any more."""


@dataclass(frozen=True, slots=True)
class Summarised:
    """The summary that was asked for; empty when it could not be made."""

    text: str = ""


@dataclass(frozen=True, slots=True)
class FromRealtime:
    """An event of the realtime model's session; only a realtime conversation takes it."""

    event: RealtimeEvent


@dataclass(frozen=True, slots=True)
class Paused:
    """The caller is silent, and still was at some moments of the pause: how it sounds."""

    sound: PauseSound


@dataclass(frozen=True, slots=True)
class TurnProposed:
    """The recogniser's own turn detector has said something. `text`: what it heard of the turn, where it tells."""

    turn: VendorTurn
    text: str = ""
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class TurnJudged:
    """The answer to JudgeTurn `question`: the probability that the turn is over, 0 to 1."""

    question: int
    probability: float


AgentInput = (
    Heard | ModelText | ModelDone | ToolCall | ToolFinished | ToolAnswered | ToolsFound | HttpAnswered | Summarised
    | FromRealtime | Paused | PausedOnVoice | PauseRefused | TurnProposed | TurnJudged
)  # fmt: skip


# -- effects -----------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Perform:
    """Carry out a contract command, as if a client had sent it."""

    command: Command


@dataclass(frozen=True, slots=True)
class AskModel:
    """Ask the model for reply `reply`; what it writes comes back as ModelText, ToolCall and ModelDone. Any earlier request is abandoned.

    `tools`: what it may call.
    """

    reply: ReplyNumber
    prompts: tuple[Prompt, ...]
    scene: str
    temperature: float | None = None
    max_tokens: int | None = None
    tools: tuple[ToolSchema, ...] = ()
    query: str = ""
    """What the caller has said last: knowledge about it may be added to the prompts."""
    parallel_tool_calls: bool | None = None
    """Whether one reply may call several tools; None leaves it to the vendor."""


@dataclass(frozen=True, slots=True)
class Summarise:
    """Ask the model for a summary of `text`, beside everything else, and bring it back as Summarised."""

    text: str
    instruction: str


@dataclass(frozen=True, slots=True)
class AbandonModel:
    """Nobody waits for reply `reply` any more."""

    reply: ReplyNumber


@dataclass(frozen=True, slots=True)
class PauseReply:
    """Let what the agent says stand still at its sample, since the caller speaks over it. It comes back as PauseRefused when less than
    `unless_left_ms` is left to be heard. `fade_ms`: how long the voice falls to silence; None leaves it to the media plane."""

    unless_left_ms: int
    fade_ms: int | None = None
    resumes_at_word: bool = False
    """It is to go on from the beginning of the word in which it stands still, not from the sample."""


@dataclass(frozen=True, slots=True)
class PauseOnVoice:
    """Let the media process pause what sounds by itself, once, when the caller has spoken for `voiced_ms`; None: no longer. The rest as in
    PauseReply."""

    voiced_ms: int | None
    unless_left_ms: int = 0
    fade_ms: int | None = None


@dataclass(frozen=True, slots=True)
class ResumeReply:
    """End that pause: what is left to be heard goes on."""


@dataclass(frozen=True, slots=True)
class PrepareSpeech:
    """Make the speech of `command`, which is likely to be said next, and keep it back until then; None: it is not wanted any more."""

    command: Tts | None


@dataclass(frozen=True, slots=True)
class RunTool:
    """Run a registered tool and bring its result back as ToolFinished, within `timeout_s` seconds, with an error if need be."""

    id: str
    name: str
    arguments: Mapping[str, Any]
    timeout_s: float


@dataclass(frozen=True, slots=True)
class SendToolRequest:
    """Make the HTTP request of the tool call `id` and bring its answer back as ToolAnswered, within `timeout_s`, with an error if need be.

    `tool` names the tool: its own hosts may be asked, and no others.
    """

    id: str
    tool: str
    request: HttpRequest
    timeout_s: float


@dataclass(frozen=True, slots=True)
class SwitchLanguage:
    """Recognise `code` from now on, and speak it with `voice` (empty: the engine's own choice)."""

    code: str
    voice: str = ""


@dataclass(frozen=True, slots=True)
class MaskInput:
    """What the caller enters or says from now on is secret, or no longer: nobody but the agent is told it, and it is not recorded."""

    is_secret: bool


@dataclass(frozen=True, slots=True)
class CancelTool:
    """Nobody waits for the tool call `id` any more: stop it. A ToolFinished that comes all the same is dropped."""

    id: str


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
class ToRealtime:
    """An order to the realtime model's session."""

    order: RealtimeOrder


@dataclass(frozen=True, slots=True)
class ExpectPhrases:
    """What the caller may well say in the scene that begins."""

    phrases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EndUtterance:
    """The recogniser is to finish with what the caller has said so far, now. Its final text follows as an event."""


@dataclass(frozen=True, slots=True)
class JudgeTurn:
    """Ask the model of the sound, where there is one, whether the caller's turn is over. Its answer comes back as TurnJudged."""

    question: int


@dataclass(frozen=True, slots=True)
class TurnDecided:
    """The caller's turn is over, as of now: for the latency trace."""


@dataclass(frozen=True, slots=True)
class Tell:
    """Emit a contract event to whoever watches the call (`addHistory`, `error`, …)."""

    event: Event


@dataclass(frozen=True, slots=True)
class Note:
    """Something for the log: a constant message and fields."""

    message: str
    fields: Mapping[str, Any] = field(default_factory=dict)


AgentEffect = (
    Perform | AskModel | Summarise | AbandonModel | PauseReply | PauseOnVoice | ResumeReply | PrepareSpeech | RunTool | SendToolRequest
    | CancelTool | SendHttp | SwitchLanguage | MaskInput | ToRealtime | ExpectPhrases | EndUtterance | JudgeTurn | TurnDecided | Tell | Note
)  # fmt: skip
