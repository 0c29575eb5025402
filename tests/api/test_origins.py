"""Which requests may be a foreign web page's, and are not taken."""

from __future__ import annotations

import pytest

from active_call.api.origins import Asked, OriginRules, is_loopback, was_forwarded

RULES = OriginRules("192.0.2.7", ("pbx.example.com", "*.corp.example"))


def ask(method: str = "POST", path: str = "/call", rules: OriginRules = RULES, local: str = "127.0.0.1", **headers: str) -> str | None:
    named = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return rules.why_not(Asked(method, path, named, local))


@pytest.mark.parametrize(
    "host",
    [
        "localhost:8080",
        "LOCALHOST",
        "127.0.0.1:8080",
        "127.8.9.1",
        "[::1]:8080",
        "[::ffff:127.0.0.1]",
        "api.localhost",
        "localhost.",
        "192.0.2.7:8080",
        "pbx.example.com",
        "PBX.example.com:443",
        "a.b.corp.example",
    ],
)
def test_request_by_a_name_of_this_server_is_taken(host: str) -> None:
    assert ask(host=host) is None


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "192.0.2.8",
        "corp.example",
        "xcorp.example",
        "pbx.example.com.evil",
        "",
        "localhost@evil.example",
        "localhost evil",
        "127.0.0.1:8080:80",
        "10.0.0.1",
        "[::2]",
        "2130706433",
        "0.0.0.0",
    ],
)
def test_request_by_a_foreign_name_is_refused(host: str) -> None:
    assert ask(host=host) is not None
    assert ask("GET", "/list", host=host) is not None
    assert ask("GET", "/", host=host) is not None


def test_monitor_asks_for_the_state_by_any_name() -> None:
    assert ask("GET", "/health", host="active-call") is None
    assert ask("GET", "/ready", host="active-call") is None
    assert ask("GET", "/health", host="active-call", origin="http://evil.example") is not None


def test_any_name_will_do_where_a_token_controls_calls() -> None:
    rules = OriginRules(any_host=True)
    assert ask(rules=rules, host="anything.example") is None
    assert ask(rules=rules, host="anything.example", origin="https://anything.example") is None
    assert ask(rules=rules, host="anything.example", origin="https://evil.example") is not None


def test_address_at_which_a_request_has_arrived_is_a_name_of_this_server() -> None:
    assert ask(host="198.51.100.3:8080", local="198.51.100.3") is None
    assert ask(host="198.51.100.3:8080", local="::ffff:198.51.100.3") is None
    assert ask(host="evil.example", local="evil.example") is not None


def test_request_without_host_is_no_browsers() -> None:
    assert ask() is None


@pytest.mark.parametrize("origin", ["http://localhost:8080", "https://pbx.example.com", "http://x.corp.example:3000"])
def test_page_of_this_server_or_of_a_listed_name_may_ask(origin: str) -> None:
    assert ask(host="localhost:8080", origin=origin) is None
    assert ask(host="localhost:8080", origin=origin, sec_fetch_site="cross-site") is None


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "",
        "http://localhost:9999",
        "http://127.0.0.1:8080",
        "https://localhost:8081",
        "file://",
        "localhost:8080",
        "http://localhost:8080.evil.example",
        "http://localhost:8080@evil.example",
        "chrome-extension://abcdef",
    ],
)
def test_page_of_somebody_else_is_refused(origin: str) -> None:
    for method, path in (
        ("POST", "/call"),
        ("GET", "/kill/x"),
        ("GET", "/health"),
        ("GET", "/events/x"),
        ("DELETE", "/call/x"),
        ("OPTIONS", "/call"),
    ):
        assert ask(method, path, host="localhost:8080", origin=origin) is not None


def test_default_ports_are_those_of_the_scheme() -> None:
    assert ask(host="pbx.example.com", origin="https://pbx.example.com:443") is None
    rules = OriginRules(any_host=True)
    assert ask(rules=rules, host="a.example", origin="http://a.example:80") is None
    assert ask(rules=rules, host="a.example", origin="http://a.example:8080") is not None


@pytest.mark.parametrize("site", ["cross-site", "same-site", "Cross-Site", "nonsense"])
def test_request_of_another_site_is_refused(site: str) -> None:
    assert ask("GET", "/list", host="localhost", sec_fetch_site=site) is not None
    assert ask("GET", "/kill/x", host="localhost", sec_fetch_site=site) is not None
    assert ask("GET", "/", host="localhost", sec_fetch_site=site, sec_fetch_mode="no-cors", sec_fetch_dest="image") is not None
    assert ask("GET", "/kill/x", host="localhost", sec_fetch_site=site, sec_fetch_mode="navigate", sec_fetch_dest="document") is not None


def test_link_to_the_console_may_be_followed() -> None:
    assert ask("GET", "/", host="localhost", sec_fetch_site="cross-site", sec_fetch_mode="navigate", sec_fetch_dest="document") is None
    assert ask("GET", "/", host="localhost", sec_fetch_site="cross-site", sec_fetch_mode="navigate", sec_fetch_dest="iframe") is not None


def test_kill_by_get_is_for_programs_and_the_console() -> None:
    assert ask("GET", "/kill/x", host="localhost") is None
    assert ask("GET", "/kill/x", host="localhost", sec_fetch_site="same-origin") is None
    assert ask("GET", "/kill/x", host="localhost", sec_fetch_site="none") is not None
    assert ask("GET", "/list", host="localhost", sec_fetch_site="none") is None


def test_older_browser_is_known_by_its_referer() -> None:
    assert ask("GET", "/kill/x", host="localhost:8080", referer="http://evil.example/page") is not None
    assert ask("GET", "/kill/x", host="localhost:8080", referer="http://localhost:8080/") is None
    assert ask("GET", "/", host="localhost:8080", referer="http://evil.example/page") is None


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.255.0.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:10.0.0.1", False),
        ("10.0.0.1", False),
        ("", False),
        ("localhost", False),
        ("fe80::1%eth0", False),
        ("testclient", False),
    ],
)
def test_loopback_is_known_in_every_form(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize("name", ["x-forwarded-for", "x-forwarded-host", "forwarded", "x-real-ip", "via", "cf-connecting-ip"])
def test_request_that_a_proxy_has_passed_on_is_known(name: str) -> None:
    assert was_forwarded(["host", name])
    assert not was_forwarded(["host", "accept"])


@pytest.mark.parametrize("sites", [("none", "cross-site"), ("same-origin", "cross-site"), ("cross-site", "same-origin"), ("none", "")])
def test_each_of_two_sites_counts(sites: tuple[str, str]) -> None:
    headers = [("host", "localhost"), *(("sec-fetch-site", site) for site in sites)]
    assert RULES.why_not(Asked("POST", "/call", headers, "127.0.0.1")) is not None
