"""Collect input of the caller: ask, take keys and words, validate, ask again, and pass the value on.

In: the `<collect/>` of a reply, keys, texts, times. Out: prompts, the variable, and the message for the model or the rest of the script.
While a collector is active, the caller's voice and keys are only input: they take no turn, and the scene's DTMF actions are off. A key
stops the prompt; words stop it if they are input. A secret value is masked in the history, the transcript, the events and the log of the
call, and is not recorded. The variable contains it.

Words that are no input, when the question has been heard:

| the caller                          | then                                                                                        |
|-------------------------------------|---------------------------------------------------------------------------------------------|
| asks to repeat                      | the question is repeated, at most `MAX_REMINDERS` times                                     |
| asks for time ("one moment")        | nothing; the timeout is at least `PATIENCE_S`                                               |
| says anything else, `interruptible` | the collector ends, and the words are answered as a turn                                    |
| says anything else                  | the question is repeated; after `MAX_REMINDERS` the collector ends without a value          |
| only back-channels, or too often in a collector of keys | nothing                                                                 |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from active_call.agent.collect.collector import Collector, Entered, More, NotMeant, Outcome, Refused
from active_call.agent.collect.kinds import DIGIT_KINDS, TEXT_KINDS
from active_call.agent.effects import MaskInput
from active_call.agent.items import UserItem
from active_call.agent.outbox import Outbox
from active_call.agent.playbook.scenes import CollectorOption
from active_call.agent.playbook_context import PlaybookContext
from active_call.agent.reply.steps import Step
from active_call.agent.reply.tags import CollectTag
from active_call.agent.turn.backchannels import Kind, backchannels
from active_call.agent.turn.timers import Timer, Timers
from active_call.agent.turn.turn_words import spoken_words, turn_words
from active_call.contract import commands

TEXT_OPTION = CollectorOption(input="speech", timeout=20)
PLAIN_OPTION = CollectorOption(finish_key="#", min_digits=1)
MAX_REMINDERS = 2
"""How often the question is repeated because the caller says something else."""
PATIENCE_S = 30.0
"""The least timeout after the caller has asked for time."""
MORE_DIGITS_S = 1.0
"""How long the caller may pause before adding to spoken digits that may be all."""


class CollectPort(Protocol):
    """What a collector needs from its conversation."""

    def ask_again(self, text: str, now: float) -> None:
        """Say `text` as a separate reply."""
        ...

    def cut(self, now: float) -> None:
        """Stop the agent's speech because the caller enters something."""
        ...

    def go_on(self, rest: tuple[Step, ...], told: str, now: float, *, by_caller: bool) -> None:
        """The collector has finished: a script says `rest`, a model gets `told`. `by_caller`: as the caller's turn."""
        ...

    def leave(self, text: str, now: float) -> None:
        """The caller has said something else: answer it as a normal turn."""
        ...


@dataclass(slots=True)
class _Current:
    """The state of the active collector."""

    name: str
    variable: str
    prompt: str
    option: CollectorOption
    collector: Collector
    rest: tuple[Step, ...]
    n_left: int
    n_reminders: int = 0


class Collecting:
    """The collectors of one conversation."""

    def __init__(
        self, context: PlaybookContext, timers: Timers, outbox: Outbox, port: CollectPort, language: Callable[[], str | None]
    ) -> None:
        self._language = language
        self._context = context
        self._timers = timers
        self._outbox = outbox
        self._port = port
        self._current: _Current | None = None
        self._is_speaking = False
        """The caller's voice is heard."""

    @property
    def is_active(self) -> bool:
        """Whether the caller's keys and words are collected."""
        return self._current is not None

    @property
    def takes_turn(self) -> bool:
        """Whether the whole next turn of the caller is the value."""
        return self._current is not None and self._current.collector.is_text

    def begin(self, tag: CollectTag, rest: tuple[Step, ...]) -> str | None:
        """Start to collect. Returns the prompt, or None if the collector is unknown. `rest` is said when it has finished."""
        kind = tag.type.strip()
        is_text = kind.lower() in TEXT_KINDS
        known = self._context.playbook.dtmf_collectors
        option = known.get(kind) or (TEXT_OPTION if is_text else PLAIN_OPTION if kind.lower() in DIGIT_KINDS else None)
        if option is None:
            self._outbox.note("collect dropped", type=kind, reason=f"the playbook's collectors are: {', '.join(known) or 'none'}")
            return None
        self.cancel()
        prompt = tag.prompt or self._context.fill(option.prompt) or self._context.wording.enter.format(what=option.description or kind)
        collector = Collector(option, is_text=is_text and kind not in known)
        self._current = _Current(kind, tag.var or kind, prompt, option, collector, rest, option.retry_times)
        if option.secret:
            self._outbox.put(MaskInput(True))
        return prompt

    def cancel(self) -> None:
        """Stop collecting without a result."""
        self._end()

    # -- inputs

    def on_asked(self, now: float) -> None:
        """The prompt was played: start the timeout."""
        current = self._current
        if current is not None:
            self._timers.clear(Timer.FOLLOWUP, Timer.QUIET)
            self._wait(current, now)

    def on_voice(self, now: float) -> None:
        """The caller speaks: restart the timeout."""
        self._is_speaking = True
        if self._timers.is_set(Timer.COLLECT) and self._current is not None:
            self._timers.set(Timer.COLLECT, now + self._current.option.timeout)

    def on_silence(self) -> None:
        """The caller's voice ends."""
        self._is_speaking = False

    def on_key(self, key: str, now: float) -> None:
        """The caller has pressed a key."""
        if self._current is not None:
            self._port.cut(now)
            self._take(self._current, self._current.collector.press(key), now)

    def on_words(self, text: str, now: float) -> None:
        """The caller has said something, and may be speaking again."""
        current, goes_on = self._current, self._is_speaking
        if current is None:
            return
        is_input = bool(text) and not (current.collector.is_text and self._is_about_the_question(text))
        outcome = current.collector.say(text, goes_on=goes_on) if is_input else NotMeant()
        if not isinstance(outcome, NotMeant):
            self._port.cut(now)
            self._take(current, outcome, now)
            if isinstance(outcome, More) and current.collector.is_enough and not goes_on:
                self._timers.set(Timer.COLLECT, now + min(MORE_DIGITS_S, current.option.inter_digit_timeout))
        elif current.collector.is_enough:
            self._take(current, current.collector.stop(), now)  # what follows the number neither adds to it nor corrects it
        elif text:
            self._on_other_words(current, text, now)

    def _is_about_the_question(self, text: str) -> bool:
        """Whether the caller asks to repeat it, or for time."""
        words = turn_words(self._language())
        return words.asks_to_repeat(text) or words.asks_for_time(spoken_words(text))

    def on_lost(self, now: float) -> None:
        """The recogniser lost an utterance: ask again."""
        if self._current is not None and self._timers.is_set(Timer.COLLECT):
            self._remind(self._current, now)

    def _on_other_words(self, current: _Current, text: str, now: float) -> None:
        """Words that are no input, see the table above."""
        was_heard = self._timers.is_set(Timer.COLLECT)
        words, language = turn_words(self._language()), self._language()
        if words.asks_for_time(spoken_words(text)):
            if was_heard:
                self._timers.set(Timer.COLLECT, now + max(PATIENCE_S, current.option.timeout))
        elif words.asks_to_repeat(text) and was_heard and current.n_reminders < MAX_REMINDERS:
            self._remind(current, now)
        elif current.option.interruptible:
            self._end()
            self._port.cut(now)
            self._port.leave(text, now)
        else:
            self._outbox.note("speech is not accepted as input", collector=current.name)
            if was_heard and backchannels(language).read(text).kind in (Kind.WORDS, Kind.STOP):
                if not current.option.secret:
                    self._outbox.add(UserItem(text))
                self._remind(current, now)

    def _remind(self, current: _Current, now: float) -> None:
        """Repeat the question. After `MAX_REMINDERS` the caller does not want to enter anything, unless only keys count."""
        current.n_reminders += 1
        if current.n_reminders <= MAX_REMINDERS:
            self._timers.clear(Timer.COLLECT)
            self._port.ask_again(current.prompt, now)
        elif current.option.input != "dtmf":
            self._give_up(current, now)

    def on_time(self, now: float) -> None:
        """The timeout has expired."""
        current = self._current
        if current is not None and current.collector.has_begun:
            self._take(current, current.collector.stop(), now)
        elif current is not None:
            self._ask_again(current, "", now)

    # -- outcomes

    def _take(self, current: _Current, outcome: Outcome, now: float) -> None:
        match outcome:
            case Entered(value):
                self._end()
                self._keep(current, value)
                shown = "*" * len(value) if current.option.secret else value
                self._port.go_on(current.rest, self._context.wording.entered.format(what=current.name, value=shown), now, by_caller=True)
            case Refused(reason):
                self._refuse(current, reason, now)
            case More() | NotMeant():
                self._wait(current, now)

    def _refuse(self, current: _Current, reason: str, now: float) -> None:
        current.collector.begin_again()
        self._ask_again(current, self._context.fill(reason) or self._context.wording.enter_again, now)

    def _ask_again(self, current: _Current, why: str, now: float) -> None:
        """Ask once more, while attempts are left. `why`: what was wrong with the value; empty: nothing was entered."""
        current.n_left -= 1
        if current.n_left >= 0:
            self._timers.clear(Timer.COLLECT)
            self._port.ask_again(f"{why} {current.prompt}".strip(), now)
            return
        self._give_up(current, now)

    def _give_up(self, current: _Current, now: float) -> None:
        """End without a value."""
        self._end()
        self._keep(current, "")
        self._outbox.note("nothing was entered", collector=current.name, attempts=current.option.retry_times - max(0, current.n_left) + 1)
        self._port.go_on(current.rest, self._context.wording.not_entered.format(what=current.name), now, by_caller=False)

    def _keep(self, current: _Current, value: str) -> None:
        self._context.set_variable(current.variable, value)
        if current.option.secret:
            self._context.secrets.add(current.variable)
        else:
            self._outbox.perform(commands.SetVar(key=current.variable, value=value))

    def _wait(self, current: _Current, now: float) -> None:
        seconds = current.option.inter_digit_timeout if current.collector.has_begun else current.option.timeout
        self._timers.set(Timer.COLLECT, now + seconds)

    def _end(self) -> None:
        current, self._current = self._current, None
        self._timers.clear(Timer.COLLECT)
        if current is not None and current.option.secret:
            self._outbox.put(MaskInput(False))
