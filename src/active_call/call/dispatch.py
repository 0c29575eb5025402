"""The command table: what each contract command does to a call."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from active_call.base.errors import LocalProtocolError
from active_call.call.digits import send_digits, way_of
from active_call.contract import commands, events, wire
from active_call.legs.abilities import texting
from active_call.legs.trunks.outbound_guard import Asker

if TYPE_CHECKING:
    from active_call.call.call import Call


def carry_out(session: Call, command: commands.Command, *, asked_by: Asker = "api") -> None:
    """Do what `command` asks. Raises ActiveCallError when the call cannot do it."""
    if isinstance(command, commands.Refer):
        session.transfers.start(command, asked_by=asked_by)
        return
    wire.check_command(command)
    handler = COMMANDS.get(type(command))
    if handler is None:
        name = command.__struct_config__.tag
        raise LocalProtocolError(f"a {session.leg.kind} call cannot carry out the command {name!r}")
    handler(session, command)


def _accept(session: Call, command: commands.Accept) -> None:
    session.accept(command.option)


def _ringing(session: Call, command: commands.Ringing) -> None:
    session.ring(command)


def _reject(session: Call, command: commands.Reject) -> None:
    session.reject(command.code, command.reason)


def _tts(session: Call, command: commands.Tts) -> None:
    session.speaking.tts(command)


def _play(session: Call, command: commands.Play) -> None:
    session.speaking.play(command)


def _interrupt(session: Call, command: commands.Interrupt) -> None:
    session.speaking.interrupt(fade_ms=command.fade_out_ms, graceful=command.graceful)


def _pause(session: Call, _: commands.Pause) -> None:
    session.speaking.pause(True)


def _resume(session: Call, _: commands.Resume) -> None:
    session.speaking.pause(False)


TRACKS = {"agent": "plays", "server-side-track": "plays", "partner": "partner", "refer": "partner", "caller": "caller"}
"""Names of tracks, and what the media plane calls them."""


def _mute(session: Call, command: commands.Mute) -> None:
    _stream_of(session).mute(True, _track(command.track_id))


def _unmute(session: Call, command: commands.Unmute) -> None:
    _stream_of(session).mute(False, _track(command.track_id))


def _track(track_id: str | None) -> str:
    if track_id and track_id not in TRACKS:
        raise LocalProtocolError(f"there is no track {track_id!r}; expected 'agent', 'partner' or 'caller'")
    return TRACKS[track_id] if track_id else ""


def _message(session: Call, command: commands.Message) -> None:
    if command.refer:
        session.transfers.send_message(command)
        return
    texting(session.leg).send_message(command.body, command.content_type or "text/plain", command.headers)


def _hangup(session: Call, command: commands.Hangup) -> None:
    if command.refer:
        session.transfers.withdraw()
        return
    was_ending = session.is_ending
    session.hang_up(
        by=command.initiator or "client", cause=command.reason or "hangup", reason=command.reason or "", headers=command.headers
    )
    if was_ending:
        raise LocalProtocolError("the call is being ended already")


def _history(session: Call, command: commands.History) -> None:
    session.emit(events.AddHistory(speaker=command.speaker, text=command.text, sender="client"))


def _custom(session: Call, command: commands.Custom) -> None:
    session.emit(events.Custom(data=command.data, sender=command.sender))


def _dtmf(session: Call, command: commands.Dtmf) -> None:
    send_digits(session.leg, command.digits, way_of(session.leg, command.method), command.duration)


def _hold(session: Call, command: commands.Hold) -> None:
    session.holding.hold(command)


def _unhold(session: Call, _: commands.Unhold) -> None:
    session.holding.unhold()


def _bridge(session: Call, command: commands.Bridge) -> None:
    session.bridging.join(command.target_session_id)


def _unbridge(session: Call, command: commands.Unbridge) -> None:
    session.bridging.unbridge(command.target_session_id)


def _add_ice_candidate(session: Call, _: commands.AddIceCandidate) -> None:
    """A call by SIP has no use for it; clients that serve browsers too send it all the same."""
    session.log.info("ICE candidate passed over", extra={"leg": session.leg.kind})


def _record(session: Call, command: commands.Record) -> None:
    match command.action:
        case "start":
            session.recording.begin()
        case "stop":
            session.recording.stop()
        case "pause" | "resume":
            session.recording.pause(command.action == "pause")
        case _:
            raise LocalProtocolError(f"a recording cannot be told to {command.action!r}; expected 'start', 'stop', 'pause' or 'resume'")


def _set_var(session: Call, command: commands.SetVar) -> None:
    session.set_variable(command.key, command.value)


def _stream_of(session: Call) -> Any:
    if session.leg.stream is None:
        raise LocalProtocolError("the call has no media stream yet")
    return session.leg.stream


COMMANDS: dict[type, Callable[[Call, Any], None]] = {
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
    commands.Record: _record,
    commands.SetVar: _set_var,
}
