"""SIP, SIPS and tel URIs: text in, frozen values out (RFC 3261 §19.1, RFC 3966, RFC 5954).

The parser accepts what carriers send beyond the grammar: a host that starts with `+` (Twilio), a repeated parameter (the first one counts),
an empty user part, an underscore in a host name. It knows no headers and resolves nothing (RFC 3263 is the resolver's task).
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

from msgspec import Struct, field

from active_call.base.errors import ParseError
from active_call.sip.syntax.grammar import LWS, encode_text, unescape

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):")
_HOST_PORT = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9_.+\-]+))(?::([0-9]{1,5}))?\Z")
_COLON_TOO_MANY = re.compile(r":::(?=[0-9]{1,3}(?:\.[0-9]{1,3}){3}\Z)")
"""RFC 3261's grammar yields a third colon before an embedded IPv4 address. RFC 5118 §4.10 recommends tolerating it."""
_USER_INFO = re.compile(r"[^\s<>\"@\x00-\x20\x7f]*\Z")
_NOT_IN_URI = re.compile(r'[\x00-\x20\x7f<>"]')
_TEL_NUMBER = re.compile(r"[0-9A-Fa-f+*#().\-]+\Z")
_PARAMETER_NAME_ESCAPED = re.compile(r"[^A-Za-z0-9\-_.!~*'()\[\]/:&+$]")

SUPPORTED_SCHEMES = ("sip", "sips", "tel")

MAX_REMEMBERED = 256
"""Maximum length of a URI in the parse cache, so that a peer cannot fill our memory with long ones."""


class Uri(Struct, frozen=True):
    """A parsed URI. `user`, `password`, parameter values and `headers` keep their escapes; parameter names are unescaped.

    `host` has no brackets. In a tel URI it is empty, and `user` is the number.
    """

    scheme: str
    user: str | None = None
    password: str | None = None
    host: str = ""
    port: int | None = None
    parameters: dict[str, str | None] = field(default_factory=dict)
    headers: str | None = None

    def __hash__(self) -> int:
        return hash((self.scheme, self.user, self.password, self.host, self.port, self.headers))  # without the parameters, a dict

    @property
    def transport(self) -> str | None:
        """The transport parameter in lower case."""
        value = self.parameters.get("transport")
        return value.lower() if value else None

    @property
    def decoded_user(self) -> str | None:
        """The unescaped user part, for display and look-up."""
        return None if self.user is None else unescape(self.user)

    @property
    def host_port(self) -> str:
        """Host and port as written in a URI or Via: IPv6 in brackets, no port if none was given."""
        return format_host_port(self.host, self.port)

    def __str__(self) -> str:
        text = f"{self.scheme}:"
        if self.scheme == "tel":
            text += self.user or ""
        else:
            if self.user is not None:
                text += self.user if self.password is None else f"{self.user}:{self.password}"
                text += "@"
            text += self.host_port
        for name, value in self.parameters.items():
            text += ";" + _PARAMETER_NAME_ESCAPED.sub(_escape, name)
            if value is not None:
                text += f"={value}"
        return text if self.headers is None else f"{text}?{self.headers}"


def format_host_port(host: str, port: int | None = None) -> str:
    """`host[:port]`, with brackets around an IPv6 address."""
    text = f"[{host}]" if ":" in host else host
    return text if port is None else f"{text}:{port}"


def parse_host_port(text: str) -> tuple[str, int | None]:
    """The inverse of `format_host_port`. Raises ParseError."""
    match = _HOST_PORT.match(text)
    if match is None:
        raise ParseError("host", expected="a name or address and perhaps a port", found=text)
    v6, name, digits = match.groups()
    if v6 is not None:
        v6 = _COLON_TOO_MANY.sub("::", v6)
        try:
            ipaddress.IPv6Address(v6)
        except ValueError as error:
            raise ParseError("host", expected="an IPv6 address", found=text) from error
    port = None if digits is None else int(digits)
    if port is not None and port > 65_535:
        raise ParseError("port", expected="at most 65535", found=text)
    return (v6 if v6 is not None else name), port


def scheme_of(text: str) -> str:
    """The scheme in lower case. Raises ParseError if `text` is not a URI."""
    match = _SCHEME.match(text)
    if match is None:
        raise ParseError("URI", expected="a scheme", found=text)
    return match.group(1).lower()


def parse_uri(text: str) -> Uri:
    """Parse a sip, sips or tel URI without angle brackets. Raises ParseError, also for other schemes.

    Equal texts may return the same object. Nothing may change a `Uri` or its parameters.
    """
    return _parse_again(text) if len(text) <= MAX_REMEMBERED else _parse(text)


def _parse(text: str) -> Uri:
    text = text.strip(LWS)
    scheme = scheme_of(text)
    rest = text[len(scheme) + 1 :]
    if scheme == "tel":
        return _parse_tel(rest)
    if scheme not in SUPPORTED_SCHEMES:
        raise ParseError("URI scheme", expected="sip, sips or tel", found=text)
    user_info, at, rest = rest.rpartition("@") if rest.count("@") == 1 else _cut_user_info(rest)
    if not _USER_INFO.match(user_info):
        raise ParseError("URI user", expected="no blanks, quotes or brackets", found=text)
    user, colon, password = user_info.partition(":")
    rest, question, headers = rest.partition("?")
    address, _, parameters = rest.partition(";")
    host, port = parse_host_port(address)
    return Uri(
        scheme,
        user if at and (user or colon) else None,
        password if colon else None,
        host,
        port,
        _parse_uri_parameters(parameters),
        _checked(headers) if question else None,
    )


_parse_again = lru_cache(maxsize=1024)(_parse)
"""Cached, because the parts of one call parse the same few URIs about twenty times."""


def _parse_tel(rest: str) -> Uri:
    number, _, parameters = rest.partition(";")
    if not _TEL_NUMBER.match(number):
        raise ParseError("telephone number", expected="digits", found=number)
    return Uri("tel", user=number, parameters=_parse_uri_parameters(parameters))


def _cut_user_info(rest: str) -> tuple[str, str, str]:
    """Without `@` there is no user. With several the first one counts; the others can only be unescaped ones in parameters."""
    if "@" not in rest:
        return "", "", rest
    return rest.partition("@")


def _parse_uri_parameters(text: str) -> dict[str, str | None]:
    parameters: dict[str, str | None] = {}
    if not text:
        return parameters
    for piece in _checked(text).split(";"):
        name, equals, value = piece.partition("=")
        if name:
            parameters.setdefault(unescape(name).lower(), value if equals else None)
        elif equals:
            raise ParseError("URI parameter", expected="a name", found=piece)
    return parameters


def _checked(text: str) -> str:
    if _NOT_IN_URI.search(text):
        raise ParseError("URI", expected="no blanks, quotes or brackets", found=text)
    return text


def _escape(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in encode_text(match.group()))
