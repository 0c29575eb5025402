"""The messages to Gemini's Live API, and the reading of its own. Pure.

Source: ai.google.dev/api/live and /gemini-api/docs/live-guide, /live-session. The service sends no item ids; they are created here. It
interrupts itself: words that the caller did not hear stay in its history.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, Final

from active_call.base.errors import ProviderError
from active_call.providers.chat import ToolDefinition, Usage
from active_call.providers.json_values import count_in, mapping_in, mappings, merged
from active_call.providers.realtime_model import (
    AgentSound,
    ItemAdded,
    RealtimeEvent,
    RealtimeSession,
    ReplyDone,
    Speaker,
    ToolRequested,
    ToolWithdrawn,
    Transcript,
)
from active_call.providers.vendor_values import text_of

Json = dict[str, Any]

INPUT_HZ: Final = 16_000
OUTPUT_HZ: Final = 24_000


def setup(session: RealtimeSession, model: str, turn_detection: Mapping[str, Any], extra: Mapping[str, Any], handle: str) -> Json:
    """The first message. `handle`: of the session to resume; empty: a new one."""
    speech: Json = {}
    if session.voice:
        speech["voiceConfig"] = {"prebuiltVoiceConfig": {"voiceName": session.voice}}
    if session.language:
        speech["languageCode"] = session.language
    fields: Json = {
        "model": model if model.startswith("models/") else f"models/{model}",
        "generationConfig": {"responseModalities": ["AUDIO"], **({"speechConfig": speech} if speech else {})},
        "inputAudioTranscription": {},
        "outputAudioTranscription": {},
        "sessionResumption": {"handle": handle} if handle else {},
        "contextWindowCompression": {"slidingWindow": {}},
    }
    if session.instructions:
        fields["systemInstruction"] = {"parts": [{"text": session.instructions}]}
    if session.tools:
        fields["tools"] = [{"functionDeclarations": [_tool(tool) for tool in session.tools]}]
    detection = {**turn_detection, **({} if session.detects_turns else {"disabled": True})}
    if detection:
        fields["realtimeInputConfig"] = {"automaticActivityDetection": detection}
    return {"setup": merged(fields, extra)}


def _tool(tool: ToolDefinition) -> Json:
    declaration: Json = {"name": tool.name, "description": tool.description}
    return {**declaration, "parametersJsonSchema": dict(tool.parameters)} if tool.parameters else declaration


def audio_input(pcm: bytes) -> Json:
    """More of the caller's sound."""
    return {"realtimeInput": {"audio": {"mimeType": f"audio/pcm;rate={INPUT_HZ}", "data": base64.b64encode(pcm).decode()}}}


def turns(lines: list[tuple[Speaker, str]], *, is_complete: bool) -> Json:
    """Texts of both sides; with `is_complete` the model replies to them."""
    contents = [{"role": "user" if speaker == "user" else "model", "parts": [{"text": text}]} for speaker, text in lines]
    return {"clientContent": {"turns": contents, "turnComplete": is_complete}}


def tool_response(call_id: str, name: str, output: str) -> Json:
    """The result of a tool call; the model then speaks about it."""
    return {"toolResponse": {"functionResponses": [{"id": call_id, "name": name, "response": {"result": output}}]}}


class MessageReader:
    """Reads the messages of one conversation, over all its connections."""

    def __init__(self, provider: str) -> None:
        self._provider = provider
        self.handle = ""
        """The handle to resume the session with."""
        self.calls: dict[str, str] = {}
        """The names of the called tools, by call id."""
        self.is_replying = False
        self._n_items = 0
        self._item: dict[Speaker, str] = {}
        """The current item of each side."""
        self._last_item = ""
        self._text: dict[str, str] = {}

    def events_in(self, message: Mapping[str, Any]) -> list[RealtimeEvent]:
        """The events in one message. Raises ProviderError for sound that cannot be decoded."""
        events: list[RealtimeEvent] = []
        if resumption := mapping_in(message, "sessionResumptionUpdate"):
            self.handle = text_of(resumption.get("newHandle")) if resumption.get("resumable") is True else self.handle
        if content := mapping_in(message, "serverContent"):
            events += self._content(content, usage_in(mapping_in(message, "usageMetadata")))
        calls = mapping_in(message, "toolCall").get("functionCalls")
        for call in calls if isinstance(calls, list) else []:
            events += self._call(mapping_in(call))
        ids = mapping_in(message, "toolCallCancellation").get("ids")
        events += [ToolWithdrawn(text_of(one)) for one in (ids if isinstance(ids, list) else [])]
        return events

    def end_reply(self) -> None:
        """The current items have ended."""
        self.is_replying = False
        self._item.pop("agent", None)

    def _content(self, content: Mapping[str, Any], usage: Usage | None) -> list[RealtimeEvent]:
        events: list[RealtimeEvent] = []
        if text := text_of(mapping_in(content, "inputTranscription").get("text")):
            events += self._said("user", text)
        parts = mapping_in(content, "modelTurn").get("parts")
        for part in parts if isinstance(parts, list) else []:
            events += self._sound(mapping_in(part, "inlineData"))
        if text := text_of(mapping_in(content, "outputTranscription").get("text")):
            events += self._said("agent", text)
        is_cut = content.get("interrupted") is True
        if is_cut or content.get("turnComplete") is True:
            events += [*self._finals(), ReplyDone(is_cancelled=is_cut, usage=usage)]
            self.end_reply()
        return events

    def _spoken_item(self, speaker: Speaker) -> tuple[str, list[RealtimeEvent]]:
        """The current item of `speaker`, with its beginning if it is new. A reply ends the caller's item."""
        if speaker in self._item:
            return self._item[speaker], []
        self._n_items += 1
        item, after = f"item_{self._n_items}", self._last_item
        self._item[speaker] = self._last_item = item
        if speaker == "agent":
            self.is_replying = True
        return item, [ItemAdded(item, speaker, after)]

    def _said(self, speaker: Speaker, text: str) -> list[RealtimeEvent]:
        item, begin = self._spoken_item(speaker)
        self._text[item] = self._text.get(item, "") + text
        return [*begin, Transcript(item, speaker, self._text[item].strip(), is_final=False)]

    def _sound(self, data: Mapping[str, Any]) -> list[RealtimeEvent]:
        if not text_of(data.get("mimeType")).startswith("audio/pcm"):
            return []
        try:
            pcm = base64.b64decode(text_of(data.get("data")), validate=True)
        except (binascii.Error, ValueError) as error:
            raise ProviderError(self._provider, f"the sound cannot be decoded: {error}") from error
        ended = self._finals("user")
        item, begin = self._spoken_item("agent")
        return [*ended, *begin, AgentSound(item, pcm)] if pcm else [*ended, *begin]

    def _finals(self, *speakers: Speaker) -> list[RealtimeEvent]:
        """The final transcripts of the current items."""
        events: list[RealtimeEvent] = []
        for speaker in speakers or ("user", "agent"):
            item = self._item.pop(speaker, None)
            if item is not None and (text := self._text.pop(item, "").strip()):
                events.append(Transcript(item, speaker, text, is_final=True))
        return events

    def _call(self, call: Mapping[str, Any]) -> list[RealtimeEvent]:
        call_id, name = text_of(call.get("id")), text_of(call.get("name"))
        if not name:
            return []
        self.calls[call_id] = name
        arguments = call.get("args")
        item, begin = self._spoken_item("agent")
        return [
            *self._finals("user"),
            *begin,
            ToolRequested(item, call_id, name, json.dumps(arguments if isinstance(arguments, dict) else {})),
        ]


def usage_in(usage: Mapping[str, Any]) -> Usage | None:
    """The tokens of one turn; None if the vendor reports none."""
    if not usage:
        return None
    thoughts = count_in(usage, "thoughtsTokenCount")
    n_output = count_in(usage, "responseTokenCount") + thoughts
    return Usage(
        count_in(usage, "promptTokenCount"),
        n_output,
        count_in(usage, "cachedContentTokenCount"),
        thoughts,
        audio_input_tokens=_of_sound(usage, "promptTokensDetails"),
        cached_audio_tokens=_of_sound(usage, "cacheTokensDetails"),
        audio_output_tokens=_of_sound(usage, "responseTokensDetails"),
    )


def _of_sound(usage: Mapping[str, Any], name: str) -> int:
    """The sound tokens in a list of tokens by modality."""
    return sum(count_in(part, "tokenCount") for part in mappings(usage.get(name)) if part.get("modality") == "AUDIO")
