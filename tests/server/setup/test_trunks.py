"""`[[trunks]]`, their profiles, and the rules about outbound calls as users write them in the config file."""

from __future__ import annotations

import ipaddress
import re
from importlib import resources
from pathlib import Path

import pytest

from active_call.base.errors import ConfigError
from active_call.sdp.negotiation import SrtpPolicy
from active_call.server.config.config import Config
from active_call.server.config.loading import load_config
from active_call.server.config.trunk_sections import host_of
from active_call.server.setup.trunk_profiles import Profile, TrunkKeys, load_profile, profile_names
from active_call.server.setup.trunks import accounts, active_trunks, admission_policy, dial_plan
from active_call.sip.access.access_list import AccessList, RequestSource
from active_call.sip.syntax.uri import parse_uri

PROFILES = resources.files("active_call.server") / "profiles"
WANTED = {
    "twilio",
    "telnyx",
    "asterisk",
    "freeswitch",
    "cucm",
    "teams",
    "whatsapp",
    "vonage",
    "plivo",
    "signalwire",
    "bandwidth",
    "didww",
    "exotel",
}


def load(folder: Path, text: str) -> Config:
    path = folder / "active-call.toml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, {}, {})


def trunk(folder: Path, text: str) -> str:
    return f'[[trunks]]\nname = "t"\n{text}'


# -- profiles ----------------------------------------------------------------------------------------------------------------------------


def test_profiles_of_all_wanted_carriers_are_shipped() -> None:
    assert set(profile_names()) == WANTED


@pytest.mark.parametrize("name", sorted(WANTED))
def test_profile_is_valid_and_says_of_every_fact_where_and_when_it_was_read(name: str) -> None:
    profile = load_profile(name)
    assert profile.title
    lines = (PROFILES / f"{name}.toml").read_text(encoding="utf-8").split("\n")
    facts = [at for at, line in enumerate(lines) if re.match(r"[a-z_]+ = ", line) and not line.startswith("title")]
    assert facts
    for at in facts:
        comment = []
        while lines[at - 1 - len(comment)].startswith("#"):
            comment.append(lines[at - 1 - len(comment)])
        assert re.search(r"\([^()]*, 20\d\d-\d\d(-\d\d)?\)", " ".join(reversed(comment))), f"{name}: {lines[at]}"


@pytest.mark.parametrize("name", sorted(WANTED))
def test_ranges_of_a_profile_are_public_networks_and_do_not_overlap(name: str) -> None:
    networks = [ipaddress.ip_network(entry) for entry in load_profile(name).allow]
    assert all(network.is_global for network in networks)
    assert len(set(networks)) == len(networks)
    assert not any(a != b and a.overlaps(b) for a in networks for b in networks)


def test_ranges_of_twilio_and_telnyx_are_the_published_ones() -> None:
    twilio = (
        "54.172.60.0/30 54.244.51.0/30 54.171.127.192/30 35.156.191.128/30 "
        "54.65.63.192/30 54.169.127.128/30 54.252.254.64/30 177.71.206.192/30"
    )
    assert sorted(load_profile("twilio").allow) == sorted(twilio.split())
    assert load_profile("twilio").media == ("168.86.128.0/18",)
    assert {"192.76.120.10/32", "64.16.250.10/32", "185.246.41.140/32"} <= set(load_profile("telnyx").allow)


def test_profile_has_only_keys_that_a_trunk_may_override() -> None:
    informative = {"title", "media", "options_min_interval", "notes"}
    assert set(Profile.model_fields) - set(TrunkKeys.model_fields) == informative


def test_unknown_profile_is_an_error_that_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, '[[trunks]]\nname = "t"\nprofile = "twillio"')
    assert (caught.value.key, caught.value.line) == ("trunks[0].profile", 3)
    assert "did you mean 'twilio'?" in caught.value.reason


# -- entries -----------------------------------------------------------------------------------------------------------------------------


def test_entry_takes_from_its_profile_what_it_leaves_out_and_overrides_any_key(tmp_path: Path) -> None:
    text = """
        [[trunks]]
        name = "t"
        profile = "twilio"
        allow = ["54.172.60.0/30"]
        number_format = "as_given"
        register = true
        username = "u"
        server = "me.pstn.twilio.com"
        """
    (entry,) = active_trunks(load(tmp_path, text))
    assert (entry.allow, entry.number_format, entry.register_) == (("54.172.60.0/30",), "as_given", True)
    assert (entry.codecs, entry.session_timers, entry.outbound_cps) == (("pcmu", "pcma"), False, 1.0)


def test_entry_without_ranges_has_the_address_that_is_its_server(tmp_path: Path) -> None:
    (entry,) = active_trunks(load(tmp_path, '[[trunks]]\nname = "pbx"\nprofile = "asterisk"\nserver = "10.0.0.5:5070"'))
    assert entry.allow == ("10.0.0.5/32",)
    assert admission_policy(load(tmp_path, '[[trunks]]\nname = "pbx"\nserver = "pbx.example.com"')).trunks[0].networks == ()


def test_profiles_ranges_count_as_an_allow_list(tmp_path: Path) -> None:
    access_list = AccessList(admission_policy(load(tmp_path, '[[trunks]]\nname = "carrier"\nprofile = "twilio"')))
    assert access_list.decide(RequestSource("54.172.60.1")).trunk == "carrier"
    assert access_list.decide(RequestSource("203.0.113.9")).answer == "reject"


def test_disabled_entry_lets_nobody_in_and_keeps_nobody_out(tmp_path: Path) -> None:
    access_list = AccessList(admission_policy(load(tmp_path, '[[trunks]]\nname = "carrier"\nprofile = "twilio"\ndisabled = true')))
    assert access_list.is_open


@pytest.mark.parametrize(
    ("text", "key", "line", "words"),
    [
        ('profile = "twilio"\nsrpt = "off"', "trunks[0].srpt", 4, "did you mean 'srtp'"),
        ('srtp = "maybe"', "trunks[0].srtp", 3, "'required'"),
        ('number_format = "national"', "trunks[0]", 1, "needs country_code"),
        ('country_code = "+49"', "trunks[0].country_code", 3, "pattern"),
        ('password = "x"', "trunks[0]", 1, "username is missing"),
        ('register = true\nusername = "u"', "trunks[0]", 1, "register needs server"),
        ('profile = "twilio"\noptions_interval = 5', "trunks[0]", 1, "at least 15 s"),
        ('contact_host = "a b"', "trunks[0].contact_host", 3, "expected a host"),
        ("max_calls = 0", "trunks[0].max_calls", 3, "at least 1"),
        ('[[trunks]]\nname = "t"', "trunks[1].name", 4, "already has the name 't'"),
        ('[admission]\nstrangers = "maybe"', "admission.strangers", 4, "'silence'"),
        ('[[rewrites]]\nmatch = "a("\nrewrite = "b"', "rewrites[0].match", 4, "regular expression"),
        ('[[rewrites]]\nmatch = "a"\nrewrite = "$1"', "rewrites[0].rewrite", 5, "has no such group"),
        ('[[trunk_rules]]\nrule.match.to.host = "*"', "trunk_rules[0].rule.match.to.host", 4, "regular expression"),
        ('[[trunk_rules]]\nrule.rewrite.to.host = "a b"', "trunk_rules[0].rule.rewrite.to.host", 4, "expected a host"),
    ],
)
def test_mistake_names_line_key_and_expectation(tmp_path: Path, text: str, key: str, line: int, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, trunk(tmp_path, text))
    assert (caught.value.key, caught.value.line) == (key, line)
    assert words in caught.value.reason


@pytest.mark.parametrize(
    ("server", "host"),
    [
        ("a.example", "a.example"),
        ("A.example:5070;transport=tls", "a.example"),
        ("[2001:db8::1]:5060", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("", ""),
    ],
)
def test_host_of_a_server(server: str, host: str) -> None:
    assert host_of(server) == host


# -- registrations -----------------------------------------------------------------------------------------------------------------------

TWILIO_ACCOUNT = (
    '[[sip_registrations]]\nname = "a"\nusername = "u"\npassword = "p"\nserver = "me.pstn.twilio.com"\nrealm = "me.pstn.twilio.com"\n'
)


@pytest.mark.parametrize(
    ("trunks", "own", "registers"),
    [
        ("", "", True),
        ('[[trunks]]\nname = "t"\nprofile = "twilio"\n', "", False),
        ('[[trunks]]\nname = "t"\nprofile = "twilio"\n', "register = true\n", True),
        ('[[trunks]]\nname = "t"\nprofile = "twilio"\nusername = "u"\nserver = "me.pstn.twilio.com"\nregister = true\n', "", True),
        ('[[trunks]]\nname = "t"\nprofile = "telnyx"\n', "", True),
        ("", "register = false\n", False),
    ],
)
def test_account_at_a_carrier_that_takes_no_register_serves_calls_only_unless_said_otherwise(
    tmp_path: Path, trunks: str, own: str, registers: bool
) -> None:
    config = load(tmp_path, TWILIO_ACCOUNT + own + trunks)
    assert accounts(config)[0].registers is registers


def test_trunk_with_credentials_registers_when_it_says_so(tmp_path: Path) -> None:
    text = '[[trunks]]\nname = "t"\nprofile = "telnyx"\nserver = "sip:sip.telnyx.com;transport=tcp"\nusername = "u"\npassword = "p"\n'
    assert accounts(load(tmp_path, text)) == ()
    (account,) = accounts(load(tmp_path, text + "register = true"))
    assert (account.label, account.server, account.registers) == ("t", "sip.telnyx.com;transport=tcp", True)


# -- outbound ----------------------------------------------------------------------------------------------------------------------------


def test_dial_plan_of_the_file_has_trunks_rewrites_and_rules(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        """
        rewrites = [{match = "^sip:00", rewrite = "sip:+"}]
        [[trunk_rules]]
        name = "internal"
        rule.match.to.host = '^172\\.25\\.'
        rule.rewrite.contact.host = "172.25.225.2"
        [[trunk_rules]]
        rule.rewrite.contact.host = "1.2.3.4"
        [[trunks]]
        name = "twilio"
        profile = "twilio"
        server = "me.pstn.twilio.com"
        username = "u"
        password = "p"
        realm = "me.pstn.twilio.com"
        srtp = "required"
        codecs = ["pcma"]
        max_cps = 0.5
        caller = "+15550100"
        """,
    )
    plan = dial_plan(config)
    policy = plan.trunk_for(plan.callee_uri("sip:0018005551234@me.pstn.twilio.com"))
    assert policy is not None
    assert (policy.srtp, policy.codecs, policy.outbound_cps) == (SrtpPolicy.REQUIRED, ("pcma",), 0.5)
    assert [entry.realm for entry in policy.credentials] == ["me.pstn.twilio.com", "sip.twilio.com", None]
    assert [rule.matches(parse_uri("sip:a@b"), parse_uri("sip:c@172.25.1.1")) for rule in plan.rules] == [True, True]
    assert [rule.matches(parse_uri("sip:a@b"), parse_uri("sip:c@172.26.1.1")) for rule in plan.rules] == [False, True]
    assert plan.rules[0].new_contact.host == "172.25.225.2"
