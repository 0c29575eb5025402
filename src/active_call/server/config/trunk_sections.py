"""The tables of the config file about trunks: `[[trunks]]`, `[admission]`, `[[trunk_rules]]`, `[[rewrites]]`.

Plain TOML values enter; frozen models leave. An invalid value raises ValueError in plain words. Knows no files, no lines.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from active_call.legs.sip import rewriting
from active_call.legs.sip.own_headers import RESERVED, SECRETS
from active_call.legs.trunks.destinations import is_number_pattern
from active_call.legs.trunks.outbound_guard import COSTLY_NUMBERS
from active_call.server.config.values import Flag, Headers, HostPort, NonEmpty, Number, OptionalSecret, Regex, Seconds, Section, Whole
from active_call.server.setup.trunk_profiles import Profile, TrunkKeys, load_profile
from active_call.sip.syntax.grammar import is_token
from active_call.sip.syntax.headers import header_key


def _profile_name(name: str) -> str:
    load_profile(name)
    return name


def _no_scheme(text: str) -> str:
    """A host with optional port and parameters; a scheme before it is removed."""
    return re.sub(r"^sips?:", "", text.strip())


def _number_pattern(text: str) -> str:
    if not is_number_pattern(text):
        raise ValueError(f"expected digits, with an optional leading + and a final * for any others, such as +49*, found {text!r}")
    return text


def _free_header(name: str) -> str:
    if not is_token(name) or header_key(name) in RESERVED | SECRETS:
        raise ValueError(f"expected the name of a header that a peer may set, such as User-to-User, found {name!r}")
    return name


NumberPattern = Annotated[NonEmpty, AfterValidator(_number_pattern)]


class Trunk(TrunkKeys):
    """A carrier: who may call in through it, and how outbound calls use it. Missing keys come from the profile."""

    name: NonEmpty
    """Its name in logs, records, variables and the API."""
    profile: Annotated[str, AfterValidator(_profile_name)] | None = None
    """`twilio`, `telnyx` …: the carrier's published address ranges and settings."""
    server: Annotated[NonEmpty, BeforeValidator(lambda value: _no_scheme(value) if isinstance(value, str) else value)] | None = None
    """Host of the carrier for outbound calls, with an optional port and `;transport=`; callees at that host belong to the trunk."""
    username: str | None = None
    """Digest user name for outbound calls."""
    password: OptionalSecret = None
    """Digest password for outbound calls."""
    realm: str | None = None
    """The password's digest realm; without it, any."""
    keys: NonEmpty | None = None
    """The key set (`[keys.NAME]`) of the trunk's calls, unless their playbook names one."""
    caller: str | None = None
    """Our number on this trunk: the From of calls without a caller."""
    headers: Headers = Field(default={}, repr=False)
    """Headers of every outbound INVITE, such as X-Telnyx-Token."""
    refer_headers: tuple[Annotated[NonEmpty, AfterValidator(_free_header)], ...] = ()
    """Headers in its REFERs' Refer-To that are copied to the INVITE to the target, such as User-to-User. Replaces always is."""
    max_calls: Annotated[Whole, Field(ge=1)] | None = None
    """Concurrent calls, both directions together."""
    max_cps: Annotated[Number, Field(gt=0)] | None = None
    """New calls a second, inbound and outbound each."""
    max_calls_per_hour: Annotated[Whole, Field(ge=1)] | None = None
    """Outbound calls within any hour; further ones are refused."""
    max_minutes_per_hour: Annotated[Number, Field(gt=0)] | None = None
    """Minutes of outbound calls within any hour; then new ones are refused."""
    disabled: Flag = False
    """True: kept in the file and not used."""

    @property
    def published(self) -> Profile | None:
        """The profile of the entry."""
        return load_profile(self.profile) if self.profile else None

    @property
    def resolved(self) -> Trunk:
        """The entry with missing values taken from its profile; an address as `server` is also its only range."""
        values = {name: getattr(self, name) for name in self.model_fields_set}
        profile = self.published
        if profile is not None:
            values |= {
                name: getattr(profile, name)
                for name in profile.model_fields_set
                if name in TrunkKeys.model_fields and name not in self.model_fields_set
            }
        if not values.get("allow") and "allow" not in self.model_fields_set and (own := _address_of(self.server)):
            values["allow"] = (own,)
        return self.model_copy(update=values)

    @property
    def host(self) -> str:
        """The host of `server` alone, without brackets; empty without one."""
        return host_of(self.server or "")

    @model_validator(mode="after")
    def _fits(self) -> Trunk:
        both = self.resolved
        if both.number_format == "national" and both.country_code is None:
            raise ValueError('number_format = "national" needs country_code, such as "1" or "49"')
        least = self.published.options_min_interval if self.published else None
        if least and both.options_interval and both.options_interval < least:
            raise ValueError(f"options_interval: expected at least {least:g} s; the carrier penalises more frequent OPTIONS")
        if self.username is None and (self.password is not None or self.register_):
            raise ValueError("username is missing; password and register need it")
        if self.register_ and self.server is None:
            raise ValueError("register needs server")
        return self


def host_of(server: str) -> str:
    """The host of `host[:port][;parameters]`, without brackets."""
    match = re.match(r"(\[[^\]]+\]|[^:;]*)", server) if server.count(":") < 2 or server.startswith("[") else None
    return (match[1] if match else server.partition(";")[0]).strip("[]").lower()


def _address_of(server: str | None) -> str:
    try:
        return str(ipaddress.ip_network(host_of(server or "")))
    except ValueError:
        return ""


class Admission(Section):
    """Who may call in at all, in addition to the trunks' own lists."""

    strangers: Literal["auto", "reject", "silence"] = "auto"
    """How sources outside all trunks are treated: `reject` answers 403, `silence` does not answer, `auto` answers 403 to honest-looking
    sources and does not answer scanners, unparsable messages and repeated attempts.
    """
    silence_after: Annotated[Whole, Field(ge=1)] = 20
    """Refusals within a minute after which an address gets no answer, with `auto`."""
    silence_for: Seconds = 600.0
    """The duration of that. Seconds, or a text such as `10m`."""
    max_cps_per_address: Annotated[Number, Field(gt=0)] | None = None
    """New inbound calls a second from one source address."""
    max_share_per_address: Annotated[Number, Field(gt=0, le=1)] = 0.9
    """The largest part of the server's calls for one source address that is neither a trunk's, a registrar's nor this machine's. It shrinks
    when others call too. 1: no limit.
    """
    max_calls: Annotated[Whole, Field(ge=1)] | None = None
    """Concurrent calls in total."""
    stranger_idle: Seconds = 300.0
    """How long a connection outside all trunks stays open without a call and without a SIP message."""
    max_connections: Annotated[Whole, Field(ge=8)] = 2000
    """Concurrent SIP connections in total; a quarter is reserved for trunks and registrars."""


class Outbound(Section):
    """Outbound calls by all parties: the API, agents, transfers, redirections."""

    domains: tuple[NonEmpty, ...] = ()
    """Hosts besides the trunk's own that its REFER and 3xx may name; `*` matches any part of a name."""
    numbers: tuple[NumberPattern, ...] = ()
    """Numbers that may be called, such as `+49*`; empty: all except `deny_numbers`."""
    deny_numbers: tuple[NumberPattern, ...] = COSTLY_NUMBERS
    """Numbers that are never called; by default premium-rate and satellite numbers."""
    transfer_targets: tuple[NonEmpty, ...] = ()
    """Targets of agents' transfers in addition to the playbook's: numbers (`+49*`), addresses (`desk@example.com`), hosts."""
    max_calls_per_hour: Annotated[Whole, Field(ge=1)] | None = None
    """Outbound calls within any hour, over all trunks."""
    max_minutes_per_hour: Annotated[Number, Field(gt=0)] | None = None
    """Minutes of outbound calls within any hour, in total."""


class UserHost(Section):
    """The user and host to write into a URI."""

    user: str | None = None
    """User part."""
    host: HostPort | None = None
    """Host; if it is written without a port, the port stays."""


class UserHostPattern(Section):
    """Patterns for the parts of a URI; a missing one matches everything."""

    user: Regex | None = None
    """Regular expression over the user part; a URI without a user part does not match."""
    host: Regex | None = None
    """Regular expression over the host."""


class RuleMatch(Section):
    """The calls a trunk rule applies to: all its patterns must match."""

    from_: UserHostPattern = Field(default=UserHostPattern(), alias="from")
    """Patterns over the From URI."""
    to: UserHostPattern = UserHostPattern()
    """Patterns over the To and request URI."""


class RuleRewrite(Section):
    """The rewrite of a trunk rule."""

    from_: UserHost = Field(default=UserHost(), alias="from")
    """New parts of the From URI."""
    to: UserHost = UserHost()
    """New parts of the To and request URI."""
    contact: UserHost = UserHost()
    """New parts of the Contact URI."""


class RuleBody(Section):
    """A match and a rewrite."""

    match: RuleMatch = RuleMatch()
    """Without it the rule applies to every call."""
    rewrite: RuleRewrite = RuleRewrite()
    """What changes."""


class TrunkRule(Section):
    """One rule for outbound calls; the first match is applied."""

    name: str = ""
    """Its name in logs."""
    rule: RuleBody
    """Match and rewrite."""


class Rewrite(Section):
    """Rewrites the callee before dialling; each rule applies to the result of the previous one."""

    match: Regex
    """Regular expression, matched anywhere in the callee's address."""
    rewrite: str
    """Replacement of every match, with `$1`, `$name` or `\\1` for groups and `$$` for a dollar sign."""

    @field_validator("rewrite")
    @classmethod
    def _names_groups(cls, text: str, info: ValidationInfo) -> str:
        if "match" in info.data:
            rewriting.Rewrite.of(info.data["match"], text)
        return text
