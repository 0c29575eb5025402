"""Who has the caller's attention, and why: one state of the call, from which its leg's sound is derived. Pure.

Claims are added and removed by name (`Why`), as are mutes of tracks. Everything else is derived from the active claims. It is never stored
separately and never sent to a leg in any other way, so when the call continues with another leg, the sound of the new leg is derived from
the same state.

| derived     | while                                                                                           |
|-------------|-------------------------------------------------------------------------------------------------|
| `is_aside`  | a claim takes the caller from the agent: hold, bridge, transfer, takeover                       |
| `hears`     | no such claim is active, except a transfer that lets the agent hear (`pauseParentAsr: false`)   |
| `is_frozen` | playback is paused at its sample: hold, before the answer of an outbound call, overlap, `pause` |
| `music`     | the last claim with music                                                                       |
| `muted`     | a `mute` command is active for the track; the empty name means everything that is sent          |
| `holder`    | the first of hold, bridge, transfer, ringback, nobody (before the answer); else the agent       |

While the agent is not aside, background sound plays and the caller's silence is counted. `changes` returns the actions between two states;
`attention_executor` executes them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace


class Why(StrEnum):
    """The name of a claim on the caller's attention."""

    UNANSWERED = "unanswered"
    """An outbound call is not answered yet; the first words would be lost."""
    RINGBACK = "ringback"
    """A ringing tone before the answer."""
    OVERLAP = "overlap"
    """The caller speaks over the agent, and it is undecided who has the turn."""
    PAUSED = "paused"
    """From the `pause` command."""
    HOLD = "hold"
    HOLD_MUSIC = "hold music"
    BRIDGE = "bridge"
    TRANSFER = "transfer"
    TRANSFER_MUSIC = "transfer music"
    TAKEOVER = "takeover"
    """A leg with Replaces takes the place of ours."""
    PARTNER_HOLD = "partner hold"
    """The target of a transfer has put the caller on hold: music."""


class Holder(StrEnum):
    """Who has the caller's attention."""

    AGENT = "agent"
    HOLD = "hold"
    BRIDGE = "bridge"
    TRANSFER = "transfer"
    RINGBACK = "ringback"
    NOBODY = "nobody"


ASIDE: Final = frozenset({Why.HOLD, Why.BRIDGE, Why.TRANSFER, Why.TAKEOVER})
"""Claims that take the caller from the agent."""
FREEZING: Final = frozenset({Why.UNANSWERED, Why.OVERLAP, Why.PAUSED, Why.HOLD})
"""Claims that freeze playback."""
_HOLDERS: Final = (
    (Why.HOLD, Holder.HOLD),
    (Why.BRIDGE, Holder.BRIDGE),
    (Why.TRANSFER, Holder.TRANSFER),
    (Why.TAKEOVER, Holder.TRANSFER),
    (Why.RINGBACK, Holder.RINGBACK),
    (Why.UNANSWERED, Holder.NOBODY),
)


class Music(Struct, frozen=True):
    """The music to play. `source`: a file, a URL or a tone; None: the built-in melody."""

    source: str | None = None


class Claim(Struct, frozen=True):
    """One claim. `hears`: the agent still hears the caller. `music` belongs to the claims with music."""

    why: Why
    hears: bool = False
    music: Music | None = None


class Attention(Struct, frozen=True):
    """The active claims, the oldest first, and the muted tracks (names of the media plane)."""

    claims: tuple[Claim, ...] = ()
    muted: frozenset[str] = frozenset()

    def with_claim(self, claim: Claim) -> Attention:
        """This state with `claim` as the latest, replacing one of the same name. An equal claim stays in its place."""
        return self if claim in self.claims else replace(self, claims=(*self.without(claim.why).claims, claim))

    def without(self, why: Why) -> Attention:
        """This state without that claim; unchanged if the claim is not active."""
        return replace(self, claims=tuple(claim for claim in self.claims if claim.why is not why)) if self.has(why) else self

    def with_mute(self, track: str, *, muted: bool) -> Attention:
        """This state with that track muted or unmuted; without a name, nothing is muted."""
        return replace(self, muted=self.muted | {track} if muted else self.muted - {track} if track else frozenset())

    def has(self, why: Why) -> bool:
        """Whether that claim is active."""
        return any(claim.why is why for claim in self.claims)

    @property
    def holder(self) -> Holder:
        """Who has the caller's attention."""
        return next((holder for why, holder in _HOLDERS if self.has(why)), Holder.AGENT)

    @property
    def is_aside(self) -> bool:
        """The agent does not have the caller's attention."""
        return bool(self.claims) and any(claim.why in ASIDE for claim in self.claims)

    @property
    def hears(self) -> bool:
        """The agent hears the caller."""
        return all(claim.hears for claim in self.claims if claim.why in ASIDE)

    @property
    def is_frozen(self) -> bool:
        """Playback is frozen."""
        return any(claim.why in FREEZING for claim in self.claims)

    @property
    def music(self) -> Music | None:
        """The music that the caller hears; None: none."""
        return next((claim.music for claim in reversed(self.claims) if claim.music is not None), None)


class Change(StrEnum):
    """The actions when the state changes, in this order."""

    MUSIC = "music"
    MUTES = "mutes"
    FREEZE = "freeze"
    UNFREEZE = "unfreeze"
    STEP_ASIDE = "step aside"
    """Stop the background sound."""
    SUSPEND = "suspend"
    """Stop recognition."""
    RESUME = "resume"
    STEP_BACK = "step back"
    """Start the background sound, and count the caller's silence from now."""


def changes(before: Attention, after: Attention) -> list[Change]:
    """The actions between two states."""
    wanted = (
        (Change.MUSIC, before.music != after.music),
        (Change.MUTES, before.muted != after.muted),
        (Change.FREEZE, after.is_frozen and not before.is_frozen),
        (Change.UNFREEZE, before.is_frozen and not after.is_frozen),
        (Change.STEP_ASIDE, after.is_aside and not before.is_aside),
        (Change.SUSPEND, before.hears and not after.hears),
        (Change.RESUME, after.hears and not before.hears),
        (Change.STEP_BACK, before.is_aside and not after.is_aside),
    )
    return [change for change, is_due in wanted if is_due]
