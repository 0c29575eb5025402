"""The command table: what each contract command does to a call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import Struct

from active_call.base.errors import ActiveCallError, LocalProtocolError
from active_call.call.parties.attention import Why
from active_call.call.parties.attention_executor import AttentionExecutor
from active_call.call.parties.bridging import Bridging
from active_call.call.parties.executor import CallExecutor
from active_call.call.parties.machine_types import Hold, Input, Reject
from active_call.call.ports import CallPorts, HangUp
from active_call.call.shared_state import CallState
from active_call.call.sound.digits import send_digits, way_of
from active_call.call.sound.recording import Recording
from active_call.call.speech.speech_output import SpeechOutput
from active_call.call.transfer.executor import TransferExecutor
from active_call.contract import commands, events, wire
from active_call.legs.abilities import Renegotiable, TakesCandidates, renegotiable, texting
from active_call.legs.trunks.outbound_guard import Asker

BEGINS: Final = (commands.Refer, commands.Bridge, commands.Tts, commands.Play, commands.Message, commands.Dtmf, commands.Hold)
"""Commands that begin something with another party, or with this one."""


class Commanded(Struct, frozen=True):
    """The parts that execute commands, and the function that ends the call."""

    state: CallState
    ports: CallPorts
    machine: CallExecutor
    attention: AttentionExecutor
    speech_output: SpeechOutput
    recording: Recording
    bridging: Bridging
    transfers: TransferExecutor
    hang_up: HangUp


def carry_out(call: Commanded, command: commands.Command, *, asked_by: Asker = "api") -> None:
    """Execute `command`. Raises ActiveCallError if the call cannot."""
    if isinstance(command, BEGINS) and call.machine.now.is_ending:
        raise LocalProtocolError("the call is ending")
    if isinstance(command, commands.Refer):
        call.transfers.start(command, asked_by=asked_by)
        return
    wire.check_command(command)
    handler = COMMANDS.get(type(command))
    if handler is None:
        name = command.__struct_config__.tag
        raise LocalProtocolError(f"a {call.state.leg.kind} call cannot carry out the command {name!r}")
    handler(call, command)


def _accept(call: Commanded, command: commands.Accept) -> None:
    call.machine.accept_by_client(command.option)


def _ringing(call: Commanded, command: commands.Ringing) -> None:
    call.machine.ring(command)


def _reject(call: Commanded, command: commands.Reject) -> None:
    call.machine.feed(Reject(command.code, command.reason))


def _tts(call: Commanded, command: commands.Tts) -> None:
    call.speech_output.tts(command)


def _play(call: Commanded, command: commands.Play) -> None:
    call.speech_output.play(command)


def _interrupt(call: Commanded, command: commands.Interrupt) -> None:
    call.speech_output.interrupt(fade_ms=command.fade_out_ms, graceful=command.graceful)


def _pause(call: Commanded, _: commands.Pause) -> None:
    call.attention.claim(Why.PAUSED)


def _resume(call: Commanded, _: commands.Resume) -> None:
    call.attention.release(Why.PAUSED)


TRACKS = {"agent": "plays", "server-side-track": "plays", "partner": "partner", "refer": "partner", "caller": "caller"}
"""Names of tracks in the contract, and in the media plane."""


def _mute(call: Commanded, command: commands.Mute) -> None:
    _set_mute(call, command.track_id, muted=True)


def _unmute(call: Commanded, command: commands.Unmute) -> None:
    _set_mute(call, command.track_id, muted=False)


def _set_mute(call: Commanded, track_id: str | None, *, muted: bool) -> None:
    track = _track(track_id, call.state.facts.session_id)
    if call.state.leg.stream is None:
        raise LocalProtocolError("the call has no media stream yet")
    call.attention.mute(track, muted=muted)


def _track(track_id: str | None, session_id: str) -> str:
    if track_id == session_id:  # the name of the other party's track in events
        return TRACKS["caller"]
    if track_id and track_id not in TRACKS:
        raise LocalProtocolError(f"there is no track {track_id!r}; expected 'agent', 'partner' or 'caller'")
    return TRACKS[track_id] if track_id else ""


def _message(call: Commanded, command: commands.Message) -> None:
    if command.refer:
        call.transfers.send_message(command)
        return
    texting(call.state.leg).send_message(command.body, command.content_type or "text/plain", command.headers)


def _hangup(call: Commanded, command: commands.Hangup) -> None:
    if command.refer:
        call.transfers.withdraw()
        return
    was_ending = call.machine.now.is_ending
    call.hang_up(by=command.initiator or "client", cause=command.reason or "hangup", reason=command.reason or "", headers=command.headers)
    if was_ending:
        raise LocalProtocolError("the call is already ending")


def _history(call: Commanded, command: commands.History) -> None:
    call.ports.emit(events.AddHistory(speaker=command.speaker, text=command.text, sender="client"))


def _custom(call: Commanded, command: commands.Custom) -> None:
    call.ports.emit(events.Custom(data=command.data, sender=command.sender))


def _dtmf(call: Commanded, command: commands.Dtmf) -> None:
    send_digits(call.state.leg, command.digits, way_of(call.state.leg, command.method), command.duration)


def _hold(call: Commanded, command: commands.Hold) -> None:
    call.machine.feed(Hold(command.mode, command.moh))


def _unhold(call: Commanded, _: commands.Unhold) -> None:
    call.machine.feed(Input.UNHOLD)


def _bridge(call: Commanded, command: commands.Bridge) -> None:
    call.bridging.bridge(command.target_session_id)


def _unbridge(call: Commanded, command: commands.Unbridge) -> None:
    call.bridging.unbridge(command.target_session_id)


def _add_ice_candidate(call: Commanded, command: commands.AddIceCandidate) -> None:
    """Ignored by a SIP call; clients that also serve browsers send it anyway."""
    if isinstance(call.state.leg, TakesCandidates):
        call.ports.spawn(call.state.leg.add_candidate(command.candidate), "candidate")
        return
    call.ports.log.info("ICE candidate ignored", extra={"leg": call.state.leg.kind})


def _renegotiate(call: Commanded, command: commands.Renegotiate) -> None:
    call.ports.spawn(_answer_again(call, renegotiable(call.state.leg), command.offer), "renegotiate")


async def _answer_again(call: Commanded, leg: Renegotiable, offer: str) -> None:
    event: events.Event
    try:
        event = events.Answer(sdp=await leg.renegotiate(offer))
    except ActiveCallError as error:
        event = events.Error(sender="command", error=f"renegotiate: {error}")
    call.ports.later(lambda: call.ports.emit(event))


def _record(call: Commanded, command: commands.Record) -> None:
    match command.action:
        case "start":
            call.recording.begin()
        case "stop":
            call.recording.stop()
        case "pause" | "resume":
            call.recording.pause(command.action == "pause")


def _set_var(call: Commanded, command: commands.SetVar) -> None:
    call.state.facts.variables[command.key] = command.value
    if command.key.upper().startswith("X-"):
        call.state.bye_headers[command.key] = str(command.value)
    if call.state.agent is not None:
        call.state.agent.set_variable(command.key, command.value)


COMMANDS: Mapping[type, Callable[[Commanded, Any], None]] = {
    commands.Accept: _accept,
    commands.Ringing: _ringing,
    commands.Reject: _reject,
    commands.Tts: _tts,
    commands.Play: _play,
    commands.Interrupt: _interrupt,
    commands.Pause: _pause,
    commands.Resume: _resume,
    commands.Mute: _mute,
    commands.Unmute: _unmute,
    commands.Message: _message,
    commands.Hangup: _hangup,
    commands.History: _history,
    commands.Custom: _custom,
    commands.Dtmf: _dtmf,
    commands.Bridge: _bridge,
    commands.Unbridge: _unbridge,
    commands.Hold: _hold,
    commands.Unhold: _unhold,
    commands.AddIceCandidate: _add_ice_candidate,
    commands.Renegotiate: _renegotiate,
    commands.Record: _record,
    commands.SetVar: _set_var,
}
