"""A simulator of Gemini's streamGenerateContent, written from ai.google.dev/api/generate-content and its page on thought signatures."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from active_call.testing.vendors.chat.chat_vendor import ChatVendor, Json, ScriptedReply, Unusual, need, only_known
from active_call.testing.vendors.wire.server import Request

_FIELDS = frozenset(
    {"contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "safetySettings", "cachedContent", "labels"}
)
_GENERATION = {
    "temperature",
    "maxOutputTokens",
    "topP",
    "topK",
    "stopSequences",
    "responseMimeType",
    "responseJsonSchema",
    "thinkingConfig",
}
_STATUS = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE"}


class GeminiServer(ChatVendor):
    """The API for models that sign their calls, such as the third generation. `gives_ids`: whether calls have ids."""

    def __init__(self, *, gives_ids: bool = False) -> None:
        super().__init__()
        self._gives_ids = gives_ids
        self._n_signed = 0

    def check(self, request: Request, body: Json) -> None:
        if request.headers.get("x-goog-api-key") != self.key:
            raise Unusual("API key not valid. Please pass a valid API key.", 400)
        need(request.path.endswith(":streamGenerateContent") and request.query.get("alt") == "sse", "unknown method")
        only_known(body, _FIELDS, "body")
        only_known(body.get("generationConfig", {}), _GENERATION, "generationConfig")
        contents = body.get("contents") or []
        need(contents, "contents is not specified")
        need(contents[0]["role"] == "user", "a function call turn comes after a user turn")
        for one, following in itertools.pairwise(contents):
            n_calls = sum("functionCall" in part for part in one["parts"])
            n_results = sum("functionResponse" in part for part in following["parts"])
            need(n_calls == n_results, "the number of function response parts equals the number of function call parts of the call turn")
        for content in contents:
            _check_parts(content)

    def events(self, reply: ScriptedReply, body: Json) -> Iterator[tuple[str, Json]]:
        parts: list[Json] = [{"text": "The caller greets me.", "thought": True}, *({"text": piece} for piece in reply.pieces)]
        for number, call in enumerate(reply.calls):
            self._n_signed += 1
            function: Json = {"name": call.name, "args": call.arguments}
            part: Json = {"functionCall": {"id": f"fc{self._n_signed}", **function} if self._gives_ids else function}
            parts.append(part if number else {**part, "thoughtSignature": f"signature-{self._n_signed}"})
        for number, part in enumerate(parts):
            usage = {"promptTokenCount": 100, "candidatesTokenCount": number, "thoughtsTokenCount": 7, "cachedContentTokenCount": 64}
            candidate: Json = {"content": {"role": "model", "parts": [part]}, "index": 0}
            if number == len(parts) - 1:
                candidate["finishReason"] = reply.reason or "STOP"
            yield "", {"candidates": [candidate], "usageMetadata": usage}

    def error(self, status: int, message: str) -> Json:
        return {"error": {"code": status, "message": message, "status": _STATUS.get(status, "INTERNAL")}}

    def error_event(self) -> tuple[str, Json]:
        return "", self.error(503, "The model is overloaded. Please try again later.")


def _check_parts(content: Json) -> None:
    need(content["role"] in ("user", "model"), "role: please use a valid role: user, model")
    need(content["parts"], "contents.parts must not be empty")
    calls = [part for part in content["parts"] if "functionCall" in part]
    need(not calls or calls[0].get("thoughtSignature", "").startswith("signature-"), "Function call is missing a thought_signature")
    for part in content["parts"]:
        need(
            len({"text", "functionCall", "functionResponse"} & set(part)) == 1, "parts: oneof field 'data' must have one initialized field"
        )
        need(
            "functionResponse" not in part or isinstance(part["functionResponse"]["response"], dict), "function_response.response: a struct"
        )
