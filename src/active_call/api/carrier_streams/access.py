"""Who may open streams and get answer documents: carriers with our token, a ticket from the answer document, or their own signature.

A carrier cannot send our `Authorization` header. So the token may be wherever its product allows a value: in the path, in the query, as the
password of the URL, in its own header, or among the values of its call flow. Times are wall-clock seconds.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from starlette.exceptions import HTTPException

from active_call.api.access import AccessCheck
from active_call.legs.websocket.carriers.profile import StreamProfile

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

TICKET_S: Final = 120
"""How long a ticket is valid: a carrier takes about a second from the answer document to the stream."""


class StreamSettings(Struct, frozen=True):
    """The configured settings. `signing_secrets`: by profile, the secrets with which carriers sign requests."""

    token: str | None = None
    signing_secrets: Mapping[str, str] | None = None
    public_url: str = ""


class StreamAccess:
    """Checks requests. `check` is the rule for all other calls; `now` gives the time for tickets.

    `count_wrong` gets the address of each wrong token or signature, and raises HTTPException 429 for too many.
    """

    def __init__(
        self,
        settings: StreamSettings,
        check: AccessCheck,
        now: Callable[[], float],
        count_wrong: Callable[[str], None] = lambda address: None,
    ) -> None:
        self._count_wrong = count_wrong
        self._settings = settings
        self._check = check
        self._now = now
        secrets = settings.signing_secrets or {}
        self._secrets = {name: secret for name, secret in secrets.items() if secret}

    @property
    def is_open(self) -> bool:
        """No secret for streams is configured, so the rules of all other calls apply."""
        return not self._settings.token and not self._secrets

    def judge(self, profile: StreamProfile, asked: HTTPConnection, path_token: str = "", form: Sequence[tuple[str, str]] = ()) -> bool:
        """Whether the request has authenticated itself; False: its stream must bring the token. Raises HTTPException 401 or 403."""
        if self.is_open:
            self._check(asked)
            return True
        given = self._tokens(profile, asked, path_token)
        if given:
            if not any(self.is_token(profile, one) for one in given):
                self._count_wrong(asked.client.host if asked.client else "")
                raise HTTPException(401, "the token is not that of media_streams.token")
            return True
        secret, signature = self._secrets.get(profile.name), asked.headers.get(profile.signature_header or "-")
        if secret is not None and signature is not None:
            if not any(_is_equal(signature, signed(url, form, secret)) for url in self._urls(asked)):
                self._count_wrong(asked.client.host if asked.client else "")
                raise HTTPException(403, f"{profile.signature_header} does not match: another account, or a wrong media_streams.public_url")
            return True
        return False

    def is_token(self, profile: StreamProfile, given: str) -> bool:
        """Whether `given` is the token or a valid ticket."""
        token = self._settings.token
        if token and _is_equal(given, token):
            return True
        until, _, _ = given.partition(".")
        if not (until.isascii() and until.isdigit() and len(until) < 12) or int(until) < self._now():
            return False
        return _is_equal(given, self._ticket(profile, until))

    def new_ticket(self, profile: StreamProfile) -> str:
        """A ticket that opens that carrier's streams for a while; empty if none is needed."""
        return "" if self.is_open else self._ticket(profile, str(int(self._now()) + TICKET_S))

    def websocket_url(self, profile: StreamProfile, asked: HTTPConnection) -> str:
        """The address at which the carrier opens the stream. `ws` only if the server is not reachable from outside anyway."""
        base = self._settings.public_url.rstrip("/") or self._bases(asked)[0]
        scheme, _, place = base.partition("://")
        return f"{'ws' if scheme == 'http' else 'wss'}://{place}/call/stream/{profile.name}"

    def _ticket(self, profile: StreamProfile, until: str) -> str:
        secret = "\n".join((self._settings.token or "", *(f"{name}={self._secrets[name]}" for name in sorted(self._secrets))))
        return f"{until}.{hmac.new(secret.encode(), f'stream {profile.name} {until}'.encode(), hashlib.sha256).hexdigest()}"

    def _tokens(self, profile: StreamProfile, asked: HTTPConnection, path_token: str) -> list[str]:
        scheme, _, credentials = asked.headers.get("authorization", "").partition(" ")
        given = [path_token, asked.query_params.get("token", "")]
        if profile.token_header:
            given.append(asked.headers.get(profile.token_header, ""))
        if scheme.lower() == "bearer":
            given.append(credentials.strip())
        if scheme.lower() == "basic" and profile.has_basic_authentication:
            given.append(_password(credentials))
        return [one for one in given if one]

    def _bases(self, asked: HTTPConnection) -> list[str]:
        """The addresses under which the carrier may have sent the request, the likeliest first."""
        host = asked.headers.get("host", "")
        is_plain = asked.url.scheme in ("http", "ws") and (asked.headers.get("x-forwarded-proto") or "http") == "http" and _is_here(host)
        return [f"http://{host}", f"https://{host}"] if is_plain else [f"https://{host}", f"http://{host}"]

    def _urls(self, asked: HTTPConnection) -> list[str]:
        public = self._settings.public_url.rstrip("/")
        rest = asked.url.path + (f"?{asked.url.query}" if asked.url.query else "")
        places = (
            [public, public.replace("http", "ws", 1)]
            if public
            else [*self._bases(asked), *(one.replace("http", "ws", 1) for one in self._bases(asked))]
        )
        return [place + rest for place in places]


def signed(url: str, form: Sequence[tuple[str, str]], secret: str) -> str:
    """Twilio's signature: HMAC-SHA1, in base64, over the URL and the POST parameters in order of name (webhooks-security, 2026-11)."""
    text = url + "".join(name + value for name, value in sorted(form))
    return base64.b64encode(hmac.new(secret.encode(), text.encode("utf-8", "surrogateescape"), hashlib.sha1).digest()).decode()


def _is_equal(given: str, right: str) -> bool:
    """Compares in constant time. `given` may have any characters, which `compare_digest` itself refuses in texts."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), right.encode())


def _password(credentials: str) -> str:
    try:
        return base64.b64decode(credentials.strip(), validate=True).decode("utf-8", "replace").partition(":")[2]
    except (binascii.Error, ValueError):
        return ""


def _is_here(host: str) -> bool:
    return host.rpartition(":")[0].strip("[]") in ("localhost", "127.0.0.1", "::1")
