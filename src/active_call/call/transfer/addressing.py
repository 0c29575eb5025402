"""The address that a transfer calls, and the number and credentials for it, in the form that the trunk expects.

Targets, the call's own parties and options enter; values leave. Pure.
"""

from __future__ import annotations

import re

import msgspec
from msgspec import Struct

from active_call.contract.options import SipOption

_NUMBER = re.compile(r"\+?[0-9*#().\s-]{2,}")
_SEPARATORS = re.compile(r"[().\s-]")
_PHONE = re.compile(r"\+?[0-9]{3,}")
_NOWHERE = "anonymous.invalid"
"""The host of a caller who withholds its identity (RFC 3323 §4.1.1.3)."""


class OwnCall(Struct, frozen=True):
    """The facts of the call in which a transfer begins. Addresses are `sip:user@host`, or the command's text."""

    direction: str
    caller: str
    callee: str
    sip: SipOption | None
    way_out: str = ""
    """The host for bare numbers: the address of the call's trunk, else of the first trunk; empty without trunks."""


def dialable(target: str, call: OwnCall) -> str:
    """`target` as a SIP address: a number, or a `tel:` URI, goes to the call's own trunk."""
    text = target.strip()
    number = text[4:].partition(";")[0] if text.lower().startswith("tel:") else text
    return _at(number, (call.way_out or _host_of(call.caller)) if call.direction == "inbound" else _host_of(call.callee), text)


def referable(target: str, call: OwnCall) -> str:
    """`target` for the Refer-To of a REFER to the peer: a number becomes an address at the peer's own host.

    Asterisk and other PBXs refuse a `tel:` URI there with 400. One that is written out remains as it is.
    """
    text = target.strip()
    peer = _host_of(call.caller if call.direction == "inbound" else call.callee)
    return _at(text, call.way_out if peer.lower() in ("", _NOWHERE) else peer, text)


def _at(number: str, host: str, text: str) -> str:
    """The address of `number` at `host`; `text` if it is no number or there is no host."""
    return f"sip:{_SEPARATORS.sub('', number)}@{host}" if host and _NUMBER.fullmatch(number) else text


def caller_for(call: OwnCall, caller: str) -> str | None:
    """The caller number for the target: as requested, else our own in this call; None leaves it to the account."""
    if caller:
        return caller
    own = _user_of(call.callee if call.direction == "inbound" else call.caller)
    return own if _PHONE.fullmatch(own) else None


def credentials_for(option: SipOption | None, callee: str, call: OwnCall) -> SipOption | None:
    """The credentials for the INVITE to the target: as requested, else the call's if they are for that host."""
    chosen, own = option or SipOption(), call.sip
    if own is None or chosen.username:
        return option
    homes = (call.way_out, _host_of(call.caller)) if call.direction == "inbound" else (_host_of(call.callee),)
    is_same_host = _bare(_host_of(callee)) in [_bare(home) for home in homes if home]
    enable_srtp = chosen.enable_srtp if chosen.enable_srtp is not None else own.enable_srtp
    if not is_same_host:
        return option
    return msgspec.structs.replace(chosen, username=own.username, password=own.password, realm=own.realm, enable_srtp=enable_srtp)


def _user_of(address: str) -> str:
    rest = address.partition(":")[2] if ":" in address else address
    return rest.partition("@")[0] if "@" in rest else ("" if ":" in address else address)


def _bare(host: str) -> str:
    """A host without port and parameters, for comparison."""
    name = host.partition(";")[0].lower()
    return name.rpartition(":")[0] if re.search(r"[\w.]:\d+$", name) else name


def _host_of(address: str) -> str:
    """Host, and port and parameters if there are any."""
    return address.partition("@")[2].partition("?")[0].rstrip(">")
