"""Converts the config file's trunks for the lower rooms: the access policy, the dial plan, the accounts.

A Config enters; frozen values of `sip.admission`, `legs.dialling`, `legs.registrations` leave. Decides only defaults.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from active_call.base.addresses import parse_address
from active_call.codec import libopus
from active_call.legs.sip.dialling import DialPlan, with_realms
from active_call.legs.sip.registrations import Account
from active_call.legs.sip.rewriting import HeaderRule, Part, Rewrite
from active_call.legs.trunks.outbound_guard import OutboundPolicy
from active_call.legs.trunks.outbound_usage import HourlyLimits
from active_call.legs.trunks.policy import TrunkPolicy, Trunks
from active_call.sdp.negotiation import SrtpPolicy
from active_call.server.config.sections import SipRegistration
from active_call.server.config.trunk_sections import Trunk, TrunkRule, UserHost, UserHostPattern
from active_call.sip.access.access_list import AccessList, AdmissionPolicy, TrunkAccess, overlapping
from active_call.sip.events import Credentials

if TYPE_CHECKING:
    from active_call.server.config.config import Config

SUPPORTED_CODECS = ("pcmu", "pcma", "g722", *(("opus",) if libopus.is_available() else ()), "l16_16000", "l16_8000")


def active_trunks(config: Config) -> tuple[Trunk, ...]:
    """The active trunks, with the values of their profiles."""
    return tuple(trunk.resolved for trunk in config.trunks if not trunk.disabled)


def trunk_policy(trunk: Trunk) -> TrunkPolicy:
    """What calls need from a resolved trunk."""
    credentials = (Credentials(trunk.username, trunk.password or "", trunk.realm),) if trunk.username else ()
    rates = [rate for rate in (trunk.outbound_cps, trunk.max_cps) if rate is not None]
    return TrunkPolicy(
        name=trunk.name,
        address=trunk.server or "",
        server=trunk.host,
        domains=trunk.domains,
        networks=tuple(ipaddress.ip_network(network) for network in trunk.allow),
        credentials=tuple(entry for one in credentials for entry in with_realms(one, trunk.host, trunk.realms)),
        realms=trunk.realms,
        transport=trunk.transport,
        srtp=SrtpPolicy(trunk.srtp) if trunk.srtp is not None else None,
        best_effort_srtp=trunk.srtp == "preferred" and trunk.srtp_best_effort is not False,
        codecs=tuple(name for name in trunk.codecs or () if name in SUPPORTED_CODECS),
        number_format=trunk.number_format or "as_given",
        country_code=trunk.country_code,
        caller=trunk.caller or "",
        headers=trunk.headers,
        refer_headers=trunk.refer_headers,
        contact_host=trunk.contact_host,
        session_timers=trunk.session_timers is not False,
        prack=trunk.prack is not False,
        max_calls=trunk.max_calls,
        outbound_cps=min(rates, default=None),
        hourly=HourlyLimits(trunk.max_calls_per_hour, trunk.max_minutes_per_hour),
        large_requests=trunk.large_requests,
        options_interval_s=trunk.options_interval or 0.0,
    )


def admission_policy(config: Config) -> AdmissionPolicy:
    """The settings of the access list."""
    chosen = config.admission
    trunks = tuple(
        TrunkAccess(
            name=trunk.name,
            networks=tuple(ipaddress.ip_network(network) for network in trunk.allow),
            hosts=(trunk.host,) if trunk.host else (),
            contact_host=trunk.contact_host or "",
            max_calls=trunk.max_calls,
            max_cps=trunk.max_cps,
            large_by_tcp=trunk.large_requests == "tcp" or (trunk.large_requests is None and trunk.transport != "udp"),
        )
        for trunk in active_trunks(config)
    )
    return AdmissionPolicy(
        trunks, chosen.strangers, chosen.max_cps_per_address, chosen.silence_after, chosen.silence_for, chosen.max_share_per_address
    )


def outbound_policy(config: Config) -> OutboundPolicy:
    """The rules for outbound calls."""
    chosen = config.outbound
    limits = HourlyLimits(chosen.max_calls_per_hour, chosen.max_minutes_per_hour)
    return OutboundPolicy(chosen.domains, chosen.numbers, chosen.deny_numbers, chosen.transfer_targets, limits)


def trunk_warnings(config: Config, own_addresses: Sequence[str]) -> list[str]:
    """Warnings about who may call in, one sentence each. `own_addresses`: where SIP listens, and the advertised addresses."""
    policy = admission_policy(config)
    warnings = []
    public = [address for address in own_addresses if (ip := parse_address(address)) is not None and ip.is_global]
    if AccessList(policy).is_open:
        if public:
            warnings.append(
                f"anybody may call: SIP is reachable at {', '.join(dict.fromkeys(public))}, and no [[trunks]] entry limits who may; "
                "set a profile or `allow`"
            )
        return warnings
    warnings += [
        f"trunk {trunk.name} has no ranges: its calls are refused like a stranger's; set `allow`, or an address as `server`"
        for trunk in policy.trunks
        if not trunk.networks
    ]
    warnings += [
        f"trunks {first.name} and {second.name} share {network}: calls from there count for {first.name}, "
        f"unless From names the `server` of {second.name}"
        for first, second, network in overlapping(policy.trunks)
        if not second.hosts
    ]
    return warnings


def dial_plan(config: Config) -> DialPlan:
    """How outbound calls are addressed."""
    return DialPlan(
        trunks=Trunks([trunk_policy(trunk) for trunk in active_trunks(config)]),
        rewrites=tuple(Rewrite.of(entry.match, entry.rewrite) for entry in config.rewrites),
        rules=tuple(header_rule(rule) for rule in config.trunk_rules),
        accounts=tuple((account.host, account.credentials) for account in accounts(config)),
        display_names=tuple((account.host, account.display_name) for account in accounts(config) if account.display_name),
        enable_srtp=config.enable_srtp,
    )


def header_rule(rule: TrunkRule) -> HeaderRule:
    """A rule with its compiled patterns, which were validated before."""
    match, rewrite = rule.rule.match, rule.rule.rewrite
    from_user, from_host = _patterns(match.from_)
    to_user, to_host = _patterns(match.to)
    return HeaderRule(rule.name, from_user, from_host, to_user, to_host, _part(rewrite.from_), _part(rewrite.to), _part(rewrite.contact))


def _patterns(parts: UserHostPattern) -> tuple[re.Pattern[str] | None, re.Pattern[str] | None]:
    return (
        re.compile(parts.user) if parts.user is not None else None,
        re.compile(parts.host) if parts.host is not None else None,
    )


def _part(parts: UserHost) -> Part:
    return Part(parts.user, parts.host)


def accounts(config: Config) -> tuple[Account, ...]:
    """Our accounts at registrars. An account at a carrier without REGISTER is used for outbound calls only, unless it sets `register`."""
    trunks = active_trunks(config)
    known = Trunks([trunk_policy(trunk) for trunk in trunks])
    by_name = {trunk.name: trunk for trunk in trunks}

    def registers(account: SipRegistration) -> bool:
        if account.register_ is not None:
            return account.register_
        policy = known.of_callee(Account("", "", "", None, account.server).host)
        return policy is None or by_name[policy.name].register_ is not False

    listed = tuple(
        Account(
            name=account.name,
            username=account.username,
            password=account.password,
            realm=account.realm,
            server=account.server,
            expires_s=account.expires,
            proxy=account.proxy,
            registers=registers(account),
            display_name=account.display_name,
        )
        for account in config.registrations
    )
    own = tuple(
        Account(trunk.name, trunk.username, trunk.password or "", trunk.realm, trunk.server or "")
        for trunk in config.trunks
        if trunk.register_ and trunk.username and not trunk.disabled
    )
    return (*listed, *own)
