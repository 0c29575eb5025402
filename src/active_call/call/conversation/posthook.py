"""The report of an ended call (`posthook`): a summary by the model, sent to the playbook's URL.

The record of the call and its playbook enter; one HTTP request with JSON leaves. It is sent after the record was written and delays
nothing: calls end at once, and a stopping server waits some seconds for reports in progress. If the summary fails, it is null, with the
reason. The request is retried after a connection error or a 5xx. The host is checked like all hosts named by a playbook.

Body: `sessionId, callId, direction, caller, callee, startTime, answerTime, endTime, duration, hangupReason, hangupBy, playbook, variables,
summary, summaryKind` and, with `includeHistory`, `history [{role, text, time, interrupted}]`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

import httpx
import msgspec

from active_call.agent.playbook.scenes import Playbook, PosthookOption
from active_call.agent.playbook.templates import render
from active_call.agent.reply.values import one_line
from active_call.agent.wording import wording_for
from active_call.base.errors import ActiveCallError
from active_call.call.conversation.model_request import summary_of
from active_call.call.conversation.web_requests import WebRequests, access_of_url
from active_call.providers.base import ChatModel
from active_call.store.records import CallRecord

log = logging.getLogger(__name__)

KINDS: Final = ("short", "detailed", "intent", "json")
MAX_AT_ONCE: Final = 64
MAX_HISTORY_CHARS: Final = 60_000
PAUSES_S: Final = (1.0, 4.0)
"""Before the second and the third attempt."""
CLOSE_S: Final = 10.0

ModelOf = Callable[[Playbook], ChatModel]
"""The model of a playbook, or the default one. Raises ConfigError."""


class Posthooks:
    """The reports in progress. `private` and `guarded`: as for `WebRequests`."""

    def __init__(self, private: httpx.AsyncClient, guarded: httpx.AsyncClient, model_of: ModelOf) -> None:
        self._private = private
        self._guarded = guarded
        self._model_of = model_of
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, playbook: Playbook, record: CallRecord) -> None:
        """Report `record` if the playbook asks for it; returns at once."""
        if playbook.posthook is None:
            return
        if len(self._tasks) >= MAX_AT_ONCE:
            log.error("posthook dropped", extra={"call": record.session_id, "reason": f"{MAX_AT_ONCE} are under way"})
            return
        task = asyncio.get_running_loop().create_task(
            self._report(playbook, playbook.posthook, record), name=f"posthook {record.session_id}"
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Wait for reports in progress, at most `CLOSE_S`."""
        tasks = list(self._tasks)
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_S)
            for task in tasks:
                task.cancel()

    async def _report(self, playbook: Playbook, option: PosthookOption, record: CallRecord) -> None:
        try:
            body = await self._body(playbook, option, record)
            await self._send(playbook, option, record, body)
        except Exception:  # a wall: one report
            log.exception("posthook failed", extra={"call": record.session_id})

    async def _body(self, playbook: Playbook, option: PosthookOption, record: CallRecord) -> dict[str, Any]:
        body: dict[str, Any] = {
            "sessionId": record.session_id,
            "callId": record.call_id,
            "direction": record.direction,
            "caller": record.caller,
            "callee": record.callee,
            "startTime": record.start_time,
            "answerTime": record.answer_time,
            "endTime": record.end_time,
            "duration": record.duration_s,
            "hangupReason": record.hangup_reason,
            "hangupBy": record.hangup_by,
            "playbook": record.playbook,
            "variables": record.variables,
        }
        if option.summary:
            body |= await self._summary(playbook, option.summary, record)
        if option.include_history:
            body["history"] = [
                {"role": turn.speaker, "text": turn.text, "time": turn.at, "interrupted": turn.interrupted} for turn in record.turns
            ]
        return body

    async def _summary(self, playbook: Playbook, wanted: str, record: CallRecord) -> dict[str, Any]:
        """`summary` and its kind; null with the reason if it failed."""
        kind = wanted if wanted in KINDS else "custom"
        text = "\n".join(f"{turn.speaker}: {turn.text}" for turn in record.turns)[-MAX_HISTORY_CHARS:]
        if not text:
            return {"summary": None, "summaryKind": kind, "summaryError": "nothing was said"}
        wording = wording_for(playbook.llm.language)
        instruction = wording.summaries.get(wanted) or f"{wanted}\n{wording.summary_of_call}"
        try:
            summary: Any = await summary_of(self._model_of(playbook), text, instruction, json=kind == "json")
        except (ActiveCallError, TimeoutError) as error:
            return {"summary": None, "summaryKind": kind, "summaryError": str(error) or "no answer in time"}
        return {"summary": _as_json(summary) if kind == "json" else summary, "summaryKind": kind}

    async def _send(self, playbook: Playbook, option: PosthookOption, record: CallRecord, body: Mapping[str, Any]) -> None:
        names = {**record.variables, "session_id": record.session_id, "caller": record.caller, "callee": record.callee}
        headers = {name: one_line(render(value, names).text) for name, value in option.headers.items()}
        headers.setdefault("Content-Type", "application/json")
        requests = WebRequests(access_of_url(option.url, playbook), self._private, self._guarded)
        content = msgspec.json.encode(body, enc_hook=str).decode()
        for pause_s in (0.0, *PAUSES_S):
            await asyncio.sleep(pause_s)
            reason, may_repeat = await _attempt(requests, option, content, headers)
            if not reason:
                log.info("posthook sent", extra={"call": record.session_id})
                return
            log.warning("posthook not taken", extra={"call": record.session_id, "reason": reason})
            if not may_repeat:
                return


async def _attempt(requests: WebRequests, option: PosthookOption, content: str, headers: Mapping[str, str]) -> tuple[str, bool]:
    """Why the report was not accepted (empty: it was), and whether to try again."""
    try:
        response = await requests.request(option.method, option.url, content=content, headers=headers, timeout=option.timeout or 30)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return str(error) or type(error).__name__, isinstance(error, httpx.TransportError)
    return ("" if response.status_code < 300 else f"HTTP {response.status_code}"), response.status_code >= 500


def _as_json(text: str) -> Any:
    """The JSON in a model's answer, with or without a code fence; the text itself if there is none."""
    start, end = text.find("{"), text.rfind("}")
    try:
        return msgspec.json.decode(text[start : end + 1]) if 0 <= start < end else text
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return text
