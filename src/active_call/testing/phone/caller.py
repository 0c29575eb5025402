"""The actor of a story: takes one step after another on a `Phone`, and measures each turn from the caller's side.

Latency is measured at the caller: from its last packet of speech (or digit) leaving the phone to the first packet of the agent's
speech arriving. Barge-in: from the caller's first packet of speech leaving to the last packet of the agent's speech arriving.
"""

from __future__ import annotations

import itertools
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from active_call.testing.phone.receiver import AudioReceiver
from active_call.testing.phone.rtp import AudioSender
from active_call.testing.phone.story import DEFAULT_SILENCE_MS, Event, Story
from active_call.testing.phone.user_agent import Phone
from active_call.testing.sound import audio, listening, voice
from active_call.testing.sound.audio import Pcm
from active_call.testing.sound.listening import Judge, Recognition

if TYPE_CHECKING:
    from active_call.testing.sound.open_listening import OpenJudge

_MIN_SPEECH_PACKETS = 3
"""Fewer packets above the level are a click."""
_CUT_SILENCE_MS = 600
"""An agent that is silent for this long after an interruption has stopped: longer than the pause between two sentences."""
_REST_OF_ANSWER_S = 2.5
"""How long an unexpected answer may pause before the caller asks again."""
_POLL_S = 0.01
_RECOGNITION_TIMEOUT_S = 20.0


class Caller:
    """One story on one phone. `call`, then `summary`; close it (or use `with`) to release the phone and the judge."""

    def __init__(
        self, story: Story, *, profile: Literal["trunk", "plain"], local_ip: str, on_event: Callable[[Event], None] = lambda _event: None
    ) -> None:
        self._story = story
        self._judge = _judge_of(story)
        self._judge.warm_up()
        self._speech: dict[str, Pcm] = {text: _speak(text, story.voice) for step in story.steps for text in _texts_of(step)}
        self._phone = Phone(local_ip, profile=profile, on_event=self._on_phone_event)
        self._on_event, self._emitting = on_event, threading.Lock()
        self._mark = 0.0  # speech that arrived until here has been dealt with
        self._own_end = 0.0  # when the caller last stopped talking or pressing; 0.0 once the agent has replied
        self.failures: list[str] = []
        self.turns: list[Event] = []

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the phone and the judge."""
        self._phone.close()
        self._judge.close()

    # -- the call ------------------------------------------------------------------------------------------------------------------------

    def call(self, uri: str, *, transport: str = "", srtp: bool = False, caller: str = "+15550100", timeout_s: float = 20.0) -> None:
        """Dial, play every step until one fails, end the call."""
        self._phone.dial(uri, transport=transport, srtp=srtp, caller=caller)
        if not self._phone.wait_answered(timeout_s):
            ended = self._phone.ended
            self.failures.append(f"not answered: {ended.code} {ended.reason}" if ended else f"not answered in {timeout_s} s")
            if ended is None:
                self._phone.cancel()
                self._phone.wait_ended(5)
            return
        setup = self._phone.setup
        self._mark = self._own_end = setup.answered_at
        self._emit("answered", setup_ms=round((setup.answered_at - setup.invited_at) * 1000, 1))
        if self._phone.sender is None or self._phone.receiver is None:
            self.failures.append("answered, but without media that the phone can use")
        else:
            self._play(self._phone.sender, self._phone.receiver)
        if self._phone.state == "answered":
            self._phone.hang_up()
            self._phone.wait_ended(5)

    def _play(self, sender: AudioSender, receiver: AudioReceiver) -> None:
        for number, step in enumerate(self._story.steps):
            if self._phone.ended is not None and step["do"] not in ("expect_hangup", "listen"):
                self.failures.append(f"steps[{number}] ({step['do']}): the call had ended")
                return
            failure = self._take(step, sender, receiver)
            if failure:
                self.failures.append(f"steps[{number}] ({step['do']}): {failure}")
                return

    def _take(self, step: Mapping[str, Any], sender: AudioSender, receiver: AudioReceiver) -> str:
        """Play one step. Returns what went wrong, or an empty text."""
        match step["do"]:
            case "listen":
                return self._listen(step, receiver)
            case "say":
                self._say(step["text"], sender)
            case "ask":
                return self._ask(step, sender, receiver)
            case "press":
                sender.press(str(step["digit"]))
                sender.wait_idle(10)
                self._own_end = time.monotonic()
                self._emit("digit", text=str(step["digit"]))
            case "interrupt":
                return self._interrupt(step, sender, receiver)
            case "pause":
                self._phone.wait_ended(float(step["seconds"]))
            case "hang_up":
                self._phone.hang_up()
                self._phone.wait_ended(5)
            case "expect_hangup":
                ended = self._phone.wait_ended(float(step.get("timeout_s", 10)))
                return "" if ended and ended.by == "agent" else "the agent did not hang up"
        return ""

    def _say(self, text: str, sender: AudioSender) -> float:
        """Say it to the end. Returns when its first packet of speech left the phone."""
        asked_at = time.monotonic()
        sender.say(self._speech[text])
        sender.wait_idle(len(self._speech[text]) / audio.RATE_HZ + 5)
        voiced = sender.voiced_after(asked_at) or [asked_at]
        self._own_end = voiced[-1]
        self._emit("caller", text=text, at=voiced[0], seconds=round(voiced[-1] - voiced[0], 2))
        return voiced[0]

    def _listen(self, step: Mapping[str, Any], receiver: AudioReceiver) -> str:
        """Hear utterances until all expected lines were among them; without an expectation one utterance of any kind will do."""
        expected = [self._story.lines[name] for name in step.get("expect", ())]
        deadline = time.monotonic() + float(step.get("timeout_s", 15))
        heard: list[str] = []
        while True:
            span = self._wait_utterance(receiver, float(step.get("silence_ms", DEFAULT_SILENCE_MS)), deadline)
            if span is None:
                return f"heard {heard or 'nothing'}, expected {expected or 'speech'}"
            heard += self._agent_turn(span, receiver).sentences or ("none",)
            if _is_subsequence(expected, heard):
                return ""
            self._own_end = 0.0

    def _ask(self, step: Mapping[str, Any], sender: AudioSender, receiver: AudioReceiver) -> str:
        """Ask until the expected answer comes, each time in other words. Returns what went wrong, or an empty text."""
        heard: list[str] = []
        for text in (step["text"], *step.get("again", ())):
            if heard:
                self._emit("again", text=f"not understood ({heard[-1]}): asks again")
            self._say(text, sender)
            answer = self._answer(step, receiver)
            if answer is None:
                return ""
            heard.append(answer or "no answer")
            if self._phone.ended is not None:
                break
        return f"{step['text']!r} was answered by {heard}"

    def _answer(self, step: Mapping[str, Any], receiver: AudioReceiver) -> str | None:
        """Hear the answer to a question. `None` when it is the expected one, else what was heard."""
        expected = [self._story.lines[name] for name in step.get("expect", ())]
        deadline = time.monotonic() + float(step.get("timeout_s", 12))
        heard: list[str] = []
        words = ""
        while True:
            span = self._wait_utterance(receiver, float(step.get("silence_ms", DEFAULT_SILENCE_MS)), deadline)
            if span is None:
                return words
            recognition = self._agent_turn(span, receiver)
            heard += recognition.sentences
            words = f"{words} {recognition.words}".strip()
            if _is_subsequence(expected, heard) and (expected or len(words.split()) > 1):
                return None
            self._own_end = 0.0
            self.turns[-1].pop("decoy", None)  # not a fault of the story: it asks again
            deadline = min(deadline, time.monotonic() + _REST_OF_ANSWER_S)

    def _wait_speech(self, receiver: AudioReceiver, deadline: float) -> float | None:
        """When the first packet of the next speech arrived; None if the time or the call is over."""
        while True:
            voiced = receiver.voiced_at
            first = bisect_right(voiced, self._mark)
            if len(voiced) - first >= _MIN_SPEECH_PACKETS:
                return voiced[first]
            if time.monotonic() > deadline or self._phone.ended is not None:
                return None
            time.sleep(_POLL_S)

    def _wait_utterance(self, receiver: AudioReceiver, silence_ms: float, deadline: float) -> tuple[float, float] | None:
        """When the first and the last packet of the next utterance arrived."""
        start = self._wait_speech(receiver, deadline)
        if start is None:
            return None
        while (
            time.monotonic() - receiver.voiced_at[-1] < silence_ms / 1000 and self._phone.ended is None and time.monotonic() < deadline + 60
        ):
            time.sleep(_POLL_S)
        return start, receiver.voiced_at[-1]

    def _agent_turn(self, span: tuple[float, float], receiver: AudioReceiver, *, cut: bool = False) -> Recognition:
        """Recognise and report what was heard between two moments."""
        start, end = span
        self._mark = end
        pcm = receiver.timeline(self._phone.epoch)
        first, last = (round((at - self._phone.epoch) * audio.RATE_HZ) for at in (start, end))
        pcm = pcm[max(first - 1600, 0) : last + 1600]
        recognition = self._judge.submit(pcm).result(_RECOGNITION_TIMEOUT_S)
        if cut and not recognition.sentences:
            recognition = self._judge.submit(pcm, incomplete=True).result(_RECOGNITION_TIMEOUT_S)
        details: Event = {"seconds": round(end - start, 2), "score": recognition.coverage}
        if self._own_end:
            details["latency_ms"] = round((start - self._own_end) * 1000, 1)
        if recognition.is_decoy:
            details["decoy"] = True
        if cut or not recognition.sentences or self._story.listening == "open":
            details["words"] = recognition.words
        if cut:
            details["complete"] = len(recognition.words.split()) == len(listening.words_of(recognition.text))
        self._own_end = 0.0
        self._emit("agent", text=recognition.text, at=start, **details)
        return recognition

    def _interrupt(self, step: Mapping[str, Any], sender: AudioSender, receiver: AudioReceiver) -> str:
        started = self._wait_speech(receiver, time.monotonic() + float(step.get("timeout_s", 15)))
        if started is None:
            return "the agent said nothing that could be interrupted"
        self._phone.wait_ended(max(0.0, started + float(step.get("after_s", 1.0)) - time.monotonic()))
        spoke_before = receiver.voiced_at[-1] > time.monotonic() - 0.5
        own_start = self._say(step["text"], sender)
        own_end = self._own_end
        silent_at = self._silent_since(receiver, own_start)
        has_cut = spoke_before and (silent_at > own_start or not step.get("or_after"))
        self._own_end = 0.0
        self._agent_turn((started, silent_at), receiver, cut=has_cut)
        self._own_end = own_end
        if not has_cut:
            return "" if step.get("or_after") else "the agent had stopped before it was interrupted"
        barge_in_ms = round((silent_at - own_start) * 1000, 1)
        self._emit("interruption", text=step["text"], at=own_start, barge_in_ms=barge_in_ms)
        return ""

    def _silent_since(self, receiver: AudioReceiver, after: float) -> float:
        """The arrival of the last packet of speech before the agent's first silence of `_CUT_SILENCE_MS` after a moment."""
        while True:
            voiced = receiver.voiced_at[max(bisect_right(receiver.voiced_at, after) - 1, 0) :]
            for one, following in itertools.pairwise(voiced):
                if following - one > _CUT_SILENCE_MS / 1000:
                    return one
            if time.monotonic() - voiced[-1] > _CUT_SILENCE_MS / 1000 or self._phone.ended is not None:
                return voiced[-1]
            time.sleep(_POLL_S)

    # -- what is told --------------------------------------------------------------------------------------------------------------------

    def _on_phone_event(self, kind: str, text: str) -> None:
        self._emit(kind, text=text)

    def _emit(self, kind: str, *, text: str = "", at: float = 0.0, **details: Any) -> None:
        event: Event = {"at": round((at or time.monotonic()) - self._phone.epoch, 3), "kind": kind, "text": text, **details}
        with self._emitting:
            if kind in ("agent", "caller", "digit", "interruption", "again"):
                self.turns.append(event)
            self._on_event(event)

    def summary(self, folder: Path) -> Event:
        """The whole call in one object; writes the stereo recording."""
        phone = self._phone
        recording = folder / "call.wav"
        heard = phone.heard
        audio.write_wav(recording, phone.said, heard)
        latencies = [turn["latency_ms"] for turn in self.turns if "latency_ms" in turn]
        failures = self.failures + self._unmet()
        setup = phone.setup
        return {
            "kind": "summary",
            "success": not failures,
            "failures": failures,
            "turns": self.turns,
            "latency_ms": {"worst": max(latencies), "median": float(np.median(latencies))} if latencies else {},
            "setup_ms": {
                name: round((at - setup.invited_at) * 1000, 1)
                for name, at in (
                    ("first_response", setup.first_response_at),
                    ("ringing", setup.ringing_at),
                    ("answered", setup.answered_at),
                )
                if at
            },
            "ended": {"by": phone.ended.by, "code": phone.ended.code, "reason": phone.ended.reason} if phone.ended else None,
            "violations": phone.violations,
            "remarks": phone.remarks,
            "audio": phone.receiver.figures().as_dict() if phone.receiver else {},
            "digits_heard": list(phone.receiver.digits) if phone.receiver else [],
            "agent_utterances": len(listening.utterances(heard)),
            "own_lateness_ms": round(float(np.percentile(phone.sender.late_ms or [0.0], 99)), 2) if phone.sender else None,
            "recording": str(recording),
        }

    def _unmet(self) -> list[str]:
        """The requirements of the story for the whole call that were not met."""
        wanted, phone = self._story.success, self._phone
        unmet = []
        if len(phone.violations) > wanted.max_violations:
            unmet.append(f"{len(phone.violations)} violations")
        for key, limit in (("latency_ms", wanted.max_latency_ms), ("barge_in_ms", wanted.max_barge_in_ms)):
            worst = max((turn[key] for turn in self.turns if key in turn), default=0.0)
            if limit is not None and worst > limit:
                unmet.append(f"{key} {worst} over {limit}")
        if any(turn.get("decoy") for turn in self.turns):
            unmet.append("a decoy was heard")
        if wanted.ended_by is not None and (phone.ended is None or phone.ended.by != wanted.ended_by):
            unmet.append(f"ended by {phone.ended.by if phone.ended else 'nobody'}, expected {wanted.ended_by}")
        return unmet


def _judge_of(story: Story) -> Judge | OpenJudge:
    if story.listening == "grammar":
        return Judge(tuple(story.lines.values()), tuple(story.decoys))
    from active_call.testing.sound.open_listening import OpenJudge

    return OpenJudge(tuple(story.lines.values()), tuple(story.decoys))


def _texts_of(step: Mapping[str, Any]) -> tuple[str, ...]:
    """What the caller may say in a step."""
    return (step["text"], *step.get("again", ())) if step["do"] in ("say", "ask", "interrupt") else ()


def _speak(text: str, name: str) -> Pcm:
    if not name.startswith("piper:"):
        return voice.speak(text, name)
    from active_call.testing.sound import natural_voice  # it uses code that is judged elsewhere, so it is loaded only for such a story

    try:
        return audio.normalise(natural_voice.speak(text, name))
    except (LookupError, ImportError) as error:
        raise voice.VoiceError(str(error)) from error


def _is_subsequence(wanted: list[str], heard: list[str]) -> bool:
    remaining = iter(heard)
    return all(one in remaining for one in wanted)
