"""Decide by source address whether a request outside a dialog is admitted, rejected or ignored.

    listed       the address is in a range of a trunk                  admit, `trunk`
    registrar    we are registered at that address                     admit, `registrar`
    (no ranges)  no trunk has a range: everybody may call              admit, `open`
    scanner      no trunk lists the address, and its User-Agent is
                 that of a tool that scans for open servers            silence, `scanner` (403 with `strangers = "reject"`)
    unknown      there are ranges and none contains the address        403, `unlisted` (silence with `strangers = "silence"`)

Pure: a policy and a source go in, a verdict comes out. The server and `doctor --explain` use the same code. `request_admission` keeps the
counters. This module knows addresses and host names, but no transactions and no call counts. The most specific range wins. If several
trunks share that range, the trunk whose own host stands in From wins, else the first one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from ipaddress import IPv4Network, IPv6Network
from typing import Literal

from msgspec import Struct

from active_call.base.addresses import IpAddress, parse_address

Network = IPv4Network | IPv6Network
Answer = Literal["admit", "reject", "silence"]
Strangers = Literal["auto", "reject", "silence"]

SCANNERS = (
    "friendly-scanner", "friendly-request", "sipvicious", "sundayddr", "sip-scan", "sipscan", "sipcli", "iwar", "smap",
    "vaxsipuseragent", "pplsip",
)  # fmt: skip
"""Prefixes of the User-Agent of tools that only scan for open servers, in lower case. Public block lists name the same tools."""


_MAX_LISTED = 4096

RULES = {
    "trunk": "the address is in a range of the trunk",
    "registrar": "we are registered at this address",
    "open": "no trunk lists address ranges, so everybody may call",
    "unlisted": "no trunk allows this address",
    "scanner": "the User-Agent is that of a scanner",
    "silenced": "the address was refused too often",
    "malformed": "the message cannot be parsed, and no trunk allows the address",
    "not_listening": "the server does not listen on this transport",
    "no_playbook": "no rule of the handler has a playbook for the call",
    "address_rate": "the address exceeds its limit of new calls per second",
    "address_share": "the address, which is no trunk, has its share of the server's calls",
    "trunk_rate": "the trunk exceeds its limit of new calls per second",
    "trunk_calls": "the trunk has reached its limit of calls",
    "srtp_required": "the trunk requires SRTP, and only plain RTP was offered",
    "srtp_off": "the trunk has SRTP switched off, and only SRTP was offered",
    "transactions": "the address has too many open transactions",
    "full": "the server has reached its limit of calls",
    "draining": "the server is stopping",
    "not_accepting": "the server has reached its limit of calls, or is stopping",
    "method": "the method is not supported",
    "extension": "a required extension is not supported",
    "no_call": "the request belongs to an unknown call",
    "outside_call": "the method is not allowed outside a dialog",
    "contact": "the INVITE has no Contact",
    "content": "the body is not a session description, or is encoded",
    "session_interval": "the session interval is too short",
}
"""Every rule that admits or refuses a request: its stable id and its description."""


class TrunkAccess(Struct, frozen=True):
    """The fields of a trunk that the decision uses."""

    name: str
    networks: tuple[Network, ...] = ()
    hosts: tuple[str, ...] = ()
    """The trunk's own host names, lower case."""
    contact_host: str = ""
    """`host[:port]` to put in our Contact on this trunk; empty for our own address."""
    max_calls: int | None = None
    max_cps: float | None = None
    large_by_tcp: bool = True
    """Whether our in-dialog requests that are too large for a datagram go by TCP."""


class AdmissionPolicy(Struct, frozen=True):
    """The configured policy. `strangers` is `admission.strangers` of the config: how unknown sources are answered."""

    trunks: tuple[TrunkAccess, ...] = ()
    strangers: Strangers = "auto"
    max_cps_per_address: float | None = None
    silence_after: int = 20
    """After this many refusals within `WINDOW_S` an address is no longer answered."""
    silence_s: float = 600.0
    max_share_per_address: float = 1.0
    """The largest part of the server's calls that one unknown address may have; see `address_share`."""


class RequestSource(Struct, frozen=True):
    """The sender of a request. `host` is the source address without brackets."""

    host: str
    user_agent: str = ""
    from_host: str = ""


class Verdict(Struct, frozen=True):
    """The decision about a request.

    `rule` is a stable id. `code` and `reason` are those of the rejection; `retry_after_s` is its Retry-After.
    """

    answer: Answer
    rule: str
    trunk: str = ""
    network: str = ""
    """The range that admitted it."""
    code: int = 0
    reason: str = ""
    retry_after_s: int = 0
    detail: str = ""


class AccessList:
    """A policy, indexed for address lookup."""

    def __init__(self, policy: AdmissionPolicy) -> None:
        self.policy = policy
        self.is_open = not any(trunk.networks for trunk in policy.trunks)
        self.trunks = {trunk.name: trunk for trunk in policy.trunks}
        self._ranges: dict[tuple[int, int], dict[int, list[tuple[TrunkAccess, Network]]]] = {}
        for trunk in policy.trunks:
            for network in trunk.networks:
                by_prefix = self._ranges.setdefault((network.version, network.prefixlen), {})
                by_prefix.setdefault(int(network.network_address), []).append((trunk, network))
        self.needs_from = any(len(sharing) > 1 for by_prefix in self._ranges.values() for sharing in by_prefix.values())
        """Whether trunks share a range, so that the host in From tells them apart. Otherwise it need not be read."""
        self._listed: dict[str, bool] = {}
        self._prefixes = sorted(self._ranges, key=lambda key: -key[1])

    def is_listed(self, host: str) -> bool:
        """Whether the address is in a range of any trunk. Cached, because it is asked for every message."""
        known = self._listed.get(host)
        if known is None:
            address = parse_address(host)
            known = address is not None and self._find(address, "") is not None
            if len(self._listed) >= _MAX_LISTED:
                self._listed.clear()
            self._listed[host] = known
        return known

    def decide(self, source: RequestSource, registrars: Collection[str] = ()) -> Verdict:
        """Decide about a request of `source`. `registrars`: addresses of the registrars where we are registered."""
        address = parse_address(source.host)
        found = None if address is None else self._find(address, source.from_host.lower())
        if found is not None:
            trunk, network = found
            return Verdict("admit", "trunk", trunk.name, str(network))
        if source.host in registrars:
            return Verdict("admit", "registrar")
        if is_scanner(source.user_agent):
            return self._refusal("scanner", is_hostile=True, detail=source.user_agent[:60])
        if self.is_open:
            return Verdict("admit", "open")
        return self._refusal("unlisted", is_hostile=False)

    def _refusal(self, rule: str, *, is_hostile: bool, detail: str = "") -> Verdict:
        if self.policy.strangers == "silence" or (is_hostile and self.policy.strangers == "auto"):
            return Verdict("silence", rule, detail=detail)
        return Verdict("reject", rule, code=403, reason="Forbidden", detail=detail)

    def _find(self, address: IpAddress, from_host: str) -> tuple[TrunkAccess, Network] | None:
        number, bits = int(address), address.max_prefixlen
        for version, prefix in self._prefixes:
            if version != address.version:
                continue
            mask = ((1 << prefix) - 1) << (bits - prefix)
            sharing = self._ranges[version, prefix].get(number & mask)
            if sharing:
                return next((entry for entry in sharing if from_host and from_host in entry[0].hosts), sharing[0])
        return None


def is_scanner(user_agent: str) -> bool:
    """Whether a User-Agent belongs to a tool that only scans for open servers."""
    return user_agent.strip().lower().startswith(SCANNERS)


def overlapping(trunks: tuple[TrunkAccess, ...]) -> Iterator[tuple[TrunkAccess, TrunkAccess, Network]]:
    """Pairs of trunks that list the same range. Only their hosts in From tell them apart."""
    seen: dict[Network, TrunkAccess] = {}
    for trunk in trunks:
        for network in trunk.networks:
            first = seen.setdefault(network, trunk)
            if first is not trunk:
                yield first, trunk, network
