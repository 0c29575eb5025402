"""The caller's turn, from the first sound to its answer.

In: events of the voice detector and the recogniser. Out: the turn is answered (by a model or a script), a reply stopped by noise is
resumed, or asked for again. `floor` has the holder of the turn; `barge_in` stops the agent's
reply.
"""

from __future__ import annotations

from collections.abc import Callable

from active_call.agent.effects import FinalForAgent, TurnDecided
from active_call.agent.items import AgentItem, UserItem, is_pressed
from active_call.agent.outbox import Outbox
from active_call.agent.playbook_context import PlaybookContext
from active_call.agent.reply.replies import Replies
from active_call.agent.reply.scripted import plain_words
from active_call.agent.reply.steps import count_words
from active_call.agent.turn.backchannels import Kind, backchannels
from active_call.agent.turn.barge_in import BargeIn
from active_call.agent.turn.caller_silence import CallerSilence
from active_call.agent.turn.dead_air import DeadAir
from active_call.agent.turn.end_of_turn import EndOfTurnWatch
from active_call.agent.turn.expectation import NOTHING_EXPECTED, expected_after
from active_call.agent.turn.floor import Floor
from active_call.agent.turn.overlap import FALSE_START_S
from active_call.agent.turn.overlap_words import Alternatives
from active_call.agent.turn.phase import Phase, State
from active_call.agent.turn.timers import Timer, Timers
from active_call.agent.turn.turn_detector import PauseSound, TurnTaking, VendorTurn
from active_call.agent.turn.turn_words import spoken_words, turn_words
from active_call.contract.events import AsrFinal

MAX_NOT_UNDERSTOOD = 3
"""Maximum number of consecutive answers to sounds without words, so that a noisy line does not make the agent talk forever."""
FALSE_END_S = 1.0
"""If the caller continues this soon after the end of a turn, before the reply is audible, it was a false end."""
NOT_AN_ANSWER_WORDS = 2
"""A reply interrupted after at most this many words is not an answer: the caller's next words belong to the same turn."""
SENTENCE_S = 0.6
"""Speech of one or two words without any recognised text: ask again, because the recogniser is stuck."""
COUGH_S = 0.7
"""A shorter sound without words, when nothing in particular was asked, was no attempt to speak: a cough, a door."""
MAX_FINALS = 10
"""How many final texts of one turn can be replaced by that of the utterances together."""


def whole_of(event: AsrFinal) -> tuple[int, str] | None:
    """The index of the first utterance and the text of several that were recognised together; None if the event has none."""
    return (event.whole_from, event.whole_text) if isinstance(event, FinalForAgent) and event.whole_from is not None else None


def alternatives_of(event: AsrFinal) -> Alternatives:
    """The short replies that are nearly as likely as the text; None if it is not known."""
    return event.alternatives if isinstance(event, FinalForAgent) else None


class CallerTurn:
    """What the caller has said that is not answered yet."""

    def __init__(
        self,
        context: PlaybookContext,
        phase: Phase,
        timers: Timers,
        floor: Floor,
        replies: Replies,
        barge_in: BargeIn,
        outbox: Outbox,
        turns: TurnTaking,
        dead_air: DeadAir,
    ) -> None:
        self._waiting: list[tuple[str, int]] = []
        """Texts of an open turn, or texts that wait for the report of how much of the cut reply was heard; with their time in Unix ms, 0
        for now."""
        self._finals: list[tuple[int, str]] = []
        """The last final texts with the index of the utterance with which each begins."""
        self._unanswered: list[str] = []
        """What the caller said without hearing an answer to it."""
        self._n_not_understood = 0
        self.silence = CallerSilence(context, phase, timers, floor, replies)
        self._context = context
        self._phase = phase
        self._timers = timers
        self._floor = floor
        self._replies = replies
        self._barge_in = barge_in
        self._outbox = outbox
        self._dead_air = dead_air
        self._watch = EndOfTurnWatch(floor, replies, outbox, speculates=turns.speculates)
        self._language = turns.language
        self._partial_index = 0
        self._taken_index: int | None = None
        """The utterance whose partial text has ended the turn: its final text is too late."""
        self._ended_at: float | None = None
        """When the last turn ended, until the caller speaks again."""
        self._is_unclear = False
        """No words were recognised in the caller's speech; the caller may continue."""
        self.collects: Callable[[str, float], bool] = lambda text, now: False
        """Takes the words of a turn as input that is being collected. False: they are to be answered."""

    # -- events of the voice detector and the recogniser

    def on_voice(self, now: float, *, is_filler: bool, spoken_s: float = 0.0) -> None:
        """The caller's voice begins, reported after `spoken_s` of it."""
        self._timers.clear(Timer.FOLLOWUP, Timer.QUIET)
        self._watch.voice_began()
        self._is_unclear = False
        self._note_outcome(now)
        language = self._spoken_language
        expected = None if self._waiting else expected_after(self._last_words(), language)
        may_claim = self._phase.state in (State.LISTENING, State.THINKING)
        self._floor.voice_began(now, may_claim=may_claim, expected=expected, language=language)
        self._barge_in.on_voice(now, is_filler=is_filler, spoken_s=spoken_s)

    def on_silence(self, now: float, ended_at: float | None = None) -> None:
        """The caller's voice ends. The last voiced packet arrived at `ended_at`, if known."""
        self._floor.voice_ended(now if ended_at is None else min(now, ended_at))
        self._barge_in.on_silence(now)
        if not self._floor.is_claimed:
            self.silence.begin(now)
        else:
            self._consider(now)

    def on_utterance_ended(self, now: float) -> None:
        """The recogniser was asked to finalise, by the agent or by the call's own timer."""
        if not self._floor.is_caller_speaking and self._floor.facts.final_at is None:
            self._floor.text_asked(now)
            self._reconsider(now)

    def on_partial(self, text: str, now: float, index: int = 0, confidence: float | None = None) -> None:
        """A partial text. `confidence`: 0 to 1, if the recogniser reports one."""
        if index == self._taken_index:
            return  # a partial of this utterance has ended the turn
        if self._barge_in.rules.is_sure_word(text):
            self._partial_index = index
            self._floor.known(self._context.is_whole_phrase(self._said_with(text)))
            self._floor.partial(text, now, confidence)
            self._watch.heard(self._said())
            self._watch.follow(self._said(), now)
        self._barge_in.on_partial_words(text, now, confidence)

    def on_paused(self, sound: PauseSound, now: float) -> None:
        """The media process reports the prosody of a pause."""
        self._floor.paused(sound, now)
        self._reconsider(now)

    def on_proposed(self, turn: VendorTurn, text: str, confidence: float | None, now: float) -> None:
        """The recogniser's own turn detector reports a proposal."""
        self._floor.proposed(turn, confidence)
        if turn is VendorTurn.RESUMED:
            self._watch.give_up("the caller goes on, says the recogniser")
        if text and self._barge_in.rules.is_sure_word(text) and self._floor.facts.final_at is None:
            self._floor.partial(text, now)
        self._reconsider(now)

    def on_judged(self, question: int, probability: float, now: float) -> None:
        """The audio turn model has answered."""
        if self._watch.is_current(question):
            self._floor.judged(probability)
            self._reconsider(now)

    def on_final(
        self,
        text: str,
        now: float,
        index: int = 0,
        confidence: float | None = None,
        whole: tuple[int, str] | None = None,
        alternatives: Alternatives = None,
    ) -> None:
        """A final text. `confidence`: 0 to 1, if the recogniser reports one. `whole`, `alternatives`: see `whole_of`, `alternatives_of`."""
        if index == self._taken_index:
            self._taken_index = None
            self._outbox.note("final text not used", reason="the turn has ended with the partial text")
            return
        self._floor.known(self._context.is_whole_phrase(self._said_with(text)))
        self._floor.final(text, now, confidence)
        if self._phase.state in (State.IDLE, State.PAUSED, State.AWAY):
            if text:
                self._outbox.note("speech dropped", reason=str(self._phase.state))
        elif not self._barge_in.rules.is_answer(text):
            self._on_noise(text, now)
        else:
            self._on_words(text, now, confidence, index, whole, alternatives)

    def on_lost(self, now: float) -> None:
        """The recogniser lost an utterance that may have contained words: ask the caller to repeat it."""
        self._floor.final("", now)
        if self._phase.state in (State.IDLE, State.PAUSED, State.AWAY):
            self._outbox.note("speech lost", reason=str(self._phase.state))
        elif self._waiting or not (self._barge_in.is_undecided or self._phase.state is State.LISTENING):
            self._outbox.note("speech lost", reason="an answer is under way")
            if self._floor.is_claimed:
                self.on_nothing_more(now)
        else:
            self.took_part()
            self._barge_in.forget()
            self._floor.yield_after_words(now)
            self._replies.say(self._context.wording.not_heard, now)

    def _on_words(
        self,
        text: str,
        now: float,
        confidence: float | None,
        index: int,
        whole: tuple[int, str] | None,
        alternatives: Alternatives,
    ) -> None:
        if self._phase.state is State.SPEAKING:
            text = self._barge_in.likelier_text(text, alternatives)
            if not self._barge_in.takes_turn(text, now, confidence, alternatives):
                return
        self.took_part()
        if self._phase.state is State.ENDING:
            self._outbox.add(UserItem(text))
            return
        if self._phase.state is State.SPEAKING:
            if not (self._barge_in.is_overlapping or self._barge_in.may_cut_by_words(now)):
                self._outbox.add(UserItem(text))
                self._outbox.note("speech not answered", reason="the reply is not to be interrupted")
                return
            self._barge_in.cut(now)
        self._wait_with(text, index, whole)
        self._watch.heard(self._said())
        if self._floor.yield_after_words(now):
            self._end_turn(now)
        elif self._floor.is_caller_speaking:
            self._watch.prepare(self._said(), now)  # the voice continues after the words: a noisy line, or more to come
        else:
            self._watch.follow(self._said(), now)

    def _wait_with(self, text: str, index: int, whole: tuple[int, str] | None) -> None:
        """Add a final text to the turn. `whole` replaces it and the texts before it, if they are all still in the turn."""
        if whole is not None:
            since, together = whole
            before = [earlier for at, earlier in self._finals if at >= since]
            tail = self._waiting[-len(before) :] if before else []
            if any(at == since for at, _ in self._finals) and tail == [(earlier, 0) for earlier in before]:
                del self._waiting[-len(before) :]
                self._finals = [final for final in self._finals if final[0] < since]
                text, index = together, since
        self._waiting.append((text, 0))
        self._finals = [*self._finals, (index, text)][-MAX_FINALS:]

    def _on_noise(self, text: str, now: float) -> None:
        """A sound without words."""
        if self._waiting and self._floor.is_claimed:
            self._consider(now)  # a noise within a turn that continues
        elif self._barge_in.is_undecided:
            self._barge_in.want_resume(now)
        elif self._phase.state is State.LISTENING and not self._waiting:
            self._watch.give_up("there were no words")
            if not text and self._floor.is_claimed and not self._floor.is_caller_speaking and not self._floor.is_over(now):
                self._is_unclear = True  # the agent asks again if the caller does not continue
                return
            self._floor.release()
            self._on_not_understood(text, now)
        elif self._floor.is_claimed:
            self.on_nothing_more(now)

    def _on_not_understood(self, text: str, now: float) -> None:
        self._n_not_understood += 1
        if text or self._n_not_understood > MAX_NOT_UNDERSTOOD:  # a filler, or a noisy line
            self._outbox.note("sound without words not answered", in_a_row=self._n_not_understood)
            self._replies.pump(now)
            self.silence.begin(now)
            return
        self._replies.say(self._context.wording.not_understood if self._context.has_model else self._context.fallback(), now)

    def _on_unheard(self, now: float) -> None:
        """The caller has said a sentence that the recogniser did not report. A script must not answer it with a fallback."""
        self._n_not_understood += 1
        if self._n_not_understood > MAX_NOT_UNDERSTOOD:
            self._replies.pump(now)
            self.silence.begin(now)
            return
        self._replies.say(self._context.wording.not_heard, now)

    # -- the end of the turn

    def _consider(self, now: float) -> None:
        """Ask the detector and apply its verdict."""
        if self._floor.is_over(now):
            self.on_nothing_more(now)
        else:
            self._watch.follow(self._said(), now)

    def _reconsider(self, now: float) -> None:
        """A new fact of a pause has arrived."""
        if self._floor.is_claimed and not self._floor.is_caller_speaking:
            self._consider(now)

    def on_deadline(self, now: float) -> None:
        """The deadline of the turn detector has passed."""
        if self._floor.lapse(now):
            self.on_nothing_more(now)
        else:
            self._watch.follow(self._said(), now)

    def on_nothing_more(self, now: float) -> None:
        """Nothing more follows. A partial text without its final text is used as the text of the turn."""
        facts = self._floor.facts
        if self._barge_in.is_overlapping:
            if facts.final_at is not None or not (facts.partial and self._barge_in.takes_turn(facts.partial, now)):
                if self._barge_in.is_overlapping:
                    self._barge_in.want_resume(now)
                return
            self._barge_in.cut(now)
        if self._floor.is_claimed and facts.final_at is None and self._barge_in.rules.is_answer(facts.partial):
            self._outbox.note("final text missing", reason="the recogniser is late")
            self._taken_index = self._partial_index
            self.took_part()
            self._waiting.append((facts.partial, 0))
        was_claimed = self._floor.is_claimed
        self._floor.release()
        if self._waiting:
            self._end_turn(now)
            return
        self._watch.give_up("there were no words")
        if self._barge_in.is_undecided:
            self._barge_in.want_resume(now)
            return
        is_unclear, self._is_unclear = self._is_unclear, False
        spoke_s = (facts.voice_ended_at or now) - facts.since
        if is_unclear and self._phase.state is State.LISTENING:
            if spoke_s < COUGH_S and facts.expected == NOTHING_EXPECTED and not self._n_not_understood:
                self._n_not_understood += 1
                self._outbox.note("short sound not answered", sound_ms=round(spoke_s * 1000))
                self._replies.pump(now)
                self.silence.begin(now)
                return
            self._on_not_understood("", now)
            return
        if was_claimed and facts.final_at is None and spoke_s >= SENTENCE_S and self._phase.state is State.LISTENING:
            self._outbox.note("recogniser gave no text", speech_ms=round(spoke_s * 1000))
            self._on_unheard(now)
            return
        self._replies.pump(now)
        self.silence.begin(now)

    def _end_turn(self, now: float) -> None:
        """The turn is over. It is answered as soon as it is known how much of the cut reply was heard."""
        self._outbox.put(TurnDecided())
        if self._barge_in.settling is None:
            self.take_turn(now)

    def take_turn(self, now: float) -> None:
        """Answer what the caller has said."""
        said = " ".join(text for text, _ in self._waiting)
        if self._keeps_waiting(said, now):
            return
        self._barge_in.forget()
        self._barge_in.is_greeting = False
        waiting, self._waiting = self._waiting, []
        if self.collects(said, now):
            self._watch.turn_ended()
            return
        self._waiting = waiting
        self._replies.interrupt_tools()
        before = self._outbox.history.last_words_of_agent()
        self._unanswered.extend(self.write_down())
        self._watch.turn_ended()
        self._ended_at = now
        self._dead_air.turn_ended(now)
        words = turn_words(self._spoken_language)
        self.silence.has_asked_for_time = words.asks_for_time(spoken_words(said))
        if self._context.has_model:
            self._replies.ask(now, self._context.repair_hint(self._outbox.history.items, now))
        elif before and words.asks_to_repeat(said) and not self._context.has_answer(said):
            self._replies.begin(plain_words(before), now)
        else:
            self._replies.say(self._context.answer(self._unanswered), now)

    @property
    def _spoken_language(self) -> str | None:
        return self._context.language or self._language

    def _keeps_waiting(self, said: str, now: float) -> bool:
        """Handle a turn that needs no answer of its own, because the caller waits for one that is under way: "are you there?", and while a
        tool runs also "okay". The tool keeps running. False if it is another turn."""
        lists = backchannels(self._spoken_language)
        is_tool = self._replies.waits_for_tool
        if not said or not (is_tool or (self._phase.state is State.THINKING and self._replies.is_coming)):
            return False
        only_calls = lists.only_calls(said)
        if not only_calls and not (is_tool and lists.read(said).kind is Kind.BACKCHANNEL):
            return False
        self._barge_in.forget()
        self.write_down()
        self._watch.give_up("the caller waits for the answer")
        self._watch.turn_ended()
        self._replies.pump(now)
        if only_calls and self._replies.playback is None:
            self._replies.fill(self._context.wording.here, now)
        return True

    def answer_what_waits(self, now: float) -> bool:
        """The call was put on hold during a turn: answer what was said in it. False if nothing was."""
        if not self._waiting or self._floor.is_claimed or self._barge_in.settling is not None:
            return False
        self.take_turn(now)
        return True

    def _note_outcome(self, now: float) -> None:
        """The caller speaks again: check whether the end of the last turn was correct, and learn from its pauses."""
        ended_at, self._ended_at = self._ended_at, None
        if ended_at is None:
            return
        sounding_since = self._replies.sounding_since
        is_false = now - ended_at <= FALSE_END_S if sounding_since is None else now - sounding_since <= FALSE_START_S
        facts = self._floor.facts
        if not is_false:
            self._floor.usual_pauses.ended_rightly()
        elif facts.voice_ended_at is not None:
            self._floor.usual_pauses.went_on(now - facts.voice_ended_at)
            self._outbox.note("turn ended too early", pause_ms=round((now - facts.voice_ended_at) * 1000))

    def _said(self) -> str:
        """The words of the current turn: final texts, and the partial of the rest."""
        facts = self._floor.facts
        last = facts.partial if facts.final_at is None else ""
        return " ".join([*(text for text, _ in self._waiting), *([last] if last else [])])

    def _said_with(self, text: str) -> str:
        return " ".join([*(earlier for earlier, _ in self._waiting), text])

    def _last_words(self) -> str:
        """The agent's last or current words."""
        playback = self._replies.playback
        if playback is not None and playback.text:
            return playback.text
        item = next((item for item in reversed(self._outbox.history.items) if isinstance(item, AgentItem | UserItem)), None)
        return item.text if isinstance(item, AgentItem) else ""

    def add_key(self, text: str, at_ms: int) -> None:
        """The caller has pressed a key, which takes the turn like words."""
        self.took_part()
        self._waiting.append((text, at_ms))

    def settled(self, heard: str, now: float) -> None:
        """It is now known how much of the cut reply was heard: answer, or resume."""
        self._barge_in.settle(heard)
        if count_words(heard) > NOT_AN_ANSWER_WORDS:
            self.was_answered()
        if self._waiting and not self._floor.is_claimed:
            self.take_turn(now)
        elif not self._waiting:
            self._barge_in.resume_if_due(now)

    def write_down(self) -> list[str]:
        """Add the waiting texts to the history: a key with its own time, the words of one turn as one item. Returns the texts."""
        waiting, self._waiting = self._waiting, []
        texts: list[tuple[str, int]] = []
        for text, at_ms in waiting:
            if texts and not (at_ms or texts[-1][1] or is_pressed(text) or is_pressed(texts[-1][0])):
                texts[-1] = (f"{texts[-1][0]} {text}", 0)
            else:
                texts.append((text, at_ms))
        for text, at_ms in texts:
            self._outbox.add(UserItem(text), at_ms)
        return [text for text, _ in texts]

    def was_answered(self) -> None:
        """The caller has heard something of an answer."""
        self._unanswered.clear()

    def forget(self) -> None:
        """The caller is connected to somebody else: keep what was said in the history, without an answer."""
        self._watch.give_up("the caller is away")
        self.write_down()
        self._unanswered = []

    def took_part(self) -> None:
        """The caller has spoken or is back: reset the counters."""
        self._is_unclear = False
        self._n_not_understood = 0
        self._barge_in.caller_took_part()
        self._replies.caller_took_part()
        self._context.caller_took_part()
        self.silence.caller_took_part()
