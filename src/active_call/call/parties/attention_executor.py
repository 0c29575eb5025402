"""Executes the attention state: claims and mutes enter; orders for music, speech, recognition and background sound leave."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from msgspec import Struct

from active_call.call.parties.attention import Attention, Change, Claim, Music, Why, changes


class AttentionPorts(Struct, frozen=True):
    """The actions that follow from the state. Every order goes to the stream of the call's current leg."""

    play_music: Callable[[Music | None], None]
    """None stops the music."""
    mute: Callable[[str, bool], None]
    """A track, and whether it is muted."""
    freeze: Callable[[bool], None]
    """See `SpeechOutput.pause`."""
    suspend: Callable[[], None]
    """See `SpeechInput.suspend`."""
    resume: Callable[[], None]
    """See `SpeechInput.resume`."""
    step_aside: Callable[[], None]
    """Stops the background sound."""
    step_back: Callable[[], None]
    """Starts the background sound."""


class AttentionExecutor:
    """Keeps the attention state of one call."""

    def __init__(self, ports: AttentionPorts) -> None:
        self._ports = ports
        self.state = Attention()

    def claim(self, why: Why, *, hears: bool = False, music: Music | None = None) -> None:
        """Add that claim."""
        self._become(self.state.with_claim(Claim(why, hears, music)))

    def release(self, why: Why) -> None:
        """Remove that claim; does nothing if it is not active."""
        self._become(self.state.without(why))

    def mute(self, track: str, *, muted: bool) -> None:
        """Mute or unmute a track; the empty name means everything that is sent."""
        self._become(self.state.with_mute(track, muted=muted))

    def leg_changed(self) -> None:
        """The call has another leg: apply the state to its new stream."""
        self._ports.play_music(None)
        self._put_into_effect(Attention(), self.state)
        if not self.state.is_aside:
            self._ports.step_back()

    def _become(self, after: Attention) -> None:
        before, self.state = self.state, after
        self._put_into_effect(before, after)

    def _put_into_effect(self, before: Attention, after: Attention) -> None:
        for change in changes(before, after):
            self._do(change, before.muted ^ after.muted)

    def _do(self, change: Change, changed_tracks: frozenset[str]) -> None:
        ports = self._ports
        match change:
            case Change.MUSIC:
                ports.play_music(self.state.music)
            case Change.MUTES:
                for track in sorted(changed_tracks):
                    ports.mute(track, track in self.state.muted)
            case Change.FREEZE:
                ports.freeze(True)
            case Change.UNFREEZE:
                ports.freeze(False)
            case Change.STEP_ASIDE:
                ports.step_aside()
            case Change.SUSPEND:
                ports.suspend()
            case Change.RESUME:
                ports.resume()
            case Change.STEP_BACK:
                ports.step_back()
            case _:
                assert_never(change)
