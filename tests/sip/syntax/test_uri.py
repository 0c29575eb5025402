"""URIs: reading, writing, comparing."""

from __future__ import annotations

import pytest

from active_call.base.errors import ParseError
from active_call.sip.syntax.uri import Uri, format_host_port, parse_host_port, parse_uri


def test_parse_uri_reads_every_part() -> None:
    uri = parse_uri("sip:alice:secret@atlanta.com:5080;transport=TCP;lr;x=%41?subject=a%20b&to=c")
    assert uri == Uri("sip", "alice", "secret", "atlanta.com", 5080, {"transport": "TCP", "lr": None, "x": "%41"}, "subject=a%20b&to=c")
    assert uri.transport == "tcp"


@pytest.mark.parametrize(
    "text",
    [
        "sip:alice@atlanta.com",
        "sips:1212@gateway.com:5061",
        "sip:[2001:db8::10]:5070;transport=tls",
        "sip:user@[2001:db8::9:1]",
        "sip:+172.25.16.223:5060",
        "sip:telnyx*17045502033**10.239.45.224*5070*udp@telnyx.com",
        "sip:alice;day=tuesday@atlanta.com",
        "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
        "sip:%61lice@atlanta.com;transport=TCP",
        "sip:a@b_c.internal",
        "sip:198.51.100.7:41234;alias=198.51.100.7~41234~2",
        "tel:+1-201-555-0123",
        "tel:7042;phone-context=example.com",
    ],
)
def test_parse_uri_written_again_is_the_same(text: str) -> None:
    assert str(parse_uri(text)) == text


def test_parse_uri_ipv6_host_has_no_brackets() -> None:
    uri = parse_uri("sip:[2001:db8::10]:5070")
    assert (uri.host, uri.port, uri.host_port) == ("2001:db8::10", 5070, "[2001:db8::10]:5070")


def test_parse_uri_duplicate_parameter_counts_once() -> None:
    assert parse_uri("sip:a@b;transport=tls;transport=tls").parameters == {"transport": "tls"}


@pytest.mark.parametrize("text", ["sip:@host", "sip:host"])
def test_parse_uri_empty_user_is_none(text: str) -> None:
    assert str(parse_uri(text)) == "sip:host"


def test_parse_uri_scheme_and_parameter_names_have_no_case() -> None:
    uri = parse_uri("SIP:Bob@Biloxi.com;LR;Transport=UDP")
    assert (uri.scheme, uri.user, uri.parameters) == ("sip", "Bob", {"lr": None, "transport": "UDP"})


def test_parse_uri_tel_has_a_number_and_no_host() -> None:
    uri = parse_uri("tel:+1-201-555-0123;ext=12")
    assert (uri.user, uri.host, uri.parameters) == ("+1-201-555-0123", "", {"ext": "12"})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "alice",
        "sip:",
        "sip:alice@",
        "sip:a b@host",
        "sip:a@host;x=<y>",
        "sip:a@host:0x50",
        "sip:a@host:65536",
        "sip:a@2001:db8::1",
        "sip:a@[2001:db8::1",
        "sip:a@[1::2::3]",
        "sip:a@b@c",
        "<sip:a@b>",
        "http://example.com",
        "tel:hello world",
        "sip:a@host?x=a b",
        "sip:a@host\r\nVia: x",
    ],
)
def test_parse_uri_of_something_else_raises(text: str) -> None:
    with pytest.raises(ParseError):
        parse_uri(text)


@pytest.mark.parametrize(
    ("host", "port", "text"), [("h", None, "h"), ("h", 5060, "h:5060"), ("::1", None, "[::1]"), ("::1", 5060, "[::1]:5060")]
)
def test_host_port_there_and_back(host: str, port: int | None, text: str) -> None:
    assert format_host_port(host, port) == text
    assert parse_host_port(text) == (host, port)
