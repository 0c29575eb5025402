"""Records of calls that are refused before set-up: no room, an SRTP rule, an unknown source, a trunk's limit.

RefusedCall enters; one closed record for each leaves, within a rate limit: a flood from unknown sources is counted but creates no rows.
At most `PER_HOST` at once for one address and `IN_ALL` in total, then `PER_HOST_PER_S` and `IN_ALL_PER_S`.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from active_call.base.world import World
from active_call.legs.sip.identity import plain_uri
from active_call.legs.sip.refusals import RefusedCall
from active_call.store.records import CallRecord, RecordSink

PER_HOST: Final = 10
PER_HOST_PER_S: Final = 0.5
IN_ALL: Final = 100
IN_ALL_PER_S: Final = 10.0
MAX_HOSTS: Final = 1024


@dataclass(slots=True)
class _Allowance:
    """How many records may be written at once, and how fast this allowance recovers."""

    left: float
    at: float

    def take(self, now: float, most: float, per_s: float) -> bool:
        self.left, self.at = min(most, self.left + (now - self.at) * per_s), now
        if self.left < 1.0:
            return False
        self.left -= 1.0
        return True


@dataclass(slots=True)
class RefusedCalls:
    """See the module."""

    world: World
    records: RecordSink
    n_unrecorded: int = 0
    """Refused calls without a record of their own because of the limit."""
    _in_all: _Allowance | None = None
    _by_host: OrderedDict[str, _Allowance] = field(default_factory=OrderedDict)

    def note(self, refused: RefusedCall) -> None:
        """A call was refused: write a record, or count it."""
        if not self._may_record(refused.host):
            self.n_unrecorded += 1
            return
        now = self.world.clock.utc_now()
        self.records.write(
            CallRecord(
                session_id=f"r.{self.world.randomness.uuid()}",
                call_id=refused.call_id,
                direction=refused.direction,
                caller=plain_uri(refused.caller) if refused.caller else "",
                callee=plain_uri(refused.callee) if refused.callee else "",
                start_time=now,
                end_time=now,
                status="rejected",
                hangup_reason="rejected",
                hangup_by="system",
                sip_code=refused.code,
                trunk=refused.trunk,
                media={"peer": refused.host} if refused.host else {},
                error=f"{refused.rule}: {refused.detail}" if refused.detail else refused.rule,
            )
        )

    def _may_record(self, host: str) -> bool:
        now = self.world.clock.now()
        if self._in_all is None:
            self._in_all = _Allowance(IN_ALL, now)
        if not host:
            return self._in_all.take(now, IN_ALL, IN_ALL_PER_S)
        of_host = self._by_host.setdefault(host, _Allowance(PER_HOST, now))
        self._by_host.move_to_end(host)
        if len(self._by_host) > MAX_HOSTS:
            self._by_host.popitem(last=False)
        return of_host.take(now, PER_HOST, PER_HOST_PER_S) and self._in_all.take(now, IN_ALL, IN_ALL_PER_S)
