"""From place to place (RFC 3263 §4.3), in virtual time: the resolver's answers are given by hand, the peers write raw text."""

from __future__ import annotations

import itertools

import pytest

from active_call.sip.events import (
    Address,
    CallAnswered,
    CallEnded,
    Credentials,
    EndpointConfig,
    Flow,
    OutboundInvite,
    RegistrationChanged,
    RegistrationSpec,
    RequestCompleted,
    Target,
)
from active_call.sip.transaction.hop_finder import MAX_PAUSE_S, OUTAGE_S

NAME = "trunk.example"


def hop(n, transport="udp"):
    return Target(transport, f"192.0.2.{n}", 5061 if transport == "tls" else 5060, name=NAME)


def flow_of(place, number=7):
    connection = None if place.transport == "udp" else number
    return Flow(place.transport, Address("198.51.100.1", 5060), Address(place.host, place.port), connection)


class Trunk:
    """An endpoint and a resolver of ours."""

    def __init__(self, wire, *places, transport="udp"):
        self.wire = wire
        self.bench = wire.Bench(resolves=False)
        self.places = places or tuple(hop(n, transport) for n in (1, 2, 3))

    def look_up(self, places=None, reason=""):
        """Answer the one question that is open; what is sent because of it."""
        n_before = len(self.bench.sent)
        (question,) = self.bench.endpoint.take_look_ups()
        self.question = question
        self.bench.endpoint.handle_look_up(question.id, self.places if places is None else places, reason, self.bench.now)
        self.bench.drain()
        return self.bench.sent[n_before:]

    def invite(self, uri=f"sip:+15550002@{NAME}", **options):
        spec = OutboundInvite(uri, "sip:+15550001@us.example", self.wire.OFFER, **options)
        self.handle = None

        def place(now):
            self.handle = self.bench.endpoint.invite(spec, now)

        assert self.bench.do(place) == []
        return self.look_up()

    def fail(self, message, reason="refused"):
        n_before = len(self.bench.sent)
        self.bench.endpoint.handle_transport_error(message.transmit.id, reason, self.bench.now)
        self.bench.drain()
        return self.bench.sent[n_before:]

    def turn_back(self, message):
        n_before = len(self.bench.sent)
        self.bench.endpoint.handle_unreachable(message.transmit.id, "port closed", self.bench.now)
        self.bench.drain()
        return self.bench.sent[n_before:]

    def answer(self, message, code, **options):
        return self.bench.feed(self.wire.response(message, code, **options), flow_of(message.transmit.destination))


def where(message):
    return message.transmit.destination.host


@pytest.fixture
def trunk(wire):
    return Trunk(wire)


def test_question_names_host_port_and_transports_and_nothing_is_sent_before_its_answer_3263_4(wire):
    for uri, port, transports in [
        (f"sip:a@{NAME}", None, ("udp", "tcp", "tls")),
        (f"sip:a@{NAME}:5070", 5070, ("udp",)),
        (f"sip:a@{NAME};transport=tcp", None, ("tcp",)),
        (f"sips:a@{NAME}", None, ("tls",)),
    ]:
        trunk = Trunk(wire)
        trunk.invite(uri)
        assert (trunk.question.host, trunk.question.port, trunk.question.transports) == (NAME, port, transports)


def test_address_literal_takes_no_question(wire):
    bench = wire.Bench(resolves=False)
    spec = OutboundInvite("sip:a@192.0.2.9", "sip:b@us.example", wire.OFFER)
    (invite,) = bench.do(lambda now: bench.endpoint.invite(spec, now))
    assert where(invite) == "192.0.2.9"
    assert bench.endpoint.take_look_ups() == []


def test_transport_that_dns_chooses_is_what_via_and_contact_say_3263_4_1(wire):
    trunk = Trunk(wire, hop(1, "tls"))
    (invite,) = trunk.invite()
    assert invite.get("Via").startswith("SIP/2.0/TLS 198.51.100.1:5061;")
    assert invite.get("Contact").endswith(":5061;transport=tls>")
    assert invite.transmit.destination == hop(1, "tls")


def test_our_address_towards_the_place_goes_into_via_and_contact(wire):
    bench = wire.Bench(EndpointConfig(listeners=wire.listeners("udp"), user_agent="u"), resolves=False)
    trunk = Trunk(wire, Target("udp", "192.0.2.1", 5060, name=NAME, local="203.0.113.5"))
    trunk.bench = bench
    any_address = bench.config.listeners[0].bound
    bench.endpoint.set_listeners((type(bench.config.listeners[0])("udp", any_address, any_address),))
    (invite,) = trunk.invite(local_host="198.51.100.77")
    assert invite.get("Via").startswith("SIP/2.0/UDP 203.0.113.5:5060;")
    assert invite.get("Contact") == "<sip:+15550001@203.0.113.5:5060>"


def test_name_that_leads_nowhere_ends_the_call_with_the_reason(trunk):
    spec = OutboundInvite(f"sip:a@{NAME}", "sip:b@us.example", b"")
    trunk.bench.do(lambda now: trunk.bench.endpoint.invite(spec, now))
    assert trunk.look_up(places=(), reason="no such name") == []
    (ended,) = trunk.bench.of(CallEnded)
    assert (ended.cause, ended.code, ended.reason) == ("transport", 503, "no such name")
    trunk.bench.advance(64)
    assert trunk.bench.counts == (0, 0, 0)


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def test_silence_moves_on_after_4_s_as_a_new_transaction_of_the_same_request_3263_4_3(wire, transport):
    trunk = Trunk(wire, transport=transport)
    (first,) = trunk.invite()
    assert [where(m) for m in trunk.bench.advance(3.9)] == ["192.0.2.1"] * (3 if transport == "udp" else 0)
    (second,) = trunk.bench.advance(0.1)
    assert where(second) == "192.0.2.2"
    assert second.branch != first.branch
    assert [second.get(name) for name in ("Call-ID", "CSeq", "From", "To")] == [
        first.get(name) for name in ("Call-ID", "CSeq", "From", "To")
    ]
    assert (second.uri, second.body) == (first.uri, first.body)


def test_last_place_has_the_full_timer_3263_4_3(trunk):
    trunk.invite()
    trunk.bench.advance(8.0)
    assert where(trunk.bench.sent[-1]) == "192.0.2.3"
    trunk.bench.advance(31.9)
    assert not trunk.bench.of(CallEnded)
    trunk.bench.advance(0.2)
    (ended,) = trunk.bench.of(CallEnded)
    assert (ended.cause, ended.code) == ("timeout", 408)
    trunk.bench.advance(64)
    assert trunk.bench.counts == (0, 0, 0)


def test_any_response_keeps_the_call_at_its_place(trunk):
    (first,) = trunk.invite()
    trunk.bench.advance(3.0)
    trunk.answer(first, 100)
    assert trunk.bench.advance(30.0) == []


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def test_transport_error_moves_on_at_once(wire, transport):
    trunk = Trunk(wire, transport=transport)
    (message,) = trunk.invite()
    for n in (2, 3):
        (message,) = trunk.fail(message)
        assert where(message) == f"192.0.2.{n}"
    assert trunk.fail(message, "no route") == []
    (ended,) = trunk.bench.of(CallEnded)
    assert (ended.cause, ended.reason) == ("transport", "no route")


def test_request_that_the_network_turns_back_moves_on_at_once_3261_18_4(trunk):
    (message,) = trunk.invite()
    for n in (2, 3):
        (message,) = trunk.turn_back(message)
        assert where(message) == f"192.0.2.{n}"
    assert trunk.turn_back(message) == []
    (ended,) = trunk.bench.of(CallEnded)
    assert (ended.cause, ended.reason) == ("transport", "port closed")


def test_place_that_has_answered_provisionally_is_not_left_for_a_report(trunk):
    (message,) = trunk.invite()
    trunk.answer(message, 180)
    assert trunk.turn_back(message) == []
    assert not trunk.bench.of(CallEnded)


def test_request_in_a_dialog_waits_for_a_peer_that_may_be_restarting(trunk):
    (message,) = trunk.invite()
    trunk.answer(message, 200, body=trunk.wire.ANSWER, extra=(("Contact", "<sip:peer@192.0.2.1>"), ("Content-Type", "application/sdp")))
    trunk.bench.do(lambda now: trunk.bench.endpoint.hang_up(trunk.handle, now))
    bye = trunk.bench.sent[-1]
    assert bye.method == "BYE"
    assert trunk.turn_back(bye) == []
    assert trunk.bench.advance(0.5)[-1].method == "BYE"


def test_503_is_acknowledged_there_and_moves_on_3263_4_3(trunk):
    (first,) = trunk.invite()
    ack, second = trunk.answer(first, 503)
    assert (ack.method, where(ack), ack.branch) == ("ACK", "192.0.2.1", first.branch)
    assert (second.method, where(second)) == ("INVITE", "192.0.2.2")
    # A repeated 503 finds its transaction.
    assert [(m.method, where(m)) for m in trunk.answer(first, 503)] == [("ACK", "192.0.2.1")]
    trunk.answer(second, 503)
    third = trunk.bench.sent[-1]
    assert where(third) == "192.0.2.3"
    trunk.answer(third, 503)
    (ended,) = trunk.bench.of(CallEnded)
    assert (ended.cause, ended.code) == ("rejected", 503)


@pytest.mark.parametrize("code", [404, 480, 486, 500, 504, 603])
def test_other_refusals_are_final(trunk, code):
    (first,) = trunk.invite()
    assert [m.method for m in trunk.answer(first, code)] == ["ACK"]
    assert trunk.bench.of(CallEnded)[0].code == code


def test_cancel_and_ack_go_where_the_invite_went_3261_9_1(trunk):
    trunk.invite()
    (second,) = [m for m in trunk.bench.advance(4.0) if where(m) == "192.0.2.2"]
    trunk.answer(second, 180)
    (cancel,) = trunk.bench.do(lambda now: trunk.bench.endpoint.hang_up(trunk.handle, now))
    assert (cancel.method, where(cancel), cancel.branch, cancel.all("Via")) == ("CANCEL", "192.0.2.2", second.branch, second.all("Via"))
    (ack,) = trunk.answer(second, 487)
    assert (where(ack), ack.branch) == ("192.0.2.2", second.branch)


def test_call_that_is_hung_up_seeks_no_further_place(trunk):
    trunk.invite()
    trunk.bench.do(lambda now: trunk.bench.endpoint.hang_up(trunk.handle, now))
    assert {where(m) for m in trunk.bench.advance(64)} == {"192.0.2.1"}
    assert trunk.bench.of(CallEnded)[0].cause == "cancelled"


def test_call_that_is_hung_up_while_its_name_is_looked_up_ends_at_once_and_sends_nothing(trunk):
    spec = OutboundInvite(f"sip:a@{NAME}", "sip:b@us.example", b"")
    handles = []
    trunk.bench.do(lambda now: handles.append(trunk.bench.endpoint.invite(spec, now)))
    trunk.bench.do(lambda now: trunk.bench.endpoint.hang_up(handles[0], now))
    assert trunk.bench.advance(0.0) == []
    assert trunk.bench.of(CallEnded)[0].cause == "cancelled"
    assert trunk.look_up() == []
    assert trunk.bench.counts == (0, 0, 0)


def test_late_provisional_of_a_place_that_was_given_up_is_cancelled(trunk):
    (first,) = trunk.invite()
    trunk.bench.advance(4.0)
    second = trunk.bench.sent[-1]
    (cancel,) = trunk.answer(first, 180)
    assert (cancel.method, where(cancel), cancel.branch) == ("CANCEL", "192.0.2.1", first.branch)
    assert [m.method for m in trunk.answer(first, 487)] == ["ACK"]
    trunk.answer(second, 200, tag="second", body=trunk.wire.ANSWER)
    assert len(trunk.bench.of(CallAnswered)) == 1


@pytest.mark.parametrize("rings", [False, True])
def test_late_answer_of_a_place_that_was_given_up_is_the_call(trunk, rings):
    (first,) = trunk.invite()
    trunk.bench.advance(4.0)
    second = trunk.bench.sent[-1]
    if rings:
        trunk.answer(second, 180)
    sent = trunk.answer(first, 200, tag="first", body=trunk.wire.ANSWER)
    assert [(m.method, where(m)) for m in sent] == [*([("CANCEL", "192.0.2.2")] if rings else []), ("ACK", "192.0.2.9")]
    assert len(trunk.bench.of(CallAnswered)) == 1
    if not rings:
        assert [m.method for m in trunk.answer(second, 180, tag="second")] == ["CANCEL"]
    # The other one answers as well: acknowledged and hung up.
    assert [m.method for m in trunk.answer(second, 200, tag="second", body=trunk.wire.ANSWER)] == ["ACK", "BYE"]
    assert not trunk.bench.of(CallEnded)


def test_pause_that_503_asks_for_is_kept_by_later_calls_3261_21_5_4(trunk):
    (first,) = trunk.invite()
    trunk.answer(first, 503, extra=(("Retry-After", "120 (in a moment)"),))
    order = []
    for wait in (1.0, 100.0, 20.0):
        trunk.bench.advance(wait)
        (invite,) = trunk.invite()
        order.append(where(invite))
        trunk.answer(invite, 486)
    assert order == ["192.0.2.2", "192.0.2.2", "192.0.2.1"]


def test_absurd_pause_is_bounded_and_a_503_without_one_costs_nothing_later(trunk):
    (first,) = trunk.invite()
    _, second = trunk.answer(first, 503, extra=(("Retry-After", "999999"),))
    trunk.answer(second, 503)
    trunk.answer(trunk.bench.sent[-1], 486)
    trunk.bench.advance(1.0)
    (invite,) = trunk.invite()
    assert where(invite) == "192.0.2.2"
    trunk.answer(invite, 486)
    trunk.bench.advance(MAX_PAUSE_S)
    (invite,) = trunk.invite()
    assert where(invite) == "192.0.2.1"


def test_place_that_was_silent_is_tried_last_for_a_minute(trunk):
    trunk.invite()
    trunk.bench.advance(4.0)
    trunk.answer(trunk.bench.sent[-1], 486)
    (invite,) = trunk.invite()
    assert where(invite) == "192.0.2.2"
    trunk.bench.advance(12.0)
    assert where(trunk.bench.sent[-1]) == "192.0.2.1"


def test_pause_is_over_when_the_place_answers(trunk):
    (first,) = trunk.invite()
    trunk.answer(first, 503, extra=(("Retry-After", "600"),))
    trunk.answer(trunk.bench.sent[-1], 486)
    (second,) = trunk.invite()
    (third,) = trunk.fail(second)
    (again,) = trunk.fail(third)
    assert [where(m) for m in (second, third, again)] == ["192.0.2.2", "192.0.2.3", "192.0.2.1"]
    trunk.answer(again, 486)
    trunk.bench.advance(OUTAGE_S)
    (invite,) = trunk.invite()
    assert where(invite) == "192.0.2.1"


def test_repetition_with_credentials_goes_to_the_place_that_challenged(wire):
    trunk = Trunk(wire)
    trunk.invite(credentials=(Credentials("u", "p"),))
    trunk.bench.advance(4.0)
    second = trunk.bench.sent[-1]
    challenge = (("Proxy-Authenticate", 'Digest realm="r", nonce="n", opaque="two", qop="auth"'),)
    assert [m.method for m in trunk.answer(second, 407, extra=challenge)] == ["ACK"]
    # DNS has turned meanwhile and does not even name that place any more.
    (again,) = trunk.look_up(places=(hop(3), hop(1)))
    assert (where(again), again.get("CSeq")) == ("192.0.2.2", "2 INVITE")
    assert "nonce" in again.get("Proxy-Authorization")


@pytest.mark.parametrize("how", ["silence", "error", "503"])
def test_options_and_register_move_on_like_an_invite(wire, how):
    trunk = Trunk(wire)
    bench = trunk.bench
    bench.do(lambda now: bench.endpoint.request_outside("OPTIONS", f"sip:{NAME}", now))
    (message,) = trunk.look_up()
    for n in (2, 3):
        if how == "silence":
            message = bench.advance(4.0)[-1]
        elif how == "error":
            (message,) = trunk.fail(message)
        else:
            (message,) = trunk.answer(message, 503)
        assert (message.method, where(message), message.get("CSeq")) == ("OPTIONS", f"192.0.2.{n}", "1 OPTIONS")
    trunk.answer(message, 200)
    (done,) = bench.of(RequestCompleted)
    assert done.code == 200
    # The next REGISTER begins with the place that worked.
    spec = RegistrationSpec("us", f"sip:{NAME}", f"sip:us@{NAME}")
    bench.do(lambda now: bench.endpoint.register(spec, now))
    (register,) = trunk.look_up()
    assert where(register) == ("192.0.2.1" if how == "503" else "192.0.2.3")
    trunk.answer(register, 200, extra=(("Contact", f"{register.get('Contact')};expires=600"),))
    assert bench.of(RegistrationChanged)[0].state == "registered"
    (refresh,) = (bench.advance(420.0), trunk.look_up())[1]
    assert where(refresh) == where(register)
    assert refresh.get("CSeq") == "2 REGISTER"


def test_late_response_to_a_request_that_moved_on_is_stray(trunk):
    bench = trunk.bench
    bench.do(lambda now: bench.endpoint.request_outside("OPTIONS", f"sip:{NAME}", now))
    (first,) = trunk.look_up()
    bench.advance(4.0)
    assert trunk.answer(first, 200) == []
    assert not bench.of(RequestCompleted)
    trunk.answer(bench.sent[-1], 200)
    assert len(bench.of(RequestCompleted)) == 1


def test_large_request_goes_by_tcp_then_udp_at_each_place_3261_18_1_1(trunk):
    (tcp,) = trunk.invite(headers=(("X-Long", "x" * 1300),))
    assert (tcp.transmit.destination.transport, where(tcp)) == ("tcp", "192.0.2.1")
    (udp,) = trunk.fail(tcp)
    assert (udp.transmit.destination.transport, where(udp), udp.branch) == ("udp", "192.0.2.1", tcp.branch)
    second = trunk.bench.advance(4.0)[-1]
    assert (second.transmit.destination.transport, where(second)) == ("tcp", "192.0.2.2")
    assert second.transmit.destination.name == NAME
    assert second.branch != tcp.branch


def test_connection_that_ends_unanswered_is_opened_once_more_then_left(wire):
    trunk = Trunk(wire, transport="tls")
    (first,) = trunk.invite()

    def lose(place):
        n_before = len(trunk.bench.sent)
        trunk.bench.endpoint.handle_connection_lost(flow_of(place), "reset", trunk.bench.now)
        trunk.bench.drain()
        return trunk.bench.sent[n_before:]

    (again,) = lose(hop(1, "tls"))
    assert again.transmit.data == first.transmit.data
    assert lose(hop(3, "tls")) == []
    (second,) = lose(hop(1, "tls"))
    assert where(second) == "192.0.2.2"


def connected(trunk, extra=()):
    (invite,) = trunk.invite(f"sip:+1@{NAME};transport=tls")
    flow = flow_of(invite.transmit.destination)
    trunk.bench.feed(trunk.wire.response(invite, 200, body=trunk.wire.ANSWER, contact="<sip:gw@10.0.0.1>", extra=extra), flow)
    return invite, flow


def test_ack_and_requests_of_a_dialog_keep_its_connection_without_a_question(wire):
    trunk = Trunk(wire, transport="tls")
    _, flow = connected(trunk, (("Record-Route", "<sip:edge.example;transport=tls;lr>"),))
    ack = trunk.bench.sent[-1]
    assert (ack.method, ack.transmit.destination.flow) == ("ACK", flow)
    (bye,) = trunk.bench.do(lambda now: trunk.bench.endpoint.hang_up(trunk.handle, now))
    assert bye.transmit.destination.flow == flow
    assert trunk.bench.endpoint.take_look_ups() == []


@pytest.mark.parametrize("how", ["lost", "error"])
def test_request_of_a_dialog_whose_connection_is_gone_follows_the_name_of_its_route_5923_5(wire, how):
    trunk = Trunk(wire, transport="tls")
    _, flow = connected(trunk, (("Record-Route", "<sip:edge.example;transport=tls;lr>"),))
    (bye,) = trunk.bench.do(lambda now: trunk.bench.endpoint.hang_up(trunk.handle, now))
    if how == "lost":
        trunk.bench.endpoint.handle_connection_lost(flow, "reset", trunk.bench.now)
    else:
        trunk.bench.endpoint.handle_transport_error(bye.transmit.id, "gone", trunk.bench.now)
    trunk.bench.drain()
    place = Target("tls", "192.0.2.40", 5061, name="edge.example")
    (again,) = trunk.look_up(places=(place,))
    assert (trunk.question.host, trunk.question.transports) == ("edge.example", ("tls",))
    assert (again.transmit.destination, again.branch, again.get("CSeq")) == (place, bye.branch, bye.get("CSeq"))


def test_ack_to_a_name_is_sent_when_it_is_resolved_and_again_for_a_repeated_200_3261_13_2_2_4(wire):
    trunk = Trunk(wire)
    (invite,) = trunk.invite()
    ok = trunk.wire.response(invite, 200, body=trunk.wire.ANSWER, contact="<sip:gw.example:5070>")
    assert trunk.bench.feed(ok) == []
    places = (Target("udp", "192.0.2.41", 5070, name="gw.example"), Target("udp", "192.0.2.42", 5070, name="gw.example"))
    (ack,) = trunk.look_up(places=places)
    assert (ack.method, where(ack), trunk.question.port) == ("ACK", "192.0.2.41", 5070)
    (again,) = trunk.bench.feed(ok)
    assert again.transmit.data == ack.transmit.data
    (moved,) = trunk.fail(again)
    assert (moved.method, where(moved)) == ("ACK", "192.0.2.42")


def test_silent_request_inside_a_dialog_stays_at_its_place(wire):
    """Another proxy of the name might hand the same request to the same phone: a digit would count twice."""
    trunk = Trunk(wire)
    (invite,) = trunk.invite()
    trunk.bench.feed(trunk.wire.response(invite, 200, body=trunk.wire.ANSWER, contact="<sip:gw@gw.example:5070>"))
    places = tuple(Target("udp", f"192.0.2.4{n}", 5070, name="gw.example") for n in (1, 2))
    trunk.look_up(places=places)
    trunk.bench.do(lambda now: trunk.bench.endpoint.request(trunk.handle, "INFO", now))
    trunk.look_up(places=places)
    assert {where(m) for m in trunk.bench.advance(31.0)} == {"192.0.2.41"}
    # But one that cannot be sent at all may go to the next.
    (moved,) = trunk.fail(trunk.bench.sent[-1])
    assert (moved.method, where(moved)) == ("INFO", "192.0.2.42")


STEPS = ("silence", "error", "503", "100", "200", "486", "hang up", "late 180", "late 200")


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_every_history_of_three_inputs_ends_the_call_once_and_frees_everything(wire, transport):
    for steps in itertools.product(STEPS, repeat=3):
        trunk = Trunk(wire, transport=transport)
        (first,) = trunk.invite()
        for step in steps:
            _step(trunk, step, first)
        trunk.bench.do(lambda now, trunk=trunk: trunk.bench.endpoint.hang_up(trunk.handle, now))
        trunk.bench.advance(200.0)
        assert len(trunk.bench.of(CallEnded)) == 1, steps
        assert trunk.bench.counts == (0, 0, 0), steps
        assert len(trunk.bench.of(CallAnswered)) <= 1, steps


def _step(trunk, step, first):
    invite = [m for m in trunk.bench.sent if m.method == "INVITE"][-1]
    match step:
        case "silence":
            trunk.bench.advance(4.0)
        case "error":
            trunk.fail(invite)
        case "hang up":
            trunk.bench.do(lambda now: trunk.bench.endpoint.hang_up(trunk.handle, now))
        case "late 180" | "late 200":
            trunk.answer(first, int(step[5:]), tag="first", body=trunk.wire.ANSWER)
        case _:
            trunk.answer(invite, int(step), tag=f"t{where(invite)}")


def test_outage_is_as_long_as_it_says(trunk):
    trunk.invite()
    trunk.bench.advance(4.0)
    trunk.answer(trunk.bench.sent[-1], 486)
    trunk.bench.advance(OUTAGE_S)
    (invite,) = trunk.invite()
    assert where(invite) == "192.0.2.1"


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_branch_belongs_to_one_place_for_life_3261_17_1_3263_4_3(wire, transport):
    for steps in itertools.product(STEPS, repeat=3):
        trunk = Trunk(wire, transport=transport)
        (first,) = trunk.invite()
        for step in steps:
            _step(trunk, step, first)
        places = {}
        for message in trunk.bench.sent:
            if message.method in ("INVITE", "CANCEL") and not message.code:
                places.setdefault(message.branch, set()).add(where(message))
        assert all(len(hosts) == 1 for hosts in places.values()), steps
        assert len(places) == len({host for hosts in places.values() for host in hosts}), steps
