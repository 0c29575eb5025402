"""A playbook as read: what the agent says and may do, and the call options that come with it. Values only; `parser` makes them.

The option groups of the front matter that belong to the agent stand here; those of the call (`asr`, `tts`, `sip`, …) are the contract's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import msgspec

from active_call.agent.script import Script
from active_call.agent.tools.registry import Tool
from active_call.base.trust import Trust
from active_call.contract import bounds
from active_call.contract.durations import Unit
from active_call.contract.options import CallOption, HedgeOption, Options


class LlmOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Which model answers, and how. `provider: script` answers from the playbook itself."""

    aliases: ClassVar[dict[str, str]] = {"secret_key": "api_key", "endpoint": "base_url"}
    durations: ClassVar[Mapping[str, Unit]] = {"repair_window_ms": "ms", "filler_after_ms": "ms", "apology_after_ms": "ms"}

    provider: bounds.Word | None = None
    model: bounds.Name | None = None
    base_url: bounds.Source | None = None
    api_key: str | None = None
    prompt: str = ""
    greeting: str = ""
    language: bounds.Word | None = None
    temperature: bounds.Temperature | None = None
    max_tokens: bounds.Tokens | None = None
    features: list[str] = msgspec.field(default_factory=list)
    repair_window_ms: bounds.PauseMs = 3000
    summary_limit: bounds.Count = 20
    tool_instructions: str | None = None
    """Replaces the built-in explanation of the tags; empty leaves it out."""
    tools: list[dict[str, Any]] = msgspec.field(default_factory=list)
    mcp: list[Any] = msgspec.field(default_factory=list)
    error_reply: str | None = None
    """What is said when the model fails or takes too long."""
    filler: str | None = None
    """What is said when an answer has not begun to sound `filler_after_ms` after the caller's turn. Unset: nothing."""
    filler_after_ms: bounds.PauseMs = 1500
    apology: str | None = None
    """What is said when it has not by `apology_after_ms`. Unset: "I am sorry, this takes a little longer"; empty: nothing."""
    apology_after_ms: bounds.PauseMs = 6000
    thinking: str | None = None
    """`prefilled`: the model's reasoning begins in its prompt, so that a reply is silent until `</think>`. Unset: it begins with a mark."""
    functions: bool | list[bounds.Word] | None = None
    """The agent's actions as functions of the model: true, false, or those that are named. Unset: where the model calls tools well."""
    parallel_tool_calls: bool | None = None
    """Whether one reply may call several tools; unset leaves it to the vendor."""
    reasoning: bounds.Word | None = None
    """How much a reasoning model is to think, in its vendor's word (`low`, `medium`, …). Unset: as little as it offers."""
    fallback: bounds.Fallback | None = None
    """Providers that are asked, in turn, when this one fails before its first word; each with its default model."""
    hedge: HedgeOption | None = None
    """The next of `fallback` is asked beside this one where it is slow."""
    extra: dict[str, Any] = msgspec.field(default_factory=dict)


class InterruptionOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """When the caller may interrupt the agent."""

    durations: ClassVar[Mapping[str, Unit]] = {"min_speech_ms": "ms", "volume_fade_ms": "ms", "ignore_first_ms": "ms"}

    strategy: str = "vad"
    """`none`; `vad`: by voice; `asr`: by recognised words; `both`: by whichever of the two comes first."""
    min_speech_ms: bounds.PauseMs = 0
    """With `vad`, how long the caller must speak before it counts."""
    filler_word_filter: bool = False
    """Sounds like "uh" or "mm-hm" neither interrupt nor count as an answer."""
    volume_fade_ms: bounds.FadeMs = 0
    """How long the agent's voice takes to fade when it is cut; 0 leaves it to the media plane."""
    resume_at: str = "sample"
    """Where a reply goes on that was paused in vain: `sample`, exactly where it stands, or `word`, the beginning of that word."""
    ignore_first_ms: bounds.PauseMs | None = None
    """How long after the start of an utterance nothing interrupts it. Unset: 1000 for the greeting, 0 for everything else."""


class FollowupOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What the agent does when the caller stays silent: it speaks up."""

    aliases: ClassVar[dict[str, str]] = {"max_count": "max"}
    durations: ClassVar[Mapping[str, Unit]] = {"timeout": "ms"}

    timeout: bounds.LongMs = 10_000
    """ms of silence after the agent's last word."""
    max: bounds.Count = 1
    """How often in a row it speaks up."""


class CollectorOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """How a string of digits is collected, by keypad or voice."""

    durations: ClassVar[Mapping[str, Unit]] = {"timeout": "s", "inter_digit_timeout": "s"}

    description: str = ""
    """What is entered, as a model is told it, and as the caller is asked where there is no `prompt`."""
    prompt: str = ""
    """What the caller is asked: a template."""
    input: bounds.Word = "both"
    """`dtmf`: keys; `speech`: spoken digits; `both`."""
    secret: bool = False
    """Masked in the history, the transcript, the events and the log; the recording leaves it out."""
    digits: bounds.DigitCount | None = None
    min_digits: bounds.DigitCount | None = None
    max_digits: bounds.DigitCount | None = None
    finish_key: str | None = None
    timeout: bounds.TimeoutS = 20
    """Seconds for the whole string of digits."""
    inter_digit_timeout: bounds.TimeoutS = 5
    """Seconds between two digits."""
    validation: dict[str, Any] | None = None
    """`pattern`: what the whole value must match; `errorMessage`: what is said when it does not."""
    retry_times: bounds.Count = 3
    """How often the caller is asked again."""
    interruptible: bool = False
    """Words that are no input end the collecting, and are answered as always."""


class McpOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One MCP server whose tools the model may call: a server of the configuration (`name` alone), a program, or a URL."""

    durations: ClassVar[Mapping[str, Unit]] = {"timeout": "s"}

    name: bounds.Word = ""
    command: bounds.Source = ""
    args: list[str] = msgspec.field(default_factory=list)
    env: dict[str, str] = msgspec.field(default_factory=dict)
    cwd: bounds.Source = ""
    url: bounds.Source = ""
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    timeout: bounds.TimeoutS = 30
    """Seconds that one call of a tool may take."""
    tools: list[str] = msgspec.field(default_factory=list)
    """The tools that are offered; empty: all."""
    cancellable: bool = True
    say_meanwhile: str = ""


class KnowledgeOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A folder of Markdown and text files that the agent may look things up in."""

    folder: bounds.Source
    """Relative to the playbook's own folder."""
    mode: bounds.Word = "tool"
    """`tool`: the model searches; `context`: the caller's words are searched, and what is found goes with the prompt; `both`."""
    description: str = ""
    """What is in the folder, and when to search it: for the model."""
    results: Annotated[int, msgspec.Meta(ge=1, le=20)] = 3
    """Passages that are given at most."""
    max_chars: Annotated[int, msgspec.Meta(ge=200, le=20_000)] = 3_000
    """Characters that are given at most."""


class HttpOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Which hosts the agent's `<http>` requests may reach, beside the hosts of URLs that stand in the playbook."""

    allow: list[str] = msgspec.field(default_factory=list)
    """Host names, `*.example.com` for all below one, `host:port`; `*` for the whole public internet."""


class PosthookOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A report sent to a URL when the call is over."""

    durations: ClassVar[Mapping[str, Unit]] = {"timeout": "s"}

    url: bounds.Source
    summary: str | None = None
    method: str = "POST"
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    include_history: bool = False
    timeout: bounds.TimeoutS = 30
    """Seconds."""


@dataclass(frozen=True, slots=True)
class DtmfAction:
    """What a digit does: `goto` a `scene`, `transfer` to a `target` (a template), or `hangup`."""

    action: str
    scene: str = ""
    target: str = ""


@dataclass(frozen=True, slots=True)
class Scene:
    """One scene. `text` is its prompt (or, in a script, what is said on entering); `play` are files played on entering."""

    id: str
    line: int
    text: str = ""
    dtmf: Mapping[str, DtmfAction] = field(default_factory=dict)
    play: tuple[str, ...] = ()
    followup: FollowupOption | None = None
    """The follow-up of this scene; None: that of the whole playbook."""


@dataclass(frozen=True, slots=True)
class Playbook:
    """A whole playbook. `scenes` is never empty and begins with the start scene."""

    file: str
    scenes: tuple[Scene, ...]
    option: CallOption = field(default_factory=CallOption)
    prompt: str = ""
    greeting: str = ""
    llm: LlmOption = field(default_factory=LlmOption)
    interruption: InterruptionOption = field(default_factory=InterruptionOption)
    followup: FollowupOption | None = None
    dtmf: Mapping[str, DtmfAction] = field(default_factory=dict)
    dtmf_collectors: Mapping[str, CollectorOption] = field(default_factory=dict)
    posthook: PosthookOption | None = None
    http: HttpOption = field(default_factory=HttpOption)
    tools: tuple[Tool, ...] = ()
    """HTTP tools of the front matter."""
    knowledge: KnowledgeOption | None = None
    """A folder to look things up in; none in a playbook that came with a request."""
    mcp: tuple[McpOption, ...] = ()
    """MCP servers whose tools the model may call; none in a playbook that came with a request."""
    languages: Mapping[str, str] = field(default_factory=dict)
    """Languages that the agent may switch to, each with its voice (empty: the engine's own choice)."""
    urls: tuple[str, ...] = ()
    """Web addresses that stand in its texts."""
    hangup_headers: Mapping[str, str] = field(default_factory=dict)
    """Headers of the BYE that this server sends; the values are templates."""
    warnings: tuple[str, ...] = ()
    """What is probably not meant as it is written, with file and line."""
    script: Script | None = None
    """Present when `llm.provider` is `script`: then no model is asked."""
    source: str = field(default="", repr=False)
    """The file's text, as its author has written it."""
    trust: Trust | None = None
    """What its calls may use beside what every call may. None: its text came with a request, and is trusted with nothing."""

    @property
    def start(self) -> Scene:
        """The scene that a call begins in."""
        return self.scenes[0]

    def scene(self, scene_id: str) -> Scene | None:
        """The scene of that name, or None."""
        return next((scene for scene in self.scenes if scene.id == scene_id), None)
