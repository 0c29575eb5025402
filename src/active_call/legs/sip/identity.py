"""Read the caller's identity from a call's headers, for playbooks (RFC 3323, 3325, 5806, 7044, 8224).

A message goes in; its headers by name, and facts read from them, come out. Nothing is verified or refused here: the playbook learns whether
a number is asserted, verified or withheld, and decides.
"""

from __future__ import annotations

from collections.abc import Mapping

from active_call.base.errors import ParseError
from active_call.legs.sip.plain_text import plain
from active_call.sip.syntax.grammar import split_list
from active_call.sip.syntax.headers import COMPACT_FORMS, NameAddr, header_key, parse_name_addr
from active_call.sip.syntax.message import Request, Response
from active_call.sip.syntax.uri import format_host_port

ANONYMOUS = "sip:anonymous@anonymous.invalid"
"""The From of an anonymous caller (RFC 3323 §4.1.1.3)."""
_NOBODY = frozenset(("anonymous", "restricted", "unavailable", "unknown", "private", "blocked"))
_SPELT = {"call-id": "Call-ID"}


def header_map(message: Request | Response) -> dict[str, str]:
    """All headers by full name. The values of a repeated header are joined with commas, in order."""
    names: dict[str, str] = {}
    joined: dict[str, str] = {}
    for name, value in message.headers.items():
        key = header_key(name)
        full = names.get(key)
        if full is None:
            full = names[key] = _spelt(key) if len(name) == 1 and name.lower() in COMPACT_FORMS else name
            joined[full] = value
        else:
            joined[full] += f", {value}"
    return {name: plain(value) for name, value in joined.items()}


def allowed_methods(message: Request | Response) -> frozenset[str]:
    """The methods that the sender accepts (Allow, RFC 3261 §20.5); empty if it sends none."""
    return frozenset(method.strip().upper() for method in message.headers.split("Allow"))


def caller_of(request: Request) -> str:
    """The caller's address without tags and parameters; the anonymous one if From contains no address."""
    text = request.headers.get("From") or ""
    address = _address(text)
    if address is None:
        return plain(text)
    return ANONYMOUS if _is_nobody(address) else plain_uri(text)


def plain_uri(text: str) -> str:
    """The URI of a From or To header, without tags and parameters; the raw text if it does not parse."""
    try:
        uri = parse_name_addr(text).uri
    except ParseError:
        return plain(text)
    if uri.scheme == "tel":
        return f"tel:{plain(uri.user or '')}"
    user = f"{plain(uri.user)}@" if uri.user else ""
    return f"{uri.scheme}:{user}{format_host_port(uri.host)}"


def identity_of(headers: Mapping[str, str]) -> dict[str, str]:
    """The facts that playbooks have as variables. An unknown one is empty.

    `caller_number`, `caller_name`: from From. `callee_number`: from To. `asserted_number`: from P-Asserted-Identity. `diversion_number`,
    `diversion_reason`: who forwarded the call to us. `verstat`: the carrier's verification of the caller's signature (STIR/SHAKEN).
    `anonymous`: `yes` if the caller withholds its identity.
    """
    headers = {name.lower(): value for name, value in headers.items()}
    sender, asserted = _address(_get(headers, "from")), _address(_first(headers, "p-asserted-identity"))
    is_anonymous = sender is None or _is_nobody(sender) or _wants_privacy(headers)
    diverted, reason = _diversion(headers)
    return {
        "caller_number": "" if sender is None or _is_nobody(sender) else _user(sender),
        "caller_name": "" if sender is None or is_anonymous else (sender.display or ""),
        "callee_number": _user(_address(_get(headers, "to"))),
        "asserted_number": _user(asserted),
        "diversion_number": diverted,
        "diversion_reason": reason,
        "verstat": _get(headers, "x-twilio-verstat") or _verstat(asserted) or _verstat(sender),
        "anonymous": "yes" if is_anonymous else "",
    }


def _diversion(headers: Mapping[str, str]) -> tuple[str, str]:
    """The last party that forwarded the call: Diversion's first entry (RFC 5806 §4), else History-Info's last but one (RFC 7044)."""
    latest = _address(_first(headers, "diversion"))
    if latest is not None:
        return _user(latest), latest.parameters.get("reason") or ""
    history = split_list(_get(headers, "history-info"))
    return (_user(_address(history[-2])), "") if len(history) > 1 else ("", "")


def _wants_privacy(headers: Mapping[str, str]) -> bool:
    values = {value.strip().lower() for value in _get(headers, "privacy").replace(",", ";").split(";")}
    return bool(values & {"id", "user", "header"})


def _verstat(address: NameAddr | None) -> str:
    """`verstat` of an address. Telnyx and IMS send it as URI parameter, others as header parameter."""
    if address is None:
        return ""
    try:
        inside = address.uri.parameters.get("verstat")
    except ParseError:
        inside = None
    return inside or address.parameters.get("verstat") or ""


def _is_nobody(address: NameAddr) -> bool:
    try:
        uri = address.uri
    except ParseError:
        return False
    return (uri.decoded_user or "").lower() in _NOBODY or uri.host.lower() == "anonymous.invalid"


def _user(address: NameAddr | None) -> str:
    try:
        return "" if address is None else plain(address.uri.decoded_user or "")
    except ParseError:
        return ""


def _address(text: str) -> NameAddr | None:
    try:
        return parse_name_addr(text) if text else None
    except ParseError:
        return None


def _first(headers: Mapping[str, str], name: str) -> str:
    return next(iter(split_list(_get(headers, name))), "")


def _get(headers: Mapping[str, str], name: str) -> str:
    """The value under `name`; the keys of `headers` are in lower case."""
    return headers.get(name, "")


def _spelt(key: str) -> str:
    return _SPELT.get(key, "-".join(part.capitalize() for part in key.split("-")))
