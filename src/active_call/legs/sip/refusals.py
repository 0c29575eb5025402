"""Count refusals by rule and log them, with limits that a flood cannot exceed.

Refused, dropped and ignored items go in; counters and log lines come out. The first refusal of an address by a rule is logged at once.
Further ones within `QUIET_S` become one line with their number. There are at most `MAX_LINES` lines in `BURST_S` for all addresses
together, and at most `MAX_ADDRESSES` addresses are stored.
"""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct

from active_call.base.world import Clock
from active_call.legs.sip.plain_text import plain

log = logging.getLogger("active_call.admission")

QUIET_S = 60.0
MAX_LINES = 20
BURST_S = 1.0
MAX_ADDRESSES = 2048


class RefusedCall(Struct, frozen=True):
    """A call that was refused before a handler was called. `caller` and `callee` may be whole From and To headers; `host` sent it."""

    rule: str
    code: int
    caller: str = ""
    callee: str = ""
    call_id: str = ""
    host: str = ""
    trunk: str = ""
    detail: str = ""
    direction: str = "inbound"


@dataclass(slots=True)
class _LogState:
    """The log state of one address and rule."""

    at: float
    level: int
    message: str
    n_more: int = 0


@dataclass(slots=True)
class Refusals:
    """See the module. It counts `refused` requests by rule, `dropped` messages by reason and `ignored` headers by name."""

    clock: Clock
    logger: logging.Logger = log
    refused: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    n_suppressed: int = 0
    """Log lines that were suppressed because of the limit."""
    _logged: OrderedDict[tuple[str, str], _LogState] = field(default_factory=OrderedDict)
    _burst_began_at: float = 0.0
    _n_lines: int = 0

    def note_refused(self, rule: str, peer: str, **fields: Any) -> None:
        """A request or call was refused by `rule`."""
        self.refused[rule] += 1
        self._record(logging.WARNING, "refused", rule, peer, fields)

    def note_dropped(self, why: str, peer: str, **fields: Any) -> None:
        """A message was dropped."""
        self.dropped[why] += 1
        self._record(logging.INFO, "message dropped", why, peer, fields)

    def note_ignored(self, header: str, peer: str, **fields: Any) -> None:
        """An informational header could not be parsed; the message was handled as if it had none."""
        self.ignored[header] += 1
        self._record(logging.INFO, "header ignored", header, peer, fields)

    def flush(self) -> None:
        """Log the refusals that were held back for `QUIET_S`. Call it periodically."""
        now = self.clock.now()
        while self._logged:
            key, state = next(iter(self._logged.items()))
            if now - state.at < QUIET_S:
                return
            del self._logged[key]
            self._log_rest(key, state, now)

    def _record(self, level: int, message: str, rule: str, peer: str, fields: dict[str, Any]) -> None:
        self.flush()
        now = self.clock.now()
        state = self._logged.get((peer, rule))
        if state is not None:
            state.n_more += 1
            return
        self._logged[peer, rule] = _LogState(now, level, message)
        if len(self._logged) > MAX_ADDRESSES:
            self._log_rest(*self._logged.popitem(last=False), now)
        self._log(level, message, {"rule" if level >= logging.WARNING else "why": rule, "peer": peer, **fields}, now)

    def _log_rest(self, key: tuple[str, str], state: _LogState, now: float) -> None:
        if state.n_more:
            peer, rule = key
            fields = {"rule": rule, "peer": peer, "n_more": state.n_more, "within_s": round(now - state.at)}
            self._log(state.level, f"{state.message} again", fields, now)

    def _log(self, level: int, message: str, fields: dict[str, Any], now: float) -> None:
        if now - self._burst_began_at >= BURST_S:
            self._burst_began_at, self._n_lines = now, 0
        self._n_lines += 1
        if self._n_lines > MAX_LINES:
            self.n_suppressed += 1
            return
        self.logger.log(level, message, extra={key: plain(value) if isinstance(value, str) else value for key, value in fields.items()})
