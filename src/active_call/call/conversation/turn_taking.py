"""Selects a call's turn detector by its options and its recogniser, and converts turn reports for the agent."""

from __future__ import annotations

from active_call.agent.effects import TurnProposed
from active_call.agent.playbook.scenes import Playbook
from active_call.agent.turn.adaptive_detector import AdaptiveTurnDetector, TurnSettings
from active_call.agent.turn.turn_detector import PauseSound, RecogniserTurnDetector, TurnTaking, VendorTurn
from active_call.call.opening.options import DEFAULT_END_OF_TURN_MS, choose_speech
from active_call.contract.options import CallOption
from active_call.media.link.messages import PauseHeard
from active_call.providers.base import TurnChange, TurnEvent

_VENDOR_TURNS = {
    TurnChange.STARTED: VendorTurn.NONE,
    TurnChange.EAGER_END: VendorTurn.EAGER_END,
    TurnChange.RESUMED: VendorTurn.RESUMED,
    TurnChange.ENDED: VendorTurn.ENDED,
}


def proposal_of(event: TurnEvent) -> TurnProposed:
    """The report of a recogniser's own turn detector, as a proposal for the agent."""
    return TurnProposed(_VENDOR_TURNS[event.change], event.text, event.confidence)


def pause_sound(report: PauseHeard, now: float) -> PauseSound:
    """The media process's report of a pause, for the agent, received at `now`."""
    return PauseSound(
        max(0.0, now - report.since), report.voice_probability, report.energy_db, report.pitch_change_st, report.final_lengthening
    )


def turn_taking(option: CallOption, playbook: Playbook, *, hears_freely: bool, has_judge: bool) -> TurnTaking:
    """The turn-taking settings. `hears_freely`: the recogniser understands any sentence; one that knows only phrases needs whole
    utterances.
    """
    choice = choose_speech(option, playbook)
    language = playbook.llm.language or choice.asr.language
    if choice.turn.kind == "fixed":
        return TurnTaking(RecogniserTurnDetector(choice.end_of_turn_ms / 1000), speculates=False, language=language)
    longest_s = choice.turn.max_silence_ms / 1000
    settings = TurnSettings(
        first_s=min(0.2, longest_s),
        max_s=longest_s,
        slot_min_s=min(0.8, longest_s),
        slot_max_s=max(2.0, longest_s),
        blind_text_s=0.35 if hears_freely else DEFAULT_END_OF_TURN_MS / 1000,
        has_judge=has_judge and choice.turn.kind == "smart-turn",
        language=language,
    )
    return TurnTaking(AdaptiveTurnDetector(settings), speculates=choice.turn.speculates, language=language)
