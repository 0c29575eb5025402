"""How we are seen decides what we say (RFC 3581 §4, RFC 5626 in spirit): Via and Contact behind a NAT."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from active_call.sip.access.access_list import AdmissionPolicy, TrunkAccess
from active_call.sip.access.request_admission import RequestAdmission
from active_call.sip.endpoint import Endpoint
from active_call.sip.events import (
    Address,
    EndpointConfig,
    Flow,
    Listener,
    OutboundInvite,
    PublicAddressSeen,
    RegistrationChanged,
    RegistrationSpec,
)
from active_call.sip.listeners import is_outside

OWN = "192.168.1.5"
CARRIER = "198.51.100.9"
NEIGHBOUR = "192.168.1.77"


def listeners(configured=None):
    ports = {"udp": 5060, "tcp": 5060, "tls": 5061}
    return tuple(Listener(t, Address(OWN, p), Address(configured or OWN, p)) for t, p in ports.items())


def behind_nat(wire, configured=None, learns=True):
    return wire.Bench(EndpointConfig(listeners(configured), "u", learns_public_address=learns))


def reflect(wire, message, code, received, rport, **options):
    """A response whose Via says where the request came from."""
    text = wire.response(message, code, **options).decode()
    via = message.get("Via")
    return text.replace(via, via.replace(";rport", f";rport={rport}") + f";received={received}").encode()


def flow(peer, transport="udp"):
    return Flow(transport, Address(OWN, 5061 if transport == "tls" else 5060), Address(peer, 5060), None if transport == "udp" else 7)


def ask(bench, uri):
    (message,) = bench.do(lambda now: bench.endpoint.request_outside("OPTIONS", uri, now, from_uri="sip:us@us.example"))
    return message


def learn(bench, wire, peer=CARRIER, received="203.0.113.7", rport=40000, transport="udp"):
    uri = f"sip:{peer};transport={transport}"
    message = ask(bench, uri)
    bench.feed(reflect(wire, message, 200, received, rport), flow(peer, transport))


def contact_towards(bench, peer, transport="udp"):
    spec = OutboundInvite(f"sip:a@{peer};transport={transport}", "sip:us@us.example", b"")
    (invite,) = bench.do(lambda now: bench.endpoint.invite(spec, now))
    return invite.get("Contact")


def test_reflected_address_and_port_are_told_from_then_on_3581_4(wire):
    bench = behind_nat(wire)
    assert contact_towards(bench, CARRIER) == f"<sip:us@{OWN}:5060>"
    learn(bench, wire)
    assert contact_towards(bench, CARRIER) == "<sip:us@203.0.113.7:40000>"
    assert contact_towards(bench, "198.51.100.200") == "<sip:us@203.0.113.7:40000>"
    assert bench.endpoint.address_seen_by(CARRIER) == "203.0.113.7"
    assert bench.of(PublicAddressSeen) == [PublicAddressSeen("udp", Address("203.0.113.7", 40000), Address(CARRIER, 5060))]
    assert bench.sent[-1].get("Via").startswith("SIP/2.0/UDP 203.0.113.7:40000;")


@pytest.mark.parametrize(("transport", "port"), [("tcp", 5060), ("tls", 5061)])
def test_port_of_a_connection_is_not_where_we_listen(wire, transport, port):
    bench = behind_nat(wire)
    learn(bench, wire, transport=transport)
    assert contact_towards(bench, CARRIER, transport) == f"<sip:us@203.0.113.7:{port};transport={transport}>"


def test_each_listener_learns_by_itself_and_lends_its_address_only(wire):
    bench = behind_nat(wire)
    learn(bench, wire)
    assert contact_towards(bench, CARRIER, "tcp") == "<sip:us@203.0.113.7:5060;transport=tcp>"
    learn(bench, wire, received="203.0.113.99", transport="tls")
    assert contact_towards(bench, CARRIER, "tls") == "<sip:us@203.0.113.99:5061;transport=tls>"
    assert contact_towards(bench, CARRIER) == "<sip:us@203.0.113.7:40000>"


def test_neighbour_on_our_network_is_told_our_own_address(wire):
    bench = behind_nat(wire)
    learn(bench, wire)
    assert contact_towards(bench, NEIGHBOUR) == f"<sip:us@{OWN}:5060>"
    learn(bench, wire, NEIGHBOUR, received=OWN, rport=5060)
    assert contact_towards(bench, NEIGHBOUR) == f"<sip:us@{OWN}:5060>"
    assert contact_towards(bench, CARRIER) == "<sip:us@203.0.113.7:40000>"
    assert len(bench.of(PublicAddressSeen)) == 1


def test_neighbour_who_sees_us_elsewhere_is_told_what_it_sees_and_nobody_else_is(wire):
    """A container whose host is on the PBX's network."""
    bench = behind_nat(wire)
    learn(bench, wire, NEIGHBOUR, received="192.168.7.2", rport=5060)
    assert contact_towards(bench, NEIGHBOUR) == "<sip:us@192.168.7.2:5060>"
    assert contact_towards(bench, CARRIER) == f"<sip:us@{OWN}:5060>"
    assert not bench.of(PublicAddressSeen)


def test_configured_address_and_the_switch_win_over_what_is_seen(wire):
    for bench, host in ((behind_nat(wire, configured="203.0.113.1"), "203.0.113.1"), (behind_nat(wire, learns=False), OWN)):
        learn(bench, wire)
        assert contact_towards(bench, CARRIER) == f"<sip:us@{host}:5060>"
        assert bench.endpoint.address_seen_by(CARRIER) is None


@pytest.mark.parametrize("received", ["nonsense", "", "host.example"])
def test_received_that_is_no_address_is_passed_over(wire, received):
    bench = behind_nat(wire)
    learn(bench, wire, received=received)
    assert contact_towards(bench, CARRIER) == f"<sip:us@{OWN}:5060>"


STRANGER = "198.51.100.66"


def hung_up_on(bench, wire, peer):
    """The BYE of ours that ends a call of `peer`."""
    bench.feed(wire.request("INVITE", body=wire.OFFER), flow(peer))
    call = bench.events[-1].call
    (ok,) = bench.do(lambda now: bench.endpoint.answer(call, wire.ANSWER, now))
    bench.feed(wire.request("ACK", branch="z9hG4bKa", to=ok.get("To")), flow(peer))
    (bye,) = bench.do(lambda now: bench.endpoint.hang_up(call, now))
    assert bye.method == "BYE"
    return bye


def called(bench, wire, peer):
    """The INVITE of ours to `peer`, as a REFER of its own may ask for."""
    spec = OutboundInvite(f"sip:a@{peer}", "sip:us@us.example", b"")
    (invite,) = bench.do(lambda now: bench.endpoint.invite(spec, now))
    return invite


@pytest.mark.parametrize("ours", [hung_up_on, called])
@pytest.mark.parametrize("is_trunk", [False, True])
def test_stranger_does_not_say_where_others_send_their_media(wire, ours, is_trunk):
    bench = behind_nat(wire)
    if is_trunk:
        trunk = TrunkAccess("carrier", networks=(ip_network("198.51.100.0/24"),))
        bench.endpoint = Endpoint(bench.config, bench.randomness, RequestAdmission(AdmissionPolicy((trunk,))))
    request = ours(bench, wire, STRANGER)
    bench.feed(reflect(wire, request, 200, "203.0.113.66", 6666), flow(STRANGER))
    assert bench.endpoint.address_seen_by(STRANGER) == "203.0.113.66"
    assert bench.endpoint.address_seen_by("192.0.2.77") == ("203.0.113.66" if is_trunk else None)
    assert len(bench.of(PublicAddressSeen)) == is_trunk


def test_address_learnt_by_stun_is_for_peers_beyond_private_networks(wire):
    bench = behind_nat(wire, learns=False)
    learnt = tuple(Listener(e.transport, e.bound, e.public, Address("203.0.113.7", 40000)) for e in listeners())
    bench.endpoint.set_listeners(learnt)
    assert contact_towards(bench, CARRIER) == "<sip:us@203.0.113.7:40000>"
    assert contact_towards(bench, NEIGHBOUR) == f"<sip:us@{OWN}:5060>"


def test_challenge_already_teaches_and_an_answer_to_the_carrier_says_so_too(wire):
    bench = behind_nat(wire)
    learn(bench, wire)
    bench.feed(wire.request("INVITE", body=wire.OFFER), flow(CARRIER))
    call = bench.events[-1].call
    (ok,) = bench.do(lambda now: bench.endpoint.answer(call, wire.ANSWER, now))
    assert ok.get("Contact") == "<sip:+15550001@203.0.113.7:40000>"


def test_registration_whose_contact_proves_private_is_made_again_at_once(wire):
    bench = behind_nat(wire)
    spec = RegistrationSpec("us", f"sip:{CARRIER}", f"sip:us@{CARRIER}")
    (first,) = bench.do(lambda now: bench.endpoint.register(spec, now))
    assert first.get("Contact") == f"<sip:us@{OWN}:5060>"
    granted = (("Expires", "600"),)
    bench.feed(reflect(wire, first, 200, "203.0.113.7", 40000, extra=granted), flow(CARRIER))
    (second,) = bench.advance(0.0)
    assert second.get("Contact") == "<sip:us@203.0.113.7:40000>"
    assert second.get("CSeq") == "2 REGISTER"
    assert not bench.of(RegistrationChanged)
    bench.feed(reflect(wire, second, 200, "203.0.113.7", 40000, extra=granted), flow(CARRIER))
    assert [event.state for event in bench.of(RegistrationChanged)] == ["registered"]
    assert bench.advance(60.0) == []


@pytest.mark.parametrize("rewrites", [False, True])
def test_binding_of_the_address_before_is_taken_back_where_the_registrar_lists_it_10_2_2(wire, rewrites):
    """One that rewrites contacts to where requests come from (Asterisk's rewrite_contact) holds a single binding: taking back the one would
    end the other.
    """
    bench = behind_nat(wire)
    spec = RegistrationSpec("us", f"sip:{CARRIER}", f"sip:us@{CARRIER}")
    (first,) = bench.do(lambda now: bench.endpoint.register(spec, now))
    old, new = f"<sip:us@{OWN}:5060>", "<sip:us@203.0.113.7:40000>"
    listed = (
        ((("Contact", f"{new};expires=600"),),) * 2
        if rewrites
        else (
            (("Contact", f"{old};expires=600"),),
            (("Contact", f"{old};expires=599, {new};expires=600"),),
        )
    )
    bench.feed(reflect(wire, first, 200, "203.0.113.7", 40000, extra=listed[0]), flow(CARRIER))
    (second,) = bench.advance(0.0)
    more = bench.feed(reflect(wire, second, 200, "203.0.113.7", 40000, extra=listed[1]), flow(CARRIER))
    assert [event.state for event in bench.of(RegistrationChanged)] == ["registered"]
    if rewrites:
        assert more == []
        return
    (back,) = more
    assert (back.method, back.get("Contact"), back.get("Expires"), back.get("CSeq")) == ("REGISTER", old, "0", "3 REGISTER")
    assert back.get("Call-ID") == first.get("Call-ID")
    bench.feed(reflect(wire, back, 200, "203.0.113.7", 40000, extra=(("Contact", f"{new};expires=600"),)), flow(CARRIER))
    assert bench.advance(60.0) == []
    assert len(bench.of(RegistrationChanged)) == 1


def test_registration_behind_a_nat_that_never_shows_the_same_port_comes_to_rest(wire):
    bench = behind_nat(wire)
    spec = RegistrationSpec("us", f"sip:{CARRIER}", f"sip:us@{CARRIER}")
    sent = bench.do(lambda now: bench.endpoint.register(spec, now))
    n_sent = 0
    while sent and n_sent < 20:
        n_sent += 1
        bench.feed(reflect(wire, sent[-1], 200, "203.0.113.7", 40000 + n_sent, extra=(("Expires", "600"),)), flow(CARRIER))
        sent = bench.advance(1.0)
    assert n_sent == 3
    assert len(bench.of(RegistrationChanged)) == 1


def test_registration_is_refreshed_when_stun_finds_another_address(wire):
    bench = behind_nat(wire, learns=False)
    spec = RegistrationSpec("us", f"sip:{CARRIER}", f"sip:us@{CARRIER}")
    (first,) = bench.do(lambda now: bench.endpoint.register(spec, now))
    bench.feed(wire.response(first, 200, extra=(("Expires", "600"),)), flow(CARRIER))
    bench.endpoint.set_listeners(tuple(Listener(e.transport, e.bound, e.public, Address("203.0.113.7", 40000)) for e in listeners()))
    bench.do(bench.endpoint.refresh_registrations)
    (again,) = bench.advance(0.0)
    assert again.get("Contact") == "<sip:us@203.0.113.7:40000>"


def test_networks_whose_addresses_mean_nothing_elsewhere():
    inside = [
        "10.1.2.3",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "169.254.1.1",
        "::1",
        "fe80::1",
        "fd00::1",
    ]
    assert not any(is_outside(address) for address in [*inside, "trunk.example", ""])
    assert all(is_outside(address) for address in ["54.172.60.0", "172.32.0.1", "100.128.0.1", "2001:db8::1", "203.0.113.7"])
