"""Replies by OpenAI's chat completions API, or any server that speaks it (Azure, Groq, DashScope, Ollama, vLLM …), streamed.

Messages and tools enter; text, tool calls and usage leave as they come. Settings: `model` (gpt-4o-mini), `base_url`, `api_key`,
`temperature`, `max_tokens`, `reasoning`; `extra` is sent as further fields of the request. `model_profiles` says which fields each server
accepts; a field that the server still refuses is left out from then on.
API: https://platform.openai.com/docs/api-reference/chat/create and …/chat-streaming.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import httpx
from msgspec.structs import replace

from active_call.base.errors import ProviderError
from active_call.providers.chat import ChatEvent, ChatModelCapabilities, ReplyRequest
from active_call.providers.declaration import DeclaredOption, ProviderDeclaration
from active_call.providers.guarding.guard import Limits
from active_call.providers.http import EXCERPT_CHARS, StatusError, open_connection
from active_call.providers.json_values import merged
from active_call.providers.llm.model_profiles import profile_of, refused_fields
from active_call.providers.llm.openai_messages import fields_of
from active_call.providers.llm.openai_stream import ChunkReader, raise_error_in
from active_call.providers.llm.server_sent_events import WholeAnswer, events_of
from active_call.providers.openai_settings import KEY, KEY_VARIABLE, OPENAI_URL, Server, chosen_model, find_server
from active_call.providers.services import Services
from active_call.providers.settings import LlmSettings

NAME = "openai"
DEFAULT_MODEL = "gpt-4o-mini"
MAX_EXTRAS = 2_000
"""The most tool calls kept, over all conversations with this model; older ones are no longer needed."""
PATH = "/chat/completions"
BAD_REQUEST = 400


DECLARATION = ProviderDeclaration(
    kind="llm",
    name=NAME,
    title="OpenAI (chat completions), and any compatible server",
    capabilities=ChatModelCapabilities(tools=True, json=True, usage=True, functions=True),
    transport="HTTP",
    documentation="https://platform.openai.com/docs/api-reference/chat",
    prices="https://openai.com/api/pricing",
    keys=(KEY_VARIABLE,),
    key_page=KEY.key_page,
    base_url=OPENAI_URL,
    default_model=DEFAULT_MODEL,
    options=(
        DeclaredOption("model", "models without reasoning answer fastest", DEFAULT_MODEL, is_latency_knob=True),
        DeclaredOption(
            "baseUrl", "another server: Azure, Groq, DeepSeek, DashScope, Mistral, Together, Ollama, vLLM, llama.cpp …", OPENAI_URL
        ),
        DeclaredOption("temperature", "0 to 2"),
        DeclaredOption("maxTokens", "the longest reply"),
        DeclaredOption("reasoning", "how much the model should reason", "the lowest that it offers", is_latency_knob=True),
        DeclaredOption("extra.service_tier", "priority answers sooner and costs more, where the model has it", is_latency_knob=True),
        DeclaredOption("extra.prompt_cache_key", "requests with the same name share the vendor's cache of prompts", is_latency_knob=True),
        DeclaredOption("extra.*", "any other field of a request"),
    ),
    notes=(
        "Profiles list what each server and model accepts; a field that is refused all the same is left out from then on. Without apiKey, "
        "the servers of Groq, DeepSeek, Mistral, Together, DashScope, Azure OpenAI, OpenRouter and xAI get the key of their variable "
        "(GROQ_API_KEY, …)."
    ),
)


def create(settings: LlmSettings, services: Services) -> OpenAiChatModel:
    """The adapter. Raises ConfigError without a key for OpenAI itself, or without a model for another server."""
    server = find_server("llm", settings.base_url, settings.api_key, services.environment)
    settings = replace(settings, model=chosen_model(settings, server.base_url, services.environment, DEFAULT_MODEL))
    if services.new_http is None:
        return OpenAiChatModel(settings, server, services.http, closes_http=False)
    return OpenAiChatModel(settings, server, services.new_http())


class OpenAiChatModel:
    """A chat completions API as a `ChatModel`. With `closes_http` it closes `http` at its end."""

    name = NAME
    limits = Limits()

    def __init__(self, settings: LlmSettings, server: Server, http: httpx.AsyncClient, *, closes_http: bool = True) -> None:
        self._settings = settings
        self._server = server
        self.endpoint = server.base_url
        self.model = settings.model or DEFAULT_MODEL
        self._http = http
        self._closes_http = closes_http
        self._model = settings.model or DEFAULT_MODEL
        self.profile = profile_of(server.base_url, self._model)
        self.capabilities = ChatModelCapabilities(tools=True, json=True, usage=True, functions=self.profile.calls_tools)
        self._refused: set[str] = set()
        """Fields that the server refused."""
        self._extras: dict[str, Mapping[str, Any]] = {}
        """Data that the server expects back with its tool calls, by call id."""

    async def reply(self, request: ReplyRequest) -> AsyncGenerator[ChatEvent, None]:
        while True:
            body, reader = self._body(request), ChunkReader()
            try:
                url, headers = self.endpoint + PATH, self._server.headers
                async with aclosing(events_of(self._http, NAME, url, headers=headers, body=body, rest_s=request.rest_s)) as chunks:
                    async for chunk in chunks:
                        raise_error_in(NAME, chunk)
                        events = reader.events_in(chunk)
                        if reader.is_empty and isinstance(chunk, WholeAnswer):
                            raise ProviderError(NAME, f"expected a reply, found: {str(chunk)[:EXCERPT_CHARS]}", retryable=True)
                        if not events:
                            request.on_progress()
                        elif reader.extras:
                            self._keep(reader.extras)
                        for event in events:
                            yield event
                return
            except StatusError as error:
                refused = refused_fields(error.body, body) if error.status == BAD_REQUEST else ()
                if not refused:
                    raise
                self._refused.update(refused)

    def _keep(self, extras: Mapping[str, Mapping[str, Any]]) -> None:
        self._extras.update(extras)
        while len(self._extras) > MAX_EXTRAS:
            del self._extras[next(iter(self._extras))]

    async def connect_ahead(self) -> None:
        """Open a connection for the next request."""
        await open_connection(self._http, self.endpoint)

    async def close(self) -> None:
        if self._closes_http:
            await self._http.aclose()

    def _body(self, request: ReplyRequest) -> dict[str, Any]:
        """The request's fields. The author's `extra` is sent unchanged, even if the profile says otherwise."""
        profile, settings = self.profile, self._settings
        body: dict[str, Any] = {"model": self._model, "stream": True, **fields_of(request, profile, self._extras)}
        temperature = request.temperature if request.temperature is not None else settings.temperature
        max_tokens = request.max_tokens if request.max_tokens is not None else settings.max_tokens
        if temperature is not None and profile.takes_temperature:
            body["temperature"] = temperature
        if max_tokens is not None:
            name = profile.max_tokens_field
            body["max_completion_tokens" if name in self._refused and name == "max_tokens" else name] = max_tokens
        if profile.takes_usage_option:
            body["stream_options"] = {"include_usage": True}
        body |= profile.little_reasoning
        if settings.reasoning and profile.effort_field:
            body[profile.effort_field] = settings.reasoning
        body = {name: value for name, value in body.items() if name not in self._refused}
        return merged(merged(body, settings.extra), request.extra)
