"""What servers and models behind OpenAI's chat completions API accept: data, and the look-up in it.

The server's URL and the model's name enter; a `ModelProfile` leaves. The first profile whose server and model both match is used. Other
servers get the safest request: no system message in mid-conversation, no field that a server may refuse. Further refusals are learnt from
the server's first 400 (see `refused_fields`). Sources stand beside the entries.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from msgspec import Struct, field

AS_SYSTEM: Final = "system"
"""A system message in mid-conversation is sent unchanged."""
AS_USER: Final = "user"
"""A system message in mid-conversation is sent as a user message: the server refuses it, or moves it to the front."""


class ModelProfile(Struct, frozen=True):
    """How to address one model. `server` is the end of a host name (empty: any), `model` a pattern for the beginning of a model's name."""

    name: str
    server: str = ""
    model: str = ""
    late_system: str = AS_USER
    must_alternate: bool = False
    """The roles user and assistant must alternate, beginning with the user."""
    max_tokens_field: str = "max_tokens"
    takes_temperature: bool = True
    takes_usage_option: bool = False
    """It accepts `stream_options.include_usage`; other servers send usage unasked, or refuse the field."""
    calls_tools: bool = False
    """It calls tools reliably: built-in actions are offered to it as functions. Other models are told the tags instead, because a server
    without tool support refuses the request.
    """
    takes_tool_choice: bool = True
    takes_parallel_tool_calls: bool = False
    little_reasoning: Mapping[str, Any] = field(default_factory=dict)
    """Fields that set a reasoning model to its lowest effort and exclude the reasoning from the reply."""
    effort_field: str = ""
    """The field for an effort set by the author (`llm.reasoning`); empty: none."""

    def fits(self, host: str, model: str) -> bool:
        """Whether this profile applies to that server and model."""
        is_host = not self.server or host == self.server or host.endswith(f".{self.server}")
        return is_host and re.match(self.model, _bare(model), re.IGNORECASE) is not None


_OPENAI: Final[Mapping[str, Any]] = {
    "late_system": AS_SYSTEM,
    "max_tokens_field": "max_completion_tokens",
    "takes_usage_option": True,
    "takes_parallel_tool_calls": True,
    "calls_tools": True,
}
_THINKS: Final[Mapping[str, Any]] = {**_OPENAI, "takes_temperature": False, "effort_field": "reasoning_effort"}
_OPENAI_HOSTS: Final = ("api.openai.com", "openai.azure.com")


def _openai(server: str) -> tuple[ModelProfile, ...]:
    """platform.openai.com/docs/api-reference/chat and /docs/guides/reasoning: reasoning models refuse `max_tokens` and `temperature`; gpt-5
    has the effort `minimal`, gpt-5.1 and later `none`; o-series models begin at `low` and refuse `parallel_tool_calls`.
    """
    return (
        ModelProfile("openai gpt-5 chat", server, r"gpt-5(\.\d+)?-chat", **_OPENAI),
        ModelProfile("openai gpt-5", server, r"gpt-5(-|$)", **_THINKS, little_reasoning={"reasoning_effort": "minimal"}),
        ModelProfile("openai gpt-5.1 and later", server, r"gpt-(5\.\d|[6-9])", **_THINKS, little_reasoning={"reasoning_effort": "none"}),
        ModelProfile(
            "openai o-series",
            server,
            r"o\d",
            **{**_THINKS, "takes_parallel_tool_calls": False},
            little_reasoning={"reasoning_effort": "low"},
        ),
        ModelProfile("openai", server, **_OPENAI),
    )


PROFILES: Final[tuple[ModelProfile, ...]] = (
    *(profile for server in _OPENAI_HOSTS for profile in _openai(server)),
    # console.groq.com/docs/reasoning: `reasoning_format` for Qwen, `include_reasoning` for gpt-oss.
    ModelProfile(
        "groq qwen",
        "groq.com",
        r"qwen-?3|qwq",
        AS_SYSTEM,
        max_tokens_field="max_completion_tokens",
        little_reasoning={"reasoning_effort": "none", "reasoning_format": "hidden"},
        effort_field="reasoning_effort",
        calls_tools=True,
    ),
    ModelProfile(
        "groq gpt-oss",
        "groq.com",
        r"gpt-oss",
        AS_SYSTEM,
        max_tokens_field="max_completion_tokens",
        little_reasoning={"reasoning_effort": "low", "include_reasoning": False},
        effort_field="reasoning_effort",
        calls_tools=True,
    ),
    ModelProfile(
        "groq", "groq.com", "", AS_SYSTEM, max_tokens_field="max_completion_tokens", takes_parallel_tool_calls=True, calls_tools=True
    ),
    # docs.anthropic.com, "OpenAI SDK compatibility": system messages are moved to the beginning and joined.
    ModelProfile("anthropic", "anthropic.com", calls_tools=True),
    # ai.google.dev/gemini-api/docs/openai: system messages become the one system instruction; 2.5 Pro cannot turn reasoning off.
    ModelProfile(
        "gemini pro",
        "googleapis.com",
        r"gemini-[\d.]+-pro",
        little_reasoning={"reasoning_effort": "low"},
        effort_field="reasoning_effort",
        calls_tools=True,
    ),
    ModelProfile(
        "gemini 2.5 flash",
        "googleapis.com",
        r"gemini-2\.5-flash",
        little_reasoning={"reasoning_effort": "none"},
        effort_field="reasoning_effort",
        calls_tools=True,
    ),
    ModelProfile(
        "gemini 3 flash",
        "googleapis.com",
        r"gemini-[3-9][\d.]*-flash",
        little_reasoning={"reasoning_effort": "minimal"},
        effort_field="reasoning_effort",
        calls_tools=True,
    ),
    ModelProfile("gemini", "googleapis.com", calls_tools=True),
    # docs.mistral.ai/api: a system message after another role than user is refused ("Unexpected role 'system'").
    ModelProfile("mistral", "mistral.ai", takes_parallel_tool_calls=True, calls_tools=True),
    # help.aliyun.com, DashScope's compatible mode: `enable_thinking`; a system message is allowed first only.
    ModelProfile("dashscope qwen", "aliyuncs.com", r"qwen|qwq", little_reasoning={"enable_thinking": False}, calls_tools=True),
    ModelProfile("dashscope", "aliyuncs.com", calls_tools=True),
    # api-docs.deepseek.com: the reasoner accepts no temperature and, before V3.1, no tools.
    ModelProfile("deepseek reasoner", "deepseek.com", r"deepseek-reasoner", AS_SYSTEM, takes_temperature=False, takes_tool_choice=False),
    ModelProfile("deepseek", "deepseek.com", "", AS_SYSTEM, calls_tools=True),
    # docs.x.ai: of Grok 3 only the mini accepts an effort; Grok 4 refuses it.
    ModelProfile("grok 3 mini", "x.ai", r"grok-3-mini", AS_SYSTEM, little_reasoning={"reasoning_effort": "low"}, calls_tools=True),
    ModelProfile("xai", "x.ai", "", AS_SYSTEM, calls_tools=True),
    # openrouter.ai/docs, "Reasoning tokens".
    ModelProfile("openrouter", "openrouter.ai", little_reasoning={"reasoning": {"effort": "low", "exclude": True}}),
    # Models on a private server (llama.cpp, vLLM, Ollama): requirements of their chat templates.
    ModelProfile("gemma", "", r"gemma", must_alternate=True),
    ModelProfile("mistral, own server", "", r"mistral|mixtral|ministral", must_alternate=True),
    ModelProfile("qwen 3, own server", "", r"qwen-?3", little_reasoning={"chat_template_kwargs": {"enable_thinking": False}}),
    ModelProfile("gpt-oss, own server", "", r"gpt-oss", little_reasoning={"reasoning_effort": "low"}, effort_field="reasoning_effort"),
    ModelProfile("small models", "", r"smollm|tinyllama|phi-?[123](\b|-)"),
)

UNKNOWN: Final = ModelProfile("unknown")
"""The profile used if no other matches."""


def profile_of(base_url: str, model: str) -> ModelProfile:
    """The profile for `model` on the server at `base_url`."""
    host = (urlsplit(base_url).hostname or "").lower()
    return next((profile for profile in PROFILES if profile.fits(host, model)), UNKNOWN)


_OPTIONAL: Final = (
    "max_tokens", "max_completion_tokens", "temperature", "stream_options", "parallel_tool_calls", "tool_choice", "reasoning_effort",
    "reasoning_format", "include_reasoning", "reasoning", "enable_thinking", "chat_template_kwargs", "response_format",
)  # fmt: skip


def refused_fields(message: str, sent: Mapping[str, Any]) -> tuple[str, ...]:
    """The optional fields of `sent` that a server's 400 names as the reason; the request can be repeated without them."""
    named = re.findall(r"[a-z_]{4,}", message.lower())
    return tuple(name for name in _OPTIONAL if name in sent and name in named)


def _bare(model: str) -> str:
    """`openai/gpt-5-mini` as `gpt-5-mini`; gateways prefix the vendor."""
    return model.rpartition("/")[2]
