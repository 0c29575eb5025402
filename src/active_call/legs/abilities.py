"""Optional abilities of legs. A call asks for an ability when it needs it.

A leg has an ability if it has the methods of its Protocol. `holdable(leg)` and the like return the leg with the ability, or raise
LocalProtocolError: "a websocket call cannot be put on hold". The functions at the end answer questions about any leg and never raise.
"""

# mypy: disable-error-code="type-abstract"
# `_has` compares with a Protocol and makes no instance of it.
from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeGuard, TypeVar, runtime_checkable

from active_call.base.errors import LocalProtocolError
from active_call.legs.leg import Leg
from active_call.legs.signalling import SignallingMessage


class _KnowsPeerMethods(Protocol):
    def allows(self, method: str) -> bool:
        """Whether the peer accepts requests of this method inside the call, as far as it has announced."""
        ...


@runtime_checkable
class Holdable(Protocol):
    """The peer can be put on hold."""

    def hold(self, on_hold: bool, *, inactive: bool = False) -> None:
        """Put the peer on hold, or resume. LegHoldAnswered follows. Raises ActiveCallError if the call is not up."""
        ...


@runtime_checkable
class Transferable(_KnowsPeerMethods, Protocol):
    """The peer can be asked to call somebody else, and can ask us the same (SIP REFER, RFC 3515)."""

    def refer(self, target: str, headers: Mapping[str, str], *, is_own_call: bool = False) -> None:
        """Ask the peer to call `target` instead of us. LegTransferProgress follows. Raises ActiveCallError if that is not possible.

        `is_own_call`: the target is the party of another call of ours, so that the transfer places no new call. Otherwise it counts as a
        call that we place, and QuotaReached is raised if the hourly limit is reached.
        """
        ...

    def answer_transfer(self, accepted: bool) -> None:
        """Answer a LegTransferRequested. No effect if there is none or it has been answered."""
        ...

    def notify_transfer(self, code: int, reason: str, *, final: bool) -> None:
        """Report the progress of the transfer that the peer requested. No effect if the call or the transfer is over."""
        ...


@runtime_checkable
class Replaceable(Protocol):
    """Another party can replace this leg's peer, and this leg can replace another (Replaces, RFC 3891)."""

    @property
    def attended_target(self) -> str:
        """The address with a Replaces header at which a third party can replace us in this call; empty unless the call is up."""
        ...

    @property
    def replaces(self) -> Leg | None:
        """Our leg that this incoming one replaces."""
        ...


@runtime_checkable
class Dtmf(_KnowsPeerMethods, Protocol):
    """Digits can be sent as telephone events (RFC 4733) or by signalling (SIP INFO), not only in-band."""

    @property
    def has_telephone_events(self) -> bool:
        """Whether both sides have negotiated telephone events."""
        ...

    def send_digits_by_signalling(self, digits: str, duration_ms: int) -> None:
        """Send digits by signalling instead of in the media. Raises ActiveCallError if the call is not up."""
        ...


@runtime_checkable
class TakesCandidates(Protocol):
    """The peer may send further ICE candidates while the call is being connected (trickle ICE, RFC 8838)."""

    async def add_candidate(self, candidate: str) -> None:
        """Add a candidate in SDP form. An empty or unusable one is ignored."""
        ...


@runtime_checkable
class Renegotiable(Protocol):
    """The peer may send a new offer during the call, because its network or its media have changed (RFC 8829)."""

    @property
    def ice_tag(self) -> str:
        """An entity tag of the ICE session in the last answer."""
        ...

    async def renegotiate(self, offer: str) -> str:
        """Answer a further offer. Raises ActiveCallError if that is not possible; then nothing changes."""
        ...

    async def take_fragment(self, fragment: str) -> str:
        """Take candidates (returns an empty text), or a new ufrag and password (returns ours, as a fragment). Raises ActiveCallError."""
        ...


@runtime_checkable
class Texting(Protocol):
    """Texts can be sent inside the call (SIP MESSAGE, RFC 3428)."""

    def send_message(self, body: str, content_type: str, headers: Mapping[str, str]) -> None:
        """Send a text. Raises ActiveCallError if the call is not up."""
        ...


@runtime_checkable
class HasDialog(Protocol):
    """The call is a SIP dialog (RFC 3261, section 12)."""

    @property
    def dialog_tags(self) -> tuple[str, str]:
        """The tags of the peer and of our side; empty before they are known and after the end."""
        ...


@runtime_checkable
class KeepsSignalling(Protocol):
    """The signalling messages of the call are stored."""

    def signalling(self, *, whole: bool) -> tuple[SignallingMessage, ...]:
        """The messages so far, in order; with their complete texts if `whole`. Also after `release`."""
        ...


A = TypeVar("A")
_ABILITIES: dict[tuple[type, type], bool] = {}
"""By class of leg and ability. `isinstance` with a Protocol looks at every member, each time: 10 to 25 µs in Python 3.11."""


def _has(leg: Leg, ability: type[A]) -> TypeGuard[A]:
    key = (type(leg), ability)
    if key not in _ABILITIES:
        _ABILITIES[key] = isinstance(leg, ability)
    return _ABILITIES[key]


def holdable(leg: Leg) -> Holdable:
    """`leg` with the ability to hold. Raises LocalProtocolError if it has none."""
    if _has(leg, Holdable):
        return leg
    raise cannot(leg, "be put on hold")


def transferable(leg: Leg) -> Transferable:
    """`leg` with the ability to be transferred by its peer. Raises LocalProtocolError if it has none."""
    if _has(leg, Transferable):
        return leg
    raise cannot(leg, "be transferred by its peer")


def dtmf(leg: Leg) -> Dtmf:
    """`leg` with the ability to send digits as telephone events or by signalling. Raises LocalProtocolError if it has none."""
    if _has(leg, Dtmf):
        return leg
    raise cannot(leg, "send digits as signalling; use method 'inband'")


def texting(leg: Leg) -> Texting:
    """`leg` with the ability to send texts. Raises LocalProtocolError if it has none."""
    if _has(leg, Texting):
        return leg
    raise cannot(leg, "carry a text message")


def renegotiable(leg: Leg) -> Renegotiable:
    """`leg` with the ability to renegotiate. Raises LocalProtocolError if it has none."""
    if _has(leg, Renegotiable):
        return leg
    raise cannot(leg, "accept another offer")


def cannot(leg: Leg, what: str) -> LocalProtocolError:
    """The error for an ability that the leg does not have."""
    return LocalProtocolError(f"a {leg.kind} call cannot {what}")


def can_refer(leg: Leg) -> bool:
    """Whether the peer can be asked to call somebody else, as far as it has announced."""
    return _has(leg, Transferable) and leg.allows("REFER")


def attended_target(leg: Leg) -> str:
    """As `Replaceable.attended_target`; empty for a leg without that ability."""
    return leg.attended_target if _has(leg, Replaceable) else ""


def dialog_tags(leg: Leg) -> tuple[str, str]:
    """As `HasDialog.dialog_tags`; empty for a leg without a SIP dialog."""
    return leg.dialog_tags if _has(leg, HasDialog) else ("", "")


def replaced_by(leg: Leg) -> Leg | None:
    """Our leg that `leg` replaces, if any."""
    return leg.replaces if _has(leg, Replaceable) else None


def has_telephone_events(leg: Leg) -> bool:
    """Whether digits can be sent as telephone events (RFC 4733) in the media of `leg`."""
    return _has(leg, Dtmf) and leg.has_telephone_events


def signalling_of(leg: Leg, *, whole: bool) -> tuple[SignallingMessage, ...]:
    """The messages of `leg` so far; empty for a leg that stores none."""
    return leg.signalling(whole=whole) if _has(leg, KeepsSignalling) else ()
