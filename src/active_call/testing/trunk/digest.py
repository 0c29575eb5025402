"""The challenging side of digest authentication: challenges as carriers write them, and a check of the credentials.

Enters: an Authorization or Proxy-Authorization value. Leaves: the names of what is wrong with it. RFC 2617, 7616, and RFC 2069 for a
challenge without qop.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass, field

from active_call.testing.trunk.switches import Switches


@dataclass(frozen=True, slots=True)
class Issued:
    """One challenge that was sent, and the request that it belongs to."""

    nonce: str
    opaque: str
    qop: bool
    call_id: str
    from_tag: str
    sequence: int
    value: str


@dataclass(slots=True)
class Challenger:
    """Issues challenges and judges answers. One per trunk."""

    switches: Switches
    issued: dict[str, Issued] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def challenge(self, call_id: str, from_tag: str, sequence: int, *, registers: bool = False) -> Issued:
        """A fresh challenge for a request of that Call-ID, From tag and CSeq; `value` goes into the header."""
        realm, kind = self.switches.realm, self.switches.challenge
        opaque, nonce = secrets.token_hex(16), secrets.token_urlsafe(36)
        qop = True
        if registers and self.switches.registers == "telnyx":
            opaque, qop = "2/10.13.246.184", False
            value = f'Digest realm="{realm}", nonce="{nonce}", opaque="{opaque}"'
        elif kind == "telnyx":
            opaque = f"{secrets.token_hex(16)}/10.239.42.24"
            value = f'Digest realm="{realm}", nonce="{nonce}", algorithm=MD5, qop="auth", opaque="{opaque}"'
        else:
            value = f'Digest realm="{realm}",qop="auth",nonce="{nonce}",opaque="{opaque}"'
        issued = Issued(nonce, opaque, qop, call_id, from_tag, sequence, value)
        self.issued[nonce] = issued
        return issued

    def wrong(self, value: str, method: str, request_uri: str) -> list[tuple[str, str]]:
        """(name, detail) for everything wrong with credentials; empty when they are accepted."""
        given = parameters(value)
        issued = self.issued.get(given.get("nonce", ""))
        if issued is None:
            return [("digest", f"nonce {given.get('nonce')!r} was never issued")]
        found = []
        if given.get("opaque") != issued.opaque:
            found.append(("digest-opaque", f"opaque {given.get('opaque')!r}, issued {issued.opaque!r}"))
        if given.get("realm") != self.switches.realm or given.get("username") != self.switches.username:
            found.append(("digest", f"username {given.get('username')!r} in realm {given.get('realm')!r}"))
        if given.get("uri") != request_uri:
            found.append(("digest", f"uri {given.get('uri')!r} is not the Request-URI {request_uri!r}"))
        if given.get("algorithm", "MD5").upper() != "MD5":
            found.append(("digest", f"algorithm {given.get('algorithm')!r} was not asked for"))
        found += self._wrong_count(given, issued)
        if given.get("response") != expected_response(self.switches.password, given, method):
            found.append(("digest", "the response does not prove the password"))
        return found

    def _wrong_count(self, given: dict[str, str], issued: Issued) -> list[tuple[str, str]]:
        if not issued.qop:
            return [("digest", "qop answered, none was offered")] if "qop" in given else []
        if given.get("qop") != "auth" or not given.get("cnonce"):
            return [("digest", f"qop {given.get('qop')!r} with cnonce {given.get('cnonce')!r}, expected auth and one")]
        count = given.get("nc", "")
        if not re.fullmatch(r"[0-9a-f]{8}", count) or int(count, 16) <= self.counts.get(issued.nonce, 0):
            return [("digest", f"nonce count {count!r} after {self.counts.get(issued.nonce, 0)}")]
        self.counts[issued.nonce] = int(count, 16)
        return []


def parameters(value: str) -> dict[str, str]:
    """The parameters of a Digest value, unquoted, names in lower case."""
    pairs = re.findall(r'(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))', value.partition(" ")[2])
    return {name.lower(): quoted or bare for name, quoted, bare in pairs}


def expected_response(password: str, given: dict[str, str], method: str) -> str:
    """The digest response for `password` and the given values (RFC 2617 section 3.2.2.1, RFC 2069 without qop)."""
    first = _md5(f"{given.get('username', '')}:{given.get('realm', '')}:{password}")
    second = _md5(f"{method}:{given.get('uri', '')}")
    middle = [given.get("nonce", "")]
    if "qop" in given:
        middle += [given.get("nc", ""), given.get("cnonce", ""), given["qop"]]
    return _md5(":".join([first, *middle, second]))


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
