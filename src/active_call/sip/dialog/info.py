"""A frozen snapshot of a call's dialog for the legs. `Endpoint.dialog_info` returns it."""

from __future__ import annotations

from msgspec import Struct

from active_call.base.errors import ParseError
from active_call.sip.dialog.dialog import Dialog
from active_call.sip.syntax.headers import parse_name_addr


class DialogInfo(Struct, frozen=True):
    """The state of one dialog (RFC 3261 §12). `remote_tag` and `remote_target` are empty until the peer has sent a tag.

    `established` says whether a 2xx has been sent or received. `user_agent` is the peer's latest User-Agent or Server.
    """

    call_id: str
    local_tag: str
    remote_tag: str
    local_uri: str
    remote_uri: str
    remote_target: str
    established: bool
    user_agent: str


def info_of(dialog: Dialog) -> DialogInfo:
    """A snapshot of `dialog`."""
    return DialogInfo(
        call_id=dialog.call_id,
        local_tag=dialog.local_tag,
        remote_tag=dialog.remote_tag,
        local_uri=uri_text_of(dialog.local),
        remote_uri=uri_text_of(dialog.remote),
        remote_target=dialog.remote_target,
        established=dialog.is_confirmed,
        user_agent=dialog.user_agent,
    )


def uri_text_of(value: str) -> str:
    """The URI of a From or To value."""
    try:
        return parse_name_addr(value).uri_text
    except ParseError:
        pass
    if "<" in value:
        return value.partition("<")[2].partition(">")[0]
    return value.partition(";")[0].strip()
