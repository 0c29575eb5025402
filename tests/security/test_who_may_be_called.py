"""What a peer, a carrier or a model can make us call: redirections, REFER, targets of transfers, costly numbers, and how much of it."""

from __future__ import annotations

import json
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from raw_peer import SDP, Message, RawPeer, tag_of
from running_server import Server
from speechless_server import speechless_server

PLAYBOOK = """---
llm: {provider: script}
greeting: Good day.
refer: {onRequest: bridge, mode: bridge, timeout: 5}
---
## hello
Hello.
"""
CHALLENGE = 'Proxy-Authenticate: Digest realm="anybody", nonce="abc", qop="auth", algorithm=MD5'
SECRETS = {"headers": {"X-Account": "secret", "P-Asserted-Identity": "<sip:me@here>", "Authorization": "Bearer secret", "Subject": "hello"}}


@contextmanager
def behind_a_trunk(folder: Path, *, outbound: str = "", trunk: str = "") -> Iterator[tuple[Server, RawPeer]]:
    """A server and the carrier of its only trunk."""
    with RawPeer("udp") as carrier:
        extra = f"""media_workers = 1
[[trunks]]
name = "carrier"
server = "127.0.0.1:{carrier.port}"
domains = ["carrier.example"]
username = "us"
password = "secret"
{trunk}
[outbound]
{outbound}
"""
        with speechless_server(folder, PLAYBOOK, extra=extra) as server:
            carrier.server = ("127.0.0.1", server.udp_port)
            yield server, carrier


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, RawPeer]]:
    with behind_a_trunk(tmp_path_factory.mktemp("server")) as both:
        yield both


def call(server: Server, carrier: RawPeer, **options: Any) -> str:
    body = {"callee": f"sip:+4930123456@127.0.0.1:{carrier.port}", "playbook": "main.md", **options}
    return str(server.post("/call", body)["session_id"])


def refused(server: Server) -> dict[str, int]:
    return {rule: n for rule, n in server.health()["refusals"].items() if rule.startswith("outbound")}


def status_of(server: Server, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    try:
        return 202, server.post("/call", body)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def invited(carrier: RawPeer, number: str = "+4930123456") -> Message:
    """The INVITE to that number; those of calls before it are passed over."""
    while True:
        invite = carrier.expect("INVITE")
        if number in invite.uri:
            return invite


# -- 3xx


@pytest.mark.parametrize(
    ("contact", "rule"),
    [
        ("<sip:+4930123456@127.0.0.2:{port}>", "outbound_domain"),
        ("<sip:+4930123456@127.0.0.1:{other}>", "outbound_domain"),
        ("<sip:+4930123456@10.0.0.1:{port}>", "outbound_domain"),
        ("<sip:+4930123456@169.254.169.254:80>", "outbound_domain"),
        ("<sip:+4930123456@[::1]:{port}>", "outbound_domain"),
        ("<sip:+4930123456@[::ffff:127.0.0.2]:{port}>", "outbound_domain"),
        ("<sip:+4930123456@2130706434:{port}>", "outbound_domain"),
        ("<sip:+4930123456@evil.example>", "outbound_domain"),
        ("<sip:+4930123456@carrier.example.evil.example>", "outbound_domain"),
        ("<sip:+4930123457@127.0.0.1:{carrier};maddr=127.0.0.2>", "outbound_address"),
        ("<sip:+4930123456@carrier.example;maddr=127.0.0.2>", "outbound_address"),
        ("<sip:+19005551234@127.0.0.1:{carrier}>", "outbound_number"),
        ("<sip:%2B1-900-555-1234@127.0.0.1:{carrier}>", "outbound_number"),
        ("<sip:0088161234567@127.0.0.1:{carrier}>", "outbound_number"),
        ("<sip:+4930123456@127.0.0.1:{carrier}>", "outbound_loop"),
        ("<sip:+4930123456@127.0.0.1:{server}>", "outbound_domain"),
    ],
)
def test_3xx_that_leads_elsewhere_is_not_followed(both: tuple[Server, RawPeer], contact: str, rule: str) -> None:
    server, carrier = both
    before = refused(server)
    with RawPeer("udp", host="127.0.0.2") as victim, RawPeer("udp") as other:
        session_id = call(server, carrier)
        invite = invited(carrier)
        text = contact.format(port=victim.port, other=other.port, carrier=carrier.port, server=server.udp_port)
        carrier.respond(invite, 302, contact=text)
        carrier.expect("ACK")
        server.wait(lambda: session_id not in str(server.get("/list")), 5, "the end of the call")
        victim.poll(0.1)
        other.poll(0.1)
        assert victim.inbox + other.inbox == []
    after = refused(server)
    assert {name for name in after if after[name] != before.get(name, 0)} == {rule}
    assert carrier.wait("INVITE", 0.2) is None


def test_headers_and_methods_in_a_contact_make_it_unusable(both: tuple[Server, RawPeer]) -> None:
    server, carrier = both
    for contact in ("<sip:a@127.0.0.1:{0};method=BYE>", "<sip:a@127.0.0.1:{0}?Authorization=x>", "<tel:+4930>", "<http://127.0.0.1/>"):
        call(server, carrier)
        carrier.respond(invited(carrier), 302, contact=contact.format(carrier.port))
        carrier.expect("ACK")
        assert carrier.wait("INVITE", 0.3) is None


@pytest.mark.parametrize("host", ["127.0.0.2", "127.0.0.1"])
def test_new_host_of_a_3xx_gets_neither_credentials_nor_private_headers(tmp_path: Path, host: str) -> None:
    with behind_a_trunk(tmp_path, outbound='domains = ["127.0.0.1", "127.0.0.2"]', trunk='headers = {X-Token = "secret"}') as (
        server,
        carrier,
    ):
        call(server, carrier, sip={"username": "caller", "password": "secret", **SECRETS})
        first = invited(carrier)
        assert (first.get("X-Token"), first.get("X-Account")) == ("secret", "secret")
        carrier.respond(first, 407, CHALLENGE)
        carrier.expect("ACK")
        second = invited(carrier)
        assert second.get("Proxy-Authorization")
        with RawPeer("udp", host=host) as other:
            carrier.respond(second, 302, contact=f"<sip:+4930123456@{host}:{other.port};method=INVITE>")
            carrier.expect("ACK")
            third = other.expect("INVITE")
            assert third.uri == f"sip:+4930123456@{host}:{other.port}"
            other.respond(third, 407, CHALLENGE)
            other.expect("ACK")
            assert other.wait("INVITE", 0.5) is None
        named = {name.lower() for name, _ in third.headers}
        assert not named & {"x-token", "x-account", "p-asserted-identity", "authorization", "proxy-authorization"}
        assert "subject" in named
        assert "secret" not in str(third.headers)


def test_redirection_to_this_server_itself_is_a_loop(tmp_path: Path) -> None:
    with behind_a_trunk(tmp_path, outbound='domains = ["127.0.0.1", "localhost"]') as (server, carrier):
        for host in ("127.0.0.1", "localhost"):
            call(server, carrier)
            carrier.respond(invited(carrier), 302, contact=f"<sip:+4930123456@{host}:{server.udp_port}>")
            carrier.expect("ACK")
        server.wait(lambda: not server.get("/list")["active_calls"], 5, "the end of the calls")
        assert server.health()["calls_total"] == 2


# -- REFER


def asked(server: Server, carrier: RawPeer, refer_to: str, call_id: str) -> tuple[int, list[str]]:
    """What a REFER of the carrier gets, and what we send because of it."""
    uri = f"sip:agent@127.0.0.1:{server.udp_port}"
    contact = f"<sip:carrier@127.0.0.1:{carrier.port}>"
    answer = carrier.call(uri, contact, call_id)
    tag = tag_of(answer.get("To"))
    carrier.request("REFER", uri, contact, f"Refer-To: {refer_to}", call_id=call_id, cseq=2, to_tag=tag)
    carrier.wait("nothing", 0.5)
    codes = [message.code for message in carrier.inbox if message.get("CSeq") == "2 REFER" and message.code >= 200]
    invites = [message for message in carrier.inbox if message.method == "INVITE"]
    for message in invites:
        carrier.respond(message, 486)
    carrier.request("BYE", uri, contact, call_id=call_id, cseq=3, to_tag=tag)
    while carrier.expect(200).get("CSeq") != "3 BYE":
        pass
    return codes[0], [message.uri for message in invites]


@pytest.mark.parametrize(
    "refer_to",
    [
        "<sip:+4930123456@127.0.0.2:{port}>",
        "<sips:+4930123456@127.0.0.2:{port}>",
        "<sip:+4930123456@127.0.0.1:{port}>",
        "<sip:x@10.0.0.1>",
        "<sip:x@localhost:{port}>",
        "<sip:x@evil.example>",
        "<sip:+4930123456@carrier.example;maddr=127.0.0.2>",
        "<sip:+19005551234@127.0.0.1:{carrier}>",
        "<tel:+1-900-555-1234>",
        "<tel:+881612345678>",
        "<sip:agent@127.0.0.1:{server}>",
        "<sip:carrier@127.0.0.1:{carrier};method=BYE>",
        "<sip:carrier@127.0.0.1:{carrier};method=REGISTER>",
        "<http://127.0.0.1:{port}/>",
        "<mailto:a@b>",
    ],
)
def test_refer_that_leads_elsewhere_is_declined(both: tuple[Server, RawPeer], refer_to: str) -> None:
    server, carrier = both
    with RawPeer("udp", host="127.0.0.2") as victim:
        text = refer_to.format(port=victim.port, carrier=carrier.port, server=server.udp_port)
        code, uris = asked(server, carrier, text, f"refer-{abs(hash(refer_to))}")
        victim.poll(0.1)
        assert victim.inbox == []
    assert code in (403, 603)
    assert uris == []


@pytest.mark.parametrize(
    "refer_to",
    [
        "<sip:+4930123456@127.0.0.1:{carrier};method=INVITE?Replaces=a%3Bto-tag%3Db%3Bfrom-tag%3Dc&X-Evil=1&Authorization=x>",
        "<tel:+4930123456>",
    ],
)
def test_refer_within_the_trunk_is_carried_out_without_what_was_added(both: tuple[Server, RawPeer], refer_to: str) -> None:
    server, carrier = both
    code, uris = asked(server, carrier, refer_to.format(carrier=carrier.port), f"good-{len(refer_to)}")
    assert code == 202
    assert uris[:1] == [f"sip:+4930123456@127.0.0.1:{carrier.port}"]


@pytest.mark.parametrize("outbound", ['domains = ["127.0.0.1"]', 'transfer_targets = ["sip:*@127.0.0.1:*"]'])
def test_refer_to_a_listed_loopback_host_by_another_port_gets_no_secrets_of_the_trunk(tmp_path: Path, outbound: str) -> None:
    with (
        behind_a_trunk(tmp_path, outbound=outbound, trunk='headers = {X-Token = "secret"}') as (server, carrier),
        RawPeer("udp") as other,
    ):
        uri, contact = f"sip:agent@127.0.0.1:{server.udp_port}", f"<sip:carrier@127.0.0.1:{carrier.port}>"
        tag = tag_of(carrier.call(uri, contact, "other-port").get("To"))
        refer_to = f"Refer-To: <sip:+4930123456@127.0.0.1:{other.port}>"
        carrier.request("REFER", uri, contact, refer_to, call_id="other-port", cseq=2, to_tag=tag)
        invite = other.expect("INVITE")
        assert not invite.get("X-Token")
        assert "us@" not in invite.get("From")
        other.respond(invite, 407, CHALLENGE)
        other.expect("ACK")
        assert other.wait("INVITE", 0.7) is None


# -- the API, and how much


def test_costly_number_and_number_that_is_not_listed_are_403(tmp_path: Path) -> None:
    with behind_a_trunk(tmp_path, outbound='numbers = ["+49*", "110"]') as (server, carrier):
        for number in ("+19005551234", "+33123456", "0033123456", "+88161234567"):
            status, answer = status_of(server, {"callee": f"sip:{number}@127.0.0.1:{carrier.port}", "playbook": "main.md"})
            assert (status, answer["code"]) == (403, "outbound_number")
        assert refused(server)["outbound_number"] == 4
        assert carrier.wait("INVITE", 0.2) is None
        for number in ("+4930123456", "004930123456", "110"):
            assert status_of(server, {"callee": f"sip:{number}@127.0.0.1:{carrier.port}", "playbook": "main.md"})[0] == 202


def test_calls_beyond_those_of_an_hour_are_429(tmp_path: Path) -> None:
    with behind_a_trunk(tmp_path, outbound="max_calls_per_hour = 3", trunk="max_calls_per_hour = 2") as (server, carrier):
        on_trunk = {"callee": f"sip:+4930123456@127.0.0.1:{carrier.port}", "playbook": "main.md"}
        assert [status_of(server, on_trunk)[0] for _ in range(3)] == [202, 202, 429]
        elsewhere = {"callee": "sip:x@127.0.0.3:5099", "playbook": "main.md"}
        answers = [status_of(server, elsewhere) for _ in range(2)]
        assert [status for status, _ in answers] == [202, 429]
        assert answers[1][1]["code"] == "outbound_calls"
        outbound = server.health()["outbound"]
        assert (outbound["calls_last_hour"], outbound["trunks"]["carrier"]["calls_last_hour"]) == (3, 2)
        assert refused(server) == {"outbound_calls": 2}


def answered(server: Server, carrier: RawPeer, **options: Any) -> str:
    """A call of ours that the carrier has answered."""
    session_id = call(server, carrier, **options)
    carrier.respond(invited(carrier), 200, contact=f"<sip:x@127.0.0.1:{carrier.port}>", sdp=SDP)
    carrier.expect("ACK")
    return session_id


@pytest.mark.parametrize("limits", [{"outbound": "max_minutes_per_hour = 0.05"}, {"trunk": "max_minutes_per_hour = 0.05"}])
def test_running_calls_end_when_the_minutes_of_an_hour_are_used_up(tmp_path: Path, limits: dict[str, str]) -> None:
    with behind_a_trunk(tmp_path, **limits) as (server, carrier):
        first, second = answered(server, carrier), answered(server, carrier)
        carrier.call(f"sip:agent@127.0.0.1:{server.udp_port}", f"<sip:c@127.0.0.1:{carrier.port}>")  # their minutes are not ours
        for _ in range(2):
            carrier.respond(carrier.expect("BYE"), 200)
        records = {record["sessionId"]: record for record in server.wait_records(2)}
        assert set(records) == {first, second}
        for record in records.values():
            assert (record["hangupReason"], record["hangupBy"]) == ("outbound_minutes", "system")
        assert len(server.get("/list")["active_calls"]) == 1
        status, answer = status_of(server, {"callee": f"sip:+4930123456@127.0.0.1:{carrier.port}", "playbook": "main.md"})
        assert (status, answer["code"]) == (429, "outbound_minutes")


def test_transfer_that_the_carrier_makes_for_us_counts_as_a_call(tmp_path: Path) -> None:
    with behind_a_trunk(tmp_path, outbound="max_calls_per_hour = 2") as (server, carrier):
        session_id = answered(server, carrier)
        refer = {"command": "refer", "callee": f"sip:+4930123457@127.0.0.1:{carrier.port}", "options": {"mode": "refer"}}
        for _ in range(2):  # one that is refused was none
            server.post(f"/command/{session_id}", refer)
            carrier.respond(carrier.expect("REFER"), 603)
            server.wait(lambda: server.health()["outbound"]["calls_last_hour"] == 1, 5, "the transfer to be taken back")
        server.post(f"/command/{session_id}", refer)
        carrier.respond(carrier.expect("REFER"), 202)
        assert server.health()["outbound"]["trunks"]["carrier"]["calls_last_hour"] == 2
        status, answer = status_of(server, {"callee": f"sip:+4930123456@127.0.0.1:{carrier.port}", "playbook": "main.md"})
        assert (status, answer["code"]) == (429, "outbound_calls")
        server.get(f"/kill/{session_id}")
        carrier.respond(carrier.expect("BYE"), 200)


def test_transfer_beyond_the_calls_of_an_hour_is_not_asked_for(tmp_path: Path) -> None:
    with behind_a_trunk(tmp_path, outbound="max_calls_per_hour = 1") as (server, carrier):
        session_id = answered(server, carrier)
        for mode in ("refer", "auto"):
            refer = {"command": "refer", "callee": f"sip:+4930123457@127.0.0.1:{carrier.port}", "options": {"mode": mode}}
            server.post(f"/command/{session_id}", refer)
            assert carrier.wait("REFER", 0.5) is None
            assert carrier.wait("INVITE", 0.2) is None
        server.get(f"/kill/{session_id}")
        carrier.respond(carrier.expect("BYE"), 200)
        (record,) = server.wait_records(1)
        assert [transfer["code"] for transfer in record["transfers"]] == [503, 503]


# -- what a conversation may have called


def test_value_of_a_callers_header_is_not_dialled(tmp_path: Path) -> None:
    playbook = PLAYBOOK.replace("greeting: Good day.", "greeting: 'Hello <refer to=\"{{ X_Target }}\"/>'").replace(
        "X_Target", 'sip["X-Target"]'
    )
    with RawPeer("udp") as carrier, RawPeer("udp", host="127.0.0.2") as victim:
        extra = f'media_workers = 1\n[[trunks]]\nname = "carrier"\nserver = "127.0.0.1:{carrier.port}"\n'
        with speechless_server(tmp_path, playbook, extra=extra) as server:
            carrier.server = ("127.0.0.1", server.udp_port)
            carrier.request(
                "INVITE",
                f"sip:agent@127.0.0.1:{server.udp_port}",
                f"<sip:c@127.0.0.1:{carrier.port}>",
                f"X-Target: sip:x@127.0.0.2:{victim.port}",
                body=SDP,
            )
            carrier.expect(200, 10)
            victim.poll(2.0)
            assert victim.inbox == []
