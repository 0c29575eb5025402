"""HTTP access control: holders of a token may do what its scope allows; without tokens, clients on this machine may do everything.

| scope | allows |
|---|---|
| `read` | list calls, follow events, listen, read records and playbooks |
| `control` | all of that, and place, answer, control and end calls, synthesise sounds |
| `admin` | all of that, and write playbooks, send reports again |

Every token is compared completely, so that the response time reveals nothing. A holder, or an address without a token, has a limit of
requests a second; an address that sends wrong tokens has a lower one. One IPv6 /64 counts as one address.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from starlette.exceptions import HTTPException

from active_call.api.origins import is_loopback, was_forwarded
from active_call.base.addresses import address_key
from active_call.base.rate import Rate
from active_call.base.world import Clock, World

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

AccessCheck = Callable[["HTTPConnection"], None]
"""Admits a request or a WebSocket, or raises HTTPException 401, 403 or 429."""

DEFAULT_RATE_PER_S: Final = 200.0
WRONG_TOKENS_PER_S: Final = 5.0
MAX_RATES: Final = 10_000
"""How many holders and addresses are counted; the least recent is dropped."""


class Scope(IntEnum):
    """What a token's holder may do; each scope includes those below."""

    READ = 1
    CONTROL = 2
    ADMIN = 3


_ADMIN_PATHS: Final = ("/api/playbooks/", "/api/webhooks/")
_READ_SOCKETS: Final = ("/listen/",)


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token. `name` appears in refusals and logs."""

    name: str
    secret: str = field(repr=False)
    scope: Scope = Scope.ADMIN


def needed_scope(method: str, path: str) -> Scope:
    """The scope that a request needs. Requests not known to be harmless need `control`."""
    if path.startswith("/kill/"):
        return Scope.CONTROL
    if method in ("GET", "HEAD"):
        return Scope.READ
    if method == "WEBSOCKET":
        return Scope.READ if path.startswith(_READ_SOCKETS) else Scope.CONTROL
    return Scope.ADMIN if path.startswith(_ADMIN_PATHS) else Scope.CONTROL


def is_operator(request: HTTPConnection) -> bool:
    """Whether the admitted request may write playbooks, and so may read what playbook files may: the environment, with vendors' keys."""
    return bool(getattr(request.state, "is_operator", False))


class AccessControl:
    """Checks requests. Its tokens may change while it is in use."""

    def __init__(self, clock: Clock, tokens: Sequence[Token] = (), rate_per_s: float = DEFAULT_RATE_PER_S) -> None:
        self._clock = clock
        self._rates: OrderedDict[str, Rate] = OrderedDict()
        self.go_by(tokens, rate_per_s)

    def go_by(self, tokens: Sequence[Token], rate_per_s: float) -> None:
        """Use these tokens from now on."""
        self._tokens = [(_digest(token.secret), token) for token in tokens]
        self._rate_per_s = rate_per_s
        self._rates.clear()

    def __call__(self, request: HTTPConnection) -> None:
        """Admit `request`. Raises HTTPException. A WebSocket of a web page, which cannot set headers, may pass the token as `?token=`."""
        address = request.client.host if request.client else ""
        if not self._tokens:
            _require_this_machine(request, address)
            request.state.is_operator = True
            self._count(f"address {address}", self._rate_per_s)
            return
        token = self._holder(request, address)
        method = request.scope.get("method", "WEBSOCKET") if request.scope["type"] == "http" else "WEBSOCKET"
        needed = needed_scope(method, request.scope["path"])
        if token.scope < needed:
            raise HTTPException(403, f"the token {token.name!r} has the scope {token.scope.name.lower()}; needed: {needed.name.lower()}")
        self._count(f"token {token.name}", self._rate_per_s)
        request.state.is_operator = token.scope >= Scope.ADMIN

    def _holder(self, request: HTTPConnection, address: str) -> Token:
        given = request.headers.get("authorization", "")
        if not given and request.scope["type"] == "websocket":
            given = f"Bearer {request.query_params.get('token', '')}"
        scheme, _, secret = given.partition(" ")
        digest = _digest(secret.strip())
        fitting = [token for known, token in self._tokens if hmac.compare_digest(known, digest)]
        if fitting and scheme.lower() == "bearer":
            return fitting[0]
        if given.strip() not in ("", "Bearer"):
            self.count_wrong_token(address)
        raise HTTPException(401, "expected 'Authorization: Bearer <http_token>'", headers={"WWW-Authenticate": "Bearer"})

    def count_wrong_token(self, address: str) -> None:
        """Another wrong token came from `address`. Raises HTTPException 429 for too many."""
        self._count(f"wrong {address_key(address)}", WRONG_TOKENS_PER_S)

    def _count(self, who: str, per_s: float) -> None:
        now = self._clock.now()
        rate = self._rates.get(who)
        if rate is None:
            rate = self._rates[who] = Rate(per_s)
            if len(self._rates) > MAX_RATES:
                self._rates.popitem(last=False)
        else:
            self._rates.move_to_end(who)
        if not rate.take(now):
            wait_s = max(1, round(rate.due_at(now) - now))
            raise HTTPException(429, f"too many requests: at most {per_s:g} a second", headers={"Retry-After": str(wait_s)})


def access_check(token: str | None) -> AccessControl:
    """Access control with one token for everything, or with none."""
    return AccessControl(World().clock, (Token("http_token", token),) if token is not None else ())


def _require_this_machine(request: HTTPConnection, address: str) -> None:
    if not is_loopback(address):
        raise HTTPException(403, "only clients on this machine may control calls; set http_token in the configuration to allow others")
    if was_forwarded(request.headers.keys()):
        raise HTTPException(403, "clients behind a proxy may not control calls; set http_token in the configuration to allow them")


def _digest(secret: str) -> bytes:
    """A digest of fixed length, so that comparing takes constant time."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
