"""What legs may know of a call's dialog: a frozen snapshot, given by `Endpoint.dialog_info`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DialogInfo:
    """One dialog as it stands (RFC 3261 §12). Before the peer has given a tag, `remote_tag` and `remote_target` are empty.

    `established` says whether a 2xx has been sent or received; `user_agent` is what the peer last called itself.
    """

    call_id: str
    local_tag: str
    remote_tag: str
    local_uri: str
    remote_uri: str
    remote_target: str
    established: bool
    user_agent: str
