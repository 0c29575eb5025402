"""The types of config values: what is accepted, and the error texts for the rest.

Plain TOML values enter; checked values leave; an invalid one raises ValueError. Knows no key.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError, PydanticKnownError

from active_call.base.errors import ParseError
from active_call.contract import options, wire
from active_call.contract.durations import in_unit
from active_call.legs.sip.rewriting import split_host
from active_call.net.outgoing import parse_place as parse_place_allowed
from active_call.sdp.crypto import SUITES
from active_call.sip.routing import parse_place
from active_call.sip.syntax.uri import format_host_port

T = TypeVar("T")

CODECS = ("pcmu", "pcma", "g722", "opus", "telephone_event")
"""In the default order of offers."""
ALL_CODECS = (*CODECS, "l16_16000", "l16_8000")
"""The values of `codecs`."""

STUN_SERVERS = ("stun.l.google.com:19302", "stun.cloudflare.com:3478", "global.stun.twilio.com:3478")
"""Public servers of three providers; one answer is enough."""

UNSUPPORTED_CODECS = ("g729",)
"""Known to the Rust program and therefore in existing files; not offered."""


class Section(BaseModel):
    """The base of all tables: frozen; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True)


def _true_or_false(value: object) -> object:
    """`"true"` and `"false"` come from environment variables, which are texts. Other values that pydantic would convert are refused."""
    word = value.strip().lower() if isinstance(value, str) else value
    if word in ("true", "false"):
        return word == "true"
    if not isinstance(value, bool):
        raise PydanticKnownError("bool_type")
    return value


def _not_true_or_false(value: object) -> object:
    """pydantic would read true as 1."""
    if isinstance(value, bool):
        raise PydanticKnownError("float_type")
    return value


def _regex(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"expected a regular expression, found {text!r}: {error}") from error
    return text


def _cidr(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError as error:
        raise ValueError(f"expected an address or a range such as 54.172.60.0/30, found {text!r}") from error


def _bind_ip(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text.strip("[]")))
    except ValueError as error:
        raise ValueError(f"expected an IP address of this machine, or 0.0.0.0 or :: for all, found {text!r}") from error


def _stun_server(text: str) -> str:
    plain = text.removeprefix("stun:")
    try:
        host, _ = parse_place(plain)
    except ParseError as error:
        raise ValueError(f"expected host or host:port, found {text!r}") from error
    if not host:
        raise ValueError(f"expected host or host:port, found {text!r}")
    return plain


def _codecs(names: tuple[str, ...]) -> tuple[str, ...]:
    known = []
    for name in (given.strip().lower().replace("-", "_") for given in names):
        if name not in ALL_CODECS and name not in UNSUPPORTED_CODECS:
            raise ValueError(f"expected codecs of {', '.join(ALL_CODECS)}, found {name!r}")
        if name in ALL_CODECS and name not in known:
            known.append(name)
    if not any(name != "telephone_event" for name in known):
        raise ValueError(f"expected at least one audio codec of {', '.join(CODECS[:-1])}")
    return tuple(known)


def _host_port(text: str) -> str:
    """`host[:port]`; an IPv6 address gets brackets."""
    return format_host_port(*split_host(text))


def _suites(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in SUITES:
            raise ValueError(f"expected SRTP suites of {', '.join(SUITES)}, found {name!r}")
    return names


def _http_url(text: str) -> str:
    if not re.match(r"https?://[^/\s]+", text):
        raise ValueError(f"expected a URL that begins with http:// or https://, found {text!r}")
    return text


def _place(text: str) -> str:
    parse_place_allowed(text)
    return text


def _host_name(text: str) -> str:
    """A name or address as in a Host header, without a port."""
    if not re.fullmatch(r"(?:\*\.)?[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*|\[?[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\]?", text):
        raise ValueError(f"expected a host name or an address without a port, such as pbx.example.com, found {text!r}")
    return text.strip("[]").lower()


def _duration_s(value: object) -> object:
    """Seconds, from a number or a text such as `50s`, `500ms` or `2m`."""
    number = in_unit(value, "s")
    if isinstance(number, str):
        raise ValueError(f"expected seconds, as a number or a text such as '50s', found {value!r}")
    return number


def _python_target(text: str) -> str:
    module, _, function = text.partition(":")
    if not all(part.isidentifier() for part in module.split(".")) or not function.isidentifier():
        raise ValueError(f"expected 'module:function', found {text!r}")
    return text


def _header_map(value: object) -> object:
    """A table of headers, or the list of pairs that the Rust program writes."""
    if isinstance(value, list):
        if all(isinstance(pair, list) and len(pair) == 2 for pair in value):
            return {str(name): str(text) for name, text in value}
        raise ValueError('expected a table of headers, or a list of pairs [["Name", "value"]]')
    return value


def as_list(value: object) -> object:
    """Accepts a single text where a list of texts is expected."""
    return [value] if isinstance(value, str) else value


def _option_group(cls: type[T]) -> BeforeValidator:
    """Read a table strictly by the contract's rules: both spellings of a key, its aliases, no unknown key."""

    def convert(value: object) -> object:
        if isinstance(value, cls):
            return value
        try:
            return wire.convert(value, cls, strict=True).value
        except wire.ContractError as error:
            raise PydanticCustomError("option", "{reason}", {"reason": error.reason, "path": error.path}) from error

    return BeforeValidator(convert)


Flag = Annotated[bool, BeforeValidator(_true_or_false)]
Whole = Annotated[int, BeforeValidator(_not_true_or_false)]
Number = Annotated[float, BeforeValidator(_not_true_or_false)]
Regex = Annotated[str, AfterValidator(_regex)]
Cidr = Annotated[str, AfterValidator(_cidr)]
BindIp = Annotated[str, AfterValidator(_bind_ip)]
HostPort = Annotated[str, AfterValidator(_host_port)]
Place = Annotated[str, AfterValidator(_place)]
HostName = Annotated[str, AfterValidator(_host_name)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
Headers = Annotated[dict[str, str], BeforeValidator(_header_map)]
Seconds = Annotated[Number, BeforeValidator(_duration_s), Field(gt=0)]
RtpTimeout = Annotated[Number, BeforeValidator(_duration_s), Field(ge=0, le=86_400)]
PythonTarget = Annotated[str, AfterValidator(_python_target)]
SrtpSuites = Annotated[tuple[str, ...], AfterValidator(_suites)]
CodecNames = Annotated[tuple[str, ...], AfterValidator(_codecs)]
OneOrMore = Annotated[tuple[HttpUrl, ...], BeforeValidator(as_list)]
Port = Annotated[Whole, Field(ge=0, le=65535)]
Secret = Annotated[str, Field(repr=False)]
OptionalSecret = Annotated[str | None, Field(repr=False)]
NonEmpty = Annotated[str, Field(min_length=1)]
StunServer = Annotated[str, AfterValidator(_stun_server)]
SipTransport = Literal["udp", "tcp", "tls"]

AmbianceDefaults = Annotated[options.AmbianceOption, _option_group(options.AmbianceOption)]
VadDefaults = Annotated[options.VadOption, _option_group(options.VadOption)]
AgcDefaults = Annotated[options.AgcOption, _option_group(options.AgcOption)]
AsrDefaults = Annotated[options.AsrOption, _option_group(options.AsrOption)]
TtsDefaults = Annotated[options.TtsOption, _option_group(options.TtsOption)]
EouDefaults = Annotated[options.EouOption, _option_group(options.EouOption)]
RealtimeDefaults = Annotated[options.RealtimeOption, _option_group(options.RealtimeOption)]
RingbackDefaults = Annotated[options.RingbackDetectionOption, _option_group(options.RingbackDetectionOption)]

FreeTable = dict[str, Any]
"""A table kept unchanged."""


def parse_host_port(text: str) -> tuple[str, int]:
    """`host:port` or `[v6]:port`; the host is returned without brackets. Raises ValueError."""
    host, colon, port = text.strip().rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    fits = colon and host and port.isascii() and port.isdigit() and int(port) <= 65535 and (bracketed or ":" not in host)
    if not fits:
        raise ValueError(f"expected host:port, such as 0.0.0.0:8080, found {text!r}")
    return (host[1:-1] if bracketed else host), int(port)
