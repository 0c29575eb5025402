"""Dialog state by RFC 3261 §12: route sets, targets, sequence numbers, next hops."""

from __future__ import annotations

import pytest

from active_call.sip.dialog.dialog import Dialog
from active_call.sip.events import Target
from active_call.sip.syntax.message import parse_message


def server_dialog(wire, *routes, flow=None, **options):
    extra = tuple(("Record-Route", route) for route in routes)
    return Dialog.of_server(parse_message(wire.request("INVITE", extra=extra, **options)), "us", flow or wire.UDP)


def client_dialog(wire, code, *routes, tag="them"):
    data = wire.request("INVITE", sender="<sip:us@us.example>;tag=us", uri="sip:them@far.example")
    response = wire.response(wire.read(data), code, tag=tag, extra=tuple(("Record-Route", route) for route in routes))
    return Dialog.of_client(parse_message(data), parse_message(response), wire.UDP, "us")


def test_uas_keeps_the_record_routes_in_order_12_1_1(wire):
    dialog = server_dialog(wire, "<sip:a;lr>, <sip:b;lr>", "<sip:c;lr>")
    assert dialog.route_set == ("<sip:a;lr>", "<sip:b;lr>", "<sip:c;lr>")
    assert dialog.key == ("call-1@0.0.0.0", "us", "peer_1")
    assert dialog.remote_cseq == 100


def test_uac_reverses_the_record_routes_12_1_2(wire):
    assert client_dialog(wire, 200, "<sip:a;lr>, <sip:b;lr>", "<sip:c;lr>").route_set == ("<sip:c;lr>", "<sip:b;lr>", "<sip:a;lr>")


def test_confirmed_dialog_learns_no_more_routes(wire):
    dialog = client_dialog(wire, 200, "<sip:a;lr>")
    other = client_dialog(wire, 200, "<sip:evil;lr>")
    assert other.route_set == ("<sip:evil;lr>",)
    data = wire.request("INVITE", sender="<sip:us@us.example>;tag=us")
    dialog.learn(parse_message(wire.response(wire.read(data), 200, extra=(("Record-Route", "<sip:evil;lr>"),))), wire.UDP)
    assert dialog.route_set == ("<sip:a;lr>",)


def test_requests_count_on_and_ack_takes_the_number_of_its_invite(wire):
    dialog = client_dialog(wire, 200)
    numbers = [dialog.new_request(m, n).headers.get("CSeq") for m, n in (("ACK", 100), ("BYE", None), ("INFO", None))]
    assert numbers == ["100 ACK", "101 BYE", "102 INFO"]


def test_uas_starts_its_own_numbers_and_names_itself_as_it_was_called(wire):
    request = server_dialog(wire).new_request("BYE")
    assert request.headers.get("CSeq") == "1 BYE"
    assert request.headers.get("From") == "<sip:+15550001@198.51.100.1>;tag=us"
    assert request.headers.get("To") == "<sip:+15559999@192.0.2.9>;tag=peer_1"


@pytest.mark.parametrize(
    ("contact", "target"),
    [
        ("<sip:telnyx*17045502033**10.239.45.224*5070*udp@telnyx.com>", "sip:telnyx*17045502033**10.239.45.224*5070*udp@telnyx.com"),
        ("<sip:+172.25.16.223:5060>", "sip:+172.25.16.223:5060"),
        ("sip:a@b;expires=3", "sip:a@b"),
        ('"A, B" <sip:a@b;ob>;isfocus, <sip:c@d>', "sip:a@b;ob"),
    ],
)
def test_remote_target_is_the_first_contact_verbatim(wire, contact, target):
    assert server_dialog(wire, contact=contact).new_request("BYE").uri == target


@pytest.mark.parametrize(
    ("contact", "routes", "hop"),
    [
        ("<sip:x@203.0.113.1:5070>", (), Target("udp", "203.0.113.1", 5070)),
        ("<sip:x@203.0.113.1;transport=tcp>", (), Target("tcp", "203.0.113.1", None)),
        ("<sip:x@10.0.0.1;transport=tls>", ("<sip:192.0.2.1;transport=tcp;lr>",), Target("tcp", "192.0.2.1", None)),
        ("<sip:x@10.0.0.1>", ("<sip:[2001:db8::2]:5080;lr>",), Target("udp", "2001:db8::2", 5080)),
        ("<sip:x@10.0.0.1;maddr=192.0.2.5>", (), Target("udp", "192.0.2.5", None)),
    ],
)
def test_next_hop_is_the_first_route_else_the_target_8_1_2(wire, contact, routes, hop):
    assert server_dialog(wire, *routes, contact=contact).next_hop("udp") == hop


def test_unreachable_target_gives_way_to_where_the_dialog_came_from(wire):
    hop = server_dialog(wire, contact="<tel:+15550001>").next_hop("udp")
    assert (hop.host, hop.port, hop.flow) == ("192.0.2.9", 5060, wire.UDP)


def test_cseq_may_start_anywhere_and_never_falls_12_2_2(wire):
    dialog = client_dialog(wire, 200)
    assert [dialog.accepts_cseq(n) for n in (1, 5, 5, 4, 1_000_000)] == [True, True, True, False, True]
