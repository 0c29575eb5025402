"""Tells the target of a warm transfer who is waiting, before the caller is joined, and asks whether it accepts the call.

The text, the target's keys and words, and the reports of its stream enter; speech to the target alone leaves, and one `Briefed` for the
transfer. The caller hears the transfer's music meanwhile. Without an accepting key, the two are joined when the target has heard the text.

| the target                                  | then                                                          |
|---------------------------------------------|---------------------------------------------------------------|
| presses an accepting key, or says yes       | accepted, also before the text is over                        |
| presses the declining key, or says no       | declined (603)                                                |
| presses another key, or says something else | the text is said again                                        |
| is silent after the text                    | the text is said again, `repeats` times; then no answer (480) |
| is an answering machine: a beep             | no answer (480)                                               |
| cannot be spoken to                         | 503                                                           |
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

from active_call.agent.answering.phrases import Kind, matches, normalised
from active_call.agent.matching.yes_no import yes_or_no
from active_call.base.errors import ActiveCallError, LocalProtocolError
from active_call.call.opening.options import choose_speech
from active_call.call.speech.latency import TurnClock
from active_call.call.speech.speech_output import SpeechOutput
from active_call.call.transfer.machine import Briefed
from active_call.call.transfer.ports import TransferPorts
from active_call.contract import commands, events
from active_call.contract.options import BriefingOption
from active_call.media.link import messages as link
from active_call.media.pool.pool import MediaStream

ACCEPT: str = "1"
DECLINE: str = "2"
TIMEOUT_S: float = 8.0
"""How long an answer is awaited after the text."""
REPEATS: int = 1
MAX_TALK_S: float = 60.0
"""A text not heard by then is given up: its speech failed, or never ends."""
_MACHINES: tuple[Kind, ...] = ("voicemail", "mailboxFull", "announcement")
_NAMES_A_KEY = re.compile(r"\b(press|drücken|pulse|marque|appuyez|tapez)\b|按", re.IGNORECASE)
"""Words that show that the text itself explains how to accept the call."""
_HINTS = {
    "en": "Press {accept} to take the call, or {decline} to decline it.",
    "de": "Drücken Sie die {accept}, um das Gespräch anzunehmen, oder die {decline}, um es abzulehnen.",
    "es": "Pulse {accept} para aceptar la llamada o {decline} para rechazarla.",
    "fr": "Appuyez sur {accept} pour prendre l'appel, ou sur {decline} pour le refuser.",
    "zh": "接听请按{accept}，拒绝请按{decline}。",
}


class Briefing:
    """One briefing. `tell` emits an event of the far leg; `feed` gets the one `Briefed`."""

    def __init__(
        self,
        ports: TransferPorts,
        option: BriefingOption,
        stream: MediaStream | None,
        tell: Callable[[events.Event], None],
        feed: Callable[[Briefed], None],
        *,
        has_inband_digits: bool,
    ) -> None:
        """`has_inband_digits`: the target's keys come as tones, because telephone events were not negotiated."""
        self._has_inband_digits = has_inband_digits
        self._ports = ports
        self._feed = feed
        self._choice = choose_speech(ports.state.option, ports.state.playbook)
        self._accept = ACCEPT if option.accept is None else option.accept
        self._decline = DECLINE if option.decline is None else option.decline
        self._timeout_s = TIMEOUT_S if option.timeout is None else float(option.timeout)
        self._n_left = REPEATS if option.repeats is None else option.repeats
        self._text = self._with_hint((option.text or "").strip())
        self._stream = stream
        self._output = SpeechOutput(
            emit=tell, clock=ports.time.clock, turn=TurnClock(), on_auto_hangup=lambda: None, sounds=None, speech=None
        )
        self._task: asyncio.Task[None] | None = None
        self._n_said = 0
        self._deadline: float | None = None
        self.is_over = False

    def _with_hint(self, text: str) -> str:
        if not self._accept or not text or _NAMES_A_KEY.search(text):
            return text
        language = (self._choice.tts.language or "en").replace("_", "-").partition("-")[0].lower()
        hint = _HINTS.get(language, _HINTS["en"]).format(accept=self._accept[0], decline=self._decline[:1] or "*")
        return f"{text} {hint}"

    def begin(self) -> None:
        """Speak the text."""
        try:
            if self._stream is None or not self._text:
                raise LocalProtocolError("the briefing has no text, or no way to speak it")
            synthesiser = self._ports.engines.get_synthesiser(self._choice.tts, self._ports.state.trust)
        except ActiveCallError as error:
            self._end(accepted=False, code=503, reason=str(error))
            return
        self._stream.hear_tones(digits=self._has_inband_digits, tones=True)
        self._output.use(self._stream, synthesiser)
        self._task = self._ports.call.spawn(self._output.run(), "briefing")
        self._say()

    def _say(self) -> None:
        self._n_said += 1
        self._deadline = self._ports.call.now() + MAX_TALK_S
        self._output.tts(commands.Tts(text=self._text, play_id=f"briefing{self._n_said}"))

    def handle_media(self, report: link.Report) -> None:
        """A report of the target's stream."""
        if self.is_over:
            return
        match report:
            case link.PlayStarted():
                self._output.play_started(report)
            case link.PlayLow():
                self._output.play_low(report)
            case link.PlayEnded():
                self._output.play_ended(report)
                if report.play == f"briefing{self._n_said}":
                    self._on_said(report)
            case link.ToneReported(kind="beep" | "sit" | "congestion" | "fax" | "answer"):
                self._end(accepted=False, code=480, reason="a machine answered the call")
            case _:
                pass

    def _on_said(self, report: link.PlayEnded) -> None:
        if report.heard_ms <= 0:
            self._end(accepted=False, code=503, reason="the briefing could not be spoken")
        elif not self._accept:
            self._end(accepted=True)
        else:
            self._deadline = self._ports.call.now() + self._timeout_s

    def digit(self, digit: str) -> None:
        """The target pressed a key."""
        if self.is_over or not self._accept:
            return
        if digit in self._accept:
            self._end(accepted=True)
        elif digit in self._decline:
            self._end(accepted=False, code=603)
        else:
            self._again()

    def heard(self, text: str) -> None:
        """The target has said `text`."""
        if self.is_over or not text.strip():
            return
        if any(matches(kind, normalised(text)) for kind in _MACHINES):
            self._end(accepted=False, code=480, reason="a machine answered the call")
            return
        answer = yes_or_no(text, self._choice.tts.language)
        if answer is not None and self._accept:
            self._end(accepted=answer, code=0 if answer else 603)

    def _again(self) -> None:
        """Repeat the text; after the last repetition the target counts as not answering."""
        if self._n_left <= 0:
            self._end(accepted=False, code=480, reason="nobody accepted the call")
            return
        self._n_left -= 1
        self._output.interrupt()
        self._say()

    def next_timeout(self) -> float | None:
        """The next deadline, in monotonic seconds."""
        return None if self.is_over else self._deadline

    def handle_timeout(self, now: float) -> None:
        """Handle due timers; does nothing at any other time."""
        if not self.is_over and self._deadline is not None and now >= self._deadline:
            self._again()

    def close(self) -> None:
        """The briefing has ended, whatever its outcome: stop speaking. May be called again."""
        if not self.is_over:
            self.is_over = True
            self._stop()

    def _end(self, *, accepted: bool, code: int = 0, reason: str = "") -> None:
        self.close()
        self._feed(Briefed(accepted, code, reason))

    def _stop(self) -> None:
        if self._task is not None:
            self._output.interrupt()
            self._task.cancel()
        if self._stream is not None:
            self._stream.hear_tones(digits=self._has_inband_digits, tones=False)
