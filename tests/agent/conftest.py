"""A call in virtual time around a dialogue: plays what it is told to at three words a second, and tells the dialogue what was heard."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from active_call.agent.cascade import CascadeConversation
from active_call.agent.effects import (
    AgentEffect,
    AgentInput,
    AskModel,
    EmitEvent,
    ExpectPhrases,
    Heard,
    ModelDone,
    ModelText,
    Note,
    PauseRefused,
    PauseReply,
    Perform,
    ResumeReply,
    SendHttp,
)
from active_call.agent.playbook.parser import parse_playbook
from active_call.agent.tools.registry import Tool, ToolRegistry
from active_call.agent.turn.turn_detector import TurnTaking
from active_call.contract import commands, events

WORD_S = 1 / 3
FILE_S = 5.0


@dataclass
class Track:
    play_id: str
    words: list[str] = field(default_factory=list)
    started_at: float | None = None
    is_closed: bool = False
    is_file: bool = False

    def ends_at(self) -> float | None:
        if self.started_at is None or not self.is_closed:
            return None
        return self.started_at + (FILE_S if self.is_file else len(self.words) * WORD_S)


class VirtualCall:
    """What stands between a dialogue and a caller."""

    def __init__(self, dialogue: CascadeConversation, *, settles: bool = True) -> None:
        self.dialogue = dialogue
        self.now = 100.0
        self.settles = settles
        self.track: Track | None = None
        self.is_paused = False
        self.overlapped_at: float | None = None
        """Since when the reply stands still, since the caller speaks over it."""
        self.is_slow = False
        self.effects: list[AgentEffect] = []
        self.heard: list[str] = []
        """What the caller has heard: texts of finished tracks, cut ones with a dash at the end."""
        self._todo: deque[AgentEffect] = deque()
        self._is_busy = False
        self._do(dialogue.start(self.now))

    # -- what the caller and the model do

    def hear(self, event: events.Event) -> None:
        if isinstance(event, events.Hold):
            self.is_paused = event.on_hold  # as the call freezes what plays
        self.give(Heard(event))

    def give(self, item: AgentInput) -> None:
        self._do(self.dialogue.handle(item, self.now))

    def ready(self) -> None:
        self.hear(events.MediaReady())

    def say(self, text: str) -> None:
        """The caller speaks, and a recogniser understands."""
        self.hear(events.Speaking())
        self.wait(0.5)
        self.hear(events.Silence(duration=500))
        self.wait(0.1)
        self.hear(events.AsrFinal(text=text))

    def press(self, digit: str) -> None:
        self.hear(events.Dtmf(digit=digit))

    def model(self, *pieces: str, done: bool = True, error: str = "") -> None:
        """The model answers the latest question."""
        reply = self.asked[-1].reply
        for piece in pieces:
            self.give(ModelText(reply, piece))
        if done:
            self.give(ModelDone(reply, error))

    def wait(self, seconds: float) -> None:
        """Let time pass, with everything that happens in it, in order."""
        end = self.now + seconds
        for _ in range(10_000):
            times = [t for t in (self._track_end(), self.dialogue.next_timeout()) if t is not None and t <= end]
            if not times:
                self.now = end
                return
            self.now = max(self.now, min(times))
            if self._track_end() == min(times):
                self._end_track()
            else:
                self._do(self.dialogue.handle_timeout(self.now))
        raise AssertionError("time does not pass: a timer is set again and again")

    # -- what can be looked at

    def commands_of(self, cls: type[Any]) -> list[Any]:
        return [effect.command for effect in self.effects if isinstance(effect, Perform) and isinstance(effect.command, cls)]

    def effects_of(self, cls: type[Any]) -> list[Any]:
        return [effect for effect in self.effects if isinstance(effect, cls)]

    @property
    def spoken(self) -> list[str]:
        """The texts given to the synthesiser."""
        return [command.text for command in self.commands_of(commands.Tts) if command.text]

    @property
    def asked(self) -> list[AskModel]:
        return self.effects_of(AskModel)

    @property
    def hangups(self) -> list[commands.Hangup]:
        return self.commands_of(commands.Hangup)

    @property
    def transcript(self) -> list[tuple[str, str]]:
        told = [effect.event for effect in self.effects_of(EmitEvent) if isinstance(effect.event, events.AddHistory)]
        return [(line.speaker, line.text) for line in told]

    @property
    def notes(self) -> list[str]:
        return [note.message for note in self.effects_of(Note)]

    @property
    def phrases(self) -> tuple[str, ...]:
        return self.effects_of(ExpectPhrases)[-1].phrases

    @property
    def http(self) -> list[SendHttp]:
        return self.effects_of(SendHttp)

    # -- the media plane

    def _do(self, effects: list[AgentEffect]) -> None:
        self._todo.extend(effects)
        if self._is_busy:
            return
        self._is_busy = True
        while self._todo:
            effect = self._todo.popleft()
            self.effects.append(effect)
            if isinstance(effect, Perform):
                self._perform(effect.command)
            elif isinstance(effect, PauseReply):
                self._pause(effect)
            elif isinstance(effect, ResumeReply):
                self._resume()
        self._is_busy = False

    def _perform(self, command: commands.Command) -> None:
        match command:
            case commands.Tts():
                self._play(command.play_id or "", command.text.split(), closes=command.end_of_stream or not command.streaming)
            case commands.Play():
                self._play(command.url, [], closes=True, is_file=True)
            case commands.Interrupt():
                self._interrupt()
            case _:
                pass

    def _play(self, play_id: str, words: list[str], *, closes: bool, is_file: bool = False) -> None:
        assert self.track is None or self.track.play_id == play_id, "two replies speak at once"
        if self.track is None:
            self.track = Track(play_id, is_file=is_file)
        self.track.words += words
        self.track.is_closed = self.track.is_closed or closes
        if self.track.started_at is None and (words or is_file) and not self.is_slow:
            self.track.started_at = self.now
            self.hear(events.TrackStart(play_id=play_id))

    def _pause(self, order: PauseReply) -> None:
        ends_at = self.track.ends_at() if self.track is not None else None
        if ends_at is not None and ends_at - self.now < order.unless_left_ms / 1000:
            self.give(PauseRefused())
        else:
            self.overlapped_at = self.now

    def _resume(self) -> None:
        if self.overlapped_at is not None and self.track is not None and self.track.started_at is not None:
            self.track.started_at += self.now - max(self.overlapped_at, self.track.started_at)
        self.overlapped_at = None

    def _interrupt(self) -> None:
        track, self.track = self.track, None
        if track is None:
            return
        heard_until = self.now if self.overlapped_at is None else self.overlapped_at
        n_words = 0 if track.started_at is None else max(0, min(len(track.words), int((heard_until - track.started_at) / WORD_S)))
        subtitle = " ".join(track.words[:n_words])
        self.heard.append(f"{subtitle} -")
        if self.settles:
            self.hear(events.Interruption(play_id=track.play_id, subtitle=subtitle, position=n_words))

    def _track_end(self) -> float | None:
        return None if self.track is None or self.is_paused or self.overlapped_at is not None else self.track.ends_at()

    def _end_track(self) -> None:
        track, self.track = self.track, None
        assert track is not None
        self.heard.append(" ".join(track.words) or track.play_id)
        self.hear(events.TrackEnd(play_id=track.play_id))


@pytest.fixture
def start() -> Callable[..., VirtualCall]:
    """Start a call under a playbook given as text."""

    def begin(
        text: str,
        *,
        variables: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        ready: bool = True,
        tools: tuple[Tool, ...] = (),
        turns: TurnTaking | None = None,
    ) -> VirtualCall:
        playbook = parse_playbook(text, file="test.md", environment={})
        call = VirtualCall(CascadeConversation(playbook, variables or {}, headers or {}, tools=ToolRegistry(tools), turns=turns))
        if ready:
            call.ready()
        return call

    return begin
