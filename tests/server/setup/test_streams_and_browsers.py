"""What the configuration says of calls with browsers, and of streams of carriers."""

from __future__ import annotations

import pytest

from active_call.server.config.config import Config
from active_call.server.setup.browsers import browser_settings, stream_settings


def test_first_stun_and_turn_server_serve_us_too_and_lite_is_an_option() -> None:
    servers = [
        {"urls": ["stun:stun.example.com", "stun:second.example.com"]},
        {"urls": "turns:[2001:db8::1]:5350?transport=tcp", "username": "u", "credential": "p"},
    ]
    ice = browser_settings(Config.model_validate({"ice_servers": servers, "enable_ice_lite": True, "external_ip": "203.0.113.5"})).ice
    assert (ice.stun, ice.turn, ice.turn_tls) == (("stun.example.com", 3478), ("2001:db8::1", 5350), True)
    assert (ice.turn_username, ice.turn_password, ice.is_lite, ice.public_ip) == ("u", "p", True, "203.0.113.5")
    assert browser_settings(Config()).ice.is_lite is False


@pytest.mark.parametrize(
    ("url", "is_tls", "transport"),
    [
        ("turn:t.example.com", False, "udp"),
        ("turn:t.example.com:80?transport=tcp", False, "tcp"),
        ("turn:t.example.com?transport=udp", False, "udp"),
        ("turns:t.example.com", True, "tcp"),
    ],
)
def test_turn_server_is_reached_as_its_url_says_rfc_7065(url: str, is_tls: bool, transport: str) -> None:
    ice = browser_settings(Config.model_validate({"ice_servers": [{"urls": url, "username": "u", "credential": "p"}]})).ice
    assert (ice.turn_tls, ice.turn_transport) == (is_tls, transport)


def test_secrets_of_streams_are_handed_on() -> None:
    config = Config.model_validate({"media_streams": {"token": "t", "twilio_auth_token": "a", "public_url": "https://voice.example.com"}})
    settings = stream_settings(config)
    assert (settings.token, settings.signing_secrets, settings.public_url) == ("t", {"twilio": "a"}, "https://voice.example.com")
    assert stream_settings(Config()).token is None
    assert "'t'" not in repr(config.media_streams)
