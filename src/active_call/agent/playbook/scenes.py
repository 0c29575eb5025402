"""A playbook as read: what the agent says and may do, and its call options. Values only; `parser` makes them.

The option groups of the front matter that belong to the agent are here. Those of the call (`asr`, `tts`, `sip`, …) are the contract's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Struct

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
    """Replaces the built-in explanation of the tags; empty removes it."""
    tools: list[dict[str, Any]] = msgspec.field(default_factory=list)
    mcp: list[Any] = msgspec.field(default_factory=list)
    error_reply: str | None = None
    """Said when the model fails or takes too long."""
    filler: str | None = None
    """Said when the answer is not audible `filler_after_ms` after the caller's turn. Unset: only while a tool runs, about which nothing was
    said, "One moment, please."; empty: nothing."""
    filler_after_ms: bounds.PauseMs = 1500
    apology: str | None = None
    """Said when the answer is not audible after `apology_after_ms`. Unset: "I am sorry, this takes a little longer"; empty: nothing."""
    apology_after_ms: bounds.PauseMs = 6000
    thinking: str | None = None
    """`prefilled`: the model's reasoning begins in its prompt, so a reply is silent until `</think>`. Unset: it begins with a tag."""
    functions: bool | list[bounds.Word] | None = None
    """Offer the agent's actions as functions: true, false, or the named ones. Unset: if the model calls tools reliably."""
    parallel_tool_calls: bool | None = None
    """Whether one reply may call several tools. Unset: the vendor's default."""
    reasoning: bounds.Word | None = None
    """Reasoning effort of the model, in the vendor's terms (`low`, `medium`, …). Unset: its minimum."""
    fallback: bounds.Fallback | None = None
    """Providers to ask in turn if this one fails before its first word, each with its default model."""
    hedge: HedgeOption | None = None
    """Ask the next provider of `fallback` in parallel if this one is slow."""
    extra: dict[str, Any] = msgspec.field(default_factory=dict)


class InterruptionOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """When the caller may interrupt the agent."""

    durations: ClassVar[Mapping[str, Unit]] = {"min_speech_ms": "ms", "volume_fade_ms": "ms", "ignore_first_ms": "ms"}

    strategy: str = "vad"
    """`none`; `vad`: by voice; `asr`: by recognised words; `both`: by the earlier of the two."""
    min_speech_ms: bounds.SpeechMs = 0
    """With `vad`: minimum speech before it counts as an interruption."""
    filler_word_filter: bool = False
    """Sounds like "uh" or "mm-hm" neither interrupt nor count as an answer."""
    volume_fade_ms: bounds.FadeMs = 0
    """Fade-out of the agent's voice when it is interrupted. 0: the default of the media plane."""
    resume_at: str = "sample"
    """Where a falsely paused reply resumes: `sample`, the exact position, or `word`, the start of the current word."""
    ignore_first_ms: bounds.PauseMs | None = None
    """No interruption in this time after the start of an utterance. Unset: 1000 for the greeting, 0 for everything else."""


class FollowupOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The agent's follow-up when the caller stays silent."""

    aliases: ClassVar[dict[str, str]] = {"max_count": "max"}
    durations: ClassVar[Mapping[str, Unit]] = {"timeout": "ms"}

    timeout: bounds.LongMs = 10_000
    """Silence after the agent's last word, in ms."""
    max: bounds.Count = 1
    """Maximum number of consecutive follow-ups."""


class CollectorOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """How a string of digits is collected, by keypad or voice."""

    durations: ClassVar[Mapping[str, Unit]] = {"timeout": "s", "inter_digit_timeout": "s"}

    description: str = ""
    """What is entered: for the model, and for the caller if there is no `prompt`."""
    prompt: str = ""
    """The question to the caller: a template."""
    input: bounds.Word = "both"
    """`dtmf`: keys; `speech`: spoken digits; `both`."""
    secret: bool = False
    """Masked in the history, the transcript, the events and the log; not recorded."""
    digits: bounds.DigitCount | None = None
    min_digits: bounds.DigitCount | None = None
    max_digits: bounds.DigitCount | None = None
    finish_key: str | None = None
    timeout: bounds.TimeoutS = 20
    """Seconds for the whole input."""
    inter_digit_timeout: bounds.TimeoutS = 5
    """Seconds between two digits."""
    validation: dict[str, Any] | None = None
    """`pattern`: a regular expression for the whole value; `errorMessage`: said if it does not match."""
    retry_times: bounds.Count = 3
    """How often the caller is asked again."""
    interruptible: bool = False
    """Words that are not input end the collector and are answered as a normal turn."""


class McpOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One MCP server whose tools the model may call: a configured server (`name` alone), a program, or a URL."""

    durations: ClassVar[Mapping[str, Unit]] = {"timeout": "s"}

    name: bounds.Word = ""
    command: bounds.Source = ""
    args: list[str] = msgspec.field(default_factory=list)
    env: dict[str, str] = msgspec.field(default_factory=dict)
    cwd: bounds.Source = ""
    url: bounds.Source = ""
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    timeout: bounds.TimeoutS = 30
    """Timeout of one tool call in seconds."""
    tools: list[str] = msgspec.field(default_factory=list)
    """The offered tools; empty: all."""
    cancellable: bool = True
    say_meanwhile: str = ""


class KnowledgeOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A folder of Markdown and text files that the agent may search."""

    folder: bounds.Source
    """Relative to the folder of the playbook."""
    mode: bounds.Word = "tool"
    """`tool`: the model searches; `context`: the results for the caller's words are added to the prompt; `both`."""
    description: str = ""
    """What the folder contains and when to search it, for the model."""
    results: Annotated[int, msgspec.Meta(ge=1, le=20)] = 3
    """Maximum number of passages."""
    max_chars: Annotated[int, msgspec.Meta(ge=200, le=20_000)] = 3_000
    """Maximum number of characters."""


class HttpOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Hosts that the agent's `<http>` requests may reach, in addition to the hosts of URLs in the playbook."""

    allow: list[str] = msgspec.field(default_factory=list)
    """Host names, `*.example.com` for all subdomains, `host:port`; `*` for the whole public internet."""


class PosthookOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A report that is sent to a URL when the call is over."""

    durations: ClassVar[Mapping[str, Unit]] = {"timeout": "s"}

    url: bounds.Source
    summary: str | None = None
    method: str = "POST"
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    include_history: bool = False
    timeout: bounds.TimeoutS = 30
    """Timeout in seconds."""


class DtmfAction(Struct, frozen=True):
    """The action of a digit: `goto` a `scene`, `transfer` to a `target` (a template), or `hangup`."""

    action: str
    scene: str = ""
    target: str = ""


class Scene(Struct, frozen=True):
    """One scene. `text` is its prompt, or in a script what is said on entry. `play`: files played on entry."""

    id: str
    line: int
    text: str = ""
    dtmf: Mapping[str, DtmfAction] = msgspec.field(default_factory=dict)
    play: tuple[str, ...] = ()
    followup: FollowupOption | None = None
    """The follow-up of this scene. None: that of the playbook."""


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
    """A folder to search. None for a playbook that came with a request."""
    mcp: tuple[McpOption, ...] = ()
    """MCP servers whose tools the model may call. None for a playbook that came with a request."""
    languages: Mapping[str, str] = field(default_factory=dict)
    """Languages that the agent may switch to, each with its voice (empty: the engine's default)."""
    urls: tuple[str, ...] = ()
    """URLs in its texts."""
    hangup_headers: Mapping[str, str] = field(default_factory=dict)
    """Headers of our BYE. The values are templates."""
    warnings: tuple[str, ...] = ()
    """Constructs that are probably not intended, with file and line."""
    script: Script | None = None
    """Set if `llm.provider` is `script`: then no model is asked."""
    source: str = field(default="", repr=False)
    """The file's text as written."""
    trust: Trust | None = None
    """What its calls may use in addition to the defaults. None: the text came with a request and has no extra rights."""

    @property
    def start(self) -> Scene:
        """The scene in which a call begins."""
        return self.scenes[0]

    def scene(self, scene_id: str) -> Scene | None:
        """The scene with that id, or None."""
        return next((scene for scene in self.scenes if scene.id == scene_id), None)
