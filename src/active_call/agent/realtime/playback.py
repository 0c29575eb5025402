"""The playback of a realtime model's response, and what the caller heard of it.

In: sound and text of items, the call's playback events. Out: the command to stop a playback, truncations, history items, the timers
PLAYBACK and SETTLE. Once an item is stopped, its further sound and text are ignored.
"""

from __future__ import annotations

from collections.abc import Callable

from active_call.agent.items import AgentItem
from active_call.agent.outbox import Outbox
from active_call.agent.realtime.events import TruncateItem
from active_call.agent.realtime.spoken_item import SpokenItem
from active_call.agent.turn.timers import Timer, Timers
from active_call.contract import commands

SETTLE_S = 0.5
"""Maximum wait for the report of how much was heard. Without it nothing counts as heard."""
PLAYBACK_SLACK_S = 10.0
"""If a playback has not ended this long after its expected end, its event is lost."""


class RealtimePlayback:
    """The playing item, and the stopped one. `truncate` sends the order to the model's session."""

    def __init__(self, outbox: Outbox, timers: Timers, truncate: Callable[[TruncateItem], None], fade_out_ms: int | None) -> None:
        self._outbox = outbox
        self._timers = timers
        self._truncate_order = truncate
        self._fade_out_ms = fade_out_ms
        self._item: SpokenItem | None = None
        """The item that is playing or about to play."""
        self._settling: SpokenItem | None = None
        """The stopped item, until it is known how much of it was heard."""
        self._dropped: set[str] = set()

    @property
    def is_sounding(self) -> bool:
        """Whether an item is playing or about to play."""
        return self._item is not None

    @property
    def has_started(self) -> bool:
        """Whether an item is audible."""
        return self._item is not None and self._item.has_started

    @property
    def is_settling(self) -> bool:
        """Whether an item was stopped and it is not known yet how much of it was heard."""
        return self._settling is not None

    def sounding(self) -> str | None:
        """The play id of the playing item, or of the last stopped one."""
        item = self._settling or self._item
        return None if item is None else item.id

    # -- inputs from the session

    def add_sound(self, item_id: str, ms: int) -> bool:
        """`ms` more of sound. False if the item must not be played."""
        item = self._find(item_id)
        if item is None or item is self._settling:
            return False
        item.ms += ms
        return True

    def drop(self, item_id: str) -> None:
        """The item belongs to a cancelled response."""
        self._dropped.add(item_id)

    def add_text(self, item_id: str, text: str) -> None:
        """More of the item's text."""
        item = self._find(item_id)
        if item is not None:
            item.text += text

    def complete(self, item_id: str) -> None:
        """All of the item has arrived."""
        item = self._find(item_id)
        if item is not None:
            item.is_whole = True

    def _find(self, item_id: str) -> SpokenItem | None:
        """The item with that id. A new one becomes the playing item if none plays."""
        if self._settling is not None and self._settling.id == item_id:
            return self._settling
        if item_id in self._dropped:
            return None
        if self._item is None or (self._item.ms == 0 and self._item.id != item_id):
            self._item = SpokenItem(item_id)
        return self._item if self._item.id == item_id else None

    # -- playback events

    def watch(self, now: float) -> None:
        """Set the timeout for the playing item."""
        if self._item is not None:
            self._timers.set(Timer.PLAYBACK, now + self._item.ms / 1000 + PLAYBACK_SLACK_S)

    def started(self, play_id: str | None, now: float) -> None:
        """A playback has started."""
        if self._item is not None and self._item.id == play_id:
            self._item.has_started = True
            self.watch(now)

    def ended(self, play_id: str | None, heard: str | None) -> bool:
        """A playback has ended, completely or after the text `heard`. True if it was the playing item."""
        if self._settling is not None and self._settling.id == play_id:
            self.settle(self._settling.ms, heard)
            return False
        if self._item is None or self._item.id != play_id:
            return False
        item = self._take()
        if item is not None:
            self._outbox.add(AgentItem(item.text.strip()) if heard is None else AgentItem(heard, is_interrupted=True))
        return True

    def stop(self, now: float) -> None:
        """Stop the playing item. How much was heard is reported later."""
        item = self._take()
        if item is None:
            return
        if self._settling is not None:
            self.settle(0)
        if item.ms:
            self._settling = item
            self._outbox.perform(commands.Interrupt(fade_out_ms=self._fade_out_ms))
            self._timers.set(Timer.SETTLE, now + SETTLE_S)

    def cut(self, play_id: str | None, heard_ms: int, heard: str | None) -> bool:
        """A playback was stopped after `heard_ms`. True if a client of the call did it, False if it was the agent's own stop."""
        if self._settling is not None and self._settling.id == play_id:
            self.settle(heard_ms, heard)
            return False
        if self._item is None or self._item.id != play_id:
            return False
        item = self._take()
        if item is not None:
            self._truncate(item, heard_ms, heard)
        return True

    def settle(self, heard_ms: int, heard: str | None = None) -> None:
        """It is now known how much of the stopped item was heard."""
        item, self._settling = self._settling, None
        self._timers.clear(Timer.SETTLE)
        if item is not None:
            self._truncate(item, heard_ms, heard)

    def lose(self) -> None:
        """The end of a playback was not reported in time: continue without it."""
        item = self._take()
        if item is not None:
            self._outbox.note("playback lost", play_id=item.id)

    def _take(self) -> SpokenItem | None:
        item, self._item = self._item, None
        self._timers.clear(Timer.PLAYBACK)
        if item is not None:
            self._dropped.add(item.id)
        return item

    def _truncate(self, item: SpokenItem, heard_ms: int, heard: str | None) -> None:
        heard_ms = max(0, min(heard_ms, item.ms))
        self._truncate_order(TruncateItem(item.id, heard_ms))
        self._outbox.add(AgentItem(item.heard_text(heard_ms) if heard is None else heard, is_interrupted=True))
