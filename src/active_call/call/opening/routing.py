"""Who takes an inbound call: a playbook by rules, a webhook, or a Python function. Each router makes one decision for each call."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import httpx
from msgspec import Struct, field

from active_call.agent.playbook.parser import parse_playbook
from active_call.agent.playbook.scenes import Playbook
from active_call.base import pattern_search
from active_call.base.errors import ActiveCallError, ConfigError, PlaybookError
from active_call.call.conversation.web_requests import read_bounded
from active_call.call.opening.playbook_trust import trust_of
from active_call.contract import commands, wire
from active_call.contract.errors import ContractError
from active_call.contract.json_text import decode_json, type_name
from active_call.contract.options import CallOption
from active_call.net.outgoing import shown_url
from active_call.sdp.protection import without_keys

log = logging.getLogger("active_call.routing")

WEBHOOK_DEADLINE_S = 10.0
SHORT_CHARS = 16_384
"""A playbook of this length is read in some milliseconds."""
MAX_ANSWER_BYTES = 2 * 1024 * 1024
"""The longest answer of a web service; it may contain a playbook."""


class Accepted(Struct, frozen=True):
    """Answer with this playbook."""

    playbook: Playbook
    option: CallOption = field(default_factory=CallOption)
    variables: Mapping[str, Any] = field(default_factory=dict)


class Refused(Struct, frozen=True):
    """Refuse with this SIP status."""

    code: int
    reason: str


NO_PLAYBOOK = Refused(404, "No playbook for this call")


class LeftOpen(Struct, frozen=True):
    """No decision yet: an `accept` or `reject` command will decide."""


Decision = Accepted | Refused | LeftOpen


class IncomingCall(Struct, frozen=True):
    """An inbound call as a router sees it. `accept` and `reject` make the decision that a Python handler returns."""

    session_id: str
    caller: str
    callee: str
    call_id: str
    headers: Mapping[str, str]
    offer: str
    created_at: datetime
    variables: Mapping[str, Any]
    playbooks: Playbooks
    trunk: str = ""
    from_tag: str = ""
    to_tag: str = ""
    """The tags of the SIP dialog (RFC 3261, section 12); empty in a call without SIP."""

    def accept(
        self, playbook: str = "", *, content: str = "", variables: Mapping[str, Any] | None = None, option: CallOption | None = None
    ) -> Accepted:
        """Answer with the playbook file `playbook`, or with `content` as the text of a playbook. Raises PlaybookError."""
        book = self.playbooks.parse(content, by_operator=True) if content else self.playbooks.load(playbook)
        return Accepted(book, option or CallOption(), {**self.variables, **(variables or {})})

    def reject(self, code: int = 486, reason: str = "Busy Here") -> Refused:
        """Refuse the call."""
        return Refused(code, reason)


class Router(Protocol):
    """Decides about inbound calls. Raises ActiveCallError if that fails; the call is then refused with 480 or 503."""

    async def route(self, call: IncomingCall) -> Decision:
        """Decide who takes `call`. Raises ActiveCallError if that fails."""
        ...


class Playbooks:
    """Finds and reads playbooks; a file is read again when it has changed. `find` maps a name to a path or raises PlaybookError.

    For its own calls a file is trusted with the hosts and the folder that it names; a playbook given as text is not.
    """

    def __init__(self, find: Callable[[str], Path], environment: Mapping[str, str]) -> None:
        self._find = find
        self._environment = environment
        self._read: dict[Path, tuple[int, Playbook]] = {}
        self._last_good: dict[str, Playbook] = {}

    def load(self, name: str) -> Playbook:
        """The playbook of that name, from the current file. Raises PlaybookError."""
        path = self._find(name)
        try:
            changed_ns = path.stat().st_mtime_ns
            known = self._read.get(path)
            if known is not None and known[0] == changed_ns:
                return known[1]
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise PlaybookError(name, 0, f"cannot be read: {error}") from error
        book = parse_playbook(text, file=str(path), environment=self._environment)
        book = replace(book, trust=trust_of(book, path.absolute().parent))
        for warning in book.warnings:
            log.warning("playbook", extra={"warning": warning})
        self._read[path] = (changed_ns, book)
        self._last_good[name] = book
        return book

    def load_usable(self, name: str) -> Playbook:
        """As `load`; if the current file is invalid, the previous version, and a log line. Raises PlaybookError."""
        try:
            return self.load(name)
        except PlaybookError as error:
            known = self._last_good.get(name)
            if known is None:
                raise
            log.error("playbook cannot be used; the previous version stays in use", extra={"playbook": name, "reason": str(error)})
            return known

    def forget(self) -> None:
        """Read every file again at its next use, because the environment may have changed."""
        self._read.clear()

    def parse(self, content: str, *, by_operator: bool = False) -> Playbook:
        """A playbook given as text, without trust. `by_operator`: its author may read the environment, which has the vendors' keys."""
        environment = self._environment if by_operator else None
        return parse_playbook(content, file="(inline)", environment=environment, is_file=False)

    async def parse_long(self, content: str, *, by_operator: bool = False) -> Playbook:
        """As `parse`, without holding the loop: a client may send a megabyte, which takes a second."""
        if len(content) <= SHORT_CHARS:
            return self.parse(content, by_operator=by_operator)
        return await asyncio.to_thread(self.parse, content, by_operator=by_operator)


class Rule(Struct, frozen=True):
    """A playbook for matching callers and callees; None matches all."""

    playbook: str
    caller: re.Pattern[str] | None = None
    callee: re.Pattern[str] | None = None

    def matches(self, caller: str, callee: str) -> bool:
        """Whether the rule takes `call`."""
        return (self.caller is None or pattern_search.search(self.caller, caller) is not None) and (
            self.callee is None or pattern_search.search(self.callee, callee) is not None
        )


class PlaybookRouter(Struct, frozen=True):
    """First rule that matches, then the default, then 404."""

    rules: Sequence[Rule]
    default: str | None

    def choose(self, caller: str, callee: str) -> tuple[str | None, int | None]:
        """The playbook for a call, and the number of the matching rule, from 0; None if no rule matches."""
        for index, rule in enumerate(self.rules):
            if rule.matches(caller, callee):
                return rule.playbook, index
        return self.default, None

    async def route(self, call: IncomingCall) -> Decision:
        """Decide who takes `call`. Raises ActiveCallError if that fails."""
        name, _ = self.choose(call.caller, call.callee)
        return Accepted(call.playbooks.load_usable(name), variables=dict(call.variables)) if name else NO_PLAYBOOK


class ChosenPlaybook(Struct, frozen=True):
    """The call's request named its playbook."""

    playbook: Playbook

    async def route(self, call: IncomingCall) -> Decision:
        """Answer with that playbook."""
        return Accepted(self.playbook, variables=dict(call.variables))


class WebhookRouter(Struct, frozen=True):
    """Asks a web service; several URLs are tried in turn until one answers 2xx."""

    urls: Sequence[str]
    method: str
    headers: Mapping[str, str]
    http: httpx.AsyncClient

    async def route(self, call: IncomingCall) -> Decision:
        """Decide who takes `call`. Raises ActiveCallError if that fails."""
        refusal = Refused(503, "No webhook answered")
        for url in self.urls:
            try:
                response = await self._ask(url, call)
            except (httpx.TimeoutException, TimeoutError):
                refusal = Refused(480, "Webhook timed out")
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                is_answered = isinstance(error, httpx.DecodingError)
                refusal = Refused(503, "Webhook answer is too long or compressed" if is_answered else "Webhook unreachable")
                log.warning("webhook failed", extra={"url": shown_url(url), "error": str(error), "session_id": call.session_id})
            else:
                if response.is_success:
                    return await _decide(call, response)
                refusal = Refused(503, f"Webhook answered {response.status_code}")
            log.warning("webhook refused", extra={"url": shown_url(url), "reason": refusal.reason, "session_id": call.session_id})
        return refusal

    async def _ask(self, url: str, call: IncomingCall) -> httpx.Response:
        """The whole answer, within the time limit and `MAX_ANSWER_BYTES`. Raises httpx.HTTPError, or TimeoutError."""
        wanted = {"Content-Type": "application/json", "Accept-Encoding": "identity", **self.headers}
        body = json.dumps(_invitation(call), ensure_ascii=False).encode("utf-8", "replace")
        async with (
            asyncio.timeout(WEBHOOK_DEADLINE_S),
            self.http.stream(self.method, url, content=body, headers=wanted, timeout=WEBHOOK_DEADLINE_S) as response,
        ):
            return httpx.Response(response.status_code, content=await read_bounded(response, MAX_ANSWER_BYTES))


def _invitation(call: IncomingCall) -> dict[str, Any]:
    return {
        "event": "invite",
        "dialogId": call.session_id,
        "createdAt": call.created_at.isoformat(),
        "caller": call.caller,
        "callee": call.callee,
        "headers": [f"{name}: {value}" for name, value in call.headers.items()],
        "offer": without_keys(call.offer),
        "session_id": call.session_id,
        "call_id": call.call_id,
        "trunk": call.trunk,
        "sipCallId": call.call_id,
        "from_tag": call.from_tag,
        "to_tag": call.to_tag,
        "vars": dict(call.variables),
    }


async def _decide(call: IncomingCall, response: httpx.Response) -> Decision:
    """The decision in a 2xx answer. With an empty body a client's command decides."""
    if not response.content.strip():
        return LeftOpen()
    try:
        body = decode_json(response.content)
    except ContractError:
        return Refused(503, "Webhook answer is not JSON")
    action = body.get("action") if isinstance(body, dict) else None
    if action is None:
        return LeftOpen()
    if action == "reject":
        refused = wire.convert({key: body[key] for key in ("code", "reason") if key in body}, commands.Reject).value
        return Refused(refused.code, refused.reason or "Rejected")
    if action != "accept":
        return Refused(503, f"Webhook answered unknown action {action!r}")
    option = wire.convert(body.get("option") or {}, CallOption, path="option").value
    variables = body.get("vars") or {}
    if not isinstance(variables, dict):
        raise ContractError("vars", f"expected an object, found {type_name(variables)}")
    content = str(body.get("content") or "")
    if content:
        book = await call.playbooks.parse_long(content)
        return Accepted(book, option, {**call.variables, **variables})
    playbook = str(body.get("playbook") or "")
    if not playbook:
        raise ContractError("playbook", "missing; name a playbook, or give one as 'content'")
    return call.accept(playbook, variables=variables, option=option)


class PythonRouter:
    """Asks an async function `module:function`, which gets the IncomingCall and returns a decision or a playbook's name."""

    def __init__(self, target: str) -> None:
        module_name, _, function_name = target.partition(":")
        if not module_name or not function_name:
            raise ConfigError("handler.target", f"expected 'module:function', found {target!r}")
        try:
            function = getattr(importlib.import_module(module_name), function_name)
        except (ImportError, AttributeError) as error:
            raise ConfigError("handler.target", f"{target}: {error}") from error
        if not inspect.iscoroutinefunction(function):
            raise ConfigError("handler.target", f"{target} is not an async function")
        self._function = function
        self._target = target

    async def route(self, call: IncomingCall) -> Decision:
        """Decide who takes `call`. Raises ActiveCallError if that fails."""
        answer = await self._function(call)
        if isinstance(answer, str):
            return call.accept(answer)
        if isinstance(answer, Accepted | Refused | LeftOpen):
            return answer
        raise ActiveCallError(f"{self._target} returned {type(answer).__name__}; expected a decision or the name of a playbook")
