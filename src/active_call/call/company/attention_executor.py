"""Puts the attention state into effect: claims enter, orders to music, speech, hearing and background sound leave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

from active_call.call.company.attention import Attention, Change, Claim, Music, Why, changes

_WHY = "attention"


@dataclass(frozen=True, slots=True)
class AttentionPorts:
    """What follows from the state. `play_music(None)` ends the music; `step_aside` and `step_back` concern the background sound."""

    play_music: Callable[[Music | None], None]
    freeze: Callable[[bool, str], None]
    """As `SpeechOutput.pause`."""
    suspend: Callable[[str], None]
    """As `SpeechInput.suspend`."""
    resume: Callable[[str], None]
    step_aside: Callable[[], None]
    step_back: Callable[[], None]


class AttentionExecutor:
    """Keeps the attention state of one call."""

    def __init__(self, ports: AttentionPorts) -> None:
        self._ports = ports
        self.state = Attention()

    def claim(self, why: Why, *, hears: bool = False, music: Music | None = None) -> None:
        """That claim stands from now on."""
        self._become(self.state.with_claim(Claim(why, hears, music)))

    def release(self, why: Why) -> None:
        """That claim is gone; harmless where it did not stand."""
        self._become(self.state.without(why))

    def _become(self, after: Attention) -> None:
        before, self.state = self.state, after
        for change in changes(before, after):
            self._do(change)

    def _do(self, change: Change) -> None:
        ports = self._ports
        match change:
            case Change.MUSIC:
                ports.play_music(self.state.music)
            case Change.FREEZE:
                ports.freeze(True, _WHY)
            case Change.UNFREEZE:
                ports.freeze(False, _WHY)
            case Change.STEP_ASIDE:
                ports.step_aside()
            case Change.SUSPEND:
                ports.suspend(_WHY)
            case Change.RESUME:
                ports.resume(_WHY)
            case Change.STEP_BACK:
                ports.step_back()
            case _:
                assert_never(change)
