"""An INVITE that replaces another call: the Replaces header (RFC 3891).

An INVITE and the table of dialogs go in. The replaced call or the refusal comes out. The leg puts the new call in the place of the old one
and hangs up the old one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from active_call.base.errors import ParseError
from active_call.sip.dialog.call import Call
from active_call.sip.dialog.dialog import DialogKey
from active_call.sip.dialog.usage import CallState
from active_call.sip.events import CallHandle
from active_call.sip.ports import DialogEntry
from active_call.sip.responses import Reply
from active_call.sip.syntax.grammar import LWS, parse_parameters
from active_call.sip.syntax.message import Request

OPTION_TAG = "replaces"
_NO_MATCH = Reply(481, "Call/Transaction Does Not Exist")


def find_replaced(dialogs: Mapping[DialogKey, DialogEntry], supported: Collection[str], request: Request) -> CallHandle | Reply | None:
    """The call that `request` replaces, the Reply that refuses it (§3), or None if it replaces none."""
    values = request.headers.get_all("Replaces")
    if not values or OPTION_TAG not in supported:
        return None
    try:
        call_id, parameters = _parse(values)
    except ParseError:
        return Reply(400, "Malformed Replaces")
    local_tag, remote_tag = parameters["to-tag"] or "", parameters["from-tag"] or ""
    entry = dialogs.get((call_id, local_tag, "" if remote_tag == "0" else remote_tag)) or dialogs.get((call_id, local_tag, remote_tag))
    if entry is None:
        return _NO_MATCH
    call = entry.user
    if not isinstance(call, Call):
        return Reply(603, "Decline")
    if call.state is CallState.OFFERED:
        return _NO_MATCH
    if "early-only" in parameters and call.is_answered:
        return Reply(486, "Busy Here")
    return call.handle


def _parse(values: list[str]) -> tuple[str, dict[str, str | None]]:
    """Call-ID and parameters of the only Replaces value (§6.1). Raises ParseError."""
    if len(values) != 1 or "," in values[0]:
        raise ParseError("Replaces", expected="one value")
    call_id, semicolon, rest = values[0].partition(";")
    parameters = parse_parameters(semicolon + rest)
    if not call_id.strip(LWS) or not parameters.get("to-tag") or not parameters.get("from-tag"):
        raise ParseError("Replaces", expected="a Call-ID, to-tag and from-tag", found=values[0])
    return call_id.strip(LWS), parameters
