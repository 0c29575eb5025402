"""Decide about every request outside a dialog; count refusals and the rate of calls (RFC 3261 §8.2 leaves the policy to the UAS).

`judge` decides whether a request is admitted, `judge_call` whether one more call may start now, `judge_unreadable` whether an unparsable
message gets an answer. The module keeps a few counters for each of at most `MAX_ADDRESSES` addresses. It evicts the address with the oldest
request first, so a flood of forged addresses costs only this memory. Addresses of trunks, of our registrars and of this machine are never
silenced, because they forward what others have sent.

    quiet ──`silence_after` refusals within WINDOW_S──> silenced for `silence_s` ──> quiet
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from active_call.base.addresses import address_key, parse_address
from active_call.base.errors import ParseError
from active_call.base.rate import Rate
from active_call.sip.access.access_list import AccessList, AdmissionPolicy, RequestSource, Verdict
from active_call.sip.access.address_share import AddressShare
from active_call.sip.events import Flow
from active_call.sip.syntax.message import Request

WINDOW_S = 60.0
MAX_ADDRESSES = 4096
RETRY_AFTER_S = 5
"""Retry-After for a carrier whose trunk is at its limit. Short, because calls end all the time."""


@dataclass(slots=True)
class _Record:
    """The counters of one address."""

    n_refused: int = 0
    window_ends_at: float = 0.0
    silenced_until: float = 0.0
    rate: Rate | None = None


@dataclass(slots=True)
class RequestAdmission:
    """See the module."""

    policy: AdmissionPolicy = field(default_factory=AdmissionPolicy)
    access_list: AccessList = field(init=False)
    address_share: AddressShare = field(init=False, default_factory=AddressShare)
    n_by_address: Counter[str] = field(init=False, default_factory=Counter)
    """The active calls of unknown addresses, by the key of `address_share`."""
    _records: OrderedDict[str, _Record] = field(init=False, default_factory=OrderedDict)
    _rates: dict[str, Rate] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.use_policy(self.policy)

    def use_policy(self, policy: AdmissionPolicy) -> None:
        """Apply `policy` from now on. The counters of addresses are kept."""
        self.policy = policy
        self.access_list = AccessList(self.policy)
        self.address_share.share = policy.max_share_per_address
        self._rates = {trunk.name: Rate(trunk.max_cps) for trunk in self.policy.trunks if trunk.max_cps is not None}

    @property
    def n_addresses(self) -> int:
        """Number of addresses that have counters."""
        return len(self._records)

    def is_known(self, host: str, registrars: Collection[str] = ()) -> bool:
        """Whether the address is in a trunk's range or belongs to one of our registrars."""
        return self.access_list.is_listed(host) or host in registrars

    def is_silenced(self, host: str, now: float) -> bool:
        """Whether the address was refused so often that it is no longer answered."""
        record = self._records.get(address_key(host))
        return record is not None and record.silenced_until > now

    def judge(self, request: Request, flow: Flow, now: float, registrars: Collection[str] = ()) -> Verdict:
        """Decide whether a request outside our dialogs is admitted."""
        host = flow.remote.host
        from_host = _from_host(request) if self.access_list.needs_from else ""
        source = RequestSource(host, request.headers.get("User-Agent") or "", from_host)
        verdict = self.access_list.decide(source, registrars)
        if verdict.rule in ("trunk", "registrar"):
            return verdict
        if self.is_silenced(host, now):
            return Verdict("silence", "silenced", detail=f"{self.policy.silence_after} refusals within {WINDOW_S:g} s")
        if verdict.answer != "admit":
            self._note_refusal(host, now)
        return verdict

    def judge_unreadable(self, flow: Flow, now: float, registrars: Collection[str] = ()) -> Verdict:
        """Decide whether the sender of a message that is not a SIP request gets a 400."""
        host = flow.remote.host
        verdict = self.access_list.decide(RequestSource(host), registrars)
        if verdict.rule in ("trunk", "registrar"):
            return verdict
        if self.is_silenced(host, now):
            return Verdict("silence", "silenced")
        self._note_refusal(host, now)
        if verdict.answer == "reject" and self.policy.strangers == "auto":
            return Verdict("silence", "malformed")
        return verdict

    def judge_call(self, verdict: Verdict, flow: Flow, now: float, n_calls: Mapping[str, int]) -> Verdict:
        """Decide whether the INVITE that `verdict` admits may become a call now. `n_calls`: active calls by trunk."""
        trunk, per_address = self.access_list.trunks.get(verdict.trunk), self.policy.max_cps_per_address
        if per_address is not None and not self._rate_of(flow.remote.host, per_address).take(now):
            return _busy(verdict, "address_rate", f"over {per_address:g} calls a second from one address")
        if trunk is not None and trunk.max_calls is not None and n_calls.get(trunk.name, 0) >= trunk.max_calls:
            return _busy(verdict, "trunk_calls", f"{trunk.max_calls} calls on trunk {trunk.name}")
        rate = self._rates.get(verdict.trunk)
        if rate is not None and trunk is not None and not rate.take(now):
            return _busy(verdict, "trunk_rate", f"over {trunk.max_cps:g} calls a second on trunk {trunk.name}")
        if why := self.address_share.refusal(self.counts_as(verdict, flow), now, self.n_by_address):
            return _busy(verdict, "address_share", why)
        return verdict

    def counts_as(self, verdict: Verdict, flow: Flow) -> str:
        """The key by which `n_by_address` counts a call that `verdict` admits; empty for trunks, registrars and this machine."""
        return self.address_share.key_of(flow.remote.host) if verdict.rule == "open" else ""

    def describe(self) -> dict[str, int | None]:
        """For `/health`: unknown addresses with calls, the most calls of one, and how many one without calls may have (None: no limit)."""
        most = max(self.n_by_address.values(), default=0)
        return {"addresses": len(self.n_by_address), "most_calls": most, "limit_of_one": self.address_share.limit_of_one()}

    def _rate_of(self, host: str, per_s: float) -> Rate:
        record = self._record(host)
        if record.rate is None:
            record.rate = Rate(per_s)
        return record.rate

    def _note_refusal(self, host: str, now: float) -> None:
        address = parse_address(host)
        if self.policy.strangers == "reject" or (address is not None and address.is_loopback):
            return
        record = self._record(host)
        if now >= record.window_ends_at:
            record.n_refused, record.window_ends_at = 0, now + WINDOW_S
        record.n_refused += 1
        if record.n_refused >= self.policy.silence_after:
            record.silenced_until = now + self.policy.silence_s
            record.n_refused = 0

    def _record(self, host: str) -> _Record:
        key = address_key(host)
        record = self._records.get(key)
        if record is None:
            record = self._records[key] = _Record()
            if len(self._records) > MAX_ADDRESSES:
                self._records.popitem(last=False)
        else:
            self._records.move_to_end(key)
        return record


def _busy(verdict: Verdict, rule: str, detail: str) -> Verdict:
    return Verdict("reject", rule, verdict.trunk, verdict.network, 503, "Service Unavailable", RETRY_AFTER_S, detail)


def _from_host(request: Request) -> str:
    try:
        return request.from_.uri.host
    except ParseError:
        return ""
