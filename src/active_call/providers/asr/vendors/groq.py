"""Recognition by Groq: Whisper behind OpenAI's transcription protocol, one POST for each utterance, with word times.

Wire: https://console.groq.com/docs/speech-to-text. Options: `model`, `language`, `keyterms` (as prompt); `extra` is sent as further form
fields.
"""

from __future__ import annotations

from typing import Final

from active_call.contract.options import AsrOption
from active_call.providers.asr.openai import TIMED, OpenAiSpeechToText
from active_call.providers.credentials import KeySource, find_key, find_url
from active_call.providers.declaration import DeclaredOption, ProviderDeclaration
from active_call.providers.openai_settings import Server
from active_call.providers.services import Services
from active_call.providers.speech_to_text import SpeechToTextCapabilities

NAME: Final = "groq"
URL: Final = "https://api.groq.com/openai/v1"
DEFAULT_MODEL: Final = "whisper-large-v3-turbo"
BILLED_S: Final = 10.0
"""The shortest time billed for each request."""
SOURCE: Final = KeySource("Groq", ("GROQ_API_KEY",), "https://console.groq.com/keys", ("groq.com",))

DECLARATION: Final = ProviderDeclaration(
    kind="asr",
    name=NAME,
    title="Groq (Whisper)",
    capabilities=SpeechToTextCapabilities(phrases=True, words=True, between_speech=False),
    transport="HTTP",
    documentation="https://console.groq.com/docs/speech-to-text",
    prices="https://groq.com/pricing",
    keys=SOURCE.variables,
    key_page=SOURCE.key_page,
    base_url=URL,
    default_model=DEFAULT_MODEL,
    options=(
        DeclaredOption("model", "whisper-large-v3-turbo, or whisper-large-v3, which is slower", DEFAULT_MODEL, is_latency_knob=True),
        DeclaredOption("language", "ISO 639-1; none: detected, which takes longer", is_latency_knob=True),
        DeclaredOption("keyterms", "expected words, sent as prompt"),
        DeclaredOption("extra.*", "any other form field, such as temperature"),
    ),
    notes="One request per utterance; each is billed as at least ten seconds.",
)


def create(option: AsrOption, services: Services) -> OpenAiSpeechToText:
    """The adapter. Raises ConfigError without a key."""
    url = find_url("asr", option.endpoint, URL)
    key = find_key("asr", option.secret_key, url, SOURCE, services.environment)
    server = Server(url, key or None)
    return OpenAiSpeechToText(option, server, services, name=NAME, default_model=DEFAULT_MODEL, response_format=TIMED, least_s=BILLED_S)
