"""The messages to OpenAI's Realtime API, and the reading of its events. Pure.

Source: platform.openai.com/docs/api-reference/realtime-client-events and /realtime-server-events (the generally available version, session
type `realtime`). Azure's service of the same version has the same messages.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

from active_call.base.errors import ProviderError
from active_call.providers.chat import ToolDefinition, Usage
from active_call.providers.json_values import count_in, mapping_in, merged
from active_call.providers.realtime_model import (
    AgentSound,
    ItemAdded,
    RealtimeEvent,
    RealtimeFailed,
    RealtimeSession,
    ReplyDone,
    Speaker,
    ToolRequested,
    Transcript,
    UserTurn,
)
from active_call.providers.vendor_values import text_of

Json = dict[str, Any]

RATE_HZ: Final = 24_000
"""The rate of `audio/pcm` in both directions: the API supports no other."""
BYTES_PER_MS: Final = RATE_HZ * 2 // 1000
TRANSCRIPTION_MODEL: Final = "gpt-4o-mini-transcribe"
_HARMLESS: Final = ("response_cancel_not_active", "input_audio_buffer_commit_empty", "conversation_already_has_active_response")
"""Errors that only say that the requested state is reached already."""
_FATAL: Final = ("session_expired", "invalid_api_key", "insufficient_quota", "model_not_found")


def session_update(session: RealtimeSession, turn_detection: Mapping[str, Any], extra: Mapping[str, Any]) -> Json:
    """`session.update` for `session`. `turn_detection`: the author's fields for it; `extra`: further fields of the session, at
    any depth (`audio: {output: {speed: 1.1}}`).
    """
    pcm = {"type": "audio/pcm", "rate": RATE_HZ}
    transcription = {"model": TRANSCRIPTION_MODEL, **({"language": session.language} if session.language else {})}
    detection = {"type": "semantic_vad", **turn_detection} if session.detects_turns else None
    output: Json = {"format": pcm, **({"voice": session.voice} if session.voice else {})}
    fields: Json = {
        "type": "realtime",
        "instructions": session.instructions,
        "output_modalities": ["audio"],
        "audio": {"input": {"format": pcm, "transcription": transcription, "turn_detection": detection}, "output": output},
        "tools": [_tool(tool) for tool in session.tools],
        "tool_choice": "auto",
    }
    return {"type": "session.update", "session": merged(fields, extra)}


def _tool(tool: ToolDefinition) -> Json:
    parameters = dict(tool.parameters) or {"type": "object", "properties": {}}
    return {"type": "function", "name": tool.name, "description": tool.description, "parameters": parameters}


def audio_append(pcm: bytes) -> Json:
    """More of the caller's sound."""
    return {"type": "input_audio_buffer.append", "audio": base64.b64encode(pcm).decode()}


def text_item(text: str, speaker: Speaker) -> Json:
    """A message of the caller or the agent in the conversation."""
    role, kind = ("user", "input_text") if speaker == "user" else ("assistant", "output_text")
    return {"type": "conversation.item.create", "item": {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}}


def tool_output(call_id: str, output: str) -> Json:
    """The result of a tool call."""
    return {"type": "conversation.item.create", "item": {"type": "function_call_output", "call_id": call_id, "output": output}}


def truncation(item: str, heard_ms: int) -> Json:
    """Cut the agent's `item` to its first `heard_ms`; the service drops the words after it."""
    return {"type": "conversation.item.truncate", "item_id": item, "content_index": 0, "audio_end_ms": heard_ms}


def text_added(message: Mapping[str, Any]) -> Transcript | None:
    """The text of an item that was sent to the service as text, or the result of a tool; None for any other message."""
    item = mapping_in(message, "item")
    if message.get("type") != "conversation.item.added":
        return None
    if item.get("type") == "function_call_output":
        text = f"[A tool answered: {text_of(item.get('output'))}]"
    else:
        text = text_of(item.get("content"))
    speaker: Speaker = "agent" if item.get("role") == "assistant" else "user"
    return Transcript(text_of(item.get("id")), speaker, text, is_final=True) if text else None


class EventReader:
    """Reads the events of one connection.

    `is_replying`: a reply is in progress. `sound_bytes`: the received sound of each agent item, which must not be truncated beyond its
    end.
    """

    def __init__(self, provider: str) -> None:
        self._provider = provider
        self.is_open = False
        self.is_replying = False
        self.sound_bytes: dict[str, int] = {}
        self.calls: set[str] = set()
        """Ids of the tool calls that came on this connection."""
        self._partial: dict[str, str] = {}
        """Unfinished transcripts, by item."""

    def events_in(self, message: Mapping[str, Any]) -> list[RealtimeEvent]:
        """The events in one message. Raises ProviderError for sound that cannot be decoded."""
        item = text_of(message.get("item_id"))
        match message.get("type"):
            case "session.updated":
                self.is_open = True
                return []
            case "input_audio_buffer.speech_started":
                return [UserTurn(is_speaking=True, at_ms=count_in(message, "audio_start_ms"))]
            case "input_audio_buffer.speech_stopped":
                return [UserTurn(is_speaking=False, at_ms=count_in(message, "audio_end_ms"))]
            case "conversation.item.added":
                return self._item(message)
            case "conversation.item.input_audio_transcription.delta":
                return self._transcript(item, "user", message.get("delta"), is_final=False)
            case "conversation.item.input_audio_transcription.completed":
                return self._transcript(item, "user", message.get("transcript"), is_final=True)
            case "response.created":
                self.is_replying = True
                return []
            case "response.output_audio.delta":
                return self._sound(item, message.get("delta"))
            case "response.output_audio_transcript.delta":
                return self._transcript(item, "agent", message.get("delta"), is_final=False)
            case "response.output_audio_transcript.done":
                return self._transcript(item, "agent", message.get("transcript"), is_final=True)
            case "response.function_call_arguments.done":
                call_id = text_of(message.get("call_id"))
                self.calls.add(call_id)
                return [ToolRequested(item, call_id, text_of(message.get("name")), text_of(message.get("arguments")))]
            case "response.done":
                return self._done(mapping_in(message, "response"))
            case "error":
                return self._error(mapping_in(message, "error"))
            case _:
                return []

    def _item(self, message: Mapping[str, Any]) -> list[RealtimeEvent]:
        item = mapping_in(message, "item")
        if item.get("type") == "function_call_output" or item.get("role") == "system":
            return []
        speaker: Speaker = "user" if item.get("role") == "user" else "agent"
        return [ItemAdded(text_of(item.get("id")), speaker, text_of(message.get("previous_item_id")))]

    def _transcript(self, item: str, speaker: Speaker, text: Any, *, is_final: bool) -> list[RealtimeEvent]:
        if is_final:
            self._partial.pop(item, None)
            return [Transcript(item, speaker, text_of(text), is_final=True)]
        self._partial[item] = self._partial.get(item, "") + text_of(text)
        return [Transcript(item, speaker, self._partial[item], is_final=False)]

    def _sound(self, item: str, delta: Any) -> list[RealtimeEvent]:
        try:
            pcm = base64.b64decode(text_of(delta), validate=True)
        except (binascii.Error, ValueError) as error:
            raise ProviderError(self._provider, f"the sound cannot be decoded: {error}") from error
        self.sound_bytes[item] = self.sound_bytes.get(item, 0) + len(pcm)
        return [AgentSound(item, pcm)] if pcm else []

    def _done(self, response: Mapping[str, Any]) -> list[RealtimeEvent]:
        self.is_replying = False
        status = text_of(response.get("status"))
        usage = usage_in(mapping_in(response, "usage"))
        done = ReplyDone(is_cancelled=status == "cancelled", usage=usage)
        if status != "failed":
            return [done]
        error = mapping_in(response, "status_details", "error")
        reason = f"{text_of(error.get('code')) or text_of(error.get('type')) or 'failed'}: {text_of(error.get('message'))}"
        return [RealtimeFailed(ProviderError(self._provider, reason, retryable=True), is_over=False), done]

    def _error(self, error: Mapping[str, Any]) -> list[RealtimeEvent]:
        code = text_of(error.get("code")) or text_of(error.get("type"))
        if code in _HARMLESS:
            return []
        failure = ProviderError(self._provider, f"{code}: {text_of(error.get('message'))}", retryable=error.get("type") == "server_error")
        return [RealtimeFailed(failure, is_over=code in _FATAL)]


def usage_in(usage: Mapping[str, Any]) -> Usage | None:
    """The tokens of one reply, including sound; None if the vendor reports none."""
    if not usage:
        return None
    details = mapping_in(usage, "input_token_details")
    return Usage(
        count_in(usage, "input_tokens"),
        count_in(usage, "output_tokens"),
        count_in(details, "cached_tokens"),
        audio_input_tokens=count_in(details, "audio_tokens"),
        cached_audio_tokens=count_in(mapping_in(details, "cached_tokens_details"), "audio_tokens"),
        audio_output_tokens=count_in(mapping_in(usage, "output_token_details"), "audio_tokens"),
    )
