"""The parties of a call, and who hears whom. Pure.

A call is a list of parties in a mix. Each party has a role:

| role      | is heard by                       | hears                |
|-----------|-----------------------------------|----------------------|
| `TALK`    | every other party                 | every other party    |
| `LISTEN`  | nobody                            | every other party    |
| `WHISPER` | the one party in `whispers_to`    | every other party    |
| `AWAY`    | nobody                            | nobody               |

A whisper is heard by its target only: the caller does not hear a supervisor who whispers to the agent.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace


class Role(StrEnum):
    """What a party may do."""

    TALK = "talk"
    LISTEN = "listen"
    WHISPER = "whisper"
    AWAY = "away"
    """On hold, or an agent without the caller's attention."""


class Party(Struct, frozen=True):
    """One party of a mix. `whispers_to` names the party that hears a whisper."""

    name: str
    role: Role = Role.TALK
    whispers_to: str = ""


class Join(StrEnum):
    """How the streams of two parties are joined."""

    NOT = "not"
    FIRST_HEARS = "first hears"
    """The first hears the second, but not the other way round."""
    SECOND_HEARS = "second hears"
    BOTH = "both"


class Mix(Struct, frozen=True):
    """The parties of one call. Names are unique. Raises ValueError if one is not."""

    parties: tuple[Party, ...] = ()

    def __post_init__(self) -> None:
        names = [party.name for party in self.parties]
        if len(set(names)) != len(names):
            raise ValueError(f"two parties of a mix have one name: {names}")

    def hears(self, listener: str, talker: str) -> bool:
        """Whether `listener` hears `talker`; False if either takes no part."""
        hearing, talking = self._find(listener), self._find(talker)
        if hearing is None or talking is None or hearing is talking or hearing.role is Role.AWAY:
            return False
        return talking.role is Role.TALK or (talking.role is Role.WHISPER and talking.whispers_to == listener)

    def join(self, first: str, second: str) -> Join:
        """How to join the streams of two parties."""
        return _JOINS[self.hears(first, second), self.hears(second, first)]

    def with_role(self, name: str, role: Role) -> Mix:
        """This mix with `role` for that party."""
        return Mix(tuple(replace(party, role=role) if party.name == name else party for party in self.parties))

    def _find(self, name: str) -> Party | None:
        return next((party for party in self.parties if party.name == name), None)


_JOINS: Final = {
    (False, False): Join.NOT,
    (True, False): Join.FIRST_HEARS,
    (False, True): Join.SECOND_HEARS,
    (True, True): Join.BOTH,
}

PEER: Final = "peer"
"""The party at the other end of the call's own leg."""
AGENT: Final = "agent"
TARGET: Final = "target"
"""The party called by a transfer."""
PARTNER: Final = "partner"
"""The peer of the bridged call."""

WITH_AGENT: Final = Mix((Party(PEER), Party(AGENT)))
BRIDGED: Final = Mix((Party(PEER), Party(AGENT, Role.AWAY), Party(PARTNER)))
WAITING: Final = Mix((Party(PEER), Party(AGENT, Role.AWAY)))
"""A transfer or a takeover is in progress: the peer hears nobody."""
EARLY_MEDIA: Final = Mix((Party(PEER, Role.LISTEN), Party(AGENT, Role.AWAY), Party(TARGET)))
"""The target rings or plays early media: the peer hears it, but not the other way round."""
CONNECTED: Final = Mix((Party(PEER), Party(AGENT, Role.AWAY), Party(TARGET)))
CONNECTED_HEARD: Final = Mix((Party(PEER), Party(AGENT, Role.LISTEN), Party(TARGET)))
"""As `CONNECTED`, but the agent still hears the peer (`pauseParentAsr: false`)."""
