"""Who may be called: what peers, agents and clients ask for, beside trunks, lists, numbers and the hour's calls."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime
from typing import Any

import pytest

from active_call.base.addresses import Reach
from active_call.base.errors import NotAllowed, QuotaReached
from active_call.legs.trunks.destinations import is_written_in, names_address, names_host, names_number, number_forms
from active_call.legs.trunks.outbound_guard import COSTLY_NUMBERS, OutboundGuard, OutboundPolicy, OutboundRequest
from active_call.legs.trunks.outbound_usage import HourlyLimits, OutboundUsage
from active_call.legs.trunks.policy import TrunkPolicy, Trunks
from active_call.sip.events import Target
from active_call.sip.syntax.uri import parse_uri

PUBLIC = TrunkPolicy("carrier", address="sip.carrier.example", server="sip.carrier.example", domains=("*.edge.example",), country_code="49")
OFFICE = TrunkPolicy("office", address="10.0.0.5", server="10.0.0.5", networks=(ipaddress.ip_network("10.0.0.0/24"),))
OURSELVES = ("198.51.100.1", 25060)


class VirtualClock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> float:
        return self.at

    def utc_now(self) -> datetime:
        return datetime.fromtimestamp(self.at, UTC)

    def advance(self, seconds: float) -> None:
        self.at += seconds


def guard(policy: OutboundPolicy = OutboundPolicy(), *trunks: TrunkPolicy) -> OutboundGuard:  # noqa: B008 (frozen)
    def is_ourselves(target: Target) -> bool:
        return (target.host, target.port) == OURSELVES

    return OutboundGuard(policy, Trunks(trunks or (PUBLIC, OFFICE)), is_ourselves)


def peer(trunk: str = "carrier", address: str = "203.0.113.9", **more: Any) -> OutboundRequest:
    return OutboundRequest("peer", trunk, address, **more)


def rule_of(uri: str, request: OutboundRequest, policy: OutboundPolicy = OutboundPolicy()) -> str:  # noqa: B008 (frozen)
    with pytest.raises(NotAllowed) as raised:
        guard(policy).check(parse_uri(uri), request)
    return raised.value.rule


@pytest.mark.parametrize("uri", ["sip:+4930123@sip.carrier.example", "sip:desk@a.edge.example", "sips:+4930123@sip.carrier.example:5061"])
def test_peer_may_send_us_to_its_trunks_own_hosts(uri: str) -> None:
    permit = guard().check(parse_uri(uri), peer())
    assert (permit.is_own, permit.rules.least, permit.rules.not_ourselves) == (True, Reach.WORLD, True)


@pytest.mark.parametrize(
    ("uri", "rule"),
    [
        ("sip:x@evil.example", "outbound_domain"),
        ("sip:x@sip.carrier.example.evil.example", "outbound_domain"),
        ("sip:x@edge.example.evil", "outbound_domain"),
        ("sip:x@10.0.0.5", "outbound_domain"),
        ("sip:x@203.0.113.9", "outbound_domain"),
        ("sip:x@sip.carrier.example;maddr=10.0.0.1", "outbound_address"),
        ("sip:+19005551234@sip.carrier.example", "outbound_number"),
        ("sip:0111900555-1234@sip.carrier.example", "outbound_number"),
        ("sip:19005551234@sip.carrier.example", "outbound_number"),
        ("sip:%2B1%39005551234@sip.carrier.example", "outbound_number"),
        ("sip:+19005551234;phone-context=x@sip.carrier.example", "outbound_number"),
        ("sip:\uff0b19005551234@sip.carrier.example", "outbound_number"),
    ],
)
def test_peer_may_not_send_us_anywhere_else(uri: str, rule: str) -> None:
    assert rule_of(uri, peer()) == rule


def test_peer_of_a_private_trunk_may_name_its_own_private_address() -> None:
    permit = guard().check(parse_uri("sip:x@10.0.0.5"), peer("office", "10.0.0.5"))
    assert (permit.is_own, permit.rules.least) == (True, Reach.PRIVATE)


def test_listed_host_of_a_peer_gets_no_secrets_and_must_not_be_private() -> None:
    policy = OutboundPolicy(domains=("*.partner.example", "10.0.0.77"))
    permit = guard(policy).check(parse_uri("sip:x@a.partner.example"), peer())
    assert (permit.is_own, permit.rules.least) == (False, Reach.WORLD)
    assert rule_of("sip:x@10.0.0.77", peer(), policy) == "outbound_private"


def test_peer_without_a_trunk_has_only_its_own_address() -> None:
    permit = guard().check(parse_uri("sip:x@203.0.113.9:5099"), peer(trunk=""))
    assert not permit.is_own
    assert rule_of("sip:x@203.0.113.8", peer(trunk="")) == "outbound_domain"
    assert rule_of("sip:x@203.0.113.9", OutboundRequest("peer")) == "outbound_domain"


def test_peer_does_not_send_us_to_ourselves_or_back_along_the_way() -> None:
    policy = OutboundPolicy(domains=("198.51.100.1",))
    assert rule_of("sip:x@198.51.100.1:25060", peer(), policy) == "outbound_loop"
    been = ('"A" <sip:+4930123@sip.carrier.example>;reason=no-answer',)
    assert rule_of("sip:+4930123@sip.carrier.example", peer(diverted_from=been)) == "outbound_loop"
    guard().check(parse_uri("sip:+4930124@sip.carrier.example"), peer(diverted_from=been))


def test_agent_reaches_what_is_listed_and_nothing_else() -> None:
    assert rule_of("sip:+4930123@sip.carrier.example", OutboundRequest("agent", "carrier")) == "outbound_target"
    guard().check(parse_uri("sip:+4930123@sip.carrier.example"), OutboundRequest("agent", "carrier", is_listed=True))
    policy = OutboundPolicy(transfer_targets=("+4930*",))
    guard(policy).check(parse_uri("sip:+4930123@sip.carrier.example"), OutboundRequest("agent", "carrier"))
    assert rule_of("sip:+4930123@evil.example", OutboundRequest("agent", "carrier"), policy) == "outbound_target"
    assert rule_of("sip:+19005551234@sip.carrier.example", OutboundRequest("agent", "carrier", is_listed=True)) == "outbound_number"


@pytest.mark.parametrize("uri", ["sip:a@127.0.0.1:5090", "sip:+4930@anywhere.example", "sips:x@10.1.1.1"])
def test_api_reaches_any_address(uri: str) -> None:
    assert guard().check(parse_uri(uri)).is_own


def test_api_does_not_reach_denied_numbers_unless_the_list_is_emptied() -> None:
    costly = parse_uri("sip:+88161234567@sip.carrier.example")
    with pytest.raises(NotAllowed):
        guard().check(costly)
    guard(OutboundPolicy(deny_numbers=())).check(costly)


@pytest.mark.parametrize(
    "user",
    [
        ".+19005550100",
        "++19005550100",
        "%2B%2B19005550100",
        "[+1]9005550100",
        "%E2%80%8B+19005550100",
        "*67+19005550100",
        "*6719005550100",
        "%2331%23+19005550100",
        "+0019005550100",
        "+01119005550100",
        "00019005550100",
        "1+9005550100",
        "sip%3A+19005550100",
        "+1%D9%A9005550100",
        "9005550100;phone-context=+1",
    ],
)
@pytest.mark.parametrize("policy", [OutboundPolicy(), OutboundPolicy(numbers=("+49*",), deny_numbers=())])
def test_denied_number_is_one_however_it_is_spelt(user: str, policy: OutboundPolicy) -> None:
    with pytest.raises(NotAllowed):
        guard(policy).check(parse_uri(f"sip:{user}@sip.carrier.example"))


@pytest.mark.parametrize("user", ["1-900-FLOWERS", "+1900flowers", "0111900FLOWERS"])
def test_letters_of_a_denied_number_are_its_keys(user: str) -> None:
    with pytest.raises(NotAllowed):
        guard(OutboundPolicy()).check(parse_uri(f"sip:{user}@sip.carrier.example"))


@pytest.mark.parametrize(
    "user",
    [
        "+4930123456",
        "004930123456",
        "*671002",
        "*98",
        "1002",
        "870",
        "+49 870 1234",
        "0900123",
        "desk.19005550100",
        "19desk",
        "870a",
        "+4930EXTERNAL",
    ],
)
def test_ordinary_numbers_and_service_codes_are_not_taken_for_costly_ones(user: str) -> None:
    guard(OutboundPolicy()).check(parse_uri(f"sip:{user.replace(' ', '%20')}@sip.carrier.example"))


def test_national_number_counts_with_its_country_code() -> None:
    policy = OutboundPolicy(numbers=("+4930*",))
    guard(policy).check(parse_uri("sip:030123@sip.carrier.example"))
    with pytest.raises(NotAllowed):
        guard(policy).check(parse_uri("sip:040123@sip.carrier.example"))
    guard(policy).check(parse_uri("sip:alice@sip.carrier.example"))


def test_redirection_to_the_same_host_keeps_secrets_only_at_the_same_place() -> None:
    first = parse_uri("sip:x@127.0.0.1:5070")
    here = guard().redirect(parse_uri("sip:y@127.0.0.1:5070"), first, "", "127.0.0.1")
    other = guard().redirect(parse_uri("sip:y@127.0.0.1:5071"), first, "", "127.0.0.1")
    assert (bool(here.uri), here.keeps_secrets) == (True, True)
    assert (bool(other.uri), other.keeps_secrets) == (True, False)
    assert guard().redirect(parse_uri("sip:y@10.0.0.1"), first, "", "127.0.0.1").refused_by == "outbound_domain"


# -- patterns


@pytest.mark.parametrize(
    ("pattern", "number", "fits"),
    [
        ("+49*", "+4930123", True),
        ("+49*", "004930123", True),
        ("+49*", "+49-30 (123)", True),
        ("+49*", "+43123", False),
        ("110", "110", True),
        ("110", "1101", False),
        ("+1900*", "19005551234", True),
        ("+870*", "8701234567", False),
        ("*", "anything", False),
    ],
)
def test_pattern_of_numbers(pattern: str, number: str, fits: bool) -> None:
    assert names_number((pattern,), number_forms(number)) is fits


def test_costly_numbers_are_patterns_of_numbers_and_leave_ordinary_ones_alone() -> None:
    for number in ("+15550100", "+4930123456", "+8613800138000", "+18005551234", "+819012345678", "112", "8005551234"):
        assert not names_number(COSTLY_NUMBERS, number_forms(number))


@pytest.mark.parametrize(
    ("pattern", "address", "is_home", "fits"),
    [
        ("desk@example.com", "sip:desk@example.com:5070", False, True),
        ("sip:desk@example.com", "sips:desk@EXAMPLE.com", False, True),
        ("desk@example.com:5070", "sip:desk@example.com:5071", False, False),
        ("*@example.com", "sip:anybody@example.com", False, True),
        ("example.com", "sip:anybody@sub.example.com", False, False),
        ("*.example.com", "sip:anybody@sub.example.com", False, True),
        ("desk@example.com", "sip:desk2@example.com", False, False),
        ("+49*", "sip:+4930@evil.example", False, False),
        ("+49*", "sip:+4930@home.example", True, True),
        ("+49*@example.com", "sip:004930@example.com", False, True),
    ],
)
def test_pattern_of_addresses(pattern: str, address: str, is_home: bool, fits: bool) -> None:
    assert names_address((pattern,), parse_uri(address), is_home=is_home) is fits


@pytest.mark.parametrize(
    ("text", "address", "is_home", "fits"),
    [
        ('<refer to="sip:desk@example.com"/>', "sip:desk@example.com", False, True),
        ("write to desk@example.com.", "sip:desk@example.com", False, True),
        ("desk@example.com.evil.example", "sip:desk@example.com", False, False),
        ("mydesk@example.com", "sip:desk@example.com", False, False),
        ('<refer to="+15557654321"/>', "sip:+15557654321@trunk.example", True, True),
        ('<refer to="+15557654321"/>', "sip:+15557654321@evil.example", False, False),
        ("call +1 555 765-4321", "sip:+15557654321@trunk.example", True, True),
        ("call +1 555 765-4321", "sip:+1555765432@trunk.example", True, False),
        ("open 9 to 17", "sip:17@trunk.example", True, False),
        ("", "sip:desk@example.com", True, False),
    ],
)
def test_address_that_an_author_has_written(text: str, address: str, is_home: bool, fits: bool) -> None:
    assert is_written_in(text, parse_uri(address), is_home=is_home) is fits


def test_pattern_of_hosts_is_no_regular_expression() -> None:
    assert names_host(("*.example.com",), "a.example.com")
    assert not names_host(("a.example.com",), "aXexample.com")


# -- the hour


def test_calls_of_an_hour_are_counted_by_trunk_and_in_all() -> None:
    clock = VirtualClock()
    usage = OutboundUsage(clock)
    of_all, of_a = HourlyLimits(calls=3), HourlyLimits(calls=2)
    usage.begin("a", of_all, of_a)
    usage.begin("a", of_all, of_a)
    with pytest.raises(QuotaReached):
        usage.begin("a", of_all, of_a)
    usage.begin("b", of_all)
    with pytest.raises(QuotaReached) as raised:
        usage.begin("b", of_all)
    assert raised.value.rule == "outbound_calls"
    clock.advance(3601)
    usage.begin("a", of_all, of_a)


def test_calls_may_go_on_until_the_minutes_are_used_up() -> None:
    clock = VirtualClock()
    usage, limits = OutboundUsage(clock), HourlyLimits(minutes=10)
    for _ in range(2):
        usage.begin("a", limits).answered()
    clock.advance(299)
    assert usage.why_over("a", limits) == usage.why_over("a", of_trunk=limits) == ""
    clock.advance(1)
    assert "in all took 10 minutes" in usage.why_over("b", limits)
    assert "on trunk a took 10 minutes" in usage.why_over("a", of_trunk=limits)
    assert usage.why_over("b", of_trunk=limits) == usage.why_over("a") == ""


def test_call_that_was_not_placed_after_all_does_not_count() -> None:
    usage = OutboundUsage(VirtualClock())
    call = usage.begin("a", HourlyLimits(calls=1))
    usage.withdraw(call)
    usage.withdraw(call)
    usage.begin("a", HourlyLimits(calls=1))


def test_minutes_of_an_hour_count_from_the_answer_and_age() -> None:
    clock = VirtualClock()
    usage, limits = OutboundUsage(clock), HourlyLimits(minutes=30)
    call = usage.begin("a", limits)
    clock.advance(600)
    call.answered()
    call.answered()
    clock.advance(1799)
    usage.begin("a", limits).ended()
    clock.advance(60)
    with pytest.raises(QuotaReached) as raised:
        usage.begin("a", limits)
    assert raised.value.rule == "outbound_minutes"
    call.ended()
    clock.advance(3600)
    assert usage.sums() == (0, 0.0)
    usage.begin("a", limits)


# -- credentials -------------------------------------------------------------------------------------------------------------------------

LOCAL = TrunkPolicy("local", address="127.0.0.1:5070", server="127.0.0.1")
ODD_PORT = TrunkPolicy("odd", address="sip.odd.example:5080;transport=tcp", server="sip.odd.example", domains=("*.odd-edges.example",))


@pytest.mark.parametrize(
    ("uri", "trunk", "takes"),
    [
        ("sip:1@127.0.0.1:5070", "local", True),
        ("sip:1@127.0.0.1:5071", "local", False),
        ("sip:1@127.0.0.1", "local", False),
        ("sip:1@127.0.0.2:5070", "local", False),
        ("sip:1@[::1]:5070", "local", False),
        ("sip:1@[::ffff:127.0.0.1]:5071", "local", False),
        ("sip:1@127.0.0.1:5071", "", False),
        ("sip:1@sip.carrier.example", "carrier", True),
        ("sips:1@SIP.carrier.example.:5061", "carrier", True),
        ("sip:1@sip.carrier.example:7000", "carrier", False),
        ("sip:1@a.edge.example:7000", "carrier", True),
        ("sip:1@sip.odd.example:5080", "odd", True),
        ("sip:1@sip.odd.example:5060", "odd", False),
        ("sip:1@sip.odd.example", "odd", False),
        ("sip:1@sip.odd.example:5080", "carrier", True),
        ("sip:1@listed.example:7000", "carrier", True),
    ],
)
def test_credentials_of_a_trunk_go_to_its_own_host_and_port_where_a_peer_asks(uri: str, trunk: str, takes: bool) -> None:
    policy = OutboundPolicy(domains=("127.*", "[::1]", "::1", "*.example", "[::ffff:127.0.0.1]"))
    address = "127.0.0.1" if "127." in uri or "::1" in uri else "203.0.113.9"
    permit = guard(policy, PUBLIC, LOCAL, ODD_PORT).check(parse_uri(uri), peer(trunk, address, is_listed=True))
    assert permit.takes_secrets is takes
    assert permit.keeps_secrets is (takes and permit.is_own)


def test_credentials_go_where_an_author_sends_the_call() -> None:
    for by in ("api", "agent"):
        request = OutboundRequest(by, "local", is_listed=True)  # type: ignore[arg-type]
        assert guard(OutboundPolicy(), LOCAL).check(parse_uri("sip:1@127.0.0.1:5071"), request).keeps_secrets
