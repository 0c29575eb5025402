"""Answer the digest challenges to one request and its repetitions (RFC 3261 §22.2, RFC 7616, RFC 8760).

401 and 407 responses go in. The Authorization and Proxy-Authorization values for the next attempt come out, or None to give up. This module
knows no transactions; `digest` does the hashing.
"""

from __future__ import annotations

from collections.abc import Callable

from active_call.base.errors import LocalProtocolError, ParseError
from active_call.base.world import Randomness
from active_call.sip.events import Credentials, HeaderList
from active_call.sip.syntax.digest import Challenge, authorization, select_challenge
from active_call.sip.syntax.message import Request, Response

_MAX_ATTEMPTS = 2
"""Answers per realm to challenges without `stale`. The second one covers a nonce that expired without notice."""
_MAX_ROUNDS = 6
_ANSWER_HEADERS = {401: ("WWW-Authenticate", "Authorization"), 407: ("Proxy-Authenticate", "Proxy-Authorization")}


class Authenticator:
    """The credentials of one request through all its attempts.

    The answer to one realm stays in the request when another realm challenges.
    """

    def __init__(self, credentials: tuple[Credentials, ...], randomness: Randomness) -> None:
        self._credentials = credentials
        self._randomness = randomness
        self._answers: dict[tuple[str, str], tuple[Challenge, Credentials]] = {}
        self._attempts: dict[tuple[str, str], int] = {}
        self._nonces: set[str] = set()
        self._n_rounds = 0

    def take_challenge(self, response: Response) -> bool:
        """Whether to repeat the request with `headers_for`. False if the challenge cannot be met or an answer was already refused."""
        names = _ANSWER_HEADERS.get(response.code)
        self._n_rounds += 1
        if names is None or not self._credentials or self._n_rounds > _MAX_ROUNDS:
            return False
        by_realm: dict[str, list[Challenge]] = {}
        for text in response.headers.get_all(names[0]):
            challenge = select_challenge([text])
            if challenge is not None:
                by_realm.setdefault(challenge.realm, []).append(challenge)
        taken = [self._take(names[1], challenges[0]) for challenges in by_realm.values()]
        return any(taken)

    def answer_challenge(self, response: Response, send_again: Callable[[float], object], now: float) -> bool:
        """Repeat the request if `response` is a challenge that can be met. False if `response` is the outcome."""
        if response.code not in _ANSWER_HEADERS or not self.take_challenge(response):
            return False
        try:
            send_again(now)
        except (LocalProtocolError, ParseError):  # the request can no longer be made
            return False
        return True

    def add_to(self, request: Request) -> None:
        """Add `headers_for` to the request. The request must not change after that."""
        for name, value in self.headers_for(request):
            request.headers.add(name, value)

    def headers_for(self, request: Request) -> HeaderList:
        """The header values that answer all challenges so far, computed for exactly this request."""
        return tuple(
            (header, authorization(challenge, credentials, request.method, request.uri, request.body, 1, self._randomness.token(8)))
            for (header, _), (challenge, credentials) in self._answers.items()
        )

    def _take(self, header: str, challenge: Challenge) -> bool:
        credentials = self._find(challenge.realm)
        if credentials is None or challenge.nonce in self._nonces:
            return False
        key = (header, challenge.realm)
        if not challenge.stale:
            self._attempts[key] = self._attempts.get(key, 0) + 1
            if self._attempts[key] > _MAX_ATTEMPTS:
                return False
        self._nonces.add(challenge.nonce)
        self._answers[key] = (challenge, credentials)
        return True

    def _find(self, realm: str) -> Credentials | None:
        exact = next((one for one in self._credentials if one.realm == realm), None)
        return exact or next((one for one in self._credentials if one.realm is None), None)
