"""`[outbound]` and the trunks' keys about outbound calls: defaults, what they become, and what is no value."""

from __future__ import annotations

from pathlib import Path

import pytest

from active_call.base.errors import ConfigError
from active_call.contract.options import CallOption
from active_call.legs.trunks.outbound_guard import COSTLY_NUMBERS
from active_call.server.config.config import Config
from active_call.server.config.loading import load_config
from active_call.server.setup.trunks import admission_policy, dial_plan, outbound_policy
from active_call.sip.syntax.uri import parse_uri


def load(folder: Path, text: str) -> Config:
    path = folder / "active-call.toml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, {}, {})


def test_defaults_deny_costly_numbers_and_nothing_else(tmp_path: Path) -> None:
    policy = outbound_policy(load(tmp_path, ""))
    assert (policy.deny_numbers, policy.numbers, policy.domains, policy.transfer_targets) == (COSTLY_NUMBERS, (), (), ())
    assert (policy.limits.calls, policy.limits.minutes) == (None, None)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[outbound]\nnumbers = ["49.*|x"]', "outbound.numbers[0]"),
        ('[outbound]\ndeny_numbers = ["alice"]', "outbound.deny_numbers[0]"),
        ("[outbound]\nmax_calls_per_hour = 0", "outbound.max_calls_per_hour"),
        ("[outbound]\nmax_minutes_per_hour = -1", "outbound.max_minutes_per_hour"),
        ('[outbound]\ndomain = ["a"]', "outbound.domain"),
        ('[[trunks]]\nname = "t"\nlarge_requests = "sctp"', "trunks[0].large_requests"),
        ('[[trunks]]\nname = "t"\nmax_calls_per_hour = 1.5', "trunks[0].max_calls_per_hour"),
    ],
)
def test_value_that_makes_no_sense_is_told_by_its_key(tmp_path: Path, text: str, key: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, text)
    assert raised.value.key == key


@pytest.mark.parametrize(
    ("settings", "callee", "large_by_tcp"),
    [
        ("", "sip:1@carrier.example", True),
        ("", "sip:1@carrier.example;transport=udp", False),
        ('transport = "udp"', "sip:1@carrier.example", False),
        ('transport = "udp"\nlarge_requests = "tcp"', "sip:1@carrier.example", True),
        ('large_requests = "udp"', "sip:1@carrier.example", False),
    ],
)
def test_large_requests_go_by_tcp_unless_udp_was_chosen_by_name(tmp_path: Path, settings: str, callee: str, large_by_tcp: bool) -> None:
    config = load(tmp_path, f'[[trunks]]\nname = "t"\nserver = "carrier.example"\nallow = ["192.0.2.1"]\n{settings}\n')
    made = dial_plan(config).invitation(callee, CallOption(), "198.51.100.1")
    assert made.invite.rules.large_by_tcp is large_by_tcp
    if "transport" not in callee:
        assert admission_policy(config).trunks[0].large_by_tcp is large_by_tcp


def test_callee_loses_what_a_request_uri_does_not_have(tmp_path: Path) -> None:
    uri = dial_plan(load(tmp_path, "")).callee_uri("sip:1@a.example;method=BYE;transport=tcp?Subject=x")
    assert uri == parse_uri("sip:1@a.example;transport=tcp")
