"""Registrations by the text of RFC 3261 §10 and §22, as carriers' registrars do it, in virtual time."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from active_call.base.errors import LocalProtocolError
from active_call.sip.events import Credentials, RegistrationChanged, RegistrationSpec, Target
from searches import searching

SPEC = RegistrationSpec(
    "telnyx",
    "sip:sip.telnyx.example;transport=tcp",
    "sip:agent@sip.telnyx.example",
    credentials=(Credentials("agent", "secret"),),
)
OURS = "<sip:agent@198.51.100.1:5060;transport=tcp>"
CHALLENGE = ("WWW-Authenticate", 'Digest realm="r", nonce="n{}"')


@pytest.fixture
def bench(wire):
    return wire.Bench(flow=wire.TCP)


def begin(bench, spec=SPEC):
    """A registration on its way: its handle and the REGISTER."""
    handles = []
    (request,) = bench.do(lambda now: handles.append(bench.endpoint.register(spec, now)))
    return handles[0], request


def granted(request, value=3600):
    return (("Contact", f"{request.get('Contact')};expires={value}"),)


def registered(bench, wire, value=3600):
    handle, request = begin(bench)
    bench.feed(wire.response(request, 200, "OK", extra=granted(request, value)))
    return handle, request


def next_sent(bench, within_s):
    """Let time pass up to the moment of the next message."""
    end = bench.now + within_s
    while (at := bench.endpoint.next_timeout()) is not None and at <= end:
        if sent := bench.advance(at - bench.now):
            return sent[0]
    raise AssertionError(f"nothing was sent within {within_s} s")


def told(bench):
    return [(event.state, event.code, event.expires_s) for event in bench.of(RegistrationChanged)]


def test_register_says_what_10_2_asks_for(bench):
    _, request = begin(bench)
    assert request.start == "REGISTER sip:sip.telnyx.example;transport=tcp SIP/2.0"
    assert request.get("To") == "<sip:agent@sip.telnyx.example>"
    assert request.get("From").startswith("<sip:agent@sip.telnyx.example>;tag=")
    assert request.get("Contact") == OURS
    assert request.get("Expires") == "3600"
    assert request.transmit.destination == Target("tcp", "sip.telnyx.example", None)


def test_options_of_the_spec_reach_the_request(bench):
    spec = replace(SPEC, contact_user="line7", expires_s=120, headers=(("X-A", "1"),), proxy="sip:edge.example;lr", transport="udp")
    _, request = begin(bench, replace(spec, display='Bob "B" Baker'))
    assert request.get("From").startswith('"Bob \\"B\\" Baker" <sip:agent@sip.telnyx.example>;tag=')
    assert request.get("Contact") == "<sip:line7@198.51.100.1:5060>"
    assert (request.get("Expires"), request.get("X-A"), request.get("Route")) == ("120", "1", "<sip:edge.example;lr>")
    assert request.transmit.destination == Target("udp", "edge.example", None)


def test_challenge_is_answered_and_the_binding_told_once(bench, wire):
    _, request = begin(bench)
    (again,) = bench.feed(wire.response(request, 401, extra=((CHALLENGE[0], CHALLENGE[1].format(1)),)))
    assert (again.get("Call-ID"), again.from_tag) == (request.get("Call-ID"), request.from_tag)
    assert (request.get("CSeq"), again.get("CSeq")) == ("1 REGISTER", "2 REGISTER")
    assert again.all("Authorization")
    bench.feed(wire.response(again, 200, "OK", extra=granted(again)))
    (event,) = bench.of(RegistrationChanged)
    assert event == RegistrationChanged("telnyx", "registered", 200, "OK", 3600)


def test_refresh_comes_between_half_and_nine_tenths_with_the_next_cseq_10_2_4(bench, wire):
    _, request = registered(bench, wire, 600)
    began = bench.now
    refresh = next_sent(bench, 600)
    assert 300 <= refresh.at - began <= 540
    assert refresh.get("CSeq") == "2 REGISTER"
    assert refresh.get("Call-ID") == request.get("Call-ID")
    bench.feed(wire.response(refresh, 200, "OK", extra=granted(refresh, 600)))
    assert told(bench) == [("registered", 200, 600)]


@pytest.mark.parametrize(
    ("headers", "expires_s"),
    [
        ((("Contact", f"{OURS};expires=60"), ("Expires", "1800")), 60),
        ((("Contact", '<sip:agent@198.51.100.1:5060;transport=tcp;ob;rinstance=ab12>;q=1.0;expires=90;+sip.instance="<u>"'),), 90),
        ((("m", f"<sip:other@192.0.2.77>;expires=10, {OURS};expires=70"),), 70),
        ((("Contact", "<sip:other@192.0.2.77>;expires=10"), ("Contact", f"{OURS};expires=71")), 71),
        ((("Contact", OURS), ("Expires", "1800")), 1800),
        ((("Expires", "1700"),), 1700),
        ((("Contact", "<sip:agent@203.0.113.5:61000>;expires=80"),), 80),
        ((("Contact", "<sip:a@192.0.2.1>;expires=5, <sip:b@192.0.2.2>;expires=6"), ("Expires", "1600")), 1600),
        ((("Contact", f"{OURS};expires=soon"),), 3600),
        ((), 3600),
    ],
    ids=[
        "own",
        "added-parameters",
        "among-others",
        "second-line",
        "header",
        "header-only",
        "rewritten",
        "strangers",
        "malformed",
        "nothing",
    ],
)
def test_interval_is_that_of_our_own_binding_10_2_4(bench, wire, headers, expires_s):
    _, request = begin(bench)
    bench.feed(wire.response(request, 200, "OK", extra=headers))
    assert told(bench) == [("registered", 200, expires_s)]


def test_too_brief_interval_is_raised_to_min_expires_10_2_8(bench, wire):
    _, request = begin(bench, replace(SPEC, expires_s=60))
    (again,) = bench.feed(wire.response(request, 423, extra=(("Min-Expires", "300"),)))
    assert (again.get("Expires"), again.get("CSeq")) == ("300", "2 REGISTER")
    assert told(bench) == []
    bench.feed(wire.response(again, 423, extra=(("Min-Expires", "300"),)))
    assert told(bench) == [("failed", 423, None)]


@pytest.mark.parametrize("code", [403, 404, 405, 501])
def test_refusal_is_told_once_and_tried_again_slowly(bench, wire, code):
    _, request = begin(bench)
    tries = [bench.now]
    for _ in range(5):
        bench.feed(wire.response(request, code))
        request = next_sent(bench, 2000)
        tries.append(request.at)
    waits = [after - before for before, after in pairwise(tries)]
    assert waits[0] >= 150
    assert all(later >= earlier for earlier, later in pairwise(waits))
    assert waits[-1] <= 1800
    assert told(bench) == [("failed", code, None)]


def test_silence_is_told_once_and_tried_again_until_it_works(wire):
    bench = wire.Bench()
    _, _ = begin(bench, replace(SPEC, registrar_uri="sip:192.0.2.9"))
    bench.advance(31)
    assert told(bench) == []
    sent = bench.advance(1000)
    assert told(bench) == [("failed", 408, None)]
    numbers = {m.get("CSeq") for m in sent}
    assert 3 <= len(numbers) <= 12
    last = next_sent(bench, 2000)
    bench.feed(wire.response(last, 200, "OK", extra=granted(last)))
    assert told(bench)[-1] == ("registered", 200, 3600)


@pytest.mark.parametrize("code", [None, 500, 503], ids=["silent", "500", "503"])
def test_registrar_that_was_away_for_an_hour_is_tried_within_four_minutes_of_its_return(wire, code):
    bench = wire.Bench()
    _, request = begin(bench, replace(SPEC, registrar_uri="sip:192.0.2.9"))
    n_tries = 1
    while bench.now < 3600:
        if code is not None:
            bench.feed(wire.response(request, code))
        before = request.get("CSeq")
        request = next(m for m in bench.advance(300) if m.get("CSeq") != before)
        n_tries += 1
    assert n_tries < 40
    back_at = bench.now
    if code is not None:
        bench.feed(wire.response(request, code))
    before = request.get("CSeq")
    again = next(m for m in bench.advance(1800) if m.get("CSeq") != before)
    assert again.at - back_at <= 240 + 32


def test_wrong_password_is_a_refusal(bench, wire):
    _, request = begin(bench)
    for n in range(6):
        sent = bench.feed(wire.response(request, 401, extra=((CHALLENGE[0], CHALLENGE[1].format(n)),)))
        if not sent:
            break
        (request,) = sent
    assert told(bench) == [("failed", 401, None)]
    assert bench.advance(140) == []


def test_another_refusal_is_news(bench, wire):
    _, request = begin(bench)
    bench.feed(wire.response(request, 503))
    request = next_sent(bench, 60)
    bench.feed(wire.response(request, 403))
    assert told(bench) == [("failed", 503, None), ("failed", 403, None)]


def test_retry_after_is_kept_20_33(bench, wire):
    _, request = begin(bench)
    bench.feed(wire.response(request, 503, extra=(("Retry-After", "900 (soon);duration=5"),)))
    assert bench.advance(899) == []
    assert bench.advance(2)[0].method == "REGISTER"


def test_failed_refresh_is_told_and_mended(bench, wire):
    registered(bench, wire, 600)
    refresh = next_sent(bench, 600)
    bench.feed(wire.response(refresh, 500))
    again = next_sent(bench, 60)
    bench.feed(wire.response(again, 200, "OK", extra=granted(again, 600)))
    assert told(bench) == [("registered", 200, 600), ("failed", 500, None), ("registered", 200, 600)]


def test_registrar_that_keeps_no_binding_has_not_registered_us(bench, wire):
    registered(bench, wire, 0)
    assert told(bench) == [("failed", 200, None)]


def test_lost_connection_is_registered_anew_at_once(bench, wire):
    registered(bench, wire)
    bench.endpoint.handle_connection_lost(replace(wire.TCP, connection_id=99), "closed", bench.now)
    assert bench.advance(10) == []
    bench.endpoint.handle_connection_lost(wire.TCP, "closed", bench.now)
    (again,) = bench.advance(2.1)
    assert (again.method, again.get("CSeq")) == ("REGISTER", "2 REGISTER")
    bench.feed(wire.response(again, 200, "OK", extra=granted(again)), replace(wire.TCP, connection_id=9))
    assert told(bench) == [("registered", 200, 3600)]


def test_unregister_takes_the_binding_back_10_2_2(bench, wire):
    handle, request = registered(bench, wire)
    (last,) = bench.do(lambda now: bench.endpoint.unregister(handle, now))
    assert (last.get("Expires"), last.get("Contact"), last.get("CSeq")) == ("0", OURS, "2 REGISTER")
    assert last.get("Call-ID") == request.get("Call-ID")
    (again,) = bench.feed(wire.response(last, 401, extra=((CHALLENGE[0], CHALLENGE[1].format(1)),)))
    assert again.get("Expires") == "0"
    bench.feed(wire.response(again, 200, "OK"))
    assert told(bench)[-1] == ("unregistered", 200, 0)
    bench.do(lambda now: bench.endpoint.unregister(handle, now))
    bench.advance(10_000)
    assert len(told(bench)) == 2
    assert bench.endpoint.next_timeout() is None


def test_unanswered_unregister_is_over_all_the_same(bench, wire):
    handle, _ = registered(bench, wire)
    bench.do(lambda now: bench.endpoint.unregister(handle, now))
    bench.advance(40)
    assert told(bench)[-1] == ("unregistered", 408, 0)
    assert bench.endpoint.next_timeout() is None


def test_unregister_waits_for_the_register_under_way(bench, wire):
    handle, request = begin(bench)
    assert bench.do(lambda now: bench.endpoint.unregister(handle, now)) == []
    (last,) = bench.feed(wire.response(request, 200, "OK", extra=granted(request)))
    assert last.get("Expires") == "0"
    bench.feed(wire.response(last, 200, "OK"))
    assert told(bench) == [("unregistered", 200, 0)]


def test_unregister_of_what_never_came_about_sends_nothing(bench, wire):
    handle, request = begin(bench)
    bench.feed(wire.response(request, 403))
    assert bench.do(lambda now: bench.endpoint.unregister(handle, now)) == []
    assert told(bench) == [("failed", 403, None), ("unregistered", 0, 0)]
    bench.advance(100)
    assert bench.endpoint.next_timeout() is None


def test_binding_whose_refresh_failed_is_taken_back_while_it_lasts(bench, wire):
    handle, _ = registered(bench, wire, 600)
    refresh = next_sent(bench, 600)
    bench.feed(wire.response(refresh, 500))
    (last,) = bench.do(lambda now: bench.endpoint.unregister(handle, now))
    assert last.get("Expires") == "0"


def test_registration_that_leads_nowhere_raises_and_leaves_nothing(bench):
    for uri in ("tel:+1555", "nowhere", "sip:"):
        with pytest.raises(LocalProtocolError):
            bench.endpoint.register(replace(SPEC, registrar_uri=uri), bench.now)
    assert bench.endpoint.next_timeout() is None
    assert bench.counts == (0, 0, 0)


def test_two_registrations_are_told_apart(bench, wire):
    _, first = begin(bench)
    _, second = begin(bench, replace(SPEC, name="other", aor_uri="sip:two@other.example"))
    assert first.get("Call-ID") != second.get("Call-ID")
    bench.feed(wire.response(second, 200, "OK", extra=granted(second, 60)))
    bench.feed(wire.response(first, 403))
    assert [(e.name, e.state) for e in bench.of(RegistrationChanged)] == [("other", "registered"), ("telnyx", "failed")]


REPLIES = (100, 200, 202, 302, 401, 403, 408, 423, 480, 500, 501, 503)
WAITS = (0.1, 1.0, 33.0, 400.0, 4000.0)
INPUTS = [
    *(("reply", code) for code in REPLIES),
    *(("wait", seconds) for seconds in WAITS),
    ("lose", 0),
    ("break", 0),
    ("leave", 0),
]
REACHED = {
    "sent": (),
    "challenged": (("reply", 401),),
    "registered": (("reply", 200),),
    "refresh sent": (("reply", 200), ("wait", 545.0)),
    "refused": (("reply", 403),),
    "silent": (("wait", 33.0),),
    "connection lost": (("reply", 200), ("lose", 0)),
    "leaving while busy": (("leave", 0),),
    "leaving": (("reply", 200), ("leave", 0)),
    "left": (("reply", 200), ("leave", 0), ("reply", 200)),
}


def run_through(wire, steps):
    """One registration through `steps` and to its end: one Call-ID, rising numbers, one farewell, nothing left."""
    bench = wire.Bench(flow=wire.TCP)
    handle, _ = begin(bench)
    for number, (what, argument) in enumerate(steps):
        match what:
            case "reply":
                extra = (*granted(bench.sent[-1], 600), ("Min-Expires", "4000"), (CHALLENGE[0], CHALLENGE[1].format(number)))
                bench.feed(wire.response(bench.sent[-1], argument, extra=extra))
            case "wait":
                bench.advance(argument)
            case "lose":
                bench.endpoint.handle_connection_lost(wire.TCP, "closed", bench.now)
                bench.drain()
            case "break":
                bench.endpoint.handle_transport_error(bench.sent[-1].transmit.id, "refused", bench.now)
                bench.drain()
            case "leave":
                bench.do(lambda now: bench.endpoint.unregister(handle, now))
        assert bench.endpoint.n_transactions <= 1
    bench.do(lambda now: bench.endpoint.unregister(handle, now))
    bench.advance(100)
    assert bench.endpoint.next_timeout() is None
    assert bench.counts == (0, 0, 0)
    assert not bench.endpoint._registrations
    assert not bench.endpoint._core.layer._senders
    by_branch = {m.branch: int(m.get("CSeq").split()[0]) for m in bench.sent}
    numbers = list(by_branch.values())
    assert numbers == sorted(set(numbers))
    assert len({m.get("Call-ID") for m in bench.sent}) == 1
    states = [event.state for event in bench.of(RegistrationChanged)]
    assert states.count("unregistered") == 1
    assert states[-1] == "unregistered"


@pytest.mark.parametrize("state", REACHED)
def test_any_two_inputs_in_any_state_of_a_registration_end_in_one_farewell(wire, state):
    for first in INPUTS:
        for second in INPUTS:
            try:
                run_through(wire, (*REACHED[state], first, second))
            except Exception as error:
                raise AssertionError(f"{state}, then {first}, then {second}") from error


@searching(70)
@given(steps=st.lists(st.sampled_from(INPUTS), max_size=20))
def test_any_registrar_leaves_one_registration_with_counting_cseqs_and_nothing_behind(wire, steps):
    run_through(wire, steps)
