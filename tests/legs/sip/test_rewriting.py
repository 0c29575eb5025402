"""The operator's rules: the callee by regular expressions, From, To and Contact by the first rule that matches."""

from __future__ import annotations

import re

import pytest

from active_call.legs.sip.rewriting import HeaderRule, Part, Rewrite, rewritten, rule_for, split_host
from active_call.sip.syntax.uri import parse_uri


@pytest.mark.parametrize(
    ("pattern", "replacement", "callee", "expected"),
    [
        ("116.116.116.116", "172.25.25.2", "sip:1001@116.116.116.116:5060", "sip:1001@172.25.25.2:5060"),
        (r"sip:(\d+)@.*", "sip:$1@internal.net", "sip:12345@external.com", "sip:12345@internal.net"),
        (r"sip:(\d+)@.*", r"sip:\1@internal.net", "sip:12345@external.com", "sip:12345@internal.net"),
        (r"sip:(\d+)@.*", r"sip:\g<1>0@internal.net", "sip:12345@external.com", "sip:123450@internal.net"),
        (r"sip:0(?P<rest>\d+)@", "sip:+49${rest}@", "sip:030123@example.com", "sip:+4930123@example.com"),
        (r"sip:0(?P<rest>\d+)@", "sip:+49$rest@", "sip:030123@example.com", "sip:+4930123@example.com"),
        ("a", "$$b", "sip:a@x", "sip:$b@x"),
        ("a", r"\\", "sip:a@x", r"sip:\\@x"),
        ("nomatch", "whatever", "sip:1001@192.0.2.1", "sip:1001@192.0.2.1"),
        ("1", "2", "sip:1@host1", "sip:2@host2"),
    ],
)
def test_callee_is_rewritten_wherever_the_pattern_is_found(pattern: str, replacement: str, callee: str, expected: str) -> None:
    assert rewritten(callee, [Rewrite.of(pattern, replacement)]) == expected


def test_every_rewrite_is_applied_to_what_the_one_before_has_made() -> None:
    rules = [Rewrite.of("116.62.75.161", "172.25.225.2"), Rewrite.of("172.25.225.2", "10.0.0.1")]
    assert rewritten("sip:1001@116.62.75.161:5060", rules) == "sip:1001@10.0.0.1:5060"


@pytest.mark.parametrize(("pattern", "replacement"), [("a", "$1"), ("(a)", r"\2"), ("(a)", "$name"), ("(a", "x")])
def test_rewrite_that_names_no_group_or_is_no_pattern_is_refused(pattern: str, replacement: str) -> None:
    with pytest.raises(ValueError, match=r"group|regular expression"):
        Rewrite.of(pattern, replacement)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("172.25.225.2", "sip:a@172.25.225.2:5062;transport=tls"),
        ("172.25.225.2:15060", "sip:a@172.25.225.2:15060;transport=tls"),
        ("sbc.example.com", "sip:a@sbc.example.com:5062;transport=tls"),
        ("2001:db8::1", "sip:a@[2001:db8::1]:5062;transport=tls"),
        ("[2001:db8::1]:5070", "sip:a@[2001:db8::1]:5070;transport=tls"),
    ],
)
def test_host_without_a_port_keeps_the_port(host: str, expected: str) -> None:
    assert str(Part(host=host).apply(parse_uri("sip:a@old.example.com:5062;transport=tls"))) == expected


def test_user_is_rewritten_added_and_taken_away() -> None:
    assert str(Part(user="b").apply(parse_uri("sip:a@x"))) == "sip:b@x"
    assert str(Part(user="b").apply(parse_uri("sip:x"))) == "sip:b@x"
    assert str(Part(user="").apply(parse_uri("sip:a@x"))) == "sip:x"


def test_first_rule_that_matches_is_applied_and_no_match_part_catches_all() -> None:
    internal = HeaderRule("internal", to_host=re.compile(r"^172\.25\."), new_contact=Part(host="172.25.225.2"))
    everybody = HeaderRule("everybody", new_contact=Part(host="1.2.3.4"))
    rules = (internal, everybody)
    assert rule_for(rules, parse_uri("sip:a@b"), parse_uri("sip:x@172.25.3.4")) is internal
    assert rule_for(rules, parse_uri("sip:a@b"), parse_uri("sip:x@203.0.113.1")) is everybody
    assert rule_for((internal,), parse_uri("sip:a@b"), parse_uri("sip:x@203.0.113.1")) is None


def test_all_patterns_of_a_rule_must_be_found_and_a_missing_user_matches_none() -> None:
    rule = HeaderRule(from_user=re.compile("^100"), to_user=re.compile(r"^\+49"))
    assert rule.matches(parse_uri("sip:1001@x"), parse_uri("sip:+4930@y"))
    assert not rule.matches(parse_uri("sip:1001@x"), parse_uri("sip:+1800@y"))
    assert not rule.matches(parse_uri("sip:x"), parse_uri("sip:+4930@y"))


@pytest.mark.parametrize("text", ["", "a b", "host:port", "host:99999999"])
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a host"):
        split_host(text)
