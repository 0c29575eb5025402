"""Header lists, and the values SIP reads out of them."""

from __future__ import annotations

import itertools
import re

import pytest

from active_call.base.errors import ParseError
from active_call.sip.syntax.grammar import parse_parameters, quote, split_list, unquote
from active_call.sip.syntax.headers import (
    COMPACT_FORMS,
    Headers,
    NameAddr,
    format_name_addr,
    parse_cseq,
    parse_name_addr,
    parse_via,
    with_via_received,
)


@pytest.mark.parametrize(("compact", "name"), COMPACT_FORMS.items())
def test_headers_find_compact_by_long_and_long_by_compact(compact: str, name: str) -> None:
    headers = Headers([(compact.upper(), "1"), (name.title(), "2")])
    assert headers.get_all(name) == headers.get_all(compact) == ["1", "2"]
    assert headers.items() == [(compact.upper(), "1"), (name.title(), "2")]


def test_headers_set_keeps_place_and_spelling_of_the_first() -> None:
    headers = Headers([("v", "1"), ("i", "old"), ("Via", "2"), ("Call-ID", "older")])
    headers.set("Call-ID", "new")
    headers.set("X-New", "x")
    assert headers.items() == [("v", "1"), ("i", "new"), ("Via", "2"), ("X-New", "x")]


def test_headers_prepend_remove_copy_and_contain() -> None:
    headers = Headers([("Via", "2")])
    copied = headers.copy()
    headers.prepend("Via", "1")
    assert headers.get_all("v") == ["1", "2"] and copied.get_all("Via") == ["2"]
    assert "V" in headers and 7 not in headers
    headers.remove("v")
    headers.remove("v")
    assert len(headers) == 0 and "Via" not in headers and headers.get("Via") is None
    assert copied == Headers([("v", "2")]) != headers


def test_headers_split_respects_quotes_and_brackets() -> None:
    headers = Headers([("Contact", '"a, \\", b" <sip:a,b@c>;x="1,2", <sip:d>'), ("m", "sip:e"), ("Contact", " , ")])
    assert headers.split("Contact") == ['"a, \\", b" <sip:a,b@c>;x="1,2"', "<sip:d>", "sip:e"]


def test_split_list_with_an_open_quote_keeps_the_rest_together() -> None:
    assert split_list('a, "b, c') == ["a", '"b, c']


@pytest.mark.parametrize("text", ["", "a", 'say "x"', "back\\slash", '\\"', "é,;<>"])
def test_quote_and_unquote_are_inverse(text: str) -> None:
    assert unquote(quote(text)) == text


def test_parse_parameters_reads_flags_quotes_and_first_of_equals() -> None:
    assert parse_parameters(' ; A = 1 ;b;c="x;\\"y" ; a=2;d=') == {"a": "1", "b": None, "c": 'x;"y', "d": ""}


@pytest.mark.parametrize("text", ["a", ";=1", ";a b", ';a="x', ';a="x"y', ";a=b c", ";a=<b>"])
def test_parse_parameters_malformed_raises(text: str) -> None:
    with pytest.raises(ParseError):
        parse_parameters(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<sip:a@b>", NameAddr(None, "sip:a@b", {})),
        ("<sip:a@b;lr>;tag=1", NameAddr(None, "sip:a@b;lr", {"tag": "1"})),
        ("sip:a@b;tag=1", NameAddr(None, "sip:a@b", {"tag": "1"})),
        ('"Bob"<sip:a@b>;tag=1', NameAddr("Bob", "sip:a@b", {"tag": "1"})),
        ('"A \\"B\\" <x>" <sip:a@b>', NameAddr('A "B" <x>', "sip:a@b", {})),
        ("Bob B <sip:a@b> ; tag = 1", NameAddr("Bob B", "sip:a@b", {"tag": "1"})),
        ("<sip:a@b;ob>;isfocus", NameAddr(None, "sip:a@b;ob", {"isfocus": None})),
        ("<sip:a@b?Replaces=x%3Bto-tag%3Dy>", NameAddr(None, "sip:a@b?Replaces=x%3Bto-tag%3Dy", {})),
        ('"" <tel:+1555>', NameAddr("", "tel:+1555", {})),
        ("<urn:service:sos>", NameAddr(None, "urn:service:sos", {})),
        ('sip:a@b;+x="<urn:y>";audio', NameAddr(None, "sip:a@b", {"+x": "<urn:y>", "audio": None})),
        ('sip:a@b;x="\\"<";y', NameAddr(None, "sip:a@b", {"x": '"<', "y": None})),
        ("sip:a@b;x=<urn:y>;tag=1", NameAddr(None, "sip:a@b", {"tag": "1"})),
        ("<sip:a@b>;", NameAddr(None, "sip:a@b", {})),
        ("<sip:a@b>;;tag = 1 ; ;", NameAddr(None, "sip:a@b", {"tag": "1"})),
        ('"Bob <sip:a@b>;tag=1', NameAddr('"Bob', "sip:a@b", {"tag": "1"})),
        ('B"ob <sip:a@b>', NameAddr('B"ob', "sip:a@b", {})),
        ('The "Big" Bob <sip:a@b>', NameAddr('The "Big" Bob', "sip:a@b", {})),
        ('"A <x" <sip:a@b>', NameAddr("A <x", "sip:a@b", {})),
        ("J\udcf6rg, Ltd; <sip:a@b>;tag=1", NameAddr("J\udcf6rg, Ltd;", "sip:a@b", {"tag": "1"})),
        ("sip:100@pbx <sip:100@pbx>;tag=1", NameAddr("sip:100@pbx", "sip:100@pbx", {"tag": "1"})),
        ("<sip:a@b>;x=a b;tag=1", NameAddr(None, "sip:a@b", {"tag": "1"})),
    ],
)
def test_parse_name_addr_reads(text: str, expected: NameAddr) -> None:
    assert parse_name_addr(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "Bob",
        "<>",
        "<sip:>",
        "<sip:a@b",
        '"Bob <sip:a@b> <sip:c@d>',
        '"Bob" sip:a@b',
        "sip:a@b?x=y",
        "<sip:a@b> x",
        "<sip:a b@c>",
    ],
)
def test_parse_name_addr_malformed_raises(text: str) -> None:
    with pytest.raises(ParseError):
        parse_name_addr(text)


def test_format_name_addr_is_read_back() -> None:
    text = format_name_addr("sip:a@b;lr", display='Bob "B"', parameters={"tag": "1", "x": "a b", "y": None})
    assert text == '"Bob \\"B\\"" <sip:a@b;lr>;tag=1;x="a b";y'
    assert str(parse_name_addr(text)) == text


def test_parse_via_reads_parts() -> None:
    via = parse_via("SIP/2.0/tls [2001:db8::1]:5061;branch=z9hG4bKx;rport=4000;received=[2001:db8::2]")
    assert (via.transport, via.host, via.port, via.branch) == ("TLS", "2001:db8::1", 5061, "z9hG4bKx")
    assert (via.rport, via.received, via.sent_by) == (4000, "2001:db8::2", "[2001:db8::1]:5061")


@pytest.mark.parametrize(
    ("text", "present", "value"),
    [
        ("", False, None),
        (";rport", True, None),
        (";rport=", True, None),
        (";rport=x", True, None),
        (";rport=9", True, 9),
        (";rport=70000", True, None),
    ],
)
def test_via_rport_forms(text: str, present: bool, value: int | None) -> None:
    via = parse_via("SIP/2.0/UDP h" + text)
    assert (via.has_rport, via.rport) == (present, value)


@pytest.mark.parametrize(
    "text", ["", "SIP/2.0/UDP", "SIP/2.0/UDP ", "SIP/2.0 h", "SIP/2.0/UDP h;=", "SIP/2.0/UDP h i", "SIP/2.0/UDP 2001:db8::1"]
)
def test_parse_via_malformed_raises(text: str) -> None:
    with pytest.raises(ParseError):
        parse_via(text)


@pytest.mark.parametrize(
    ("text", "rport", "expected"),
    [
        ("SIP/2.0/UDP h;branch=z", 4000, "SIP/2.0/UDP h;branch=z;received=192.0.2.9"),
        ("SIP/2.0/UDP h;rport;branch=z", 4000, "SIP/2.0/UDP h;rport=4000;branch=z;received=192.0.2.9"),
        ("SIP/2.0/UDP h; RPORT ; branch=z", 4000, "SIP/2.0/UDP h;rport=4000; branch=z;received=192.0.2.9"),
        ("SIP/2.0/UDP h;rport;branch=z", None, "SIP/2.0/UDP h;rport;branch=z;received=192.0.2.9"),
        ("SIP/2.0/UDP h;received=10.0.0.1;branch=z", None, "SIP/2.0/UDP h;branch=z;received=192.0.2.9"),
        ('SIP/2.0/UDP h;x=";rport,";rport', 1, 'SIP/2.0/UDP h;x=";rport,";rport=1;received=192.0.2.9'),
        ("SIP/2.0/UDP h;rport,  SIP/2.0/TCP i;rport", 7, "SIP/2.0/UDP h;rport=7;received=192.0.2.9,  SIP/2.0/TCP i;rport"),
    ],
)
def test_with_via_received_edits_nothing_else(text: str, rport: int | None, expected: str) -> None:
    assert with_via_received(text, "192.0.2.9", rport) == expected


def test_parse_cseq_reads_leading_zeros_and_keeps_case() -> None:
    cseq = parse_cseq(" 0009   InVITE ")
    assert (cseq.number, cseq.method, str(cseq)) == (9, "InVITE", "9 InVITE")


@pytest.mark.parametrize(
    "text", ["", "1", "INVITE", "-1 INVITE", "1 IN VITE", "4294967296 INVITE", "٣ INVITE", "1 INV(ITE", "1" * 5000 + " INVITE"]
)
def test_parse_cseq_malformed_raises(text: str) -> None:
    with pytest.raises(ParseError):
        parse_cseq(text)


def test_quoted_pairs_are_resolved_from_the_left_whatever_stands_in_them() -> None:
    pair = re.compile(r"\\(.)", re.DOTALL)
    for n in range(7):
        for characters in itertools.product('\\"a', repeat=n):
            inner = "".join(characters)
            assert unquote(f'"{inner}"') == pair.sub(r"\1", inner)


def test_a_change_after_a_look_up_is_seen_by_the_next_look_up() -> None:
    headers = Headers([("Via", "a"), ("v", "b"), ("To", "c")])
    assert headers.get_all("via") == ["a", "b"]
    headers.add("Via", "d")
    assert headers.get_all("v") == ["a", "b", "d"]
    headers.prepend("Via", "e")
    assert headers.get("Via") == "e"
    headers.set("Via", "f")
    assert headers.get_all("Via") == ["f"]
    headers.remove("Via")
    assert headers.get("Via") is None
    found = headers.get_all("To")
    found.append("not in the message")
    assert headers.get_all("To") == ["c"]
