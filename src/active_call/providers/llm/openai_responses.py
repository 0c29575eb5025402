"""Replies by OpenAI's Responses API, or a server that speaks it, streamed; the server stores nothing.

API: `POST {base}/responses` with `stream` and `store: false`. Settings as for `openai`: `model` (gpt-4o-mini), `base_url`, `api_key`,
`temperature`, `max_tokens`, `reasoning` (the effort); `extra` is sent as further fields. `model_profiles` says which models reason, and how
to request the lowest effort.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, Final

import httpx
from msgspec.structs import replace

from active_call.base.errors import ProviderError
from active_call.providers.chat import ChatEvent, ChatModelCapabilities, ReplyRequest
from active_call.providers.declaration import DeclaredOption, ProviderDeclaration
from active_call.providers.guarding.guard import Limits
from active_call.providers.http import open_connection
from active_call.providers.json_values import merged
from active_call.providers.llm.model_profiles import profile_of
from active_call.providers.llm.responses_items import EventReader, body_of
from active_call.providers.llm.server_sent_events import events_of
from active_call.providers.openai_settings import KEY, KEY_VARIABLE, OPENAI_URL, Server, chosen_model, find_server
from active_call.providers.services import Services
from active_call.providers.settings import LlmSettings

NAME: Final = "openai-responses"
DEFAULT_MODEL: Final = "gpt-4o-mini"
MIN_TOKENS: Final = 16
"""The API's own minimum."""


CAPABILITIES: Final = ChatModelCapabilities(tools=True, json=True, usage=True, functions=True)

DECLARATION: Final = ProviderDeclaration(
    kind="llm",
    name=NAME,
    title="OpenAI (Responses API)",
    capabilities=CAPABILITIES,
    transport="HTTP",
    documentation="https://platform.openai.com/docs/api-reference/responses",
    prices="https://openai.com/api/pricing",
    keys=(KEY_VARIABLE,),
    key_page=KEY.key_page,
    base_url=OPENAI_URL,
    default_model=DEFAULT_MODEL,
    options=(
        DeclaredOption("model", "models without reasoning answer fastest", DEFAULT_MODEL, is_latency_knob=True),
        DeclaredOption("temperature", "0 to 2, for models without reasoning"),
        DeclaredOption("maxTokens", "the longest reply, reasoning included"),
        DeclaredOption("reasoning", "the effort", "the lowest that the model offers", is_latency_knob=True),
        DeclaredOption("extra.service_tier", "priority answers sooner and costs more, where the model has it", is_latency_knob=True),
        DeclaredOption("extra.prompt_cache_key", "requests with the same name share the vendor's cache of prompts", is_latency_knob=True),
        DeclaredOption("extra.*", "any other field of a request"),
    ),
    notes="The vendor stores nothing (store: false).",
)


def create(settings: LlmSettings, services: Services) -> OpenAiResponsesModel:
    """The adapter. Raises ConfigError without a key for OpenAI itself, or without a model for another server."""
    server = find_server("llm", settings.base_url, settings.api_key, services.environment)
    settings = replace(settings, model=chosen_model(settings, server.base_url, services.environment, DEFAULT_MODEL))
    return OpenAiResponsesModel(settings, server, services.http)


class OpenAiResponsesModel:
    """The Responses API as a `ChatModel`."""

    name = NAME
    limits = Limits()
    capabilities = CAPABILITIES

    def __init__(self, settings: LlmSettings, server: Server, http: httpx.AsyncClient) -> None:
        self._settings = settings
        self._server = server
        self.endpoint = server.base_url
        self._http = http
        self._model = settings.model or DEFAULT_MODEL
        self._profile = profile_of(OPENAI_URL, self._model)  # servers of this API serve the same model families

    async def reply(self, request: ReplyRequest) -> AsyncGenerator[ChatEvent, None]:
        reader = EventReader(NAME)
        url = f"{self._server.base_url}/responses"
        headers, body = self._server.headers, self._body(request)
        async for event in events_of(self._http, NAME, url, headers=headers, body=body, rest_s=request.rest_s):
            events = reader.events_in(event)
            if not events:
                request.on_progress()
            for one in events:
                yield one
        if not reader.is_over:
            raise ProviderError(NAME, "the reply ended too early", retryable=True)

    async def connect_ahead(self) -> None:
        """Open a connection for the next request."""
        await open_connection(self._http, self.endpoint)

    async def close(self) -> None:
        """Does nothing: the HTTP client belongs to the server."""

    def _body(self, request: ReplyRequest) -> dict[str, Any]:
        settings, profile = self._settings, self._profile
        body: dict[str, Any] = {"model": self._model, "stream": True, "store": False, **body_of(request)}
        temperature = request.temperature if request.temperature is not None else settings.temperature
        max_tokens = request.max_tokens if request.max_tokens is not None else settings.max_tokens
        if temperature is not None and profile.takes_temperature:
            body["temperature"] = temperature
        if max_tokens is not None:
            body["max_output_tokens"] = max(max_tokens, MIN_TOKENS)
        effort = settings.reasoning or profile.little_reasoning.get("reasoning_effort")
        if effort and profile.effort_field:
            body["reasoning"] = {"effort": effort}
        return merged(merged(body, settings.extra), request.extra)
