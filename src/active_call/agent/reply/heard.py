"""How much of a playback the caller has heard, from the event that cut it."""

from __future__ import annotations

from active_call.agent.reply.queue import Playback
from active_call.contract import events


def heard_text(event: events.Interruption, playback: Playback) -> str:
    """What was heard of `playback`: the call's own account, else as many words as the position or the time say."""
    if event.subtitle is not None:
        return event.subtitle.strip()
    words = playback.text.split()
    if event.position is not None:
        return " ".join(words[: max(0, event.position)])
    if event.total_duration > 0:
        return " ".join(words[: int(len(words) * min(1.0, event.current / event.total_duration))])
    return ""
