"""Replies by Google's Gemini API, streamed.

API: `POST {base}/v1beta/models/{model}:streamGenerateContent?alt=sse` (ai.google.dev/api/generate-content). Settings: `model`
(gemini-3.6-flash), `api_key` (GEMINI_API_KEY or GOOGLE_API_KEY), `base_url`, `temperature`, `max_tokens`; `reasoning` is a level (`low`) or
a number of tokens; without it the model's lowest setting is used. `extra` is sent as further fields. Gemini's OpenAI-compatible
endpoint works with `provider: openai`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final
from urllib.parse import quote

import httpx

from active_call.base.errors import ProviderError
from active_call.providers.accounts.gemini import SOURCE
from active_call.providers.chat import ChatEvent, ChatModelCapabilities, ReplyRequest
from active_call.providers.credentials import find_key, find_url
from active_call.providers.declaration import DeclaredOption, ProviderDeclaration
from active_call.providers.guarding.guard import Limits
from active_call.providers.http import open_connection
from active_call.providers.json_values import merged
from active_call.providers.llm.gemini_contents import ChunkReader, body_of
from active_call.providers.llm.server_sent_events import events_of
from active_call.providers.services import Services
from active_call.providers.settings import LlmSettings

NAME: Final = "gemini"
URL: Final = "https://generativelanguage.googleapis.com"
DEFAULT_MODEL: Final = "gemini-3.6-flash"
MAX_SIGNATURES: Final = 2_000
"""The most tool calls kept, over all conversations with this model; older ones are no longer needed."""


CAPABILITIES: Final = ChatModelCapabilities(tools=True, json=True, usage=True, functions=True)

DECLARATION: Final = ProviderDeclaration(
    kind="llm",
    name=NAME,
    title="Google Gemini",
    capabilities=CAPABILITIES,
    transport="HTTP",
    documentation="https://ai.google.dev/api/generate-content",
    prices="https://ai.google.dev/gemini-api/docs/pricing",
    keys=SOURCE.variables,
    key_page=SOURCE.key_page,
    base_url=URL,
    default_model=DEFAULT_MODEL,
    options=(
        DeclaredOption("model", "the flash family answers fastest", DEFAULT_MODEL, is_latency_knob=True),
        DeclaredOption("temperature", "0 to 2"),
        DeclaredOption("maxTokens", "the longest reply, reasoning included"),
        DeclaredOption("reasoning", "a level (low, high), or a number of tokens", "the lowest that the model offers", is_latency_knob=True),
        DeclaredOption("extra.*", "any other field of a request"),
    ),
)


def create(settings: LlmSettings, services: Services) -> GeminiChatModel:
    """The adapter. Raises ConfigError without a key for Google itself; another server may need none."""
    url = find_url("llm", settings.base_url, URL)
    return GeminiChatModel(settings, url, find_key("llm", settings.api_key, url, SOURCE, services.environment), services.http)


class GeminiChatModel:
    """Gemini's API as a `ChatModel`."""

    name = NAME
    limits = Limits()
    capabilities = CAPABILITIES

    def __init__(self, settings: LlmSettings, url: str, key: str, http: httpx.AsyncClient) -> None:
        self._settings = settings
        self._url = url.removesuffix("/v1beta")
        self._headers = {"x-goog-api-key": key} if key else {}
        self._http = http
        self._model = (settings.model or DEFAULT_MODEL).removeprefix("models/")
        self._signatures: dict[str, str] = {}
        self._numbers = itertools.count()

    async def reply(self, request: ReplyRequest) -> AsyncGenerator[ChatEvent, None]:
        url = f"{self._url}/v1beta/models/{quote(self._model)}:streamGenerateContent?alt=sse"
        reader = ChunkReader(NAME, self._numbers.__next__)
        body = self._body(request)
        async for chunk in events_of(self._http, NAME, url, headers=self._headers, body=body, rest_s=request.rest_s):
            events = reader.events_in(chunk)
            if not events:
                request.on_progress()
            self._keep(reader.signatures)
            for event in events:
                yield event
        if not reader.is_over:
            raise ProviderError(NAME, "the reply ended too early", retryable=True)

    def _keep(self, signatures: Mapping[str, str]) -> None:
        self._signatures.update(signatures)
        while len(self._signatures) > MAX_SIGNATURES:
            del self._signatures[next(iter(self._signatures))]

    async def connect_ahead(self) -> None:
        """Open a connection for the next request."""
        await open_connection(self._http, self._url)

    async def close(self) -> None:
        """Does nothing: the HTTP client belongs to the server."""

    def _body(self, request: ReplyRequest) -> dict[str, Any]:
        settings = self._settings
        body = body_of(request, self._signatures)
        temperature = request.temperature if request.temperature is not None else settings.temperature
        max_tokens = request.max_tokens if request.max_tokens is not None else settings.max_tokens
        wanted = {"temperature": temperature, "maxOutputTokens": max_tokens, "thinkingConfig": self._thinking()}
        generation = {**body.pop("generationConfig", {}), **{name: value for name, value in wanted.items() if value is not None}}
        if generation:
            body["generationConfig"] = generation
        return merged(merged(body, settings.extra), request.extra)

    def _thinking(self) -> dict[str, Any] | None:
        """The reasoning setting: a budget up to 2.5 (Pro cannot turn it off), a level from 3 on; None for models that do not reason."""
        effort = self._settings.reasoning
        if effort:
            return {"thinkingBudget": int(effort)} if effort.isdecimal() else {"thinkingLevel": effort}
        generation = re.match(r"gemini-(\d+(?:\.\d+)?)", self._model)
        number = float(generation.group(1)) if generation else 0.0
        if number >= 3:
            return {"thinkingLevel": "low" if "pro" in self._model else "minimal"}
        if number >= 2.5:
            return {"thinkingBudget": 128 if "pro" in self._model else 0}
        return None
