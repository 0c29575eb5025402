"""Replies by OpenAI's chat completions API, or any server that speaks it (Azure, Groq, DashScope, Ollama, vLLM …), streamed.

Messages and tools enter; text, tool calls and usage leave as they come. Settings: `model` (gpt-4o-mini), `base_url`, `api_key`,
`temperature`, `max_tokens`, `reasoning`; `extra` is sent as further fields of the request. `model_profiles` says which fields each server
accepts; a field that the server still refuses is left out from then on. The SDK's retries are off: deadlines and retries belong to the
provider wall.
"""

from __future__ import annotations

import importlib
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import httpx
import openai
from msgspec.structs import replace

from active_call.base.errors import ProviderError
from active_call.providers.chat import ChatEvent, ChatModelCapabilities, ReplyRequest
from active_call.providers.declaration import DeclaredOption, ProviderDeclaration
from active_call.providers.guarding.guard import Limits
from active_call.providers.http import open_connection, status_error
from active_call.providers.llm.model_profiles import profile_of, refused_fields
from active_call.providers.llm.openai_messages import fields_of
from active_call.providers.llm.openai_stream import ChunkReader, events_of_whole_reply
from active_call.providers.openai_settings import KEY, KEY_VARIABLE, OPENAI_URL, Server, chosen_model, find_server
from active_call.providers.services import Services
from active_call.providers.settings import LlmSettings

NAME = "openai"
DEFAULT_MODEL = "gpt-4o-mini"
MAX_EXTRAS = 2_000
"""The most tool calls kept, over all conversations with this model; older ones are no longer needed."""
NO_KEY = "none"
"""The SDK requires a key; a local server ignores it."""


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
    return OpenAiChatModel(settings, server, services.new_http() if services.new_http is not None else None)


class OpenAiChatModel:
    """A chat completions API as a `ChatModel`."""

    name = NAME
    limits = Limits()

    def __init__(self, settings: LlmSettings, server: Server, http: httpx.AsyncClient | None = None) -> None:
        self._settings = settings
        self.endpoint = server.base_url
        self.model = settings.model or DEFAULT_MODEL
        self._http = http
        self._model = settings.model or DEFAULT_MODEL
        self.profile = profile_of(server.base_url, self._model)
        self.capabilities = ChatModelCapabilities(tools=True, json=True, usage=True, functions=self.profile.calls_tools)
        self._refused: set[str] = set()
        """Fields that the server refused."""
        self._extras: dict[str, Mapping[str, Any]] = {}
        """Data that the server expects back with its tool calls, by call id."""
        # The SDK's own timeout limits a single read; it is longer than the wall's deadlines, which apply first.
        client: Any = http  # SDK 3 has its own type for it, and also accepts httpx's
        self._client = openai.AsyncOpenAI(
            api_key=server.api_key or NO_KEY, base_url=server.base_url, max_retries=0, timeout=30.0, http_client=client
        )
        self._transport_errors = _transport_errors()

    async def reply(self, request: ReplyRequest) -> AsyncGenerator[ChatEvent, None]:
        reader = ChunkReader()
        try:
            async with await self._open(request) as stream:
                if self._is_no_stream(stream.response):
                    for event in events_of_whole_reply(NAME, await stream.response.aread()):
                        yield event
                    return
                async for chunk in stream:
                    events = reader.events_in(chunk)
                    if not events:
                        request.on_progress()
                    self._keep(reader.extras)
                    for event in events:
                        yield event
        except openai.OpenAIError as error:
            raise _provider_error(error) from error
        except self._transport_errors as error:
            raise ProviderError(NAME, f"connection lost: {str(error) or type(error).__name__}", retryable=True) from error
        except (ValueError, TypeError, AttributeError, RecursionError) as error:  # from the SDK, for a response that it cannot parse
            raise ProviderError(NAME, f"the answer cannot be read: {error}", retryable=True) from error

    def _keep(self, extras: Mapping[str, Mapping[str, Any]]) -> None:
        self._extras.update(extras)
        while len(self._extras) > MAX_EXTRAS:
            del self._extras[next(iter(self._extras))]

    async def _open(self, request: ReplyRequest) -> Any:
        """Start the request. After a 400 that names optional fields, repeat it once without them."""
        body = self._body(request)
        try:
            return await self._client.chat.completions.create(**_as_parameters(body))
        except openai.BadRequestError as error:
            refused = refused_fields(f"{error.message} {error.param or ''}", body)
            if not refused:
                raise
            self._refused.update(refused)
            return await self._client.chat.completions.create(**_as_parameters(self._body(request)))

    def _is_no_stream(self, response: Any) -> bool:
        """Whether the server answered with JSON or a page instead of an event stream."""
        kind = str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()
        return kind in ("application/json", "text/html")

    async def connect_ahead(self) -> None:
        """Open a connection for the next request."""
        if self._http is not None:
            await open_connection(self._http, self.endpoint)

    async def close(self) -> None:
        await self._client.close()

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
        return {**body, **settings.extra, **request.extra}


_PARAMETERS = ("model", "stream", "messages", "tools", "tool_choice", "response_format", "stream_options", "temperature", "max_tokens")


def _as_parameters(body: dict[str, Any]) -> dict[str, Any]:
    """The body as arguments of the SDK. Fields that the SDK may not know go as `extra_body`, which takes precedence."""
    named = {name: value for name, value in body.items() if name in _PARAMETERS}
    extra = {name: value for name, value in body.items() if name not in _PARAMETERS}
    return {**named, "extra_body": extra} if extra else named


def _transport_errors() -> tuple[type[Exception], ...]:
    """The exceptions that the SDK passes on when a connection breaks within a stream: those of its HTTP library (httpx; httpx2 from SDK 3
    on).
    """
    library = openai.DefaultAsyncHttpxClient.__mro__[1].__module__.partition(".")[0]
    return (importlib.import_module(library).TransportError,)


def _provider_error(error: openai.OpenAIError) -> ProviderError:
    match error:
        case openai.APIStatusError():
            return status_error(NAME, error.status_code, error.message)
        case openai.APITimeoutError():
            return ProviderError(NAME, "no answer in time", retryable=True)
        case openai.APIConnectionError():
            return ProviderError(NAME, f"connection failed: {error.__cause__ or error}", retryable=True)
        case openai.APIError():  # an error event within the stream
            return ProviderError(NAME, error.message, retryable=error.type == "server_error" or error.code == "rate_limit_exceeded")
        case _:
            return ProviderError(NAME, str(error))
