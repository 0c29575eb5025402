"""REFER inside a SIP call, both directions (RFC 3515): ours with its progress, and the peer's with our answer and NOTIFYs.

REFER and NOTIFY are sent; LegTransferProgress and LegTransferRequested are reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from active_call.base.errors import ActiveCallError, LocalProtocolError
from active_call.legs.events import LegTransferProgress, LegTransferRequested
from active_call.legs.sip.own_headers import carried_over, one_line, sendable
from active_call.legs.sip.plain_text import plain
from active_call.legs.sip.ports import LegPort
from active_call.legs.trunks.outbound_usage import PlacedCall
from active_call.sip import events as sip
from active_call.sip.dialog.info import DialogInfo
from active_call.sip.syntax.grammar import encode_text


class DialogTransfers:
    """The transfers of one call. At most one request of the peer is pending; a second one gets 491."""

    def __init__(self, port: LegPort, carried: tuple[str, ...] = ()) -> None:
        self._port = port
        self._carried = carried
        """Headers, in addition to Replaces, that the peer's Refer-To may set in the INVITE to its target."""
        self._refer: sip.TransactionToken | None = None
        """Our last REFER."""
        self._counted: PlacedCall | None = None
        """The same REFER as a counted outbound call."""
        self._request: sip.TransactionToken | None = None
        """The peer's REFER that has not been answered yet."""

    def refer(self, target: str, headers: Mapping[str, str], *, counts_for: str | None) -> None:
        """Ask the peer to call `target`. `counts_for`: the trunk on which it counts as our call; None: it does not count.

        Raises ActiveCallError if that is not possible, QuotaReached if the hourly limit is reached.
        """
        port = self._port
        self._counted = None if counts_for is None else port.gateway.count_transfer(counts_for)
        try:
            self._refer = port.gateway.run(
                lambda endpoint, now: endpoint.refer(port.call, _transfer_uri(target), now, headers=sendable(headers.items()))
            )
        except ActiveCallError:
            self._withdraw()
            raise

    def attended_target(self) -> str:
        """The address at which a third party can replace us: the peer's Contact with Replaces (RFC 3891); empty without a call."""
        info = self._info()
        if info is None:
            return ""
        replaces = quote(encode_text(f"{info.call_id};to-tag={info.remote_tag};from-tag={info.local_tag}"), safe="")
        return f"{info.remote_target}?Replaces={replaces}&Require=replaces"

    def dialog_tags(self) -> tuple[str, str]:
        """The tags of the peer and of our side; empty without a call."""
        info = self._info()
        return (info.remote_tag, info.local_tag) if info is not None else ("", "")

    def _info(self) -> DialogInfo | None:
        handle = self._port.handle()
        if handle is None:
            return None
        try:
            return self._port.gateway.endpoint.dialog_info(handle)
        except LocalProtocolError:
            return None  # it has ended; the event is pending

    def progress(self, event: sip.TransferProgress) -> None:
        """Handle a NOTIFY of the peer about our REFER."""
        self._port.emit(LegTransferProgress(event.code, plain(event.reason), event.final))

    def is_refused_by(self, event: sip.RequestCompleted) -> bool:
        """Whether `event` refuses our last REFER. If so, it is reported."""
        if event.token != self._refer:
            return False
        self._withdraw()
        self._port.emit(LegTransferProgress(event.code, plain(event.reason), final=True, refused=True))
        return True

    def _withdraw(self) -> None:
        """The peer does not place the call: do not count it."""
        counted, self._counted = self._counted, None
        if counted is not None:
            self._port.gateway.withdraw_transfer(counted)

    def requested(self, event: sip.TransferRequested) -> None:
        """The peer has sent a REFER. `answer` must follow."""
        if self._request is not None:
            self._port.gateway.run(lambda endpoint, now: endpoint.respond(event.token, 491, "Request Pending", now))
            return
        self._request = event.token
        referred_by = None if event.referred_by is None else plain(event.referred_by)
        headers = carried_over(tuple((plain(name), plain(value)) for name, value in event.headers), self._carried)
        self._port.emit(LegTransferRequested(plain(event.refer_to), referred_by, headers))

    def answer(self, accepted: bool) -> None:
        """Answer the peer's REFER. No effect if none is pending or the call is over."""
        token, self._request = self._request, None
        if token is not None and not self._port.is_over():
            code, reason = (202, "Accepted") if accepted else (603, "Decline")
            self._port.gateway.run(lambda endpoint, now: endpoint.respond(token, code, reason, now))

    def notify(self, code: int, reason: str, *, final: bool) -> None:
        """Report the transfer's progress to the peer. No effect if the call is over."""
        handle, line = self._port.handle(), one_line(reason)
        if not self._port.is_over() and handle is not None:
            self._port.gateway.run(lambda endpoint, now: endpoint.notify_transfer(handle, code, line, now, final=final))


def _transfer_uri(target: str) -> str:
    """A transfer's target as a URI: a number becomes `tel:`, an address `sip:`."""
    if ":" in target:
        return target
    return f"sip:{target}" if "@" in target else f"tel:{target}"
