"""Admission in an endpoint: a refused request costs nothing further, and what is remembered is bounded."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.sip.access import request_admission
from active_call.sip.access.access_list import AdmissionPolicy, TrunkAccess
from active_call.sip.access.request_admission import RequestAdmission
from active_call.sip.endpoint import Endpoint
from active_call.sip.events import Address, CallEnded, Flow, IncomingCall, MessageDropped, RegistrationSpec, RequestRefused
from active_call.sip.syntax.message import Request

STRANGER = Flow("udp", Address("198.51.100.1", 5060), Address("203.0.113.9", 5060))
LISTED = TrunkAccess("carrier", (ip_network("192.0.2.0/24"),))


def guarded(wire, **policy):
    """A bench whose endpoint has an access list; the bench's own peer, 192.0.2.9, is listed."""
    bench = wire.Bench()
    policy.setdefault("trunks", (LISTED,))
    bench.endpoint = Endpoint(bench.config, bench.randomness, RequestAdmission(AdmissionPolicy(**policy)))
    return bench


def invite(wire, n=1, **options):
    options.setdefault("branch", f"z9hG4bKcall{n}")
    return wire.request("INVITE", call_id=f"call-{n}", body=wire.OFFER, **options)


def refusals(bench):
    return [(event.rule, event.code) for event in bench.of(RequestRefused)]


def test_call_by_a_trunk_is_let_in_and_says_which_trunk(wire):
    bench = guarded(wire)
    assert [reply.code for reply in bench.feed(invite(wire))] == [100]
    assert bench.of(IncomingCall)[0].trunk == "carrier"
    assert bench.endpoint.n_calls_by_trunk == {"carrier": 1}


@pytest.mark.parametrize("method", ["INVITE", "REGISTER", "OPTIONS", "SUBSCRIBE", "MESSAGE", "BYE", "NOTIFY", "FROBNICATE"])
def test_stranger_gets_403_and_wakes_nothing(wire, method):
    bench = guarded(wire)
    replies = bench.feed(wire.request(method, body=wire.OFFER if method == "INVITE" else b""), STRANGER)
    assert [reply.code for reply in replies] == [403]
    assert replies[0].to_tag
    assert bench.counts == (0, 0, 0)
    assert bench.endpoint.next_timeout() is None
    assert refusals(bench) == [("unlisted", 403)]
    assert not bench.of(IncomingCall)


def test_stranger_who_repeats_gets_the_same_answer_and_its_ack_wakes_nothing(wire):
    bench = guarded(wire)
    first, second = (bench.feed(invite(wire), STRANGER)[0] for _ in range(2))
    assert first.get("To") == second.get("To")
    ack = wire.request("ACK", branch="z9hG4bKcall1", call_id="call-1", to=first.get("To"))
    assert bench.feed(ack, STRANGER) == []
    assert bench.advance(40) == []
    assert bench.counts == (0, 0, 0)


def test_scanner_hears_nothing(wire):
    bench = guarded(wire)
    for method in ("OPTIONS", "REGISTER", "INVITE"):
        assert bench.feed(wire.request(method, extra=(("User-Agent", "friendly-scanner"),)), STRANGER) == []
    assert refusals(bench) == [("scanner", 0)] * 3
    assert bench.counts == (0, 0, 0)


def test_scanner_hears_nothing_where_everybody_may_call(wire):
    bench = guarded(wire, trunks=())
    assert bench.feed(invite(wire, extra=(("User-Agent", "sipvicious"),))) == []
    assert [reply.code for reply in bench.feed(invite(wire, 2))] == [100]


def test_stranger_with_silence_hears_nothing(wire):
    bench = guarded(wire, strangers="silence")
    assert bench.feed(invite(wire), STRANGER) == []
    assert bench.feed(b"INVITE sip:x SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.9;branch=z9hG4bKx\r\nbroken\r\n\r\n", STRANGER) == []
    assert refusals(bench) == [("unlisted", 0), ("unlisted", 0)]


@pytest.mark.parametrize(("strangers", "codes"), [("auto", []), ("silence", []), ("reject", [400])])
def test_strangers_rubbish_is_answered_only_where_strangers_are(wire, strangers, codes):
    bench = guarded(wire, strangers=strangers)
    broken = wire.request("OPTIONS", extra=(("Call-ID", "another"),))
    assert [reply.code for reply in bench.feed(broken, STRANGER)] == codes
    assert [reply.code for reply in bench.feed(broken)] == [400]
    assert len(bench.of(MessageDropped)) == 2


def test_address_that_goes_on_is_not_answered_any_more_and_is_later(wire):
    bench = guarded(wire, silence_after=5, silence_s=100.0)
    codes = [[reply.code for reply in bench.feed(wire.request("OPTIONS", branch=f"z9hG4bK{n}", cseq=n), STRANGER)] for n in range(1, 9)]
    assert codes == [[403]] * 5 + [[]] * 3
    assert refusals(bench)[5:] == [("silenced", 0)] * 3
    bench.advance(101)
    assert [reply.code for reply in bench.feed(wire.request("OPTIONS", branch="z9hG4bKlater", cseq=99), STRANGER)] == [403]


def test_address_that_is_refused_now_and_then_goes_on_being_answered(wire):
    bench = guarded(wire, silence_after=5)
    for n in range(1, 40):
        assert len(bench.feed(wire.request("OPTIONS", branch=f"z9hG4bK{n}", cseq=n), STRANGER)) == 1
        bench.advance(20)


@pytest.mark.parametrize("host", ["192.0.2.9", "127.0.0.1", "::1"])
def test_trunk_and_this_machine_are_never_silenced(wire, host):
    bench = guarded(wire, silence_after=3)
    flow = Flow("udp", wire.US, Address(host, 5060))
    for n in range(1, 20):
        bench.feed(b"rubbish\r\n\r\n", flow)
        assert len(bench.feed(wire.request("FROBNICATE", branch=f"z9hG4bK{n}", cseq=n), flow)) == 1


def test_silenced_address_goes_on_with_the_call_it_has(wire):
    bench = guarded(wire, trunks=(), silence_after=2)
    bench.feed(invite(wire))
    call = bench.of(IncomingCall)[0].call
    answered = bench.do(bench.endpoint.answer, call, wire.ANSWER)[0]
    bench.feed(wire.request("ACK", call_id="call-1", to=answered.get("To"), branch="z9hG4bKack"))
    for _ in range(5):
        bench.feed(b"INVITE sip:x SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKx\r\nbroken\r\n\r\n")
    assert bench.feed(invite(wire, 2)) == []
    bye = wire.request("BYE", call_id="call-1", to=answered.get("To"), branch="z9hG4bKbye", cseq=101)
    assert [reply.code for reply in bench.feed(bye)] == [200]
    assert bench.of(CallEnded)[0].cause == "remote_bye"


def test_stranger_inside_a_call_is_served(wire):
    """Carriers send from other addresses of theirs than the INVITE's; the dialog's tags are what tells them."""
    bench = guarded(wire)
    bench.feed(invite(wire))
    answered = bench.do(bench.endpoint.answer, bench.of(IncomingCall)[0].call, wire.ANSWER)[0]
    bench.feed(wire.request("ACK", call_id="call-1", to=answered.get("To"), branch="z9hG4bKack"), STRANGER)
    bye = wire.request("BYE", call_id="call-1", to=answered.get("To"), branch="z9hG4bKbye", cseq=101)
    assert [reply.code for reply in bench.feed(bye, STRANGER)] == [200]
    unknown = wire.request("BYE", call_id="call-9", to=answered.get("To"), branch="z9hG4bKbye9", cseq=101)
    assert [reply.code for reply in bench.feed(unknown, STRANGER)] == [403]


def test_trunk_at_its_limit_gets_503_with_retry_after_until_a_call_ends(wire):
    bench = guarded(wire, trunks=(TrunkAccess("carrier", LISTED.networks, max_calls=2),))
    bench.feed(invite(wire, 1))
    bench.feed(invite(wire, 2))
    (busy,) = bench.feed(invite(wire, 3))
    assert (busy.code, busy.get("Retry-After")) == (503, "5")
    assert refusals(bench) == [("trunk_calls", 503)]
    assert [reply.code for reply in bench.feed(invite(wire, 3))] == [503]
    bench.do(bench.endpoint.reject, bench.of(IncomingCall)[0].call, 486, "Busy")
    assert [reply.code for reply in bench.feed(invite(wire, 4))] == [100]
    assert bench.endpoint.n_calls_by_trunk == {"carrier": 2}


def test_trunk_over_its_rate_gets_503_for_a_while(wire):
    bench = guarded(wire, trunks=(TrunkAccess("carrier", LISTED.networks, max_cps=2.0),))
    codes = [bench.feed(invite(wire, n))[0].code for n in range(1, 5)]
    assert codes == [100, 100, 503, 503]
    bench.advance(1.0)
    assert bench.feed(invite(wire, 5))[0].code == 100
    assert ("trunk_rate", 503) in refusals(bench)


def test_repetition_of_a_refused_invite_is_no_new_call(wire):
    bench = guarded(wire, trunks=(TrunkAccess("carrier", LISTED.networks, max_cps=1.0),))
    bench.feed(invite(wire, 1))
    assert bench.feed(invite(wire, 2))[0].code == 503
    bench.advance(1.5)
    assert [reply.code for reply in bench.feed(invite(wire, 2))] == [503]


def test_one_address_over_the_rate_of_an_address_gets_503_others_do_not(wire):
    bench = guarded(wire, trunks=(), max_cps_per_address=1.0)
    other = Flow("udp", wire.US, Address("203.0.113.77", 5060))
    assert [bench.feed(invite(wire, n))[0].code for n in (1, 2)] == [100, 503]
    assert bench.feed(invite(wire, 3), other)[0].code == 100
    assert refusals(bench) == [("address_rate", 503)]


def test_registrar_of_ours_may_call_though_no_trunk_lists_it(wire):
    bench = guarded(wire)
    spec = RegistrationSpec("pbx", "sip:203.0.113.9", "sip:agent@203.0.113.9")
    register = bench.do(bench.endpoint.register, spec)[0]
    assert bench.feed(invite(wire, 1), STRANGER)[0].code == 403
    granted = wire.response(register, 200, tag="r1", contact=None, extra=(("Contact", register.get("Contact")), ("Expires", "60")))
    bench.feed(granted, STRANGER)
    assert bench.feed(invite(wire, 2), STRANGER)[0].code == 100
    assert bench.of(IncomingCall)[0].trunk == ""


def test_contact_names_the_trunks_own_host_in_and_outside_of_calls(wire):
    bench = guarded(wire, trunks=(TrunkAccess("teams", LISTED.networks, contact_host="sbc.example.com:5061"),))
    bench.feed(invite(wire))
    answered = bench.do(bench.endpoint.answer, bench.of(IncomingCall)[0].call, wire.ANSWER)[0]
    assert answered.get("Contact") == "<sip:+15550001@sbc.example.com:5061>"


def test_admission_remembers_a_bounded_number_of_addresses(wire):
    admission = RequestAdmission(AdmissionPolicy((LISTED,), silence_after=3))
    request = Request("OPTIONS", "sip:x")
    loud = Flow("udp", wire.US, Address("203.0.113.9", 5060))
    for n in range(3 * request_admission.MAX_ADDRESSES):
        host = f"198.18.{n // 250 % 250}.{n % 250}" if n % 2 else f"2001:db8:{n:x}::1"
        admission.judge(request, Flow("udp", wire.US, Address(host, 5060)), float(n) / 1000)
        admission.judge(request, loud, float(n) / 1000)
    assert admission.n_addresses <= request_admission.MAX_ADDRESSES
    assert admission.is_silenced("203.0.113.9", 10.0)


flows = st.sampled_from(["192.0.2.9", "203.0.113.9", "203.0.113.10", "127.0.0.1", "2001:db8::1", "2001:db8::2"])
agents = st.sampled_from(["", "friendly-scanner", "Asterisk"])


@given(
    st.sampled_from(["auto", "reject", "silence"]),
    st.booleans(),
    st.lists(st.tuples(st.sampled_from(["judge", "unreadable"]), flows, agents, st.floats(0, 30)), max_size=120),
)
def test_admission_never_silences_those_it_must_hear_and_never_answers_a_silenced_one(strangers, is_open, inputs):
    admission = RequestAdmission(AdmissionPolicy(() if is_open else (LISTED,), strangers, silence_after=4, silence_s=50.0))
    now = 0.0
    for kind, host, agent, step in inputs:
        now += step
        flow = Flow("udp", Address("198.51.100.1", 5060), Address(host, 5060))
        request = Request("OPTIONS", "sip:x")
        if agent:
            request.headers.add("User-Agent", agent)
        was_silenced = admission.is_silenced(host, now)
        verdict = admission.judge(request, flow, now) if kind == "judge" else admission.judge_unreadable(flow, now)
        if host == "192.0.2.9" and not is_open:
            assert verdict.rule == "trunk"
        if host == "127.0.0.1" or strangers == "reject":
            assert not was_silenced
        if was_silenced:
            assert verdict.answer == "silence"
        if strangers == "reject":
            assert verdict.answer != "silence"
