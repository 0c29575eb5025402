"""Bodies of HTTP requests that are part of the contract."""

from __future__ import annotations

from typing import Any

from active_call.contract.options import CallOption, Options, SipOption


class PlaceCall(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """`POST /call`: place a call and let a playbook hold the conversation."""

    callee: str
    caller: str | None = None
    playbook: str | None = None
    """Name of a playbook file."""
    content: str | None = None
    """A playbook given as text; wins over `playbook`."""
    sip: SipOption | None = None
    option: CallOption | None = None
    vars: dict[str, Any] = {}  # noqa: RUF012 (msgspec copies it)
    id: str | None = None
