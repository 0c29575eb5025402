"""What happens when the caller speaks over the agent, from the first sound to its outcome.

In: the caller's voice and words, what was heard. Out: the reply is paused at once, and then either goes on from the sample at which it
stands (`overlap` decides), or is cut. Theory of the cut: two things are unknown, how much of the reply was heard (the call tells it within
`SETTLE_S`) and whether more words follow. The reply is kept until the second is known: when no words come after all, it is said again from
the sentence that was interrupted; else the caller takes the turn.
"""

from __future__ import annotations

from active_call.agent.effects import EndUtterance, PauseOnVoice, PauseReply
from active_call.agent.items import AgentItem
from active_call.agent.outbox import Outbox
from active_call.agent.reply.queue import Cut, Playback
from active_call.agent.reply.replies import Replies
from active_call.agent.reply.steps import count_words
from active_call.agent.turn.backchannels import Kind, OverlapText, backchannels
from active_call.agent.turn.floor import Floor
from active_call.agent.turn.interruption import Interruptions
from active_call.agent.turn.overlap import ENOUGH_WORDS, FIRST_S, LAST_MS, AskAgain, Overlap, Resume, Yield, decide, is_doubtful
from active_call.agent.turn.phase import Phase, State
from active_call.agent.turn.timers import Timer, Timers
from active_call.contract import commands

SETTLE_S = 0.3
"""How long the caller's words wait for the news of how much of the reply was heard."""
MAX_RESUMES = 2
"""After so many sounds in a row that stopped the agent in vain (a television, an echo), words are needed to stop it for a while."""
WORDS_NEEDED_S = 60.0
"""How long that lasts."""


class BargeIn:
    """The interruption under way, and the rules by which the next one is allowed."""

    def __init__(
        self,
        rules: Interruptions,
        phase: Phase,
        timers: Timers,
        floor: Floor,
        replies: Replies,
        outbox: Outbox,
        language: str | None = None,
    ) -> None:
        self.rules = rules
        self.is_greeting = False
        """The current reply is the greeting, whose beginning is protected."""
        self.is_speech_ignored = False
        """What the caller says now does not interrupt: a filler, or it was too short, or fell into the protected beginning."""
        self.settling: Playback | None = None
        """The playback that was cut, until it is known how much of it was heard."""
        self._cut: Cut | None = None
        """The reply that was cut short, as long as it may have to be resumed."""
        self._heard_words = 0
        self._is_resume_due = False
        self._paused_at = self._voice_began_at = 0.0
        self._is_early = False
        """The caller began to speak in the first second of the reply."""
        self._text = OverlapText(Kind.NOTHING)
        """What was said over the reply that is paused."""
        self._is_final = False
        self._was_backchannel = False
        """It sounded like a back-channel at first."""
        self._n_resumes = 0
        """Sounds in a row that stopped the agent in vain."""
        self._words_needed_until: float | None = None
        self._backchannels = backchannels(language)
        self._phase = phase
        self._timers = timers
        self._floor = floor
        self._replies = replies
        self._outbox = outbox

    @property
    def is_undecided(self) -> bool:
        """A reply was paused or cut, and may have to be resumed."""
        return self._cut is not None or self.is_overlapping

    @property
    def is_overlapping(self) -> bool:
        """The current reply is paused, since the caller speaks over it."""
        return self._replies.is_paused

    # -- may the caller interrupt

    def on_voice(self, now: float, *, is_filler: bool, spoken_s: float = 0.0) -> None:
        """The caller's voice, told after `spoken_s` of it, begins over the agent's: pause now, later, or not at all."""
        self.is_speech_ignored = False
        if self.is_overlapping:
            self._is_final = False
            self.decide(now)
            return
        if not (self._phase.state is State.SPEAKING and self.rules.by_voice) or self._needs_words(now):
            return
        self._voice_began_at = now
        delay = max(self._protected_s(now), self.rules.min_speech_s - spoken_s)
        if is_filler and self.rules.option.filler_word_filter:
            self.is_speech_ignored = True
        elif delay > 0:
            self._timers.set(Timer.CUT, now + delay)
        else:
            self.pause(now)

    def voice_pauses_in_s(self, now: float) -> float | None:
        """In how many seconds the caller's voice, if it came then, would pause what sounds; None: not as things are."""
        playback = self._replies.playback
        is_open = self._phase.state is State.SPEAKING and self.rules.by_voice and not self.is_overlapping
        if not is_open or playback is None or not playback.has_started or self._floor.is_caller_speaking:
            return None
        words_needed_s = self._words_needed_until - now if self._needs_words(now) and self._words_needed_until is not None else 0.0
        return max(self._protected_s(now), words_needed_s)

    def pause_on_voice(self, least_ms: int) -> PauseOnVoice:
        """What the media process is to do by itself at the caller's voice."""
        return PauseOnVoice(max(least_ms, round(self.rules.min_speech_s * 1000)), LAST_MS, self.rules.fade_out_ms)

    def takes_pause(self, now: float) -> bool:
        """The media process has paused what sounds, since the caller speaks. False where it is to go on."""
        if self.is_overlapping:
            return True
        is_open = self._phase.state is State.SPEAKING and self.rules.by_voice and not self._needs_words(now)
        if not is_open or self._replies.playback is None or self._protected_s(now) > 0:
            return False
        self._timers.clear(Timer.CUT)
        self.pause(now)
        return True

    def on_silence(self, now: float) -> None:
        """The caller's voice ends, perhaps before it has interrupted."""
        if self._timers.is_set(Timer.CUT):
            self._timers.clear(Timer.CUT)
            self.is_speech_ignored = True
        if self.is_overlapping and self._text.kind is Kind.NOTHING and self._floor.facts.text_asked_at is None:
            self._floor.text_asked(now)
            self._outbox.put(EndUtterance())  # what was said decides: the recogniser is to tell it now
        self.decide(now)

    def on_partial_words(self, text: str, now: float) -> None:
        """A partial text with words in it. They interrupt a reply that is not paused by `asr` and `both`, or while words are needed."""
        if self.is_overlapping:
            self._text = self._read(text)
            self._was_backchannel |= self._text.kind is Kind.BACKCHANNEL
            self.decide(now)
        elif self._phase.state is State.SPEAKING and self.may_cut_by_words(now):
            read = self._read(text)
            enough = 1 if self.rules.by_partial_words else ENOUGH_WORDS
            may_cut = self.rules.by_partial_words or self._needs_words(now)
            if may_cut and (read.kind is Kind.STOP or (read.kind is Kind.WORDS and read.n_content >= enough)):
                self.cut(now)

    def takes_turn(self, text: str, now: float, confidence: float | None = None) -> bool:
        """A text with words is final, while the reply sounds or is paused: whether they take the turn. If not, the reply goes on.

        `confidence`: the recogniser's, where it tells one.
        """
        read = self._read(text)
        if self._is_doubtful(read, confidence, now):
            self._outbox.note("speech over the agent not answered", reason="short and doubtful", confidence=confidence)
            if self.is_overlapping:
                self.go_on(now)
            return False
        if read.kind in (Kind.WORDS, Kind.STOP):
            return True
        self._outbox.note("speech over the agent not answered", reason=str(read.kind))
        if self.is_overlapping:
            self._text, self._is_final = read, True
            self.decide(now)
        return False

    def _is_doubtful(self, read: OverlapText, confidence: float | None, now: float) -> bool:
        facts = self._floor.facts
        if self._is_asking or facts.is_speaking or facts.voice_ended_at is None:
            return False
        return is_doubtful(read, confidence, facts.voice_ended_at - facts.since, after_backchannel=self._was_backchannel)

    def on_cut_due(self, now: float) -> None:
        """The caller has spoken long enough."""
        if self._phase.state is State.SPEAKING and self._floor.is_caller_speaking and not self.is_overlapping:
            self.pause(now)

    def may_cut_by_words(self, now: float) -> bool:
        """Whether words interrupt the agent at this moment."""
        return not self.rules.is_off and not self.is_speech_ignored and self._protected_s(now) <= 0

    def _protected_s(self, now: float) -> float:
        """How much longer the beginning of this reply is protected, in seconds."""
        whole = self.rules.ignored_s(is_greeting=self.is_greeting)
        since = self._replies.sounding_since
        return whole if since is None else max(0.0, since + whole - now)

    def _needs_words(self, now: float) -> bool:
        return self._words_needed_until is not None and now < self._words_needed_until

    @property
    def _own_text(self) -> str:
        playback = self._replies.playback
        return playback.text if playback is not None else ""

    @property
    def _is_asking(self) -> bool:
        """The agent asks something: words over it may be the answer."""
        return "?" in self._own_text or "？" in self._own_text

    def _read(self, text: str) -> OverlapText:
        return self._backchannels.read(text, own=self._own_text, is_question=self._is_asking)

    # -- the pause

    def pause(self, now: float) -> None:
        """Let the reply stand still, until it is decided whether the caller takes the turn."""
        since = self._replies.sounding_since
        self._paused_at, self._is_early = now, since is None or now - since < FIRST_S
        self._text, self._is_final, self._was_backchannel = OverlapText(Kind.NOTHING), False, False
        self._floor.barge_in(now)
        self._replies.pause(PauseReply(LAST_MS, self.rules.fade_out_ms, resumes_at_word=self.rules.option.resume_at == "word"))
        self.decide(now)

    def on_pause_refused(self, now: float) -> None:
        """So little is left of the reply that it ends; the caller has the turn then."""
        if self.is_overlapping:
            self._floor.release()
            self._replies.unpause(now)

    def decide(self, now: float) -> None:
        """There is a new fact of the overlap, or it is time: cut the reply, let it go on, or wait."""
        if not self.is_overlapping or self._phase.state is not State.SPEAKING:
            return
        facts = self._floor.facts
        ended_at = None if facts.is_speaking else max(facts.voice_ended_at or now, self._voice_began_at)
        overlap = Overlap(self._paused_at, self._voice_began_at, self._text, self._is_final, ended_at, self._is_early)
        match decide(overlap, now):
            case Yield():
                self.cut(now)
            case Resume():
                self.go_on(now)
            case AskAgain(at):
                self._timers.set(Timer.OVERLAP, at)

    def go_on(self, now: float) -> None:
        """The sound over the reply was none that takes the turn: it goes on from where it stands."""
        self._outbox.note("reply goes on", after_ms=round((now - self._paused_at) * 1000), said=str(self._text.kind))
        self._note_false_one(now)
        self._floor.release()
        self._replies.unpause(now)

    def _note_false_one(self, now: float) -> None:
        self._n_resumes += 1
        if self._n_resumes >= MAX_RESUMES:
            self._n_resumes = 0
            self._words_needed_until = now + WORDS_NEEDED_S
            self._outbox.note("words are needed to interrupt", seconds=WORDS_NEEDED_S)

    # -- from the cut to its outcome

    def cut(self, now: float) -> None:
        """Stop the current reply, whatever it is doing, and keep what was not heard of it. One that stands still is stopped, too."""
        if self._phase.state not in (State.THINKING, State.SPEAKING, State.PAUSED):
            return
        if self._replies.playback is not None:  # before the pause ends with the reply
            self._outbox.perform(commands.Interrupt(fade_out_ms=self.rules.fade_out_ms))
        was_overlapping = self.is_overlapping
        self._cut = self._replies.cut()
        self._heard_words = 0
        self._is_resume_due = False
        if not was_overlapping:
            self._floor.barge_in(now)
        if self._cut.playback is not None:
            self.settling = self._cut.playback
            self._timers.set(Timer.SETTLE, now + SETTLE_S)

    def settle(self, heard: str) -> None:
        """It is known how much of the reply that was cut was heard. `outcome_due` tells what follows."""
        self.settling = None
        self._heard_words = count_words(heard)
        self._timers.clear(Timer.SETTLE)
        self._outbox.add(AgentItem(heard, is_interrupted=True))

    def await_settling(self, now: float) -> None:
        """All timers were stopped: go on waiting for the news of what was heard."""
        if self.settling is not None:
            self._timers.set(Timer.SETTLE, now + SETTLE_S)

    def want_resume(self, now: float) -> None:
        """It was a noise: let the reply go on; one that was cut, as soon as it is known how much of it was heard."""
        if self.is_overlapping:
            self.go_on(now)
            return
        self._is_resume_due = True
        if self.settling is None:
            self.resume(now)

    def resume_if_due(self, now: float) -> None:
        """It is known now how much was heard: resume when the sound was a noise."""
        if self._is_resume_due:
            self.resume(now)

    def resume(self, now: float) -> None:
        """Say what was not heard of the reply that was cut."""
        cut = self._cut
        self._drop_cut()
        if cut is not None:
            self._note_false_one(now)
            self._floor.release()
            self._replies.resume(cut, self._heard_words, now)

    def forget(self) -> None:
        """The reply that was cut is not resumed: the caller takes the turn."""
        if self._cut is not None:
            self._replies.give_up()
        self._drop_cut()

    def _drop_cut(self) -> None:
        self._cut = None
        self._is_resume_due = False

    def caller_took_part(self) -> None:
        """The caller has spoken words: sounds in vain are counted anew."""
        self._n_resumes = 0
