"""How much of a playback the caller has heard, from the interruption event."""

from __future__ import annotations

from active_call.agent.reply.queue import Playback
from active_call.contract import events


def heard_text(event: events.Interruption, playback: Playback) -> str:
    """The heard part of `playback`: as the call reports it, else estimated by words from the position or the time."""
    if event.subtitle is not None:
        return event.subtitle.strip()
    words = playback.text.split()
    if event.position is not None:
        return " ".join(words[: max(0, event.position)])
    if event.total_duration > 0:
        return " ".join(words[: int(len(words) * min(1.0, event.current / event.total_duration))])
    return ""
