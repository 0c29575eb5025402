"""Who is let in: ranges, the most specific first, and what strangers get."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.base.addresses import address_key, parse_address
from active_call.sip.access.access_list import (
    RULES,
    AccessList,
    AdmissionPolicy,
    RequestSource,
    TrunkAccess,
    Verdict,
    is_scanner,
    overlapping,
)


def trunk(name: str, *ranges: str, hosts: tuple[str, ...] = ()) -> TrunkAccess:
    return TrunkAccess(name, tuple(ip_network(entry) for entry in ranges), hosts)


TWILIO = trunk("twilio", "54.172.60.0/30", "54.244.51.0/30")
TELNYX = trunk("telnyx", "192.76.120.10/32", "2001:db8:7::/48")
ACCESS_LIST = AccessList(AdmissionPolicy((TWILIO, TELNYX)))


@pytest.mark.parametrize(
    ("host", "trunk", "network"),
    [
        ("54.172.60.0", "twilio", "54.172.60.0/30"),
        ("54.172.60.3", "twilio", "54.172.60.0/30"),
        ("::ffff:54.172.60.3", "twilio", "54.172.60.0/30"),
        ("192.76.120.10", "telnyx", "192.76.120.10/32"),
        ("2001:db8:7::5", "telnyx", "2001:db8:7::/48"),
        ("[2001:db8:7::5]", "telnyx", "2001:db8:7::/48"),
        ("2001:db8:7::5%eth0", "telnyx", "2001:db8:7::/48"),
    ],
)
def test_address_of_a_trunk_is_let_in_by_its_range(host: str, trunk: str, network: str) -> None:
    assert ACCESS_LIST.decide(RequestSource(host)) == Verdict("admit", "trunk", trunk, network)


@pytest.mark.parametrize("host", ["54.172.60.4", "127.0.0.1", "2001:db8:8::5", "::ffff:192.76.120.11", "", "no address"])
def test_address_of_no_trunk_is_rejected_when_any_trunk_has_ranges(host: str) -> None:
    verdict = ACCESS_LIST.decide(RequestSource(host))
    assert (verdict.answer, verdict.rule, verdict.code, verdict.trunk) == ("reject", "unlisted", 403, "")


def test_without_any_range_everybody_may_call() -> None:
    access_list = AccessList(AdmissionPolicy((trunk("pbx"),)))
    assert access_list.is_open
    assert access_list.decide(RequestSource("203.0.113.9")) == Verdict("admit", "open")


def test_most_specific_range_wins_whatever_the_order() -> None:
    wide, narrow = trunk("wide", "10.0.0.0/8"), trunk("narrow", "10.1.2.0/24")
    for trunks in ((wide, narrow), (narrow, wide)):
        access_list = AccessList(AdmissionPolicy(trunks))
        assert access_list.decide(RequestSource("10.1.2.3")).trunk == "narrow"
        assert access_list.decide(RequestSource("10.1.3.3")).trunk == "wide"


def test_of_trunks_with_the_same_range_the_host_in_from_decides_else_the_first() -> None:
    one = trunk("one", "54.172.60.0/30", hosts=("one.pstn.twilio.com",))
    two = trunk("two", "54.172.60.0/30", hosts=("two.pstn.twilio.com",))
    access_list = AccessList(AdmissionPolicy((one, two)))
    assert access_list.decide(RequestSource("54.172.60.1", from_host="Two.pstn.twilio.com")).trunk == "two"
    assert access_list.decide(RequestSource("54.172.60.1", from_host="example.com")).trunk == "one"
    assert [(a.name, b.name) for a, b, _ in overlapping((one, two))] == [("one", "two")]


@pytest.mark.parametrize(
    ("strangers", "user_agent", "answer", "rule"),
    [
        ("auto", "Asterisk PBX", "reject", "unlisted"),
        ("auto", "friendly-scanner", "silence", "scanner"),
        ("silence", "Asterisk PBX", "silence", "unlisted"),
        ("silence", "pplsip", "silence", "scanner"),
        ("reject", "Asterisk PBX", "reject", "unlisted"),
        ("reject", "pplsip", "reject", "scanner"),
    ],
)
def test_stranger_is_met_as_configured(strangers: str, user_agent: str, answer: str, rule: str) -> None:
    access_list = AccessList(AdmissionPolicy((TWILIO,), strangers))  # type: ignore[arg-type]
    verdict = access_list.decide(RequestSource("203.0.113.9", user_agent))
    assert (verdict.answer, verdict.rule, verdict.code) == (answer, rule, 403 if answer == "reject" else 0)


def test_scanner_is_met_with_silence_without_ranges_too_but_not_on_a_trunk() -> None:
    assert AccessList(AdmissionPolicy()).decide(RequestSource("203.0.113.9", "sipcli/v1.8")).answer == "silence"
    assert ACCESS_LIST.decide(RequestSource("54.172.60.0", "friendly-scanner")).rule == "trunk"


@pytest.mark.parametrize(
    "agent",
    ["friendly-scanner", "sipvicious", "VaxSIPUserAgent/3.5", "pplsip", "sipcli/v1.8", "iWar", "sundayddr", "sip-scan", " PPLSIP "],
)
def test_user_agents_of_scanners_are_known(agent: str) -> None:
    assert is_scanner(agent)


@pytest.mark.parametrize(
    "agent", ["", "Twilio Gateway", "Asterisk PBX 22", "sipsak 0.9.8", "SIPp", "baresip v1.0.0", "Linphone", "My scanner"]
)
def test_user_agents_of_phones_and_of_operators_tools_are_not_scanners(agent: str) -> None:
    assert not is_scanner(agent)


def test_registrar_of_ours_is_let_in() -> None:
    assert ACCESS_LIST.decide(RequestSource("198.51.100.5"), ["198.51.100.5"]) == Verdict("admit", "registrar")
    assert ACCESS_LIST.decide(RequestSource("198.51.100.6"), ["198.51.100.5"]).answer == "reject"


def test_address_is_counted_by_itself_and_by_its_household() -> None:
    assert address_key("192.0.2.1") == address_key("::ffff:192.0.2.1") == "192.0.2.1"
    assert address_key("2001:db8::1") == address_key("2001:db8::ffff") != address_key("2001:db8:0:1::1")


addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
networks = st.one_of(st.tuples(st.ip_addresses(v=4), st.integers(0, 32)), st.tuples(st.ip_addresses(v=6), st.integers(0, 128))).map(
    lambda pair: ip_network(pair, strict=False)
)


@given(addresses, st.lists(st.lists(networks, max_size=4), max_size=5), st.text(max_size=20))
def test_decision_agrees_with_the_ranges_taken_one_by_one(address: object, ranges: list[list[object]], user_agent: str) -> None:
    trunks = tuple(TrunkAccess(str(index), tuple(networks)) for index, networks in enumerate(ranges))  # type: ignore[arg-type]
    verdict = AccessList(AdmissionPolicy(trunks)).decide(RequestSource(str(address), user_agent))
    plain = parse_address(str(address))
    assert plain is not None
    containing = [(network.prefixlen, trunk.name) for trunk in trunks for network in trunk.networks if plain in network]
    if containing:
        longest = max(prefix for prefix, _ in containing)
        assert verdict.rule == "trunk"
        assert verdict.trunk == next(name for prefix, name in containing if prefix == longest)
    else:
        assert verdict.rule in ("open", "unlisted", "scanner")
    assert verdict.rule in RULES
