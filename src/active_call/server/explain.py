"""Explains how a call would be handled: the rule for its source address, the response, and who takes it; in plain words.

A Config and a question enter, an `Explanation` leaves. It uses the server's own code: `AccessList` for the address, the router for the
playbook. With the request admission of a running server, its counters are included.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from msgspec import Struct, to_builtins

from active_call.base.addresses import parse_address
from active_call.call.opening.routing import NO_PLAYBOOK, PlaybookRouter, Rule
from active_call.server.config.sections import PlaybookHandler, WebhookHandler
from active_call.server.setup.trunk_profiles import load_profile, profile_names
from active_call.server.setup.trunks import active_trunks, admission_policy
from active_call.sip.access.access_list import RULES, AccessList, RequestSource, TrunkAccess, Verdict
from active_call.sip.access.request_admission import WINDOW_S, RequestAdmission

if TYPE_CHECKING:
    from active_call.server.config.config import Config
    from active_call.server.config.trunk_sections import Trunk

TRANSPORTS = ("udp", "tcp", "tls", "ws", "wss")


class Question(Struct, frozen=True):
    """The call to explain: source address, transport, caller and callee."""

    ip: str
    transport: str = "udp"
    to: str = ""
    caller: str = ""
    user_agent: str = ""


class Explanation(Struct, frozen=True):
    """The answer. `rule` is the stable word in logs and counters; `reply` is our first or final response."""

    ip: str
    transport: str
    allowed: bool
    rule: str
    because: str
    reply: str
    trunk: str = ""
    profile: str = ""
    range: str = ""
    media: str = ""
    limits: str = ""
    handler: str = ""
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return dict(to_builtins(self))

    def as_text(self) -> str:
        """As text, one line for each fact."""
        lines = [f"An INVITE from {self.ip} over {self.transport} is {'let in' if self.allowed else 'refused'}: {self.because}."]
        facts = {
            "rule": self.rule,
            "trunk": f"{self.trunk}{f' (profile {self.profile})' if self.profile else ''}" if self.trunk else "",
            "range": self.range,
            "answer": self.reply,
            "media": self.media,
            "limits": self.limits,
            "handler": self.handler,
        }
        lines += [f"  {name:<8} {text}" for name, text in facts.items() if text]
        lines += [f"  {'note':<8} {note}" for note in self.notes]
        return "\n".join(lines)


def explain(
    config: Config, question: Question, admission: RequestAdmission | None = None, now: float = 0.0, registrars: Collection[str] = ()
) -> Explanation:
    """How such an INVITE would be handled. Raises ValueError for an invalid address or transport."""
    if parse_address(question.ip) is None:
        raise ValueError(f"expected an IP address, found {question.ip!r}")
    if question.transport not in TRANSPORTS:
        raise ValueError(f"expected one of the transports {', '.join(TRANSPORTS)}, found {question.transport!r}")
    access_list = admission.access_list if admission is not None else AccessList(admission_policy(config))
    verdict = _verdict(config, question, access_list, registrars)
    if admission is not None and verdict.rule not in ("trunk", "registrar") and admission.is_silenced(question.ip, now):
        verdict = Verdict("silence", "silenced")
    trunk = next((entry for entry in active_trunks(config) if entry.name == verdict.trunk), None)
    handler, refusal = _handler(config, question)
    if verdict.answer == "admit" and refusal:
        verdict = Verdict("reject", "no_playbook", verdict.trunk, verdict.network, NO_PLAYBOOK.code, NO_PLAYBOOK.reason)
    return Explanation(
        ip=question.ip,
        transport=question.transport,
        allowed=verdict.answer == "admit",
        rule=verdict.rule,
        because=RULES[verdict.rule] + (f" ({verdict.detail})" if verdict.detail else ""),
        reply=_reply(verdict),
        trunk=verdict.trunk,
        profile=trunk.profile or "" if trunk is not None else "",
        range=verdict.network,
        media=_media(config, trunk) if verdict.answer == "admit" else "",
        limits=_limits(config, trunk) if verdict.answer == "admit" else "",
        handler=handler if verdict.answer == "admit" else "",
        notes=tuple(_notes(config, question, verdict, trunk, access_list)),
    )


def playbook_router(handler: PlaybookHandler) -> PlaybookRouter:
    """The router of a playbook handler."""
    rules = [
        Rule(rule.playbook, re.compile(rule.caller) if rule.caller else None, re.compile(rule.callee) if rule.callee else None)
        for rule in handler.rules
    ]
    return PlaybookRouter(rules, handler.default)


def _verdict(config: Config, question: Question, access_list: AccessList, registrars: Collection[str]) -> Verdict:
    port_key = {"tls": "tls_port", "ws": "ws_port", "wss": "wss_port"}.get(question.transport)
    if port_key is not None and getattr(config, port_key) is None:
        return Verdict("silence", "not_listening", detail=f"{port_key} is not set")
    return access_list.decide(RequestSource(question.ip, question.user_agent), registrars)


def _reply(verdict: Verdict) -> str:
    if verdict.answer == "admit":
        return "100 Trying, then the handler decides"
    if verdict.rule == "not_listening":
        return "none: the connection is refused"
    return "none: it gets no response" if verdict.answer == "silence" else f"{verdict.code} {verdict.reason}"


def _media(config: Config, trunk: Trunk | None) -> str:
    policy = {
        "required": "SRTP only: RTP/AVP is refused with 488",
        "off": "RTP only: RTP/SAVP is refused with 488",
        "preferred": "SRTP and RTP, as offered",
        None: "SRTP and RTP, as offered",
    }[trunk.srtp if trunk is not None else None]
    codecs = (trunk.codecs if trunk is not None else None) or config.codecs
    return f"{policy}; codecs {', '.join(name for name in codecs if name != 'telephone_event')}"


def _limits(config: Config, trunk: Trunk | None) -> str:
    share = config.admission.max_share_per_address
    limits = [
        f"{trunk.max_calls} calls on the trunk" if trunk is not None and trunk.max_calls else "",
        f"{trunk.max_cps:g} new calls a second on the trunk" if trunk is not None and trunk.max_cps else "",
        f"{config.admission.max_cps_per_address:g} new calls a second from one address" if config.admission.max_cps_per_address else "",
        f"{share:.0%} of all calls from one address, less while others call" if trunk is None and share < 1 else "",
        f"{config.admission.max_calls} calls in all" if config.admission.max_calls else "",
    ]
    told = ", ".join(limit for limit in limits if limit)
    return f"{told}; over them 503 with Retry-After" if told else "none except the capacity of the media processes"


def _handler(config: Config, question: Question) -> tuple[str, bool]:
    """Who takes the call, and whether there is nobody (404)."""
    match config.handler:
        case None:
            return f"nobody: a client must send `accept` within {config.accept_timeout:g} s, else 408", False
        case PlaybookHandler() as handler:
            return _playbook(config, handler, question)
        case WebhookHandler() as handler:
            return f"asks {', '.join(handler.all_urls)}", False
        case handler:
            return f"asks the function {handler.target}", False


def _playbook(config: Config, handler: PlaybookHandler, question: Question) -> tuple[str, bool]:
    if not question.to and handler.rules:
        then = f"then {handler.default}" if handler.default else "then 404"
        return f"{len(handler.rules)} rule(s) over caller and callee, {then}; --to says which", False
    callee = _uri(question.to or "anybody", config.public_ip or config.addr)
    name, index = playbook_router(handler).choose(_uri(question.caller or "anybody", question.ip), callee)
    if name is None:
        return "", True
    return f"playbook {name} ({'the default' if index is None else f'rule {index + 1}'}), for {callee}", False


def _uri(text: str, host: str) -> str:
    if ":" in text:
        return text
    return f"sip:{text}" if "@" in text else f"sip:{text}@{host}"


def _notes(config: Config, question: Question, verdict: Verdict, trunk: Trunk | None, access_list: AccessList) -> list[str]:
    notes = []
    if verdict.answer == "admit":
        if verdict.rule == "open":
            notes.append("a [[trunks]] entry with a profile or `allow` would refuse everybody else")
        if trunk is not None and trunk.srtp == "required" and question.transport not in ("tls", "wss"):
            notes.append(f"SRTP is required, and over {question.transport} its keys are sent unencrypted")
        if trunk is not None and trunk.published is not None:
            notes += trunk.published.notes
        return notes
    if verdict.rule in ("unlisted", "scanner"):
        notes.append(f"listed: {_listed(access_list)}")
        notes += _whose(question.ip)
        chosen = config.admission
        if chosen.strangers == "auto":
            notes.append(
                f"after {chosen.silence_after} refusals within {WINDOW_S:g} s the address gets no response for {chosen.silence_for:g} s"
            )
    return notes


def _listed(access_list: AccessList) -> str:
    def shown(trunk: TrunkAccess) -> str:
        networks = [str(network) for network in trunk.networks]
        return f"{trunk.name} {', '.join(networks[:8])}{' …' if len(networks) > 8 else ''}"

    return "; ".join(shown(trunk) for trunk in access_list.policy.trunks if trunk.networks) or "nobody"


def _whose(ip: str) -> list[str]:
    """Which shipped profile knows the address, if no trunk lists it."""
    found, address = [], parse_address(ip)
    for name in profile_names():
        profile = load_profile(name)
        for kind, ranges in (("signalling", profile.allow), ("media", profile.media)):
            if any(address in ip_network(entry) for entry in ranges):
                way = f'name it by profile = "{name}"' if kind == "signalling" else "the carrier sends no calls from there"
                found.append(f"it is a {kind} address of {profile.title}: {way}")
    if not found:
        found.append(f'to let it in: allow = ["{ip}"] in the [[trunks]] entry that it belongs to')
    return found
