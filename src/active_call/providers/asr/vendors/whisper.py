"""Recognition by any server that speaks OpenAI's transcription protocol: whisper.cpp, speaches, vLLM, LocalAI and others.

`POST {baseUrl}/audio/transcriptions` for each utterance, as in `openai`, but without OpenAI's key and addresses. Options: `baseUrl`
(required), `model`, `language`, `keyterms`, `apiKey` if the server requires one; `extra` is sent as further form fields.
"""

from __future__ import annotations

from typing import Final

from active_call.base.errors import ConfigError
from active_call.contract.options import AsrOption
from active_call.providers.asr.openai import PLAIN, OpenAiSpeechToText
from active_call.providers.credentials import find_url
from active_call.providers.declaration import DeclaredOption, ProviderDeclaration
from active_call.providers.openai_settings import Server
from active_call.providers.services import Services
from active_call.providers.speech_to_text import SpeechToTextCapabilities

NAME: Final = "whisper"
DEFAULT_MODEL: Final = "whisper-1"
EXAMPLE: Final = "http://127.0.0.1:8000/v1"

DECLARATION: Final = ProviderDeclaration(
    kind="asr",
    name=NAME,
    title="Any server with OpenAI's transcription protocol",
    capabilities=SpeechToTextCapabilities(phrases=True, between_speech=False),
    transport="HTTP",
    documentation="https://platform.openai.com/docs/api-reference/audio/createTranscription",
    prices="https://github.com/speaches-ai/speaches",
    base_url=EXAMPLE,
    default_model=DEFAULT_MODEL,
    options=(
        DeclaredOption("baseUrl", f"the server, such as {EXAMPLE}; required"),
        DeclaredOption("model", "the name of the model on that server", DEFAULT_MODEL, is_latency_knob=True),
        DeclaredOption("language", "ISO 639-1; none: detected", is_latency_knob=True),
        DeclaredOption("keyterms", "expected words, sent as prompt"),
        DeclaredOption("extra.response_format", "verbose_json: words with times, if the server has them", PLAIN),
    ),
    notes="You pay only for your own machine.",
)


def create(option: AsrOption, services: Services) -> OpenAiSpeechToText:
    """The adapter. Raises ConfigError without an address."""
    if not option.endpoint:
        raise ConfigError("asr.baseUrl", f"missing; expected the URL of the transcription server, such as {EXAMPLE}")
    server = Server(find_url("asr", option.endpoint, EXAMPLE), option.secret_key)
    return OpenAiSpeechToText(option, server, services, name=NAME, default_model=DEFAULT_MODEL)
