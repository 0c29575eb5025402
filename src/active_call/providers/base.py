"""The interfaces of engines and vendors, exported from one place for authors and users of adapters.

An adapter is one file with a function `create(option, services)`, found by entry point (`active_call.asr`, `.tts`, `.llm`, `.realtime`).
"""

from __future__ import annotations

from active_call.providers.chat import (
    ChatEvent,
    ChatMessage,
    ChatModel,
    ChatModelCapabilities,
    ChatStream,
    Finished,
    ReplyRequest,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolDefinition,
    Usage,
    text_of_reply,
    tool_calls_in,
)
from active_call.providers.realtime_model import (
    RealtimeCapabilities,
    RealtimeEvent,
    RealtimeModel,
    RealtimeSession,
    RealtimeStream,
)
from active_call.providers.services import LocalEngines, Services
from active_call.providers.speech_to_text import (
    Failed,
    Final,
    Partial,
    Recognised,
    RecognitionEvent,
    RecognitionStream,
    SpeechToText,
    SpeechToTextCapabilities,
    TurnChange,
    TurnEvent,
    Word,
)
from active_call.providers.text_to_speech import (
    SpeechChunk,
    SynthesisStream,
    TextToSpeech,
    TextToSpeechCapabilities,
    WordTime,
    speech_of,
)

__all__ = [
    "ChatEvent",
    "ChatMessage",
    "ChatModel",
    "ChatModelCapabilities",
    "ChatStream",
    "Failed",
    "Final",
    "Finished",
    "LocalEngines",
    "Partial",
    "RealtimeCapabilities",
    "RealtimeEvent",
    "RealtimeModel",
    "RealtimeSession",
    "RealtimeStream",
    "RecognitionEvent",
    "RecognitionStream",
    "Recognised",
    "ReplyRequest",
    "Services",
    "SpeechChunk",
    "SpeechToText",
    "SpeechToTextCapabilities",
    "SynthesisStream",
    "TextDelta",
    "TextToSpeech",
    "TextToSpeechCapabilities",
    "ToolCall",
    "ToolCallDelta",
    "ToolDefinition",
    "TurnChange",
    "TurnEvent",
    "Usage",
    "Word",
    "WordTime",
    "speech_of",
    "text_of_reply",
    "tool_calls_in",
]
