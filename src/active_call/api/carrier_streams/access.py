"""Who may stream calls to us, and ask how to: carriers with our token, a ticket that the answer document gave them, or their own signature.

A carrier cannot be taught an `Authorization` header of ours. So the token may stand where its product has room for it: in the path, in the
query, as the password of the URL, in a header of its own, or among the values that its call flow gives along. Times are wall-clock seconds.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from active_call.api.access import AccessCheck
from active_call.legs.websocket.carriers.profile import StreamProfile

TICKET_S: Final = 120
"""How long a ticket opens streams: from the answer document to the stream, a carrier takes a second."""


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """What the configuration says. `signing_secrets`: by profile, what the carrier signs its requests with."""

    token: str | None = None
    signing_secrets: Mapping[str, str] | None = None
    public_url: str = ""


class StreamAccess:
    """Judges requests. `check` is what holds for all other calls; `now` gives the time for tickets."""

    def __init__(self, settings: StreamSettings, check: AccessCheck, now: Callable[[], float]) -> None:
        self._settings = settings
        self._check = check
        self._now = now
        secrets = settings.signing_secrets or {}
        self._secrets = {name: secret for name, secret in secrets.items() if secret}

    @property
    def is_open(self) -> bool:
        """No secret of streams is configured, so that the rules of all other calls hold."""
        return not self._settings.token and not self._secrets

    def judge(self, profile: StreamProfile, asked: HTTPConnection, path_token: str = "", form: Sequence[tuple[str, str]] = ()) -> bool:
        """Whether the request has proved who it is; False: its stream must bring the token. Raises HTTPException 401 or 403."""
        if self.is_open:
            self._check(asked)
            return True
        given = self._tokens(profile, asked, path_token)
        if given:
            if not any(self.is_token(profile, one) for one in given):
                raise HTTPException(401, "the token is not that of media_streams.token")
            return True
        secret, signature = self._secrets.get(profile.name), asked.headers.get(profile.signature_header or "-")
        if secret is not None and signature is not None:
            if not any(hmac.compare_digest(signature, signed(url, form, secret)) for url in self._urls(asked)):
                raise HTTPException(403, f"{profile.signature_header} does not match: another account, or a wrong media_streams.public_url")
            return True
        return False

    def is_token(self, profile: StreamProfile, given: str) -> bool:
        """Whether `given` is the token or a ticket that is valid now."""
        token = self._settings.token
        if token and hmac.compare_digest(given.encode("utf-8", "surrogateescape"), token.encode()):
            return True
        until, _, _ = given.partition(".")
        if not (until.isascii() and until.isdigit() and len(until) < 12) or int(until) < self._now():
            return False
        return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self._ticket(profile, until).encode())

    def new_ticket(self, profile: StreamProfile) -> str:
        """What opens streams of that carrier for a while; empty if none is needed."""
        return "" if self.is_open else self._ticket(profile, str(int(self._now()) + TICKET_S))

    def websocket_url(self, profile: StreamProfile, asked: HTTPConnection) -> str:
        """The address at which the carrier is to open the stream. `ws` only where nobody could be reached from outside anyway."""
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
        """Under which addresses the carrier may have asked, the likeliest first."""
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
    """Twilio's signature: HMAC-SHA1, in base64, of the URL and of the POST parameters by name (webhooks-security, 2026-11)."""
    text = url + "".join(name + value for name, value in sorted(form))
    return base64.b64encode(hmac.new(secret.encode(), text.encode("utf-8", "surrogateescape"), hashlib.sha1).digest()).decode()


def _password(credentials: str) -> str:
    try:
        return base64.b64decode(credentials.strip(), validate=True).decode("utf-8", "replace").partition(":")[2]
    except (binascii.Error, ValueError):
        return ""


def _is_here(host: str) -> bool:
    return host.rpartition(":")[0].strip("[]") in ("localhost", "127.0.0.1", "::1")
