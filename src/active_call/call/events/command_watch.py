"""Watchers of the commands that clients and the agent give to a call, before their execution."""

from __future__ import annotations

import logging
from collections.abc import Callable

from active_call.contract import commands

log = logging.getLogger("active_call.call")

CommandWatcher = Callable[[commands.Command], None]


class CommandWatch:
    """The watchers of one call. They must not block. One that fails is removed."""

    def __init__(self) -> None:
        self._watchers: list[CommandWatcher] = []

    def add(self, watcher: CommandWatcher) -> Callable[[], None]:
        """Call `watcher` with each command from now on, until the returned function is called."""
        self._watchers.append(watcher)
        return lambda: self._remove(watcher)

    def _remove(self, watcher: CommandWatcher) -> None:
        if watcher in self._watchers:
            self._watchers.remove(watcher)

    def tell(self, command: commands.Command) -> None:
        """A command is about to be executed."""
        for watcher in list(self._watchers):
            try:
                watcher(command)
            except Exception:  # a watcher that fails does not end the call
                log.exception("watcher of a call's commands failed")
                self._remove(watcher)
