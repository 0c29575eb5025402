"""The events that the methods of a `Call` wait for: each function returns a result, None if it has not come yet, or raises."""

from __future__ import annotations

from collections.abc import Callable

from active_call.app.errors import CommandRefused, PlaybackFailed, TransferFailed
from active_call.app.values import Heard, Speech, TransferResult
from active_call.contract import events


def answered(event: events.Event) -> bool | None:
    """The call is answered and both sides have said so: sound and requests can go either way."""
    return True if isinstance(event, events.MediaReady) and not event.refer else None


def speech_of(event: events.Event) -> Speech | None:
    """A turn of the caller that holds words."""
    if not isinstance(event, events.AsrFinal) or event.refer or not event.text.strip():
        return None
    return Speech(event.text.strip(), event.confidence, event.start_time, event.end_time)


def said_or_pressed(event: events.Event) -> bool | None:
    """A turn of the caller that holds words, or a key."""
    return True if key_pressed(event) or speech_of(event) is not None else None


def key_pressed(event: events.Event) -> bool | None:
    """The caller has pressed a key."""
    return True if isinstance(event, events.Dtmf) and not event.refer else None


def caller_input(event: events.Event) -> bool | None:
    """The caller begins to speak, or has pressed a key."""
    return True if isinstance(event, events.Speaking | events.Dtmf) and not event.refer else None


def reply_began(event: events.Event) -> bool | None:
    """An agent's reply is under way: it calls a tool, or sounds."""
    return True if isinstance(event, events.TrackStart | events.FunctionCall) and not event.refer else None


def reply_over(event: events.Event) -> bool | None:
    """An agent's reply is over, heard, cut or without a word."""
    return True if isinstance(event, events.ReplyEnd) else None


class Playback:
    """The end of one play. If a play could not be made, an `error` comes before its end."""

    def __init__(self, play_id: str, text: str, sender: str) -> None:
        self._play_id = play_id
        self._text = text
        self._sender = sender
        self._error = ""

    def __call__(self, event: events.Event) -> Heard | None:
        """Gives what was heard. Raises PlaybackFailed."""
        match event:
            case events.Error(sender=sender, error=error) if sender == self._sender:
                self._error = error
            case events.TrackEnd(play_id=play_id, subtitle=subtitle, duration=duration) if play_id == self._play_id:
                if self._error:
                    raise PlaybackFailed(self._error, subtitle or "")
                return Heard(self._text if subtitle is None else subtitle, True, duration)
            case events.Interruption(play_id=play_id, subtitle=subtitle, current=current) if play_id == self._play_id:
                return Heard(subtitle or "", False, current)
            case _:
                pass
        return None


def hold_agreed(on_hold: bool) -> Callable[[events.Event], bool | None]:
    """The other side has agreed to be put on hold, or to be taken back; raises CommandRefused when it refuses."""

    def matches(event: events.Event) -> bool | None:
        match event:
            case events.Hold(on_hold=is_on_hold, initiator="system") if is_on_hold == on_hold:
                return True
            case events.Error(sender="hold", error=error):
                raise CommandRefused(error)
            case _:
                return None

    return matches


def transferred(target: str) -> Callable[[events.Event], TransferResult | None]:
    """The final event of a transfer; raises TransferFailed if the target was not reached."""

    def matches(event: events.Event) -> TransferResult | None:
        match event:
            case events.Transfer(state="completed", initiator=None):
                return TransferResult(target, bool(event.returned))
            case events.Transfer(state="failed" | "cancelled", initiator=None):
                raise TransferFailed(target, event.code, event.reason or event.state)
            case _:
                return None

    return matches


def bridge_joined(target_session_id: str) -> Callable[[events.Event], bool | None]:
    """The two calls hear each other; raises CommandRefused if that is not possible."""

    def matches(event: events.Event) -> bool | None:
        match event:
            case events.Bridge(state="joined", target_session_id=other) if other == target_session_id:
                return True
            case events.Bridge(state="parted", target_session_id=other, reason=reason) if other == target_session_id:
                raise CommandRefused(f"the calls cannot be bridged: {reason}")
            case _:
                return None

    return matches


def bridge_ended(target_session_id: str) -> Callable[[events.Event], str | None]:
    """The two calls no longer hear each other; returns the reason."""

    def matches(event: events.Event) -> str | None:
        is_it = isinstance(event, events.Bridge) and event.state == "parted" and event.target_session_id == target_session_id
        return (event.reason or "parted") if is_it and isinstance(event, events.Bridge) else None

    return matches
