"""Where requests inside a dialog go: its own connection, never in the clear after TLS, never to an address that nobody can reach."""

from __future__ import annotations

import pytest

from active_call.base.addresses import Reach, reach_of
from active_call.sip.dialog.dialog import Dialog
from active_call.sip.events import Address, Flow, HopRules, Target
from active_call.sip.syntax.message import parse_message

WS = Flow("ws", Address("198.51.100.1", 80), Address("203.0.113.7", 40100), 9)
WSS = Flow("wss", Address("198.51.100.1", 443), Address("203.0.113.7", 40101), 10)
PRIVATE = Flow("udp", Address("10.1.1.1", 5060), Address("10.0.0.9", 5060))
HERE = Flow("udp", Address("127.0.0.1", 5060), Address("127.0.0.1", 5090))


def dialog_over(wire, flow, contact, *routes):
    extra = tuple(("Record-Route", route) for route in routes)
    return Dialog.of_server(parse_message(wire.request("INVITE", contact=contact, extra=extra)), "us", flow)


CONTACTS = [
    "<sip:x@203.0.113.1>",
    "<sip:x@203.0.113.1:5060>",
    "<sip:x@203.0.113.1;transport=udp>",
    "<sip:x@203.0.113.1;transport=tcp>",
    "<sip:x@edge.example>",
    "<sips:x@203.0.113.1>",
    "<sip:x@10.0.0.1:5060>",
    "<tel:+15550001>",
]


@pytest.mark.parametrize("flow", ["TLS", "WSS"])
@pytest.mark.parametrize("contact", CONTACTS)
@pytest.mark.parametrize("routes", [(), ("<sip:192.0.2.1;lr>",), ("<sip:192.0.2.1;transport=udp;lr>",), ("<sip:edge.example:5060;lr>",)])
def test_dialog_over_tls_is_never_continued_in_the_clear_5630(wire, flow, contact, routes):
    flow = WSS if flow == "WSS" else wire.TLS
    hop = dialog_over(wire, flow, contact, *routes).next_hop("udp")
    assert (hop.transport, hop.flow) == (flow.transport, flow)
    assert not hop.any_transport
    assert {other.transport for other in hop.alternatives} <= {flow.transport}


@pytest.mark.parametrize("host", ["203.0.113.1", "203.0.113.1;transport=udp", "192.168.0.1", "edge.example"])
def test_dialog_over_tcp_goes_by_its_connection(wire, host):
    hop = dialog_over(wire, wire.TCP, f"<sip:x@{host}>").next_hop("udp")
    assert (hop.transport, hop.flow) == ("tcp", wire.TCP)


def test_dialog_over_tcp_without_a_named_transport_may_end_over_udp(wire):
    hop = dialog_over(wire, wire.TCP, "<sip:x@203.0.113.1:5070>").next_hop("udp")
    assert hop.alternatives[-1] == Target("udp", "203.0.113.1", 5070)
    assert dialog_over(wire, wire.TCP, "<sip:x@203.0.113.1:5070;transport=tcp>").next_hop("udp").alternatives == ()


def test_dialog_over_tcp_goes_to_tls_where_the_target_is_sips(wire):
    hop = dialog_over(wire, wire.TCP, "<sips:x@203.0.113.1>").next_hop("udp")
    assert (hop.transport, hop.flow) == ("tls", None)


def test_dialog_over_a_web_socket_goes_by_its_connection_7118(wire):
    hop = dialog_over(wire, WS, "<sip:x@abc.invalid;transport=ws>").next_hop("udp")
    assert (hop.transport, hop.flow) == ("ws", WS)


@pytest.mark.parametrize(
    "host", ["10.0.0.1", "172.16.3.4", "192.168.1.2", "100.64.0.1", "127.0.0.1", "169.254.1.1", "0.0.0.0", "224.0.0.1"]
)
def test_address_that_is_not_reachable_gives_way_to_the_source(wire, host):
    for text in (f"<sip:x@{host}:5070>", f"<sip:x@203.0.113.1;maddr={host}>", f"<sip:x@{host};transport=tcp>"):
        hop = dialog_over(wire, wire.UDP, text).next_hop("udp")
        assert (hop.transport, hop.host, hop.port) == ("udp", "192.0.2.9", 5060)
    routed = dialog_over(wire, wire.UDP, "<sip:x@203.0.113.1>", f"<sip:{host};lr>").next_hop("udp")
    assert (routed.host, routed.port) == ("192.0.2.9", 5060)


@pytest.mark.parametrize("host", ["[::1]", "[fc00::5]", "[fe80::1]", "[::ffff:10.0.0.1]", "[64:ff9b::7f00:1]", "[ff02::1]"])
def test_ipv6_address_that_is_not_reachable_gives_way_to_the_source(wire, host):
    flow = Flow("udp", Address("2001:db8::1", 5060), Address("2001:db8::9", 5062))
    hop = dialog_over(wire, flow, f"<sip:x@{host}:5070>").next_hop("udp")
    assert (hop.host, hop.port) == ("2001:db8::9", 5062)


@pytest.mark.parametrize(
    ("flow", "contact", "host"),
    [
        (PRIVATE, "<sip:x@10.0.0.7>", "10.0.0.7"),
        (PRIVATE, "<sip:x@192.168.0.7>", "192.168.0.7"),
        (PRIVATE, "<sip:x@127.0.0.1>", "10.0.0.9"),
        (PRIVATE, "<sip:x@203.0.113.1>", "203.0.113.1"),
        (HERE, "<sip:x@127.0.0.1:5091>", "127.0.0.1"),
        (HERE, "<sip:x@10.0.0.7>", "127.0.0.1"),
        (HERE, "<sip:x@203.0.113.1>", "203.0.113.1"),
    ],
)
def test_peer_that_is_seen_in_a_private_network_names_addresses_of_it(wire, flow, contact, host):
    assert dialog_over(wire, flow, contact).next_hop("udp").host == host


def test_request_by_another_transport_does_not_move_a_dialog_off_tls(wire):
    dialog = dialog_over(wire, wire.TLS, "<sip:x@203.0.113.1>")
    dialog.move(wire.UDP)
    assert dialog.flow == wire.TLS
    other = Flow("tls", wire.TLS.local, wire.TLS.remote, 11)
    dialog.move(other)
    assert dialog.flow == other
    in_the_clear = dialog_over(wire, wire.UDP, "<sip:x@203.0.113.1>")
    in_the_clear.move(wire.TLS)
    assert in_the_clear.flow == wire.TLS


# -- as the endpoint does it


def answered(wire, flow, contact):
    bench = wire.Bench(flow=flow)
    bench.resolves = False
    via = (f"SIP/2.0/{flow.transport.upper()} 192.0.2.9:5060;branch=z9hG4bKa;rport",)
    bench.feed(wire.request("INVITE", contact=contact, body=wire.OFFER, via=via))
    call = bench.events[0].call
    (ok,) = [m for m in bench.do(bench.endpoint.answer, call, wire.ANSWER) if m.code == 200]
    bench.feed(wire.request("ACK", contact=contact, to=ok.get("To"), via=(via[0].replace("z9hG4bKa", "z9hG4bKb"),)))
    return bench, call


@pytest.mark.parametrize("method", ["BYE", "INFO", "UPDATE", "MESSAGE", "NOTIFY", "REFER", "INVITE"])
def test_every_request_inside_the_dialog_goes_by_the_connection(wire, method):
    bench, call = answered(wire, wire.TLS, "<sip:x@192.0.2.9:5060>")
    match method:
        case "BYE":
            sent = bench.do(bench.endpoint.hang_up, call)
        case "REFER":
            sent = bench.do(bench.endpoint.refer, call, "sip:a@b.example")
        case "INVITE":
            sent = bench.do(bench.endpoint.offer, call, wire.ANSWER)
        case _:
            sent = bench.do(bench.endpoint.request, call, method)
    (request,) = [m for m in sent if m.method == method]
    assert request.transmit.destination.transport == "tls"
    assert request.transmit.destination.flow == wire.TLS
    assert request.get("Via").startswith("SIP/2.0/TLS")


def test_bye_after_the_connection_is_gone_goes_by_tls_to_the_contact_then_its_default_port(wire):
    bench, call = answered(wire, wire.TLS, "<sip:x@192.0.2.9:5060>")
    bench.endpoint.handle_connection_lost(wire.TLS, "gone", bench.now)
    (bye,) = [m for m in bench.do(bench.endpoint.hang_up, call) if m.method == "BYE"]
    tried = [bye]
    for _ in range(5):
        before = len(bench.sent)
        bench.endpoint.handle_transport_error(tried[-1].transmit.id, "refused", bench.now)
        bench.drain()
        if len(bench.sent) == before:
            break
        tried += bench.sent[before:]
    assert {m.transmit.destination.transport for m in tried} == {"tls"}
    assert [(m.transmit.destination.host, m.transmit.destination.port) for m in tried][-1] == ("192.0.2.9", None)


def test_name_in_a_contact_that_leads_into_a_private_network_gives_way_to_the_source(wire):
    bench, call = answered(wire, wire.UDP, "<sip:x@rebound.example>")
    bench.do(bench.endpoint.hang_up, call)
    bench.endpoint.handle_look_up(1, (Target("udp", "127.0.0.1", 5060), Target("udp", "169.254.169.254", 80)), "", bench.now)
    bench.drain()
    (bye,) = [m for m in bench.sent if m.method == "BYE"]
    assert (bye.transmit.destination.host, bye.transmit.destination.port) == ("192.0.2.9", 5060)


def test_rules_of_a_target_do_not_tell_targets_apart():
    assert Target("udp", "192.0.2.1", rules=HopRules(Reach.WORLD)) == Target("udp", "192.0.2.1")


@pytest.mark.parametrize(
    ("host", "reach"),
    [
        ("example.com", None),
        ("8.8.8.8", Reach.WORLD),
        ("[2001:db8::1]", Reach.WORLD),
        ("::ffff:127.0.0.1", Reach.LOOPBACK),
        ("::127.0.0.1", Reach.LOOPBACK),
        ("2002:0a00:0001::1", Reach.PRIVATE),
        ("fe80::1%eth0", Reach.LINK),
        ("255.255.255.255", Reach.NOWHERE),
        ("::", Reach.NOWHERE),
    ],
)
def test_reach_of_an_address(host, reach):
    assert reach_of(host) is reach
