"""One call of a persona: dials with the hand-written phone, acts, and stores what was said and heard, with times.

The caller's side uses none of the program's own SIP, RTP or codecs.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from active_call.bench.evals import speech
from active_call.bench.evals.measuring import Act, Finding, judge_acts
from active_call.bench.evals.persona import Persona, Step
from active_call.testing.phone.receiver import AudioReceiver
from active_call.testing.phone.rtp import AudioSender
from active_call.testing.phone.user_agent import Phone
from active_call.testing.sound import audio
from active_call.testing.sound.audio import FRAME_SAMPLES, RATE_HZ, Pcm

_POLL_S: Final = 0.01
_LISTEN_S: Final = 12.0
_SILENCE_MS: Final = 800.0
_MAX_SPEECH_S: Final = 60.0


@dataclass(slots=True)
class Played:
    """An ended call. `voiced` and `acts` are in seconds of the monotonic clock; `agent` is its sound at 8 kHz."""

    caller: str
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)
    acts: list[Act] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    agent: Pcm = field(default_factory=lambda: audio.silence(0))
    digits: str = ""
    transfers: list[str] = field(default_factory=list)
    ended_by: str = ""
    own_late_ms_p99: float = 0.0
    """How late the caller's own packets left. This is high on a loaded machine, where every figure is then worse than the agent's own."""


def sounds_of(persona: Persona) -> dict[int, Pcm]:
    """What `persona` says in each step, by its number. Raises `voice.VoiceError` for a missing voice."""
    return {number: _sound_of(step, persona.voice) for number, step in enumerate(persona.steps)}


def play_persona(persona: Persona, uri: str, sounds: Mapping[int, Pcm], folder: Path | None = None) -> Played:
    """Call `uri` as `persona`, who says `sounds`. A step that fails ends the call. With `folder` the stereo recording is stored there.

    Raises OSError if the far end cannot be reached, ValueError for an invalid URI.
    """
    background = speech.bed(persona.noise, persona.noise_snr_db)
    played = Played(caller=f"+1555{secrets.randbelow(10**7):07d}")
    with Phone(profile="plain", on_event=lambda kind, text: played.transfers.append(text) if kind == "refer" else None) as phone:
        phone.dial(uri, caller=played.caller)
        try:
            if not phone.wait_answered(20):
                played.failures.append(f"not answered: {phone.ended.code} {phone.ended.reason}" if phone.ended else "not answered in 20 s")
                if phone.ended is None:
                    phone.cancel()
                    phone.wait_ended(5)
            elif phone.sender is None or phone.receiver is None:
                played.failures.append("answered, but without media that the phone can use")
            else:
                phone.sender.background = background
                _Actor(phone, phone.sender, phone.receiver, played).take(persona, sounds)
        finally:
            _end(phone)
        _collect(phone, played)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            audio.write_wav(folder / f"{persona.name.replace('/', '-')}.wav", phone.said, phone.heard)
    return played


def _sound_of(step: Step, voice_name: str) -> Pcm:
    match step.kind:
        case "say" | "interrupt" | "backchannel":
            return speech.with_pauses(step.spoken, voice_name)
        case "sound":
            return speech.cough() if step.values["sound"] == "cough" else speech.music(2.0)
        case _:
            return audio.silence(0)


class _Actor:
    """Executes the steps on an answered call."""

    def __init__(self, phone: Phone, sender: AudioSender, receiver: AudioReceiver, played: Played) -> None:
        self._phone, self._sender, self._receiver, self._played = phone, sender, receiver, played
        self._mark = time.monotonic()
        """Speech up to this point has been handled."""

    def take(self, persona: Persona, sounds: Mapping[int, Pcm]) -> None:
        """Execute the steps until one fails."""
        for number, step in enumerate(persona.steps):
            if self._phone.ended is not None and step.kind not in ("expect_hangup", "listen", "hang_up"):
                failure = "the call had ended"
            else:
                failure = self._take(step, sounds[number])
            if failure:
                self._played.failures.append(f"steps[{number}] ({step.kind}): {failure}")
                return

    def _take(self, step: Step, sound: Pcm) -> str:
        """The error, or an empty text."""
        match step.kind:
            case "listen":
                return self._listen(step)
            case "say":
                self._act(step, sound)
            case "interrupt" | "backchannel" | "sound":
                return self._speak_over(step, sound)
            case "press":
                for digit in step.values["digits"]:
                    self._sender.press(digit)
                self._sender.wait_idle(2 + len(step.values["digits"]))
                self._mark = time.monotonic()
            case "pause":
                self._phone.wait_ended(step.seconds("seconds", 1))
            case "hang_up":
                _end(self._phone)
            case "expect_hangup":
                ended = self._phone.wait_ended(step.seconds("timeout_s", 10))
                return "" if ended and ended.by == "agent" else "the agent did not hang up"
        return ""

    def _act(self, step: Step, sound: Pcm) -> None:
        first = self._sender.say(sound, aligned=True)
        self._sender.wait_idle(len(sound) / RATE_HZ + 5)
        started = self._sender.sent[min(first, len(self._sender.sent) - 1)].at
        text = " ".join(part for part in step.spoken if isinstance(part, str)) or str(step.values.get("sound", ""))
        self._played.acts.append(Act(step.kind, text, started, started + len(sound) / RATE_HZ))
        if step.kind in ("say", "interrupt"):
            self._mark = started if step.kind == "say" else time.monotonic()

    def _wait_speech(self, deadline: float) -> bool:
        while len(self._receiver.voiced_at) - bisect_right(self._receiver.voiced_at, self._mark) < 3:
            if time.monotonic() > deadline or self._phone.ended is not None:
                return False
            time.sleep(_POLL_S)
        return True

    def _listen(self, step: Step) -> str:
        if not self._wait_speech(time.monotonic() + step.seconds("timeout_s", _LISTEN_S)):
            return "the agent said nothing"
        silence_s = float(step.values.get("silence_ms", _SILENCE_MS)) / 1000
        longest = time.monotonic() + _MAX_SPEECH_S
        while time.monotonic() - self._receiver.voiced_at[-1] < silence_s and self._phone.ended is None:
            if time.monotonic() > longest:
                return f"the agent spoke for more than {_MAX_SPEECH_S:g} s"
            time.sleep(_POLL_S)
        self._mark = self._receiver.voiced_at[-1]
        return ""

    def _speak_over(self, step: Step, sound: Pcm) -> str:
        """Wait until the agent has spoken for `after_s`, then play the sound over its speech."""
        if not self._wait_speech(time.monotonic() + _LISTEN_S):
            return "the agent said nothing that could be spoken over"
        started = self._receiver.voiced_at[bisect_right(self._receiver.voiced_at, self._mark)]
        self._phone.wait_ended(max(0.0, started + step.seconds("after_s", 1.0) - time.monotonic()))
        if time.monotonic() - self._receiver.voiced_at[-1] > 1.0:
            return "the agent had stopped before it was spoken over"
        self._act(step, sound)
        return ""


def _end(phone: Phone) -> None:
    with contextlib.suppress(RuntimeError):
        phone.hang_up()
        phone.wait_ended(5)


def _collect(phone: Phone, played: Played) -> None:
    if phone.ended is not None:
        played.ended_by = phone.ended.by
    played.seconds = round(time.monotonic() - phone.epoch, 1)
    if phone.receiver is None or phone.sender is None:
        return
    played.digits = "".join(phone.receiver.digits)
    played.agent = phone.heard
    played.own_late_ms_p99 = round(float(np.percentile(phone.sender.late_ms or [0.0], 99)), 1)
    voiced = _voiced(played.agent, phone.epoch)
    end = phone.epoch + max(len(played.agent), 1) / RATE_HZ
    played.findings = judge_acts(played.acts, voiced, end)


def _voiced(pcm: Pcm, epoch: float) -> list[float]:
    """When each 20 ms of speech came: by the position of its samples in the recording, which late packets do not shift."""
    loud = np.flatnonzero(audio.frame_levels(pcm) > audio.VOICED_LEVEL)
    return [float(epoch + index * FRAME_SAMPLES / RATE_HZ) for index in loud]
