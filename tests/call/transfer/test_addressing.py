"""Whom a transfer calls, and as whom."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from active_call.call.transfer.addressing import OwnCall, caller_for, credentials_for, dialable, referable
from active_call.contract.options import SipOption

INBOUND = OwnCall("inbound", "sip:+15551111@trunk.pstn.example.com", "sip:+15559999@203.0.113.9", None)
OUTBOUND = OwnCall("outbound", "+15559999", "sip:+15551111@trunk.example.com:5061;transport=tls", None)
ANONYMOUS = OwnCall("inbound", "sip:anonymous", "sip:bakery@203.0.113.9", None)


@pytest.mark.parametrize("target", ["sip:desk@example.com", "sips:desk@example.com;x=1", "desk@example.com", "sip:+1555@h:5070"])
def test_address_is_called_as_it_stands(target: str) -> None:
    assert dialable(target, INBOUND) == target


@pytest.mark.parametrize("target", ["+15550177", "tel:+15550177", "tel:+1-555-0177;phone-context=x", "+1 (555) 01-77", "TEL:+15550177"])
def test_number_is_called_over_the_trunk_that_the_call_has_come_by(target: str) -> None:
    assert dialable(target, INBOUND) == "sip:+15550177@trunk.pstn.example.com"
    assert dialable(target, OUTBOUND) == "sip:+15550177@trunk.example.com:5061;transport=tls"


def test_number_goes_to_the_configured_trunk_where_the_call_came_in() -> None:
    by_trunk = replace(INBOUND, way_out="sip.carrier.example;transport=tcp")
    assert dialable("+15550177", by_trunk) == "sip:+15550177@sip.carrier.example;transport=tcp"
    assert dialable("+15550177", replace(OUTBOUND, way_out="elsewhere.example")) == dialable("+15550177", OUTBOUND)


def test_number_without_a_trunk_stays_what_it_is() -> None:
    assert dialable("+15550177", ANONYMOUS) == "+15550177"


def test_peer_is_asked_to_call_a_number_at_its_own_host() -> None:
    """Asterisk 22 answers a Refer-To with a `tel:` URI with 400."""
    assert referable("+1 555-0177", INBOUND) == "sip:+15550177@trunk.pstn.example.com"
    assert referable("901", replace(INBOUND, way_out="sip.other.example")) == "sip:901@trunk.pstn.example.com"
    assert referable("+15550177", OUTBOUND) == "sip:+15550177@trunk.example.com:5061;transport=tls"


def test_peer_of_an_anonymous_caller_is_asked_at_the_trunk_and_without_one_by_number() -> None:
    withheld = replace(INBOUND, caller="sip:anonymous@anonymous.invalid")
    assert referable("+15550177", replace(withheld, way_out="sip.carrier.example")) == "sip:+15550177@sip.carrier.example"
    assert referable("+15550177", withheld) == "+15550177"
    assert referable("+15550177", ANONYMOUS) == "+15550177"


@pytest.mark.parametrize("target", ["sip:desk@example.com", "desk@example.com", "tel:+1-555-0177", "reception"])
def test_peer_is_asked_for_any_other_target_as_it_stands(target: str) -> None:
    assert referable(target, INBOUND) == target


def test_target_sees_our_number_in_this_call_unless_another_is_asked_for() -> None:
    assert caller_for(INBOUND, "") == "+15559999"
    assert caller_for(OUTBOUND, "") == "+15559999"
    assert caller_for(INBOUND, "+15552222") == "+15552222"
    assert caller_for(ANONYMOUS, "") is None  # a name is no caller id: the account's own


def test_credentials_of_the_call_serve_its_own_host_only() -> None:
    own = SipOption(username="u", password="p", realm="r", enable_srtp=True, headers={"X-Own": "1"}, hangup_headers={"X-Bye": "1"})
    placed = OwnCall(OUTBOUND.direction, OUTBOUND.caller, OUTBOUND.callee, own)
    came_in = OwnCall(INBOUND.direction, INBOUND.caller, INBOUND.callee, own)
    lent = SipOption(username="u", password="p", realm="r", enable_srtp=True)
    assert credentials_for(None, "sip:+15550177@trunk.example.com", placed) == lent
    assert credentials_for(None, "sip:+15550177@TRUNK.example.com:5070", placed) == lent
    assert credentials_for(None, "sip:x@elsewhere.example.com", placed) is None
    assert credentials_for(None, "sip:x@[2001:db8::1]", placed) is None
    assert credentials_for(None, "sip:+15550177@trunk.pstn.example.com", came_in) == lent
    assert credentials_for(None, "sip:x@elsewhere.example.com", came_in) is None
    assert credentials_for(None, "sip:x@y", INBOUND) is None


def test_credentials_of_the_transfer_win() -> None:
    own = SipOption(username="u", password="p")
    asked = SipOption(username="other", password="q")
    call = OwnCall("inbound", INBOUND.caller, INBOUND.callee, own)
    assert credentials_for(asked, "sip:x@y", call) == asked
    plain = SipOption(headers={"X-A": "1"}, enable_srtp=False)
    there = "sip:x@trunk.pstn.example.com"
    assert credentials_for(plain, there, call) == SipOption(username="u", password="p", headers={"X-A": "1"}, enable_srtp=False)
    assert credentials_for(plain, "sip:x@y", call) == plain
