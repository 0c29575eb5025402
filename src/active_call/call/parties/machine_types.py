"""The states, inputs and actions of a call's machine (`machine`)."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from active_call.call.parties.attention import Claim, Why
from active_call.contract import events


class Stage(StrEnum):
    """The stage of a call's set-up."""

    NEW = "new"
    DECIDING = "deciding"
    """An inbound call waits for a decision."""
    ANSWERING = "answering"
    DIALLING = "dialling"
    ANSWERED = "answered"


class TalkingWith(StrEnum):
    """Who talks with the caller."""

    AGENT = "agent"
    JOINING = "joining"
    """A bridge is being set up."""
    BRIDGED = "bridged"
    TRANSFER = "transfer"
    TAKEOVER = "takeover"


class BlockedBy(StrEnum):
    """Why the agent does not have the caller to itself."""

    NOT_ANSWERED = "the call is not answered"
    TRANSFER = "a transfer is in progress"
    TAKEOVER = "the call is being taken over"
    BRIDGED = "the call is bridged"


class CallStates(Struct, frozen=True):
    """The whole state."""

    is_inbound: bool
    stage: Stage = Stage.NEW
    is_ending: bool = False
    talking_with: TalkingWith = TalkingWith.AGENT
    wants_hold: bool = False
    held_by_us: bool = False
    held_by_peer: bool = False

    @property
    def is_on_hold(self) -> bool:
        """Either side holds the other one."""
        return self.held_by_us or self.held_by_peer

    @property
    def peer_role(self) -> str:
        """The peer's role in the call: `caller` or `callee`."""
        return "caller" if self.is_inbound else "callee"

    @property
    def blocked_by(self) -> BlockedBy | None:
        """Why no bridge, transfer or takeover can begin; None if one can."""
        if self.stage is not Stage.ANSWERED:
            return BlockedBy.NOT_ANSWERED
        return _BLOCKED_BY.get(self.talking_with)


_BLOCKED_BY = {
    TalkingWith.TRANSFER: BlockedBy.TRANSFER,
    TalkingWith.TAKEOVER: BlockedBy.TAKEOVER,
    TalkingWith.JOINING: BlockedBy.BRIDGED,
    TalkingWith.BRIDGED: BlockedBy.BRIDGED,
}


# -- inputs ------------------------------------------------------------------------------------------------------------------------------


class Input(StrEnum):
    """An input without data."""

    BEGIN = "begin"
    ACCEPT = "accept"
    RING = "ring"
    DECIDED = "decided"
    """A router has decided who takes the call."""
    DECISION_DUE = "decision due"
    LEG_ANSWERED = "leg answered"
    ENDING = "ending"
    """The call is being hung up."""
    NOT_REJECTED = "not rejected"
    """Our leg could not refuse the invitation."""
    UNHOLD = "unhold"
    BRIDGE_BEGINS = "bridge begins"
    BRIDGE_JOINED = "bridge joined"
    BRIDGE_OVER = "bridge over"
    CALLER_RETURNED = "caller returned"
    """The caller of a transfer has returned to the agent."""
    TRANSFER_OVER = "transfer over"
    TAKEOVER_BEGINS = "takeover begins"
    TAKEOVER_OVER = "takeover over"
    LEG_REPLACED = "leg replaced"
    """The call continues with another leg: earlier holds end, and that leg was not hung up by us. A hold of the new leg follows."""


class Reject(Struct, frozen=True):
    """A command refuses the call."""

    code: int
    reason: str


class Failed(Struct, frozen=True):
    """A required resource is missing; the call ends, with `code` if it is not answered."""

    reason: str
    code: int


class Hold(Struct, frozen=True):
    """A command puts the peer on hold. `mode`: `sendonly` (with music) or `inactive`."""

    mode: str = "sendonly"
    moh: str | None = None


class HoldNotAsked(Struct, frozen=True):
    """Our leg could not send the request to the peer; `on_hold` is the requested state."""

    on_hold: bool


class HoldAnswered(Struct, frozen=True):
    """The peer answered our request with `code`; `on_hold`: the current state."""

    on_hold: bool
    code: int


class PeerHeld(Struct, frozen=True):
    """The peer has put us on hold, or resumed."""

    on_hold: bool


class TransferBegins(Struct, frozen=True):
    """A transfer begins. `hears`: the agent continues to hear the caller."""

    hears: bool = False


AnyInput = Input | Reject | Failed | Hold | HoldNotAsked | HoldAnswered | PeerHeld | TransferBegins


# -- actions -----------------------------------------------------------------------------------------------------------------------------


class Do(StrEnum):
    """An action of the call."""

    ASK_WHO_TAKES_IT = "ask who takes it"
    DIAL = "dial"
    ANSWER = "answer"
    """Prepare the engines and the sound, then answer the leg."""
    RING = "ring"
    CARRY_OUT_DECISION = "carry out decision"
    DROP_DECISION = "drop decision"
    """The decision came too late."""
    DROP_FAILURE = "drop failure"
    """The call is ending anyway."""
    FORGET_DEADLINE = "forget deadline"
    """A decision is no longer needed."""


class Refuse(Struct, frozen=True):
    """The command was refused and has changed nothing."""

    reason: str


class RejectLeg(Struct, frozen=True):
    """Answer the invitation with a final status. `error` is stored in the record; empty if the refusal was intended."""

    code: int
    reason: str = ""
    error: str = ""


class HangUp(Struct, frozen=True):
    """End the call for `reason`."""

    reason: str


class HoldLeg(Struct, frozen=True):
    """Ask the peer for a hold, or for its end."""

    on_hold: bool
    inactive: bool = False


class EmitEvent(Struct, frozen=True):
    """Emit a contract event."""

    event: events.Event


class Release(Struct, frozen=True):
    """Remove a claim on the caller's attention."""

    why: Why


Action = Do | Refuse | RejectLeg | HangUp | HoldLeg | EmitEvent | Claim | Release
