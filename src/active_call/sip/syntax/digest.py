"""Digest authentication, client side (RFC 2617, RFC 7616, RFC 8760, RFC 3261 §22).

A challenge goes in, the value of an Authorization header comes out. The server challenges nobody: trunks are known by their address. The
module keeps no state: the caller keeps nonce counts, retries, and which challenge belongs to which request. It computes RFC 2069 responses
if the challenge has no qop (Telnyx's registrar), always echoes `opaque` (Telnyx routes by it), and uses MD5 if no algorithm is named
(Twilio).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from msgspec import Struct

from active_call.base.errors import LocalProtocolError, ParseError
from active_call.sip.events import Credentials
from active_call.sip.syntax.grammar import LWS, encode_text, is_token, quote, split_outside, unquote

_HASHES = {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}
ALGORITHMS = frozenset(name for name, digest in _HASHES.items() if digest in hashlib.algorithms_available)
"""The hash functions available in this build. Each also has a `-sess` variant."""

_SPELLING = {name.upper(): name for name in _HASHES}


class Challenge(Struct, frozen=True):
    """A WWW-Authenticate or Proxy-Authenticate value. `algorithm` is None if none was named, which means MD5."""

    realm: str
    nonce: str
    opaque: str | None = None
    algorithm: str | None = None
    qop: tuple[str, ...] = ()
    stale: bool = False

    @property
    def is_supported(self) -> bool:
        """Whether we can answer it: its hash is available, and its qop is absent or contains auth or auth-int."""
        return _hash_name(self.algorithm) in ALGORITHMS and (not self.qop or "auth" in self.qop or "auth-int" in self.qop)


def parse_challenge(text: str) -> Challenge:
    """Parse one Digest challenge. Raises ParseError, also for another scheme."""
    values = _parse_auth_params(text)
    algorithm = values.get("algorithm")
    return Challenge(
        realm=_required(values, "realm"),
        nonce=_required(values, "nonce"),
        opaque=values.get("opaque"),
        algorithm=algorithm,
        qop=tuple(option for part in values.get("qop", "").split(",") if (option := part.strip(LWS).lower())),
        stale=values.get("stale", "").lower() == "true",
    )


def select_challenge(challenges: Iterable[str | Challenge]) -> Challenge | None:
    """The topmost challenge that we can answer (RFC 8760 §2.4), from header values or parsed ones. None if there is none."""
    for candidate in challenges:
        try:
            challenge = parse_challenge(candidate) if isinstance(candidate, str) else candidate
        except ParseError:
            continue
        if challenge.is_supported:
            return challenge
    return None


def authorization(
    challenge: Challenge,
    credentials: Credentials,
    method: str,
    uri: str,
    body: bytes,
    nonce_count: int,
    cnonce: str,
) -> str:
    """The Authorization (or Proxy-Authorization) value that answers `challenge` for this request.

    `uri` is the Request-URI as sent. `nonce_count` starts at 1 for a new nonce. `cnonce` is fresh randomness, used only if the challenge
    has a qop or a `-sess` algorithm. qop `auth` is preferred to `auth-int`. The caller checks that the credentials belong to this realm.
    Raises LocalProtocolError if the challenge is not supported.
    """
    if not challenge.is_supported:
        raise LocalProtocolError(f"no answer to a digest challenge with algorithm {challenge.algorithm} and qop {challenge.qop}")
    qop = None if not challenge.qop else "auth" if "auth" in challenge.qop else "auth-int"
    count = f"{nonce_count:08x}"
    username, realm = credentials.username, challenge.realm
    ha1 = hash_a1(challenge.algorithm, username, realm, credentials.password, nonce=challenge.nonce, cnonce=cnonce)
    ha2 = hash_a2(challenge.algorithm, method, uri, body if qop == "auth-int" else None)
    response = _response(challenge.algorithm, ha1, challenge.nonce, ha2, qop=qop, count=count, cnonce=cnonce)
    fields = [
        f"username={quote(username)}",
        f"realm={quote(realm)}",
        f"nonce={quote(challenge.nonce)}",
        f"uri={quote(uri)}",
        f'response="{response}"',
    ]
    if challenge.algorithm is not None:
        fields.append(f"algorithm={challenge.algorithm}")
    if qop is not None:
        fields += [f"cnonce={quote(cnonce)}", f"qop={qop}", f"nc={count}"]
    elif _is_session(challenge.algorithm):
        fields.append(f"cnonce={quote(cnonce)}")
    if challenge.opaque is not None:
        fields.append(f"opaque={quote(challenge.opaque)}")
    return "Digest " + ", ".join(fields)


def hash_a1(algorithm: str | None, username: str, realm: str, password: str, *, nonce: str = "", cnonce: str = "") -> str:
    """H(A1) in lower-case hexadecimal (RFC 7616 §3.4.2)."""
    ha1 = _digest(algorithm, encode_text(f"{username}:{realm}:{password}"))
    return _digest(algorithm, encode_text(f"{ha1}:{nonce}:{cnonce}")) if _is_session(algorithm) else ha1


def hash_a2(algorithm: str | None, method: str, uri: str, body: bytes | None) -> str:
    """H(A2) in lower-case hexadecimal (RFC 7616 §3.4.3). With a `body` it is the auth-int variant."""
    integrity = "" if body is None else f":{_digest(algorithm, body)}"
    return _digest(algorithm, encode_text(f"{method}:{uri}{integrity}"))


def _response(algorithm: str | None, ha1: str, nonce: str, ha2: str, *, qop: str | None, count: str, cnonce: str) -> str:
    middle = nonce if qop is None else f"{nonce}:{count}:{cnonce}:{qop}"
    return _digest(algorithm, encode_text(f"{ha1}:{middle}:{ha2}"))


def _digest(algorithm: str | None, data: bytes) -> str:
    return hashlib.new(_HASHES[_hash_name(algorithm)], data, usedforsecurity=False).hexdigest()


def _hash_name(algorithm: str | None) -> str:
    name = (algorithm or "MD5").upper().removesuffix("-SESS")
    return _SPELLING.get(name, name)


def _is_session(algorithm: str | None) -> bool:
    return algorithm is not None and algorithm.upper().endswith("-SESS")


def _required(values: dict[str, str], name: str) -> str:
    if name not in values:
        raise ParseError("digest", expected=name)
    return values[name]


def _parse_auth_params(text: str) -> dict[str, str]:
    """The `name=value` list after `Digest`: names in lower case, values unquoted."""
    scheme, _, rest = text.strip(LWS).partition(" ")
    if scheme.lower() != "digest":
        raise ParseError("authentication scheme", expected="Digest", found=text)
    values: dict[str, str] = {}
    for piece in split_outside(rest, ","):
        if not piece.strip(LWS):
            continue
        name, equals, value = piece.partition("=")
        name, value = name.strip(LWS).lower(), value.strip(LWS)
        if not equals or not is_token(name):
            raise ParseError("digest parameter", expected="name=value", found=piece)
        if value.startswith('"') and (len(value) < 2 or not value.endswith('"')):
            raise ParseError("digest parameter", expected="a closing quote", found=piece)
        if name in values:
            raise ParseError("digest parameter", expected="each name once", found=piece)
        values[name] = unquote(value)
    return values
