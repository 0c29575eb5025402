"""Playbooks that wait for the call of a session id: `POST /api/playbook/run` names one, the socket with that id begins the call.

Limited in number and time: playbooks of clients that never connect are dropped.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from msgspec import Struct

from active_call.agent.playbook.scenes import Playbook
from active_call.base.world import World

MAX_WAITING: Final = 1000
MAX_WAITING_CHARS: Final = 16 * 1024 * 1024
"""The maximum length of all waiting playbooks together: a client may send a megabyte with each request."""
WAIT_S: Final = 600.0


class Run(Struct, frozen=True):
    """What waits for a socket."""

    playbook: Playbook
    to: str | None = None
    """The address to call if `invite` names none."""


class PlaybookRuns:
    """Runs by session id. Each is used once."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._waiting: OrderedDict[str, tuple[float, Run]] = OrderedDict()
        self._n_chars = 0

    def add(self, playbook: Playbook, session_id: str | None = None, to: str | None = None) -> str:
        """Store `playbook`, and the address `to`, for the call of `session_id`, or of a new id, which is returned.

        Beyond the limit the oldest is dropped.
        """
        session_id = session_id or f"s.{self._world.randomness.uuid()}"
        self._forget_old()
        self._pop(session_id)
        self._waiting[session_id] = (self._world.clock.now() + WAIT_S, Run(playbook, to))
        self._n_chars += len(playbook.source)
        while len(self._waiting) > MAX_WAITING or (self._n_chars > MAX_WAITING_CHARS and len(self._waiting) > 1):
            self._pop(next(iter(self._waiting)))
        return session_id

    def take(self, session_id: str) -> Run | None:
        """What waits for this id; None if there is none."""
        self._forget_old()
        return self._pop(session_id)

    def _pop(self, session_id: str) -> Run | None:
        found = self._waiting.pop(session_id, None)
        if found is None:
            return None
        self._n_chars -= len(found[1].playbook.source)
        return found[1]

    def _forget_old(self) -> None:
        now = self._world.clock.now()
        while self._waiting and next(iter(self._waiting.values()))[0] <= now:
            self._pop(next(iter(self._waiting)))
