"""Turns in any order of events: somebody always holds the turn, nothing that was said is lost or stands twice in the history, and what a
model was asked before the end of a turn has no effect before it."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.agent.test_cascade_properties import BODY, HEAD, TOOLS, Watch

from active_call.agent.cascade import CascadeConversation
from active_call.agent.effects import (
    AbandonModel,
    AgentEffect,
    AskModel,
    EmitEvent,
    Heard,
    ModelDone,
    ModelText,
    Note,
    Paused,
    Perform,
    ReplyNumber,
    RunTool,
    TurnJudged,
    TurnProposed,
)
from active_call.agent.playbook.parser import parse_playbook
from active_call.agent.tools.registry import ToolRegistry
from active_call.agent.turn.adaptive_detector import AdaptiveTurnDetector, TurnSettings
from active_call.agent.turn.phase import State
from active_call.agent.turn.turn_detector import PauseSound, TurnTaking, VendorTurn
from active_call.contract import commands, events
from searches import searching

TURNS = TurnTaking(AdaptiveTurnDetector(TurnSettings(has_judge=True)))
WORDS = st.sampled_from(["hello", "I would like to", "my number is one two", "yes", "book a table for two", "web", "no but"])
STEPS = st.one_of(
    st.builds(lambda text: ("final", text), WORDS),
    st.builds(lambda text: ("partial", text), WORDS),
    st.builds(lambda event: ("event", event), st.sampled_from([
        events.Speaking(), events.Speaking(), events.Silence(duration=300), events.Silence(duration=300), events.AsrFinal(text=""),
        events.AsrFinal(text="uh"), events.Dtmf(digit="9"), events.Hold(on_hold=True), events.Hold(on_hold=False),
        events.Transfer(state="failed", target="x"), events.Transfer(state="calling", target="x"),
        events.TrackStart(play_id="current"), events.TrackEnd(play_id="current"), events.Interruption(play_id="current", position=1),
    ])),
    st.builds(lambda turn, text: ("input", TurnProposed(turn, text, 0.7)), st.sampled_from(VendorTurn), st.sampled_from(["", "hello you"])),
    st.builds(lambda change: ("input", Paused(PauseSound(0.2, pitch_change_st=change))), st.sampled_from([None, -4.0, 0.0])),
    st.builds(lambda n, p: ("input", TurnJudged(n, p)), st.integers(1, 3), st.sampled_from([0.01, 0.99])),
    st.builds(lambda late, text: ("text", late, text), st.booleans(), st.sampled_from(["Hello. ", "I am here.", "<hangup/>"])),
    st.builds(lambda late, error: ("done", late, error), st.booleans(), st.sampled_from(["", "", "503"])),
    st.builds(lambda name: ("call", False, name), st.sampled_from(["look_up", "book"])),
    st.builds(lambda s: ("wait", False, s), st.sampled_from([0.05, 0.2, 0.6, 1.5, 4.0])),
)  # fmt: skip


class TurnWatch(Watch):
    """Marks each final text with a word of its own, and follows what becomes of it."""

    def __init__(self, dialogue: CascadeConversation) -> None:
        self.n_finals = 0
        self.index = 0
        self.told: Counter[str] = Counter()
        self.n_ignored = 0
        self.open_request: ReplyNumber | None = None
        self.done: set[ReplyNumber] = set()
        super().__init__(dialogue)

    def look(self, effects: list[AgentEffect]) -> None:
        for effect in effects:
            match effect:
                case EmitEvent(events.AddHistory(speaker="user", text=text)):
                    self.told.update(re.findall(r"z\d+", text))
                case Note("speech dropped" | "final text not used"):
                    self.n_ignored += 1
                case RunTool():
                    assert self.dialogue.state is not State.LISTENING, "a tool runs before the turn is over"
                case AskModel(reply):
                    assert self.open_request is None or self.open_request in self.done, "two requests at a time"
                    self.open_request = reply
                case AbandonModel(reply) if reply == self.open_request:
                    self.open_request = None
                case _:
                    pass
        super().look(effects)

    def take(self, step) -> None:
        match step:
            case ("final", text):
                self.n_finals += 1
                self.hear(events.AsrFinal(text=f"{text} z{self.n_finals}", index=self.index))
            case ("partial", text):
                self.hear(events.AsrDelta(text=text, index=self.index))
            case ("event", event):
                self.index += isinstance(event, events.Speaking)
                self.hear(event)
            case ("input", item):
                self.look(self.dialogue.handle(item, self.now))
            case _:
                if step[0] == "done" and not step[1]:
                    self.done.add(self.dialogue.reply)
                self.step(step)


@pytest.mark.parametrize("provider", ["openai", "script"])
@given(steps=st.lists(STEPS, max_size=40))
@searching(25)
def test_whatever_happens_every_utterance_is_answered_once_or_ignored_knowingly(provider, steps):
    playbook = parse_playbook(HEAD.format(provider=provider, interruption="{strategy: vad}") + BODY, file="p.md", environment={})
    watch = TurnWatch(CascadeConversation(playbook, {}, {}, tools=ToolRegistry(TOOLS), turns=TURNS))
    watch.step(Heard(events.MediaReady()))
    for step in steps:
        watch.take(step)
        watch.look_at_turn()
    watch.wait(300)
    watch.look_at_turn()
    assert max(watch.told.values(), default=0) <= 1, "words stand twice in the history"
    if watch.dialogue.state in (State.LISTENING, State.SPEAKING):
        assert len(watch.told) + watch.n_ignored == watch.n_finals, "words were lost"


@given(
    texts=st.lists(st.sampled_from(["Baker", "Miller", "Baker street"]), min_size=1, max_size=3), pieces=st.lists(st.booleans(), max_size=6)
)
@searching(40)
def test_an_early_answer_sounds_as_one_that_was_asked_for_at_the_end(texts, pieces):
    """The same story with and without speculation says the same, with the model's text in any relation to the end of the turn."""

    def tell(speculates: bool) -> list[str]:
        playbook = parse_playbook("---\ngreeting: Good day.\n---\nBe brief.\n", file="p.md", environment={})
        turns = TurnTaking(AdaptiveTurnDetector(), speculates=speculates)
        dialogue = CascadeConversation(playbook, {}, {}, turns=turns)
        said: list[str] = []
        asked: list[AskModel] = []
        now = 0.0

        def look(effects: list[AgentEffect]) -> None:
            for effect in effects:
                if isinstance(effect, AskModel):
                    asked.append(effect)
                command = effect.command if isinstance(effect, Perform) else None
                if isinstance(command, commands.Tts) and command.text:
                    said.append(command.text)

        def wait(seconds: float) -> None:
            nonlocal now
            end = now + seconds
            while (due := dialogue.next_timeout()) is not None and due <= end:
                now = max(now, due)
                look(dialogue.handle_timeout(now))
            now = end

        look(dialogue.start(now))
        for event in (events.MediaReady(), events.TrackStart(play_id="r1"), events.TrackEnd(play_id="r1")):
            look(dialogue.handle(Heard(event), now))
        for index, text in enumerate(texts, 1):
            look(dialogue.handle(Heard(events.Speaking()), now))
            wait(0.5)
            look(dialogue.handle(Heard(events.Silence()), now))
            look(dialogue.handle(Heard(events.AsrFinal(text=text, index=index)), now))
            wait(0.2)
        answered = 0
        for is_late in pieces:
            if is_late:
                wait(0.3)
            if asked:
                look(dialogue.handle(ModelText(asked[-1].reply, f"Word {answered}. "), now))
                answered += 1
        wait(2)
        if asked:
            for n in range(answered, 6):
                look(dialogue.handle(ModelText(asked[-1].reply, f"Word {n}. "), now))
            look(dialogue.handle(ModelDone(asked[-1].reply), now))
        return said

    assert " ".join(tell(True)) == " ".join(tell(False))
