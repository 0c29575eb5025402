"""The queue of the current reply: sentences, files, and the actions that wait until the caller has heard what precedes them.

In: steps (as they become known) and the playback events of the call. Out: `tts` and `play` commands and, in their turn, the actions, which
`Replies` executes. Theory: sentences go into one open playback (`play_id` `r7`, `r7.1` …). A step that must wait closes the playback. The
queue stops until the caller has heard that playback.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from msgspec import Struct

from active_call.agent.reply.steps import Remainder, Sentence, Step, count_words
from active_call.agent.reply.tags import DigitsTag, GotoTag, HangupTag, HoldTag, PlayTag, ReferTag, Tag
from active_call.contract.commands import Command, Play, Tts
from active_call.contract.options import TtsOption

_WAITING = (HangupTag, ReferTag, GotoTag, PlayTag, DigitsTag, HoldTag)
"""These are executed only after everything before them was heard."""


FILLER_SUFFIX = 1000
"""Play ids of fillers start here, so that they do not collide with those of answers (the first has no number)."""


@dataclass(slots=True)
class Playback:
    """What was sent under one play id. `is_closed`: nothing is added any more."""

    play_id: str
    sentences: list[Sentence] = field(default_factory=list)
    is_file: bool = False
    is_closed: bool = False
    has_started: bool = False
    is_filler: bool = False
    """It only bridges the wait for the answer."""

    @property
    def text(self) -> str:
        """All its sentences."""
        return " ".join(sentence.text for sentence in self.sentences)


class Cut(Struct, frozen=True):
    """An interrupted reply: what was playing, what had not been sent yet, and whether the whole reply was known."""

    playback: Playback | None
    rest: tuple[Step, ...]
    is_complete: bool

    def unheard(self, heard_words: int) -> tuple[Step, ...]:
        """What to say again after `heard_words` words: everything from the interrupted sentence on."""
        if self.playback is None:
            return self.rest
        if self.playback.is_file:
            return (PlayTag(self.playback.play_id), *self.rest)
        for index, sentence in enumerate(self.playback.sentences):
            heard_words -= count_words(sentence.text)
            if heard_words < 0:
                return (*self.playback.sentences[index:], *self.rest)
        return self.rest


class ReplyQueue:
    """The current reply. `perform` executes commands."""

    def __init__(self, perform: Callable[[Command], None]) -> None:
        self.number = 0
        self.playback: Playback | None = None
        self.has_spoken = False
        """Whether something of the current reply has been sent."""
        self.is_leaving = False
        """Whether the reply contains a goodbye or a transfer."""
        self.language = self.voice = ""
        """Language and voice if they differ from the call's own."""
        self._perform = perform
        self._steps: deque[Step] = deque()
        self._is_complete = True
        self._n_playbacks = 0

    @property
    def is_done(self) -> bool:
        """Whether nothing of the reply is left to say and nothing plays."""
        return self._is_complete and not self._steps and self.playback is None

    @property
    def is_complete(self) -> bool:
        """Whether no more steps follow."""
        return self._is_complete

    def reserve(self) -> int:
        """Reserve the next number for a reply that may never begin. Nothing of the current reply may be left."""
        self.number += 1
        return self.number

    def begin(self, steps: tuple[Step, ...] = (), *, is_complete: bool, number: int | None = None) -> None:
        """Start a new reply under the next number, or under a reserved one. Discards what the last one had left.

        More steps follow unless `is_complete`.
        """
        self.number = self.number + 1 if number is None else number
        self.playback = None
        self.has_spoken = False
        self.is_leaving = False
        self._steps = deque()
        self._is_complete = is_complete
        self._n_playbacks = 0
        self.add(steps)

    def add(self, steps: tuple[Step, ...] | list[Step]) -> None:
        """Append to the current reply."""
        self._steps.extend(steps)
        self.is_leaving = self.is_leaving or any(isinstance(step, (HangupTag, ReferTag)) for step in steps)

    def put_first(self, steps: tuple[Step, ...] | list[Step]) -> None:
        """Insert steps before everything that is left."""
        rest = tuple(self._steps)
        self._steps.clear()
        self.add(steps)
        self._steps.extend(rest)

    def take_rest(self) -> tuple[Step, ...]:
        """Remove and return what is left. No more steps follow."""
        rest = tuple(self._steps)
        self._steps.clear()
        self._is_complete, self.is_leaving = True, False
        return rest

    def reopen(self) -> None:
        """Allow more steps again."""
        self._is_complete = False

    def complete(self) -> None:
        """The current reply is complete."""
        self._is_complete = True

    def drop(self) -> Cut:
        """Stop here: increment the number and return what was not heard."""
        cut = Cut(self.playback, tuple(self._steps), self._is_complete)
        self.begin(is_complete=True)
        return cut

    def retract(self) -> Playback | None:
        """Discard the current reply, which continues under its number. Returns its playback, so that it can be stopped."""
        playback, self.playback = self.playback, None
        self._steps.clear()
        self.has_spoken = self.is_leaving = False
        return playback

    def pull(self) -> Tag | Remainder | None:
        """Send what can be said now. Returns the action whose turn has come, or None. Call again after executing it."""
        while True:
            if self.playback is not None and self.playback.is_closed:
                return None
            if not self._steps:
                if self._is_complete:
                    self._close()
                return None
            step = self._steps[0]
            if isinstance(step, Sentence):
                self._steps.popleft()
                self._say(step)
            elif isinstance(step, _WAITING) and self.playback is not None:
                self._close()
            elif isinstance(step, PlayTag):
                self._steps.popleft()
                self._play(step)
            else:
                self._steps.popleft()
                return step

    def fill(self, text: str) -> None:
        """Say `text` now, before everything that is left, in a separate playback that is not part of the answer. Nothing may be playing."""
        has_spoken = self.has_spoken
        self._open(Playback(f"r{self.number}.{self._n_playbacks + FILLER_SUFFIX}", is_filler=True, is_closed=True))
        self.has_spoken = has_spoken
        assert self.playback is not None  # noqa: S101  opened above
        self.playback.sentences.append(Sentence(text))
        option = self.option_of(self.playback.sentences[0])
        self._perform(Tts(text=text, play_id=self.playback.play_id, streaming=True, end_of_stream=True, option=option))

    def started(self, play_id: str | None) -> bool:
        """The playback has started. False if it is not the current one."""
        if self.playback is None or self.playback.play_id != play_id:
            return False
        self.playback.has_started = True
        return True

    def ended(self, play_id: str | None) -> Playback | None:
        """The playback has ended. None if it is not the current one."""
        playback = self.playback
        if playback is None or playback.play_id != play_id:
            return None
        self.playback = None
        return playback

    def _say(self, sentence: Sentence) -> None:
        if self.playback is None:
            suffix = f".{self._n_playbacks}" if self._n_playbacks else ""
            self._open(Playback(f"r{self.number}{suffix}"))
        assert self.playback is not None  # noqa: S101  opened above
        self.playback.sentences.append(sentence)
        self.playback.is_closed = self._nothing_follows()
        option = self.option_of(sentence)
        play_id, is_last = self.playback.play_id, self.playback.is_closed
        self._perform(Tts(text=sentence.text, play_id=play_id, streaming=True, end_of_stream=is_last, option=option))

    def option_of(self, sentence: Sentence) -> TtsOption | None:
        """The language, voice and mood for `sentence`. None: the call's own."""
        if not (sentence.emotion or self.language or self.voice):
            return None
        return TtsOption(emotion=sentence.emotion or None, language=self.language or None, speaker=self.voice or None)

    def _nothing_follows(self) -> bool:
        """Whether no more sentences can be added to this playback, as far as is known now."""
        return isinstance(self._steps[0], _WAITING) if self._steps else self._is_complete

    def _close(self) -> None:
        if self.playback is not None:
            self.playback.is_closed = True
            self._perform(Tts(text="", play_id=self.playback.play_id, streaming=True, end_of_stream=True))

    def _play(self, tag: PlayTag) -> None:
        self._open(Playback(tag.file, is_file=True, is_closed=True))
        self._perform(Play(url=tag.file))

    def _open(self, playback: Playback) -> None:
        self.playback = playback
        self.has_spoken = True
        self._n_playbacks += 1
