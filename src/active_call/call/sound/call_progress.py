"""A call's orders for sound besides speech: detecting digits and tones, enhancing the caller's voice, background sound.

Options enter, orders to the stream leave; detected tones become contract events. Nothing here waits: a task of the call loads files.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from active_call.base.errors import MediaError
from active_call.call.call_time import CallTime
from active_call.call.opening.options import given
from active_call.call.ports import CallPorts, Emit
from active_call.call.shared_state import CallState
from active_call.call.speech.output_ports import SoundSource
from active_call.contract import events
from active_call.contract.options import AgcOption, AmbianceOption
from active_call.legs.abilities import has_telephone_events
from active_call.media.enhance.gain import GainSettings
from active_call.media.link.messages import ToneReported
from active_call.store.audio_cache import DATA_OFFSET

DEFAULT_DUCK_LEVEL: Final = 0.1
DEFAULT_NORMAL_LEVEL: Final = 0.3
DEFAULT_TRANSITION_SPEED: Final = 0.01
DEFAULT_CONFIDENCE: Final = 0.5
"""The length from which a tone is reported."""
FINAL_TONES: Final = frozenset({"busy", "congestion", "sit", "fax", "answer"})
"""After these tones nobody will speak."""


class CallProgressWatch:
    """The watch of one call. `tell` emits an event without the agent; `is_aside` says whether the agent lacks the caller's attention."""

    def __init__(
        self, state: CallState, ports: CallPorts, time: CallTime, sounds: SoundSource | None, tell: Emit, is_aside: Callable[[], bool]
    ) -> None:
        self._state = state
        self._ports = ports
        self._time = time
        self._sounds = sounds
        self._report = tell
        self._is_aside = is_aside
        self._last: tuple[str, float] | None = None
        self._n_states = 0

    @property
    def _tells_who_answers(self) -> bool:
        return self._state.option.on_machine is not None and not self._state.is_inbound

    @property
    def _watches_tones(self) -> bool:
        option = self._state.option.ringback_detection
        return (option is not None and bool(option.enabled)) or self._tells_who_answers

    def listen(self) -> None:
        """Order the detection that the options ask for; again when it is known whether the peer sends telephone events."""
        stream, leg, option = self._state.leg.stream, self._state.leg, self._state.option
        if stream is None:
            return
        digits = self._state.facts.answered_at is not None and not has_telephone_events(leg)
        if digits or self._watches_tones:
            stream.hear_tones(digits=digits, tones=self._watches_tones)
        if option.denoise or option.agc is not None:
            stream.improve(denoise=bool(option.denoise), gain=None if option.agc is None else gain_of(option.agc))

    def begin_ambience(self) -> None:
        """Start the background sound if the options ask for it."""
        option = self._state.option.ambiance
        if option is not None and option.path and option.enabled is not False and self._sounds is not None:
            self._ports.spawn(self._fetch_ambience(option, option.path), "ambience")

    def end_ambience(self) -> None:
        """Stop the background sound while the agent lacks the caller's attention."""
        if self._state.option.ambiance is not None and self._state.leg.stream is not None:
            self._state.leg.stream.stop_ambience()

    async def _fetch_ambience(self, option: AmbianceOption, path: str) -> None:
        stream = self._state.leg.stream
        if self._sounds is None or stream is None:
            return
        try:
            file = await self._sounds.whole(path, stream.rate_hz)
            while stream is not self._state.leg.stream and self._state.leg.stream is not None:  # the call has continued with another leg
                stream = self._state.leg.stream
                file = await self._sounds.whole(path, stream.rate_hz)
        except MediaError as error:
            told = events.Error(sender="ambiance", error=str(error))
            self._ports.later(lambda: self._report(told))
            return
        if self._is_aside():
            return
        stream.start_ambience(
            str(file.resolve()),
            DATA_OFFSET,
            duck_level=given(option.duck_level, DEFAULT_DUCK_LEVEL),
            normal_level=given(option.normal_level, DEFAULT_NORMAL_LEVEL),
            transition_speed=given(option.transition_speed, DEFAULT_TRANSITION_SPEED),
        )

    def heard(self, tone: ToneReported) -> None:
        """A tone was detected: report it, and classify a beep (unless the answering watch does)."""
        option = self._state.option.ringback_detection
        if option is None or tone.confidence < given(option.confidence_threshold, DEFAULT_CONFIDENCE):
            return
        if tone.kind == "beep":
            if self._tells_who_answers:
                return
            ended_ms = self._time.to_epoch_ms(tone.at)
            self._ports.emit(events.AnswerMachineDetection(start_time=ended_ms - tone.duration_ms, end_time=ended_ms, text="beep"))
            return
        before, self._last = self._last, (tone.kind, tone.confidence)
        if option.on_state_change_only is not False and before is not None and before[0] == tone.kind:
            return
        self._n_states += 1
        self._ports.emit(
            events.RingbackState(
                state=tone.kind,
                state_index=self._n_states - 1,
                confidence=tone.confidence,
                prev_state=before[0] if before else None,
                prev_confidence=before[1] if before else None,
                is_final=tone.kind in FINAL_TONES,
            )
        )


def gain_of(option: AgcOption) -> GainSettings:
    """The contract's gain control in the media plane's form."""
    said = {name: getattr(option, name) for name in GainSettings.__struct_fields__}
    return GainSettings(**{name: value for name, value in said.items() if value is not None})
