"""Replies by Anthropic's Messages API, streamed: the vendor's prompt cache, and tool calls as it writes them.

API: `POST {base}/v1/messages` with `stream` (platform.claude.com/docs, "Messages", "Versions"). Settings: `model` (claude-haiku-4-5),
`api_key` (ANTHROPIC_API_KEY), `base_url`, `temperature`, `max_tokens`; `reasoning` is sent as the effort; `extra` as further fields.
Version 2026-10-21 of the API has no temperature: a request with one is sent as version 2023-06-01, and once more without it if the model
refuses it. Anthropic's OpenAI-compatible endpoint works with `provider: openai`, without the cache.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Final

import httpx

from active_call.base.errors import ProviderError
from active_call.providers.chat import ChatEvent, ChatModelCapabilities, ReplyRequest
from active_call.providers.credentials import KeySource, find_key, find_url
from active_call.providers.declaration import DeclaredOption, ProviderDeclaration
from active_call.providers.guarding.guard import Limits
from active_call.providers.http import open_connection
from active_call.providers.json_values import merged
from active_call.providers.llm.anthropic_messages import DEFAULT_MAX_TOKENS, EventReader, body_of
from active_call.providers.llm.server_sent_events import events_of
from active_call.providers.services import Services
from active_call.providers.settings import LlmSettings

NAME: Final = "anthropic"
URL: Final = "https://api.anthropic.com"
SOURCE: Final = KeySource("Anthropic", ("ANTHROPIC_API_KEY",), "https://platform.claude.com/settings/keys", ("anthropic.com", "claude.com"))
API_VERSION: Final = "2026-10-21"
VERSION_WITH_SAMPLING: Final = "2023-06-01"
SAMPLING: Final = ("temperature", "top_p", "top_k")
"""The fields that only the older version has, and of its models only the older ones."""
DEFAULT_MODEL: Final = "claude-haiku-4-5"
"""The fastest family: speech on the telephone must begin soon."""


CAPABILITIES: Final = ChatModelCapabilities(tools=True, json=True, usage=True, functions=True)

DECLARATION: Final = ProviderDeclaration(
    kind="llm",
    name=NAME,
    title="Anthropic (Messages API)",
    capabilities=CAPABILITIES,
    transport="HTTP",
    documentation="https://platform.claude.com/docs/en/api/messages",
    prices="https://platform.claude.com/docs/en/about-claude/pricing",
    keys=SOURCE.variables,
    key_page=SOURCE.key_page,
    base_url=URL,
    default_model=DEFAULT_MODEL,
    options=(
        DeclaredOption("model", "the haiku family answers fastest", DEFAULT_MODEL, is_latency_knob=True),
        DeclaredOption("temperature", "0 to 1; newer models have none, and it is left out"),
        DeclaredOption("maxTokens", "the longest reply", str(DEFAULT_MAX_TOKENS)),
        DeclaredOption("reasoning", "the effort: low, medium, high"),
        DeclaredOption("extra.*", "any other field of a request"),
    ),
    notes="The instructions use the vendor's prompt cache.",
)


def create(settings: LlmSettings, services: Services) -> AnthropicChatModel:
    """The adapter. Raises ConfigError without a key for Anthropic itself; another server may need none."""
    url = find_url("llm", settings.base_url, URL)
    return AnthropicChatModel(settings, url, find_key("llm", settings.api_key, url, SOURCE, services.environment), services.http)


class AnthropicChatModel:
    """The Messages API as a `ChatModel`."""

    name = NAME
    limits = Limits()
    capabilities = CAPABILITIES

    def __init__(self, settings: LlmSettings, url: str, key: str, http: httpx.AsyncClient) -> None:
        self._settings = settings
        self._url = f"{url.removesuffix('/v1')}/v1/messages"
        self._key = {"x-api-key": key} if key else {}
        self._http = http
        self._refused: set[str] = set()
        """Sampling fields that the model refused."""

    async def reply(self, request: ReplyRequest) -> AsyncGenerator[ChatEvent, None]:
        while True:
            body, reader = self._body(request), EventReader(NAME)
            has_begun = False
            try:
                headers = self._headers_for(body)
                async with aclosing(events_of(self._http, NAME, self._url, headers=headers, body=body, rest_s=request.rest_s)) as events:
                    async for event in events:
                        has_begun = True
                        told = reader.events_in(event)
                        if not told:
                            request.on_progress()
                        for one in told:
                            yield one
            except ProviderError as error:
                refused = [name for name in SAMPLING if name in body and name in str(error)]
                if error.retryable or has_begun or not refused:
                    raise
                self._refused.update(refused)
                continue
            if not reader.is_over:
                raise ProviderError(NAME, "the reply ended too early", retryable=True)
            return

    def _headers_for(self, body: Mapping[str, Any]) -> dict[str, str]:
        version = VERSION_WITH_SAMPLING if any(name in body for name in SAMPLING) else API_VERSION
        return {"anthropic-version": version, **self._key}

    async def connect_ahead(self) -> None:
        """Open a connection for the next request."""
        await open_connection(self._http, self._url)

    async def close(self) -> None:
        """Does nothing: the HTTP client belongs to the server."""

    def _body(self, request: ReplyRequest) -> dict[str, Any]:
        settings = self._settings
        body: dict[str, Any] = {
            "model": settings.model or DEFAULT_MODEL,
            "stream": True,
            "max_tokens": request.max_tokens or settings.max_tokens or DEFAULT_MAX_TOKENS,
            **body_of(request),
        }
        temperature = request.temperature if request.temperature is not None else settings.temperature
        if temperature is not None:
            body["temperature"] = min(temperature, 1.0)  # the API's own upper bound
        if settings.reasoning:
            body["output_config"] = {"effort": settings.reasoning}
        body = merged(merged(body, settings.extra), request.extra)
        return {name: value for name, value in body.items() if name not in self._refused}
