"""The `metrics` events of a language model: the request, the time to its first output, and the duration of its answer.

Requests and the pieces of replies enter, events leave; keys and data are those of the contract. Knows no model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from active_call.agent import effects
from active_call.contract.events import Metrics

MAX_TEXT: Final = 4000
"""How many characters of a reply an event contains."""


@dataclass(slots=True)
class _Asked:
    at: float
    first_at: float | None = None
    parts: list[str] = field(default_factory=list)


class ModelMetrics:
    """The metrics of one conversation. `now` gives monotonic seconds."""

    def __init__(self, tell: Callable[[Metrics], object], now: Callable[[], float]) -> None:
        self._report = tell
        self._now = now
        self._asked: dict[effects.ReplyNumber, _Asked] = {}

    def asked(self, reply: effects.ReplyNumber) -> None:
        """The model is asked for `reply`."""
        self._asked[reply] = _Asked(self._now())
        self._report(Metrics(key="llm_call_start", data={"playId": play_id_of(reply)}))

    def hear(self, item: effects.AgentInput) -> None:
        """A piece of a reply, or its end, has arrived. Other events are ignored."""
        asked = self._asked.get(item.reply) if isinstance(item, effects.ModelText | effects.ToolCall | effects.ModelDone) else None
        if asked is None:
            return
        if isinstance(item, effects.ModelDone):
            self._done(item, asked)
            return
        asked.first_at = self._now() if asked.first_at is None else asked.first_at
        if isinstance(item, effects.ModelText):
            asked.parts.append(item.text)

    def abandon(self, reply: effects.ReplyNumber) -> None:
        """That reply is no longer needed."""
        self._asked.pop(reply, None)

    def _done(self, item: effects.ModelDone, asked: _Asked) -> None:
        del self._asked[item.reply]
        if item.error or asked.first_at is None:
            return
        duration_ms, first_ms = _ms(self._now() - asked.at), _ms(asked.first_at - asked.at)
        text = "".join(asked.parts)[:MAX_TEXT]
        data = {"response": text, "duration": duration_ms, "ttfb": first_ms, "playId": play_id_of(item.reply)}
        self._report(Metrics(key="llm_response", duration=duration_ms, data=data))


def play_id_of(reply: effects.ReplyNumber) -> str:
    """The playId of a reply's first play."""
    return f"r{reply}"


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
