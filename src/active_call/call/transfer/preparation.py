"""Before a transfer: its mode, whether the target may be called, and the option for it. Options enter, checked values leave."""

from __future__ import annotations

import msgspec

from active_call.base.errors import ActiveCallError, LocalProtocolError, NotAllowed
from active_call.call.handle import CallHandle
from active_call.call.ports import CallNetwork
from active_call.call.shared_state import CallState
from active_call.call.transfer.addressing import OwnCall, caller_for, credentials_for, dialable, referable
from active_call.call.transfer.allowed_targets import author_texts, diverted_from, is_listed, may_show, names_call
from active_call.call.transfer.machine import DEFAULT_TIMEOUT_S, Mode
from active_call.contract import commands
from active_call.contract.options import BriefingOption, CallOption, ReferOption
from active_call.legs.abilities import can_refer
from active_call.legs.trunks.outbound_guard import Asker, OutboundRequest

MAX_ASKED_BY_PEER = 8
"""The most REFERs executed for the peers of one call: more of them are a loop."""


class TransferPreparation:
    """The checks of one call's transfers."""

    def __init__(self, state: CallState, network: CallNetwork) -> None:
        self._state = state
        self._network = network
        self._n_asked_by_peer = 0

    def check_target(self, target: str, asked_by: Asker) -> OutboundRequest:
        """Returns who requests the call to `target`, after checking that they may. Raises NotAllowed."""
        state, own = self._state, self._own_call()
        if asked_by == "peer":
            self._n_asked_by_peer += 1
            if self._n_asked_by_peer > MAX_ASKED_BY_PEER:
                raise NotAllowed(f"the peer has requested {self._n_asked_by_peer} transfers in one call", rule="outbound_loop")
        allowed = (state.option.refer or ReferOption()).allow or ()
        request = OutboundRequest(
            asked_by,
            trunk=state.leg.trunk,
            peer=state.leg.peer_address,
            is_listed=is_listed(target, own, allowed, author_texts(state.playbook, state.given_texts) if asked_by == "agent" else ""),
            diverted_from=diverted_from(state.leg.headers) if asked_by == "peer" else (),
        )
        try:
            self._network.check_outbound(dialable(target, own), request)
        except NotAllowed:
            raise
        except ActiveCallError:
            if asked_by == "peer":
                raise  # not an address; any other transfer finds out when it is made
        return request

    def find_attended(self, option: ReferOption, asked_by: Asker) -> CallHandle | None:
        """Our call that `callId` names; None if it names none. Raises LocalProtocolError if it cannot be bridged.

        Raises NotAllowed if an agent names a call that its author has not: a model may have the id from a caller, and whoever knows the id
        of somebody else's call would be connected to it.
        """
        call_id = option.call_id or ""
        other = self._network.find(call_id) if call_id else None
        if other is None or other.id == self._state.facts.session_id:
            return None
        if asked_by == "agent" and not names_call(call_id, self._state.playbook, self._state.given_texts):
            reason = "callId: an agent may name only a call that is in its playbook or in a variable from POST /call or a handler"
            raise NotAllowed(reason, rule="outbound_target")
        busy_because = other.describe().busy_because
        if busy_because:
            raise LocalProtocolError(busy_because)
        return other

    def shown_caller(self, caller: str, asked_by: Asker) -> str:
        """The number to show to the target: as requested, from an agent only if its author may have meant it; empty for ours."""
        texts = author_texts(self._state.playbook, self._state.given_texts)
        return caller if asked_by != "agent" or not caller or may_show(caller, self._own_call(), texts) else ""

    def can_refer(self, attended: CallHandle | None) -> bool:
        """Whether the peer accepts a REFER, to the party of `attended` if given."""
        return can_refer(self._state.leg) and (attended is None or bool(attended.describe().attended_target))

    def briefed(self, option: ReferOption, asked: ReferOption | None) -> ReferOption:
        """`option` with a default text for the target's briefing if one is needed; `asked`: the command's own option.

        Raises LocalProtocolError for a briefing in a mode without one.
        """
        if option.mode not in (None, Mode.AUTO, Mode.WARM):
            if asked is not None and asked.briefing is not None:
                raise LocalProtocolError(f"options.briefing needs mode warm, found {option.mode}")
            return msgspec.structs.replace(option, briefing=None)
        if option.mode != Mode.WARM and option.briefing is None:
            return option
        briefing = option.briefing or BriefingOption()
        if not (briefing.text or "").strip():
            who = spoken_name(self._state.leg.caller if self._state.is_inbound else self._state.leg.callee)
            briefing = msgspec.structs.replace(briefing, text=f"You have a call from {who}.")
        return msgspec.structs.replace(option, briefing=briefing, mode=Mode.WARM.value)

    def refer_target(self, command: commands.Refer) -> str:
        """What the peer is asked to call by REFER."""
        return referable(command.callee, self._own_call())

    def option_for(self, command: commands.Refer, option: ReferOption) -> CallOption:
        """How the target is called."""
        own = self._own_call()
        callee = dialable(command.callee, own)
        return CallOption(
            callee=callee,
            caller=caller_for(own, command.caller),
            sip=credentials_for(option.sip, callee, own),
            handshake_timeout=(option.timeout or int(DEFAULT_TIMEOUT_S)) + 5,
            rtp_timeout=self._state.option.rtp_timeout,
        )

    def _own_call(self) -> OwnCall:
        state = self._state
        way_out = self._network.way_out(state.leg.trunk)
        return OwnCall(state.facts.direction, state.leg.caller, state.leg.callee, state.option.sip, way_out)


def spoken_name(address: str) -> str:
    """The spoken form of the party at `address`: its number digit by digit, else its name."""
    user = address.removeprefix("sips:").removeprefix("sip:").removeprefix("tel:").partition("@")[0].partition(";")[0]
    return " ".join(user) if user.lstrip("+").isdigit() else user or "somebody"


def mode_of(option: ReferOption) -> Mode:
    """The mode of the transfer. Raises LocalProtocolError for an unknown mode."""
    try:
        return Mode(option.mode or Mode.AUTO)
    except ValueError:
        raise LocalProtocolError(f"options.mode: unknown mode {option.mode!r}; expected {', '.join(Mode)}") from None
