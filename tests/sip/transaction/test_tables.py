"""The four transaction machines: the tables against the RFCs' figures, all (state, input) pairs, and the timers on the wire."""

from __future__ import annotations

import itertools

import pytest

from active_call.sip.events import EndpointConfig, Target
from active_call.sip.syntax.message import parse_message
from active_call.sip.transaction.layer import TransactionLayer
from active_call.sip.transaction.origin import Origin
from active_call.sip.transaction.tables import CLIENT_INVITE, CLIENT_REQUEST, SERVER_INVITE, SERVER_REQUEST, Input, State

# Written off RFC 3261 figures 5 to 8, the INVITE ones with the changes of RFC 6026 §7.1, §7.2 and §8.4: state, input, next state.
FIGURES = {
    "client INVITE": (
        CLIENT_INVITE,
        """
        CALLING TIMER_A CALLING | CALLING TIMER_B TERMINATED | CALLING TRANSPORT_ERROR TERMINATED
        CALLING PROVISIONAL PROCEEDING | CALLING SUCCESS ACCEPTED | CALLING FAILURE COMPLETED
        PROCEEDING PROVISIONAL PROCEEDING | PROCEEDING SUCCESS ACCEPTED | PROCEEDING FAILURE COMPLETED
        COMPLETED FAILURE COMPLETED | COMPLETED TIMER_D TERMINATED | COMPLETED TRANSPORT_ERROR TERMINATED
        ACCEPTED SUCCESS ACCEPTED | ACCEPTED TIMER_M TERMINATED
        """,
    ),
    "client request": (
        CLIENT_REQUEST,
        """
        TRYING TIMER_E TRYING | TRYING TIMER_F TERMINATED | TRYING TRANSPORT_ERROR TERMINATED
        TRYING PROVISIONAL PROCEEDING | TRYING SUCCESS COMPLETED | TRYING FAILURE COMPLETED
        PROCEEDING TIMER_E PROCEEDING | PROCEEDING TIMER_F TERMINATED | PROCEEDING TRANSPORT_ERROR TERMINATED
        PROCEEDING PROVISIONAL PROCEEDING | PROCEEDING SUCCESS COMPLETED | PROCEEDING FAILURE COMPLETED
        COMPLETED TIMER_K TERMINATED
        """,
    ),
    "server INVITE": (
        SERVER_INVITE,
        """
        PROCEEDING REQUEST PROCEEDING | PROCEEDING SEND_PROVISIONAL PROCEEDING
        PROCEEDING SEND_SUCCESS ACCEPTED | PROCEEDING SEND_FAILURE COMPLETED
        COMPLETED REQUEST COMPLETED | COMPLETED TIMER_G COMPLETED | COMPLETED TIMER_H TERMINATED | COMPLETED ACK CONFIRMED
        CONFIRMED TIMER_I TERMINATED
        ACCEPTED SEND_SUCCESS ACCEPTED | ACCEPTED ACK ACCEPTED | ACCEPTED TIMER_L TERMINATED
        """,
    ),
    "server request": (
        SERVER_REQUEST,
        """
        TRYING SEND_PROVISIONAL PROCEEDING | TRYING SEND_SUCCESS COMPLETED | TRYING SEND_FAILURE COMPLETED
        PROCEEDING REQUEST PROCEEDING | PROCEEDING SEND_PROVISIONAL PROCEEDING
        PROCEEDING SEND_SUCCESS COMPLETED | PROCEEDING SEND_FAILURE COMPLETED
        COMPLETED REQUEST COMPLETED | COMPLETED TIMER_J TERMINATED
        """,
    ),
}


@pytest.mark.parametrize("name", FIGURES)
def test_table_has_exactly_the_arrows_of_its_figure(name):
    table, text = FIGURES[name]
    arrows = {tuple(arrow.split()) for line in text.strip().splitlines() for arrow in line.split("|")}
    assert {(s.name, i.name, after.name) for (s, i), (after, _) in table.items()} == arrows


class Listening:
    """A transaction's user that writes down what it hears."""

    def __init__(self):
        self.heard = []

    def on_response(self, transaction, response, flow, now):
        self.heard.append(response.code)

    def on_no_response(self, transaction, code, reason, now):
        self.heard.append((code, reason))

    def on_ack(self, request, now):
        self.heard.append("ACK")

    def on_cancel(self, request, now):
        self.heard.append("CANCEL")


class Rig:
    """A transaction layer in virtual time."""

    def __init__(self, wire, transport="udp"):
        self.wire = wire
        self.flow = wire.UDP if transport == "udp" else wire.TCP
        self.transport = transport
        self.layer = TransactionLayer(EndpointConfig(listeners=wire.listeners("udp", "tcp"), user_agent="u"), wire.Randomness())
        self.now = 0.0
        self.user = Listening()
        self.times = []

    def client(self, method):
        request = parse_message(self.wire.request(method, contact=None))
        request.headers.remove("Via")
        sent = self.layer.send_request(request, Target(self.transport, "192.0.2.9", 5060), self.user, self.now, Origin())
        self.transaction = sent.transaction
        return self.transaction

    def server(self, method):
        self.request = parse_message(self.wire.request(method, body=b""))
        self.transaction = self.layer.start_server(self.request, self.flow)
        self.transaction.user = self.user
        return self.transaction

    def respond(self, code):
        sent = self.wire.read(self.layer.transmits[0].data)
        return self.transaction.receive(parse_message(self.wire.response(sent, code)), self.flow, self.now)

    def send(self, code):
        return self.transaction.send(code, b"SIP/2.0 %d x\r\n\r\n" % code, self.now)

    def ack(self):
        return self.transaction.receive(parse_message(self.wire.request("ACK")), self.now)

    def run(self, seconds):
        """Let time pass; when, counted from its beginning, something was sent."""
        start, n_sent, times = self.now, len(self.layer.transmits), []
        while (at := self.layer.timers.next_at()) is not None and at <= start + seconds:
            self.now = at
            self.layer.timers.run_due(at)
            times += [round(at - start, 3)] * (len(self.layer.transmits) - n_sent)
            n_sent = len(self.layer.transmits)
        self.now = start + seconds
        return times

    @property
    def state(self):
        return self.transaction.state


def test_timer_a_doubles_without_limit_and_b_gives_up_17_1_1_2(wire):
    rig = Rig(wire)
    rig.client("INVITE")
    assert rig.run(31.99) == [0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    rig.run(0.02)
    assert rig.user.heard == [(408, "Request Timeout")]
    assert rig.layer.n_transactions == 0


def test_timer_a_is_not_set_over_tcp(wire):
    rig = Rig(wire, "tcp")
    rig.client("INVITE")
    assert rig.run(31.9) == []
    rig.run(0.2)
    assert rig.user.heard == [(408, "Request Timeout")]


def test_provisional_stops_a_and_b_17_1_1_2(wire):
    rig = Rig(wire)
    rig.client("INVITE")
    rig.respond(180)
    assert rig.run(300) == []
    assert rig.state is State.PROCEEDING


def test_timer_e_doubles_up_to_t2_and_is_t2_in_proceeding_17_1_2_2(wire):
    rig = Rig(wire)
    rig.client("OPTIONS")
    assert rig.run(12) == [0.5, 1.5, 3.5, 7.5, 11.5]
    rig.respond(100)
    assert rig.run(12) == [3.5, 7.5, 11.5]
    rig.run(8.1)
    assert rig.user.heard == [100, (408, "Request Timeout")]
    assert rig.layer.n_transactions == 0


@pytest.mark.parametrize(("transport", "linger"), [("udp", 32.0), ("tcp", 0.0)])
def test_timer_d_absorbs_repeated_failures_17_1_1_2(wire, transport, linger):
    rig = Rig(wire, transport)
    rig.client("INVITE")
    rig.respond(404)
    assert len(rig.layer.transmits) == 2
    assert rig.layer.n_transactions == (1 if linger else 0)
    if linger:
        rig.respond(404)
        assert len(rig.layer.transmits) == 3
        rig.run(linger - 0.01)
        assert rig.layer.n_transactions == 1
        rig.run(0.02)
    assert rig.user.heard == [404]
    assert rig.layer.n_transactions == 0


@pytest.mark.parametrize(("transport", "linger"), [("udp", 5.0), ("tcp", 0.0)])
def test_timer_k_absorbs_repeated_responses_17_1_2_2(wire, transport, linger):
    rig = Rig(wire, transport)
    rig.client("OPTIONS")
    rig.respond(200)
    if linger:
        rig.respond(200)
        rig.run(linger - 0.01)
        assert rig.layer.n_transactions == 1
        rig.run(0.02)
    assert rig.user.heard == [200]
    assert rig.layer.n_transactions == 0


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_timer_m_lets_every_2xx_through_for_64_t1_6026_7_2(wire, transport):
    rig = Rig(wire, transport)
    rig.client("INVITE")
    rig.respond(200)
    rig.run(31.9)
    rig.respond(200)
    assert rig.user.heard == [200, 200]
    rig.run(0.2)
    assert rig.layer.n_transactions == 0


def test_timer_g_repeats_a_failure_until_h_17_2_1(wire):
    rig = Rig(wire)
    rig.server("INVITE")
    rig.send(486)
    assert rig.run(31.9) == [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    rig.run(0.2)
    assert rig.layer.n_transactions == 0


def test_timer_g_is_not_set_over_tcp(wire):
    rig = Rig(wire, "tcp")
    rig.server("INVITE")
    rig.send(486)
    assert rig.run(31) == []
    assert rig.layer.n_transactions == 1
    rig.ack()
    assert rig.layer.n_transactions == 0


def test_timer_i_absorbs_acks_17_2_1(wire):
    rig = Rig(wire)
    rig.server("INVITE")
    rig.send(486)
    rig.ack()
    assert rig.state is State.CONFIRMED
    rig.ack()
    assert rig.run(4.9) == []
    assert rig.layer.n_transactions == 1
    rig.run(0.2)
    assert rig.user.heard == []
    assert rig.layer.n_transactions == 0


def test_timer_l_absorbs_invites_and_passes_acks_6026_7_1(wire):
    rig = Rig(wire)
    rig.server("INVITE")
    rig.send(200)
    rig.transaction.receive(rig.request, rig.now)
    assert len(rig.layer.transmits) == 1
    rig.ack()
    rig.run(31.9)
    rig.ack()
    assert rig.user.heard == ["ACK", "ACK"]
    rig.run(0.2)
    assert rig.layer.n_transactions == 0


@pytest.mark.parametrize(("transport", "linger"), [("udp", 32.0), ("tcp", 0.0)])
def test_timer_j_repeats_the_response_to_a_repeated_request_17_2_2(wire, transport, linger):
    rig = Rig(wire, transport)
    rig.server("OPTIONS")
    rig.transaction.receive(rig.request, rig.now)
    assert rig.layer.transmits == []
    rig.send(200)
    if linger:
        rig.transaction.receive(rig.request, rig.now)
        assert len(rig.layer.transmits) == 2
        rig.run(linger - 0.01)
        assert rig.layer.n_transactions == 1
        rig.run(0.02)
    assert rig.layer.n_transactions == 0


CLIENT_STEPS = ("100", "200", "404", "repeat", "give up", "linger", "error", "lost")
SERVER_STEPS = ("request", "ack", "send 100", "send 200", "send 404", "wait", "error", "lost")


def _client_step(rig, step):
    if step.isdigit():
        rig.respond(int(step))
    elif step == "repeat":
        rig.transaction.handle(rig.transaction.repeat_input, rig.now)
    elif step == "give up":
        rig.transaction.handle(rig.transaction.give_up_input, rig.now)
    elif step == "linger":
        rig.run(6)
    elif step == "error":
        rig.layer.handle_transport_error(rig.layer.transmits[-1].id, "broken", rig.now)
    else:
        rig.layer.handle_connection_lost(rig.flow, "lost", rig.now)


def _server_step(rig, step):
    if step == "request":
        rig.transaction.receive(rig.request, rig.now)
    elif step == "ack":
        rig.ack()
    elif step.startswith("send"):
        code = int(step.split()[1])
        allowed = {100: Input.SEND_PROVISIONAL, 200: Input.SEND_SUCCESS, 404: Input.SEND_FAILURE}[code]
        if (rig.state, allowed) in rig.transaction.table:
            rig.send(code)
        else:
            assert rig.send(code) is False
    elif step == "wait":
        rig.run(6)
    elif step == "error" and rig.layer.transmits:
        rig.layer.handle_transport_error(rig.layer.transmits[-1].id, "broken", rig.now)
    elif step == "lost":
        rig.layer.handle_connection_lost(rig.flow, "lost", rig.now)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("method", ["INVITE", "OPTIONS"])
def test_every_history_of_three_inputs_ends_and_frees_a_client_transaction(wire, method, transport):
    for history in itertools.product(CLIENT_STEPS, repeat=3):
        rig = Rig(wire, transport)
        rig.client(method)
        for step in history:
            _client_step(rig, step)
        if rig.state is State.PROCEEDING and method == "INVITE":
            rig.respond(500)
        rig.run(100)
        finals = [x for x in rig.user.heard if x != 100]
        assert finals, history
        assert len(finals) == 1 or set(finals) == {200}, history
        assert rig.layer.n_transactions == 0, history
        assert len(rig.layer.timers) == 0, history
        assert not rig.layer._senders, history


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("method", ["INVITE", "OPTIONS"])
def test_every_history_of_three_inputs_ends_and_frees_a_server_transaction(wire, method, transport):
    for history in itertools.product(SERVER_STEPS, repeat=3):
        rig = Rig(wire, transport)
        rig.server(method)
        for step in history:
            _server_step(rig, step)
        if not rig.transaction.is_answered:
            rig.send(500)
        rig.run(100)
        assert rig.layer.n_transactions == 0, history
        assert len(rig.layer.timers) == 0, history
        assert not rig.layer._senders, history


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("name", ["client INVITE", "client request"])
def test_input_without_an_arrow_changes_and_sends_nothing(wire, name, state):
    table, _ = FIGURES[name]
    for event in Input:
        if (state, event) in table:
            continue
        rig = Rig(wire)
        transaction = rig.client("INVITE" if "INVITE" in name else "OPTIONS")
        transaction.state = state
        n_sent = len(rig.layer.transmits)
        assert transaction.handle(event, 0.0) is False
        assert (transaction.state, len(rig.layer.transmits), rig.user.heard) == (state, n_sent, [])


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize(("name", "method"), [("server INVITE", "INVITE"), ("server request", "OPTIONS")])
def test_server_input_without_an_arrow_changes_and_sends_nothing(wire, name, method, state):
    table, _ = FIGURES[name]
    sends = {Input.SEND_PROVISIONAL: 180, Input.SEND_SUCCESS: 200, Input.SEND_FAILURE: 404}
    for event in (Input.REQUEST, Input.ACK, *sends):
        if (state, event) in table:
            continue
        rig = Rig(wire)
        transaction = rig.server(method)
        transaction.state = state
        if event in sends:
            assert rig.send(sends[event]) is False
        else:
            assert (rig.ack() if event is Input.ACK else transaction.receive(rig.request, rig.now)) is False
        assert (transaction.state, rig.layer.transmits, rig.user.heard) == (state, [], [])
