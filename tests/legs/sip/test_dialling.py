"""What becomes of a call that is to be placed: trunk, From, To, credentials, transport, encryption."""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Any

import pytest

from active_call.base.errors import ActiveCallError, LimitReached
from active_call.contract.options import CallOption, SipOption
from active_call.legs.sip.dialling import DialPlan, Invitation, with_realms
from active_call.legs.sip.rewriting import HeaderRule, Part, Rewrite
from active_call.legs.trunks.policy import MAX_WAIT_S, TrunkPolicy, Trunks
from active_call.sdp.negotiation import SrtpPolicy
from active_call.sip.events import Credentials

TWILIO = TrunkPolicy(
    "twilio",
    address="me.pstn.twilio.com",
    server="me.pstn.twilio.com",
    domains=("*.pstn.twilio.com", "*.pstn.*.twilio.com"),
    networks=(ip_network("54.172.60.0/30"),),
    credentials=(Credentials("user", "pass"),),
    realms=("sip.twilio.com",),
    number_format="+e164",
    caller="15550100123",
    session_timers=False,
    prack=False,
)
PBX = TrunkPolicy("pbx", address="10.0.0.5:5070;transport=tcp", server="10.0.0.5")


def plan(*trunks: TrunkPolicy, **more: Any) -> DialPlan:
    return DialPlan(Trunks(trunks), **more)


def invite(plan: DialPlan, callee: str = "sip:+18005551234@me.pstn.twilio.com", caller: str = "", **sip: Any) -> Invitation:
    option = CallOption(caller=caller or None, sip=SipOption(**sip) if sip else None)
    return plan.invitation(str(plan.callee_uri(callee)), option, "198.51.100.7")


# -- which trunk -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("me.pstn.twilio.com", "twilio"),
        ("ME.pstn.Twilio.com", "twilio"),
        ("other.pstn.twilio.com", "twilio"),
        ("a.b.pstn.twilio.com", "twilio"),
        ("me.pstn.dublin.twilio.com", "twilio"),
        ("54.172.60.1", "twilio"),
        ("10.0.0.5", "pbx"),
        ("10.0.0.6", None),
        ("pstn.twilio.com", None),
        ("me.pstn.twilio.com.evil.example", None),
        ("evilpstn.twilio.com", None),
    ],
)
def test_callee_belongs_to_the_trunk_of_its_host(host: str, name: str | None) -> None:
    found = Trunks([TWILIO, PBX]).of_callee(host)
    assert (found.name if found else None) == name


def test_server_wins_over_a_carriers_domain_and_the_longer_domain_over_the_shorter() -> None:
    second = TrunkPolicy("second", server="second.pstn.twilio.com")
    anything = TrunkPolicy("anything", domains=("*.twilio.com",))
    trunks = Trunks([anything, TWILIO, second])
    assert [getattr(trunks.of_callee(host), "name", "") for host in ("second.pstn.twilio.com", "x.pstn.twilio.com", "x.twilio.com")] == [
        "second",
        "twilio",
        "anything",
    ]


# -- From, To, credentials ---------------------------------------------------------------------------------------------------------------


def test_call_by_a_trunk_has_its_caller_its_numbers_and_its_habits() -> None:
    made = invite(plan(TWILIO), "sip:18005551234@me.pstn.twilio.com").invite
    assert made.to_uri == "sip:+18005551234@me.pstn.twilio.com"
    assert made.from_uri == "sip:+15550100123@me.pstn.twilio.com"
    assert made.credentials == (Credentials("user", "pass"),)
    assert (made.trunk, made.session_expires_s, made.unsupported) == ("twilio", 0, ("timer", "100rel"))


def test_call_by_no_trunk_is_as_it_was() -> None:
    made = invite(plan(TWILIO), "sip:bob@192.0.2.9")
    assert made.invite.from_uri == "sip:active-call@198.51.100.7"
    assert (made.invite.trunk, made.invite.session_expires_s, made.invite.unsupported) == ("", None, ())
    assert (made.invite.transport, made.srtp) == (None, False)


@pytest.mark.parametrize(
    ("caller", "expected"),
    [
        ("+15550199", "sip:+15550199@me.pstn.twilio.com"),
        ("15550199123", "sip:+15550199123@me.pstn.twilio.com"),
        ("sip:desk@example.com", "sip:desk@example.com"),
        ("desk@example.com", "sip:desk@example.com"),
    ],
)
def test_caller_of_the_call_wins_over_the_trunks(caller: str, expected: str) -> None:
    assert invite(plan(TWILIO), caller=caller).invite.from_uri == expected


def test_caller_that_is_no_address_is_refused_with_its_field() -> None:
    with pytest.raises(ActiveCallError, match="caller: "):
        invite(plan(TWILIO), caller="sip:a b@c")


def test_credentials_of_the_call_come_before_the_trunks_and_the_accounts() -> None:
    accounts = (("me.pstn.twilio.com", Credentials("account", "x")), ("elsewhere.example", Credentials("no", "x")))
    made = invite(plan(TWILIO, accounts=accounts), username="own", password="p", realm="sip.twilio.com").invite
    assert [entry.username for entry in made.credentials] == ["own", "user", "account"]


def test_realm_that_is_only_the_host_answers_what_the_carrier_really_asks_for() -> None:
    """The published guide has the termination host entered as realm, while Twilio's challenges name sip.twilio.com."""
    given = Credentials("active-call", "strongpassword", "yourdomain.pstn.twilio.com")
    realms = [entry.realm for entry in with_realms(given, "yourdomain.pstn.twilio.com")]
    assert realms == ["yourdomain.pstn.twilio.com", None]
    assert [entry.realm for entry in with_realms(given, "yourdomain.pstn.twilio.com", ("sip.twilio.com",))][:2] == [
        given.realm,
        "sip.twilio.com",
    ]
    assert with_realms(Credentials("a", "b", "other.example"), "pbx.example") == (Credentials("a", "b", "other.example"),)


def test_headers_of_the_trunk_are_sent_unless_the_call_has_its_own() -> None:
    trunk = TrunkPolicy("telnyx", server="sip.telnyx.com", headers={"X-Telnyx-Token": "t", "X-Other": "1"})
    made = invite(plan(trunk), "sip:1@sip.telnyx.com", headers={"x-telnyx-token": "mine"}).invite
    assert made.headers == (("X-Other", "1"), ("x-telnyx-token", "mine"))


# -- encryption and transport ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "enable_srtp", "own", "expected"),
    [
        (None, False, None, (False, False, None)),
        (None, True, None, (True, False, "tls")),
        ("required", False, None, (True, False, "tls")),
        ("preferred", False, None, (True, True, "tls")),
        ("off", True, None, (False, False, None)),
        ("off", False, True, (True, False, "tls")),
        ("required", True, False, (False, False, None)),
        ("preferred", True, True, (True, False, "tls")),
    ],
)
def test_encryption_is_the_calls_own_choice_else_the_trunks_else_the_general_one(
    policy: str | None, enable_srtp: bool, own: bool | None, expected: tuple[bool, bool, str | None]
) -> None:
    trunk = TrunkPolicy("t", server="t.example", srtp=SrtpPolicy(policy) if policy else None)
    made = invite(plan(trunk, enable_srtp=enable_srtp), "sip:1@t.example", **({} if own is None else {"enable_srtp": own}))
    assert (made.srtp, made.may_fall_back, made.invite.transport) == expected
    overridden = own is not None or policy is None
    assert made.takes is (SrtpPolicy.PREFERRED if overridden else SrtpPolicy(policy))


@pytest.mark.parametrize(
    ("callee", "trunk_transport", "expected"),
    [
        ("sip:1@t.example", "tcp", "tcp"),
        ("sip:1@t.example;transport=udp", "tcp", "udp"),
        ("sips:1@t.example", "tcp", "tls"),
        ("sip:1@t.example", None, None),
    ],
)
def test_transport_is_the_addresss_else_the_trunks(callee: str, trunk_transport: Any, expected: str | None) -> None:
    assert invite(plan(TrunkPolicy("t", server="t.example", transport=trunk_transport)), callee).invite.transport == expected


# -- rules -------------------------------------------------------------------------------------------------------------------------------


def test_rewrites_come_before_the_trunk_is_found() -> None:
    made = invite(plan(TWILIO, rewrites=(Rewrite.of(r"@old\.example", "@me.pstn.twilio.com"),)), "sip:+18005551234@old.example").invite
    assert (made.trunk, made.to_uri) == ("twilio", "sip:+18005551234@me.pstn.twilio.com")


def test_rules_change_from_to_and_contact_and_keep_ports() -> None:
    rule = HeaderRule(
        to_user=re.compile(r"^\+1800"),
        new_from=Part(user="100", host="pbx.example"),
        new_to=Part(host="10.9.9.9"),
        new_contact=Part(user="agent", host="172.25.225.2"),
    )
    made = invite(plan(rules=(rule,)), "sip:+18005551234@192.0.2.9:5070", caller="sip:7@x:5099").invite
    assert made.from_uri == "sip:100@pbx.example:5099"
    assert made.to_uri == "sip:+18005551234@10.9.9.9:5070"
    assert made.contact == "agent@172.25.225.2"
    untouched = invite(plan(rules=(rule,)), "sip:+4930@192.0.2.9").invite
    assert (untouched.contact, untouched.to_uri) == (None, "sip:+4930@192.0.2.9")


def test_trunks_own_host_stands_in_contact_unless_a_rule_has_another() -> None:
    trunk = TrunkPolicy("teams", server="sip.pstnhub.microsoft.com", contact_host="sbc.example.com")
    assert invite(plan(trunk), "sip:+1@sip.pstnhub.microsoft.com", caller="+15550100").invite.contact == "+15550100@sbc.example.com"
    rule = HeaderRule(new_contact=Part(host="192.0.2.1:5099"))
    assert invite(plan(trunk, rules=(rule,)), "sip:+1@sip.pstnhub.microsoft.com").invite.contact == "active-call@192.0.2.1:5099"


# -- addresses ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("callee", ["+18005551234", "tel:+18005551234", "18005551234", "tel:+1-800-555-1234", "tel:+18005551234;ext=5"])
def test_number_alone_goes_by_the_first_trunk_that_has_a_server(callee: str) -> None:
    made = invite(plan(TrunkPolicy("no server"), TWILIO, PBX), callee).invite
    assert made.to_uri == "sip:+18005551234@me.pstn.twilio.com"
    assert made.trunk == "twilio"


def test_number_alone_by_a_trunk_with_a_port_and_a_transport() -> None:
    made = invite(plan(PBX), "1001").invite
    assert (made.to_uri, made.transport) == ("sip:1001@10.0.0.5:5070;transport=tcp", "tcp")


@pytest.mark.parametrize(
    ("callee", "words"),
    [
        ("", "missing"),
        ("+18005551234", "is a number; it needs a host"),
        ("mailto:a@b.c", "callee: URI scheme"),
        ("sip:a@b c", "callee: "),
        ("sip:", "callee"),
    ],
)
def test_callee_that_cannot_be_dialled_is_refused_in_plain_words(callee: str, words: str) -> None:
    with pytest.raises(ActiveCallError, match=words):
        plan().callee_uri(callee)


# -- pace --------------------------------------------------------------------------------------------------------------------------------


def test_calls_over_the_rate_wait_and_those_that_would_wait_too_long_are_refused() -> None:
    trunk = TrunkPolicy("slow", server="slow.example", outbound_cps=1.0)
    trunks = Trunks([trunk])
    assert [trunks.turn(trunk, 100.0, 0) for _ in range(3)] == [100.0, 101.0, 102.0]
    for _ in range(int(MAX_WAIT_S) - 2):
        trunks.turn(trunk, 100.0, 0)
    with pytest.raises(LimitReached) as caught:
        trunks.turn(trunk, 100.0, 0)
    assert (caught.value.rule, caught.value.retry_after_s) == ("trunk_rate", 1)
    assert trunks.turn(trunk, 110.5, 0) >= 110.5


def test_call_over_the_number_of_calls_is_refused_at_once() -> None:
    trunk = TrunkPolicy("small", server="small.example", max_calls=2)
    assert Trunks([trunk]).turn(trunk, 5.0, 1) == 5.0
    with pytest.raises(LimitReached) as caught:
        Trunks([trunk]).turn(trunk, 5.0, 2)
    assert caught.value.rule == "trunk_calls"


# -- display names -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("caller", "uri", "display"),
    [
        ("+15550100124", "sip:+15550100124@me.pstn.twilio.com", "Harbour Bakery"),
        ('"Bob \\"B\\" Baker" <sip:+15550100124@bakery.example>', "sip:+15550100124@bakery.example", 'Bob "B" Baker'),
        ("Bob <sip:+15550100124@bakery.example>", "sip:+15550100124@bakery.example", "Bob"),
        ("<+15550100124>", "sip:+15550100124@me.pstn.twilio.com", "Harbour Bakery"),
        ("Bob <+15550100124>", "sip:+15550100124@me.pstn.twilio.com", "Bob"),
    ],
)
def test_caller_may_have_a_display_name_else_the_account_gives_one(caller: str, uri: str, display: str) -> None:
    made = invite(plan(TWILIO, display_names=(("me.pstn.twilio.com", "Harbour Bakery"),)), caller=caller).invite
    assert (made.from_uri, made.from_display) == (uri, display)


def test_display_name_of_an_account_elsewhere_is_not_told() -> None:
    assert invite(plan(TWILIO, display_names=(("pbx.example", "Internal"),))).invite.from_display == ""


def test_caller_with_a_broken_display_name_is_refused_with_what_is_wrong() -> None:
    with pytest.raises(ActiveCallError, match="caller"):
        invite(plan(TWILIO), caller='"Bob <sip:x@y>')


def test_place_that_may_not_have_secrets_gets_neither_credentials_nor_headers() -> None:
    trunk = TrunkPolicy("t", server="127.0.0.1", credentials=(Credentials("user", "pass"),), headers={"X-Token": "secret"})
    made = plan(trunk, accounts=(("127.0.0.1", Credentials("account", "pass")),))
    for has_secrets, users in ((True, ["user", "account"]), (False, [])):
        invite = made.invitation("sip:1@127.0.0.1:5071", CallOption(), "127.0.0.1", has_secrets=has_secrets).invite
        assert [one.username for one in invite.credentials] == users
        assert bool(invite.headers) is has_secrets
