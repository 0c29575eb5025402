"""What only some legs can do. A call asks for an ability where it needs it.

A leg has an ability when it has the methods of its Protocol. `holdable(leg)` and its like return the leg with the ability, or raise
LocalProtocolError: "a websocket call cannot be put on hold". The functions at the end answer questions about any leg, and never raise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from active_call.base.errors import LocalProtocolError
from active_call.legs.leg import Leg
from active_call.legs.signalling import SignallingMessage


class _KnowsPeerMethods(Protocol):
    def allows(self, method: str) -> bool:
        """Whether the peer accepts requests of this method inside the call, as far as it has said."""
        ...


@runtime_checkable
class Holdable(Protocol):
    """The peer can be put on hold."""

    def hold(self, on_hold: bool, *, inactive: bool = False) -> None:
        """Put the peer on hold, or resume; LegHoldAnswered follows. Raises ActiveCallError if the call is not up."""
        ...


@runtime_checkable
class Transferable(_KnowsPeerMethods, Protocol):
    """The peer can be asked to call somebody else, and can ask us (SIP REFER, RFC 3515)."""

    def refer(self, target: str, headers: Mapping[str, str], *, is_own_call: bool = False) -> None:
        """Ask the peer to call `target` instead of us; LegTransferProgress follows. Raises ActiveCallError if it cannot be asked.

        `is_own_call`: the target is the party of another call of ours, so that the transfer places no new call. Otherwise it counts as a
        call that we place, and QuotaReached is raised when the hour's calls are used up.
        """
        ...

    def answer_transfer(self, accepted: bool) -> None:
        """Answer a LegTransferRequested. Does nothing if there is none, or when it is answered."""
        ...

    def notify_transfer(self, code: int, reason: str, *, final: bool) -> None:
        """Tell the peer how the transfer goes that it asked for. Does nothing when the call or the transfer is over."""
        ...


@runtime_checkable
class Replaceable(Protocol):
    """Another party can take the place of this leg's peer, and this leg can take the place of another (Replaces, RFC 3891)."""

    @property
    def attended_target(self) -> str:
        """The address, with a Replaces header, at which a third party can take our place in this call; empty unless the call is up."""
        ...

    @property
    def replaces(self) -> Leg | None:
        """The leg of ours whose place this incoming one is to take."""
        ...


@runtime_checkable
class Dtmf(_KnowsPeerMethods, Protocol):
    """Digits can go as telephone events (RFC 4733) or as signalling (SIP INFO), not only as sound."""

    @property
    def has_telephone_events(self) -> bool:
        """Whether both sides agreed on telephone events."""
        ...

    def send_digits_by_signalling(self, digits: str, duration_ms: int) -> None:
        """Send digits as signalling instead of in the media. Raises ActiveCallError if the call is not up."""
        ...


@runtime_checkable
class TakesCandidates(Protocol):
    """The peer may find further addresses of its own while the call is being connected (trickle ICE, RFC 8838)."""

    async def add_candidate(self, candidate: str) -> None:
        """One more, as in SDP; an empty one says that no more follows. One that cannot be used is passed over."""
        ...


@runtime_checkable
class Renegotiable(Protocol):
    """The peer may offer another description while the call is up: its network or its wishes have changed (RFC 8829)."""

    @property
    def ice_tag(self) -> str:
        """An entity tag of the path that the last answer names."""
        ...

    async def renegotiate(self, offer: str) -> str:
        """The answer to a further offer. Raises ActiveCallError for one that cannot be answered; all goes on as before then."""
        ...

    async def take_fragment(self, fragment: str) -> str:
        """Candidates (gives an empty text), or a new user name and password (gives ours, as a fragment). Raises ActiveCallError."""
        ...


@runtime_checkable
class Texting(Protocol):
    """Texts can be sent inside the call (SIP MESSAGE, RFC 3428)."""

    def send_message(self, body: str, content_type: str, headers: Mapping[str, str]) -> None:
        """Send a text. Raises ActiveCallError if the call is not up."""
        ...


@runtime_checkable
class KeepsSignalling(Protocol):
    """The messages that have set the call up, changed and ended it are known."""

    def signalling(self, *, whole: bool) -> tuple[SignallingMessage, ...]:
        """Those so far, in order; with the `whole` texts where they are wanted. Also after `release`."""
        ...


def holdable(leg: Leg) -> Holdable:
    """`leg`, which can hold. Raises LocalProtocolError if it cannot."""
    if isinstance(leg, Holdable):
        return leg
    raise cannot(leg, "be put on hold")


def transferable(leg: Leg) -> Transferable:
    """`leg`, which can be transferred by its peer. Raises LocalProtocolError if it cannot."""
    if isinstance(leg, Transferable):
        return leg
    raise cannot(leg, "be transferred by its peer")


def dtmf(leg: Leg) -> Dtmf:
    """`leg`, which can send digits as telephone events or signalling. Raises LocalProtocolError if it cannot."""
    if isinstance(leg, Dtmf):
        return leg
    raise cannot(leg, "send digits as signalling; use method 'inband'")


def texting(leg: Leg) -> Texting:
    """`leg`, which can send texts. Raises LocalProtocolError if it cannot."""
    if isinstance(leg, Texting):
        return leg
    raise cannot(leg, "carry a text message")


def renegotiable(leg: Leg) -> Renegotiable:
    """`leg`, whose peer may offer again. Raises LocalProtocolError if it may not."""
    if isinstance(leg, Renegotiable):
        return leg
    raise cannot(leg, "accept another offer")


def cannot(leg: Leg, what: str) -> LocalProtocolError:
    """The error for an ability that the leg does not have."""
    return LocalProtocolError(f"a {leg.kind} call cannot {what}")


def can_refer(leg: Leg) -> bool:
    """Whether the peer can be asked to call somebody else, as far as it has said."""
    return isinstance(leg, Transferable) and leg.allows("REFER")


def attended_target(leg: Leg) -> str:
    """As `Replaceable.attended_target`; empty for a leg whose place nobody can take."""
    return leg.attended_target if isinstance(leg, Replaceable) else ""


def replaced_by(leg: Leg) -> Leg | None:
    """The leg of ours whose place `leg` is to take."""
    return leg.replaces if isinstance(leg, Replaceable) else None


def has_telephone_events(leg: Leg) -> bool:
    """Whether digits can go as telephone events (RFC 4733) in the media of `leg`."""
    return isinstance(leg, Dtmf) and leg.has_telephone_events


def signalling_of(leg: Leg, *, whole: bool) -> tuple[SignallingMessage, ...]:
    """The messages of `leg` so far; none for a leg that keeps none."""
    return leg.signalling(whole=whole) if isinstance(leg, KeepsSignalling) else ()
