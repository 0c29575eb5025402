"""Speculative requests: ask the model before the caller's turn is over, and hold back its answer until the turn ends.

In: the request as if the turn were over now; the model's output. Out: the request, and later either the output held back (the turn ended
with these words: `adopt`) or the end of the request (`cancel`). Theory: the held-back output has no effect. Its text is neither spoken nor
stored, and its tool calls start nothing; they are inputs that wait. Only the end of the turn writes the history, so nothing can appear in
it twice. If the answer begins with words, its first clause is synthesised in advance and held back too (`PrepareSpeech`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from msgspec.structs import replace

from active_call.agent.effects import AbandonModel, AskModel, ModelDone, ModelText, PrepareSpeech, ReplyNumber, ToolCall
from active_call.agent.items import USER, Prompt
from active_call.agent.outbox import Outbox
from active_call.agent.reply.parser import ReplyParser
from active_call.agent.reply.sentences import FIRST_CUT_WORDS
from active_call.agent.reply.steps import Sentence
from active_call.agent.script import words_of
from active_call.contract.commands import Tts
from active_call.contract.options import TtsOption

MAX_A_TURN = 3
"""Maximum number of requests per turn: each costs money, and a turn whose text changes more often is not ending."""
MAX_AGE_S = 5.0
"""An older answer is discarded."""

ModelInput = ModelText | ToolCall | ModelDone


@dataclass(slots=True)
class _Request:
    ask: AskModel
    asked_at: float
    inputs: list[ModelInput] = field(default_factory=list)
    has_failed: bool = False
    parser: ReplyParser | None = None
    """Detects the first clause; None once it is found, or if the answer begins with something else."""
    is_prepared: bool = False


class Speculation:
    """The current speculative request, at most one."""

    def __init__(
        self, outbox: Outbox, option_of: Callable[[Sentence], TtsOption | None], *, first_cut_words: int = FIRST_CUT_WORDS
    ) -> None:
        self._outbox = outbox
        self._option_of = option_of
        self._request: _Request | None = None
        self._n_asked = 0
        self._first_cut_words = first_cut_words

    @property
    def is_under_way(self) -> bool:
        """Whether the model was asked and it is not decided yet whether its answer is used."""
        return self._request is not None

    def may_ask(self, ask: AskModel) -> bool:
        """Whether `ask` is worth a request: it differs from the current one, and the limit per turn is not reached."""
        return self._n_asked < MAX_A_TURN and not (self._request is not None and _is_same(self._request.ask, ask))

    def ask(self, ask: AskModel, now: float, *, is_prefilled: bool = False) -> None:
        """Ask the model. An earlier request is cancelled. `is_prefilled`: the answer begins inside reasoning."""
        self.cancel("the caller said more")
        self._n_asked += 1
        self._request = _Request(ask, now, parser=None if is_prefilled else ReplyParser(first_cut_words=self._first_cut_words))
        self._outbox.put(ask)

    def takes(self, item: ModelInput) -> bool:
        """Hold back `item` if it belongs to the request; else False."""
        request = self._request
        if request is None or item.reply != request.ask.reply:
            return False
        request.inputs.append(item)
        request.has_failed = request.has_failed or (isinstance(item, ModelDone) and bool(item.error))
        self._look_for_clause(request, item)
        return True

    def _look_for_clause(self, request: _Request, item: ModelInput) -> None:
        """Prepare the speech of the first clause as soon as it is known."""
        if request.parser is None:
            return
        steps = request.parser.feed(item.text) if isinstance(item, ModelText) else request.parser.finish()
        if steps or not isinstance(item, ModelText):
            request.parser = None
        if steps and isinstance(steps[0], Sentence) and not request.has_failed:
            request.is_prepared = True
            self._outbox.put(PrepareSpeech(Tts(text=steps[0].text, option=self._option_of(steps[0]))))

    def adopt(self, ask: AskModel, now: float) -> tuple[ReplyNumber, list[ModelInput]] | None:
        """The turn is over and `ask` is due: the number and the held-back inputs of the request, if it asked the same.

        None if there is no such request, or if it has failed or is too old. The request is then cancelled.
        """
        request = self._request
        if request is None:
            return None
        if request.has_failed or now - request.asked_at > MAX_AGE_S or not _is_same(request.ask, ask):
            self.cancel("the turn ended otherwise")
            return None
        self._request = None
        return request.ask.reply, request.inputs

    def cancel(self, reason: str) -> None:
        """The answer is not needed. No effect without a request."""
        request, self._request = self._request, None
        if request is not None:
            self._outbox.note("speculation cancelled", reply=request.ask.reply, reason=reason)
            if request.is_prepared:
                self._outbox.put(PrepareSpeech(None))
            if not any(isinstance(item, ModelDone) for item in request.inputs):
                self._outbox.put(AbandonModel(request.ask.reply))

    def turn_ended(self) -> None:
        """Reset the request count."""
        self._n_asked = 0


def _is_same(asked: AskModel, ask: AskModel) -> bool:
    """Whether both requests are equal except for the number and for spelling and punctuation of the caller's last words."""
    is_alike = replace(asked, reply=ask.reply, prompts=ask.prompts, query=ask.query) == ask and len(asked.prompts) == len(ask.prompts)
    if not is_alike or words_of(asked.query) != words_of(ask.query):
        return False
    return all(_is_same_prompt(one, other) for one, other in zip(asked.prompts, ask.prompts, strict=True))


def _is_same_prompt(one: Prompt, other: Prompt) -> bool:
    return one == other or (one.role == other.role == USER and words_of(one.text) == words_of(other.text))
