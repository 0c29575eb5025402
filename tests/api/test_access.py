"""Tokens, their scopes, and how many requests a second: judged without a server."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from active_call.api.access import WRONG_TOKENS_PER_S, AccessControl, Scope, Token, needed_scope

READER, DRIVER, OWNER = Token("wallboard", "read-me-1", Scope.READ), Token("crm", "drive-me-1", Scope.CONTROL), Token("http_token", "all-1")


class Clock:
    def __init__(self) -> None:
        self.at = 0.0

    def now(self) -> float:
        return self.at


def asked(method: str, path: str, token: str | None, *, client: str = "203.0.113.9", query: str = "") -> HTTPConnection:
    headers = [(b"authorization", f"Bearer {token}".encode())] if token is not None else []
    kind = {"type": "websocket"} if method == "WEBSOCKET" else {"type": "http", "method": method}
    scope: dict[str, Any] = {**kind, "path": path, "headers": headers, "client": (client, 5), "query_string": query.encode()}
    return HTTPConnection(scope)


def status(access: AccessControl, request: HTTPConnection) -> int:
    try:
        access(request)
    except HTTPException as refusal:
        return refusal.status_code
    return 200


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/list", Scope.READ),
        ("GET", "/events/s.1", Scope.READ),
        ("WEBSOCKET", "/listen/s.1", Scope.READ),
        ("GET", "/api/playbooks/a.md", Scope.READ),
        ("GET", "/kill/s.1", Scope.CONTROL),
        ("DELETE", "/call/s.1", Scope.CONTROL),
        ("POST", "/call", Scope.CONTROL),
        ("POST", "/api/playbook/run", Scope.CONTROL),
        ("WEBSOCKET", "/call/sip", Scope.CONTROL),
        ("POST", "/something/new", Scope.CONTROL),
        ("POST", "/api/playbooks/a.md", Scope.ADMIN),
        ("POST", "/api/webhooks/dead/7/replay", Scope.ADMIN),
    ],
)
def test_each_request_needs_its_scope_and_a_token_goes_as_far_as_its_own(method: str, path: str, scope: Scope) -> None:
    assert needed_scope(method, path) is scope
    access = AccessControl(Clock(), (OWNER, READER, DRIVER))
    for token in (OWNER, READER, DRIVER):
        assert status(access, asked(method, path, token.secret)) == (200 if token.scope >= scope else 403)
    for wrong in (None, "", "wrong", "read-me-", "read-me-12"):
        assert status(access, asked(method, path, wrong, client="192.0.2.1" if wrong else "192.0.2.2")) == 401


def test_refusal_names_the_token_and_what_is_needed() -> None:
    with pytest.raises(HTTPException) as refusal:
        AccessControl(Clock(), (READER,))(asked("POST", "/call", READER.secret))
    assert refusal.value.detail == "the token 'wallboard' has the scope read; needed: control"


def test_token_in_the_query_is_for_sockets_only() -> None:
    access = AccessControl(Clock(), (OWNER,))
    assert status(access, asked("WEBSOCKET", "/call/sip", None, query="token=all-1")) == 200
    assert status(access, asked("GET", "/list", None, query="token=all-1")) == 401


def test_one_ipv6_network_tries_no_more_tokens_than_one_address() -> None:
    access = AccessControl(Clock(), (OWNER,))
    tried = [status(access, asked("GET", "/list", "wrong", client=f"2001:db8:0:7::{host:x}")) for host in range(1, 9)]
    assert tried == [401] * 5 + [429] * 3
    assert status(access, asked("GET", "/list", "wrong", client="2001:db8:0:8::1")) == 401  # a neighbour


def test_without_tokens_only_this_machine_may_ask() -> None:
    access = AccessControl(Clock())
    assert status(access, asked("POST", "/call", None, client="127.0.0.1")) == 200
    assert status(access, asked("GET", "/list", None)) == 403


def test_holders_are_limited_each_by_itself_and_told_when_to_come_again() -> None:
    clock = Clock()
    access = AccessControl(clock, (OWNER, READER), rate_per_s=3)
    assert [status(access, asked("GET", "/list", OWNER.secret)) for _ in range(4)] == [200, 200, 200, 429]
    assert status(access, asked("GET", "/list", READER.secret)) == 200
    with pytest.raises(HTTPException) as refusal:
        access(asked("GET", "/list", OWNER.secret))
    assert refusal.value.headers == {"Retry-After": "1"}
    clock.at = 1.1
    assert status(access, asked("GET", "/list", OWNER.secret)) == 200


def test_guessing_tokens_is_slowed_down_by_address() -> None:
    access = AccessControl(Clock(), (OWNER,))
    answers = [status(access, asked("GET", "/list", f"guess-{n}")) for n in range(8)]
    assert answers == [401] * int(WRONG_TOKENS_PER_S) + [429] * 3
    assert status(access, asked("GET", "/list", "guess", client="203.0.113.10")) == 401
    assert status(access, asked("GET", "/list", OWNER.secret)) == 200


def test_tokens_change_while_the_server_runs() -> None:
    access = AccessControl(Clock(), (OWNER,))
    access.go_by((READER,), 10)
    assert status(access, asked("GET", "/list", OWNER.secret)) == 401
    assert status(access, asked("GET", "/list", READER.secret)) == 200
