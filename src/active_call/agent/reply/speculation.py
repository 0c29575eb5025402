"""A request to the model that is made before the caller's turn is over: its answer is kept back until the turn ends.

In: what would be asked if the turn were over now; what the model writes of it. Out: the request, and later either all that the model has
written (the turn ended with these words: `adopt`) or the end of the request (`cancel`). Theory: nothing that the model does here has an
effect. Its text is not said and not remembered, and its tool calls start nothing; they are inputs that wait. The history is written by the
turn's end alone, so that nothing can stand in it twice. Of the text only the first clause is looked for, where the answer begins with
words: its speech is made and kept back, too (`PrepareSpeech`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

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
"""Every request costs money, and a turn whose text changes so often is not ending."""
MAX_AGE_S = 5.0
"""An answer that was asked for longer ago belongs to another moment."""

ModelInput = ModelText | ToolCall | ModelDone


@dataclass(slots=True)
class _Request:
    ask: AskModel
    asked_at: float
    inputs: list[ModelInput] = field(default_factory=list)
    has_failed: bool = False
    parser: ReplyParser | None = None
    """Looks for the first clause; None once it is found, or where the answer begins with something else."""
    is_prepared: bool = False


class Speculation:
    """The request under way, at most one."""

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
        """The model was asked, and it is not known yet whether its answer is wanted."""
        return self._request is not None

    def may_ask(self, ask: AskModel) -> bool:
        """Whether `ask` is worth a request: not what is asked already, and not the fourth of a turn."""
        return self._n_asked < MAX_A_TURN and not (self._request is not None and _is_same(self._request.ask, ask))

    def ask(self, ask: AskModel, now: float, *, is_prefilled: bool = False) -> None:
        """Ask the model; an earlier request is over. `is_prefilled`: the answer begins in the middle of reasoning."""
        self.cancel("the caller said more")
        self._n_asked += 1
        self._request = _Request(ask, now, parser=None if is_prefilled else ReplyParser(first_cut_words=self._first_cut_words))
        self._outbox.put(ask)

    def takes(self, item: ModelInput) -> bool:
        """Keep `item` back when it belongs to the request; False when it does not."""
        request = self._request
        if request is None or item.reply != request.ask.reply:
            return False
        request.inputs.append(item)
        request.has_failed = request.has_failed or (isinstance(item, ModelDone) and bool(item.error))
        self._look_for_clause(request, item)
        return True

    def _look_for_clause(self, request: _Request, item: ModelInput) -> None:
        """Have the speech of the first clause made, as soon as it is known."""
        if request.parser is None:
            return
        steps = request.parser.feed(item.text) if isinstance(item, ModelText) else request.parser.finish()
        if steps or not isinstance(item, ModelText):
            request.parser = None
        if steps and isinstance(steps[0], Sentence) and not request.has_failed:
            request.is_prepared = True
            self._outbox.put(PrepareSpeech(Tts(text=steps[0].text, option=self._option_of(steps[0]))))

    def adopt(self, ask: AskModel, now: float) -> tuple[ReplyNumber, list[ModelInput]] | None:
        """The turn is over, and `ask` is to be asked: the number and the inputs of the request, where it asked just that.

        None: there is no such request, it has failed or is too old. Then it is over.
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
        """The answer is not wanted; harmless when nothing was asked."""
        request, self._request = self._request, None
        if request is not None:
            self._outbox.note("speculation cancelled", reply=request.ask.reply, reason=reason)
            if request.is_prepared:
                self._outbox.put(PrepareSpeech(None))
            if not any(isinstance(item, ModelDone) for item in request.inputs):
                self._outbox.put(AbandonModel(request.ask.reply))

    def turn_ended(self) -> None:
        """Requests are counted anew."""
        self._n_asked = 0


def _is_same(asked: AskModel, ask: AskModel) -> bool:
    """Both ask the same: equal but for the number, and for spelling and punctuation of the caller's last words."""
    is_alike = replace(asked, reply=ask.reply, prompts=ask.prompts, query=ask.query) == ask and len(asked.prompts) == len(ask.prompts)
    if not is_alike or words_of(asked.query) != words_of(ask.query):
        return False
    return all(_is_same_prompt(one, other) for one, other in zip(asked.prompts, ask.prompts, strict=True))


def _is_same_prompt(one: Prompt, other: Prompt) -> bool:
    return one == other or (one.role == other.role == USER and words_of(one.text) == words_of(other.text))
