"""What a `[[trunks]]` entry does to real calls: one server, a trunk on each loopback address, strangers on the others."""

from __future__ import annotations

import contextlib
import json
import socket
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from running_server import Server, running_server

from active_call.testing.trunk import Switches, Trunk, generic_pbx, twilio_origination, twilio_termination
from ports import free_port

WATCHED_PORT = free_port()
PLAYBOOK = """---
llm: {provider: script}
greeting: One two three four five six seven eight nine ten. One two three four five six seven eight nine ten.
dtmf:
  "1": {action: hangup}
---

## hello
Hello.
"""
TRUNKS = """
[[trunks]]
name = "secure"
profile = "twilio"
allow = ["127.0.0.2"]
server = "127.0.0.2"
username = "agent"
password = "secret"
realm = "127.0.0.2"                 # as the published guide has it: the host, while the challenge names another realm
srtp = "required"
caller = "15550199000"
outbound_cps = 50

[[trunks]]
name = "plain"
profile = "twilio"
allow = ["127.0.0.3"]
server = "127.0.0.3"
username = "agent"
password = "secret"
srtp = "off"
caller = "+15550199000"
outbound_cps = 50

[[trunks]]
name = "either"
allow = ["127.0.0.4"]
server = "127.0.0.4"
username = "agent"
password = "secret"
srtp = "preferred"

[[trunks]]
name = "small"
allow = ["127.0.0.5"]
server = "127.0.0.5"
max_calls = 1

[[trunks]]
name = "slow"
allow = ["127.0.0.6"]
server = "127.0.0.6"
max_cps = 1

[[trunks]]
name = "watched"
server = "127.0.0.7:WATCHED_PORT"
options_interval = 0.3

[[sip_registrations]]
name = "account"
username = "agent"
password = "secret"
server = "127.0.0.2"

[[trunk_rules]]
rule.match.to.user = '^\\+1888'
rule.rewrite.contact.user = "desk"
rule.rewrite.from.user = "+15550177"

[[rewrites]]
match = '^sip:0049(\\d+)@'
rewrite = 'sip:+1888$1@'

[handler]
type = "playbook"
default = "main.md"
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("trunks")
    with running_server(folder, PLAYBOOK, extra="media_workers = 1", handler=TRUNKS.replace("WATCHED_PORT", str(WATCHED_PORT))) as running:
        yield running


def uri(server: Server, transport: str) -> str:
    port = server.tls_port if transport == "tls" else server.udp_port
    return f"sip:+15550199@127.0.0.1:{port};transport={transport}"


def place(server: Server, trunk: Trunk, number: str = "15550100000", **sip: Any) -> str:
    callee = f"sip:{number}@{trunk.ip}:{trunk.hub.port};transport={trunk.switches.transport}"
    return str(server.post("/call", {"callee": callee, "playbook": "main.md", **({"sip": sip} if sip else {})})["session_id"])


def record_of(server: Server, session_id: str) -> dict[str, Any]:
    def found() -> list[dict[str, Any]]:
        return [record for record in server.records() if record["sessionId"] == session_id]

    server.wait(lambda: bool(found()), 15, "the record")
    return found()[0]


def refusals(server: Server, rule: str) -> int:
    return int(server.health()["refusals"].get(rule, 0))


# -- inbound -----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ip", "name", "transport"),
    [("127.0.0.2", "secure", "tls"), ("127.0.0.3", "plain", "udp"), ("127.0.0.4", "either", "tls"), ("127.0.0.4", "either", "udp")],
)
def test_call_by_a_trunk_is_answered_as_the_trunk_offers_and_its_record_names_it(
    server: Server, ip: str, name: str, transport: Any
) -> None:
    n_before = len(server.records())
    with Trunk(twilio_origination(transport), local_ip=ip) as trunk:
        leg = trunk.call(uri(server, transport))
        assert leg.wait_answered(), (leg.statuses, leg.ended)
        assert server.health()["trunks"][name]["calls"] == 1
        assert leg.hang_up() == 200
        trunk.check()
    assert server.wait_records(n_before + 1)[-1]["trunk"] == name


@pytest.mark.parametrize(
    ("ip", "switches", "rule", "words"),
    [
        (
            "127.0.0.2",
            twilio_origination("tls", secure_media=False),
            "srtp_required",
            "encrypted media is required on this trunk: offered RTP/AVP",
        ),
        ("127.0.0.3", twilio_origination("tls"), "srtp_off", "encrypted media is switched off on this trunk: offered RTP/SAVP"),
    ],
    ids=["plain to required", "secure to off"],
)
def test_offer_against_the_trunks_policy_is_a_488_that_says_why_and_wakes_nobody(
    server: Server, ip: str, switches: Switches, rule: str, words: str
) -> None:
    before, n_calls = refusals(server, rule), server.health()["calls_total"]
    with Trunk(switches, local_ip=ip) as trunk:
        leg = trunk.call(uri(server, "tls"))
        assert leg.wait(lambda: 488 in leg.statuses, 5), leg.statuses
        assert 180 not in leg.statuses
        assert leg.exchange is not None and words in leg.exchange.responses[-1].get("warning")
        trunk.check()
    assert refusals(server, rule) == before + 1
    assert server.health()["calls_total"] == n_calls


def test_delayed_offer_is_made_as_the_trunk_demands(server: Server) -> None:
    for ip, transport, protocol in (("127.0.0.2", "tls", b"RTP/SAVP"), ("127.0.0.4", "tls", b"RTP/SAVP"), ("127.0.0.4", "udp", b"RTP/AVP")):
        with Trunk(generic_pbx(transport, delayed_offer=True, secure_media=protocol == b"RTP/SAVP"), local_ip=ip) as trunk:
            leg = trunk.call(uri(server, transport))
            assert leg.wait_answered()
            assert leg.answer is not None and b" " + protocol + b" " in leg.answer.body
            assert leg.hang_up() == 200
            trunk.check()


def test_trunk_with_all_the_calls_it_may_have_gets_503_until_one_ends(server: Server) -> None:
    with Trunk(generic_pbx("udp"), local_ip="127.0.0.5") as trunk:
        first = trunk.call(uri(server, "udp"))
        assert first.wait_answered()
        second = trunk.call(uri(server, "udp"), caller="+15550102")
        assert second.wait(lambda: 503 in second.statuses, 5)
        assert second.exchange is not None and second.exchange.responses[-1].get("retry-after") == "5"
        assert refusals(server, "trunk_calls") == 1
        assert first.hang_up() == 200
        server.wait(lambda: server.health()["trunks"]["small"]["calls"] == 0, 5, "the trunk to be free")
        third = trunk.call(uri(server, "udp"), caller="+15550103")
        assert third.wait_answered()
        assert third.hang_up() == 200
        trunk.check()


# -- strangers ---------------------------------------------------------------------------------------------------------------------------


class Stranger:
    """A UDP socket on an address that no trunk lists."""

    def __init__(self, server: Server, ip: str = "127.0.0.99") -> None:
        self.ip, self.target = ip, ("127.0.0.1", server.udp_port)
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind((ip, 0))
        self.sock.settimeout(1.0)

    def ask(self, method: str, user_agent: str = "a phone") -> str:
        """The first line of the answer, empty where there is none."""
        token, port = uuid.uuid4().hex[:12], self.sock.getsockname()[1]
        lines = [
            f"{method} sip:100@127.0.0.1 SIP/2.0",
            f"Via: SIP/2.0/UDP {self.ip}:{port};branch=z9hG4bK{token};rport",
            "Max-Forwards: 70",
            f"From: <sip:100@{self.ip}>;tag={token}",
            "To: <sip:100@127.0.0.1>",
            f"Call-ID: {token}",
            f"CSeq: 1 {method}",
            f"Contact: <sip:100@{self.ip}:{port}>",
            f"User-Agent: {user_agent}",
            "Content-Length: 0",
        ]
        self.sock.sendto(("\r\n".join(lines) + "\r\n\r\n").encode(), self.target)
        try:
            return self.sock.recv(65535).decode().split("\r\n")[0]
        except TimeoutError:
            return ""


@pytest.fixture
def stranger(server: Server) -> Iterator[Stranger]:
    made = Stranger(server)
    with contextlib.closing(made.sock):
        yield made


@pytest.mark.parametrize("method", ["INVITE", "REGISTER", "OPTIONS", "SUBSCRIBE"])
def test_stranger_gets_403_and_wakes_nothing(server: Server, stranger: Stranger, method: str) -> None:
    health = server.health()
    assert stranger.ask(method) == "SIP/2.0 403 Forbidden"
    after = server.health()
    assert after["refusals"]["unlisted"] == health["refusals"].get("unlisted", 0) + 1
    assert (after["calls_total"], after["sip"]["transactions"]) == (health["calls_total"], health["sip"]["transactions"])


def test_scanner_hears_nothing_and_the_log_names_the_rule_once(server: Server, stranger: Stranger) -> None:
    for _ in range(3):
        assert stranger.ask("OPTIONS", "friendly-scanner") == ""
    assert refusals(server, "scanner") == 3
    lines = [line for line in server.log.split("\n") if "rule=scanner" in line]
    assert len(lines) == 1
    assert "peer=127.0.0.99" in lines[0] and "code=none" in lines[0] and "that of a scanner" in lines[0]


# -- outbound ----------------------------------------------------------------------------------------------------------------------------


def test_call_by_a_secure_trunk_is_encrypted_challenged_and_answered_with_what_the_trunk_says(server: Server) -> None:
    switches = twilio_termination("tls", caller_ids=("+15550199000",))
    with Trunk(switches, local_ip="127.0.0.2") as trunk:
        session_id = place(server, trunk)
        leg = trunk.wait_call()
        assert leg.wait_answered()
        assert leg.invite.uri.startswith("sip:+15550100000@127.0.0.2")
        assert b"RTP/SAVP" in leg.invite.body
        assert not leg.invite.get("session-expires")
        assert "timer" not in leg.invite.get("supported") and "100rel" not in leg.invite.get("supported")
        assert leg.hang_up() == 200
        trunk.check()
    assert record_of(server, session_id)["trunk"] == "secure"


def test_call_by_a_plain_trunk_is_plain_whatever_is_usual(server: Server) -> None:
    with Trunk(twilio_termination("tcp"), local_ip="127.0.0.3") as trunk:
        place(server, trunk)
        leg = trunk.wait_call()
        assert leg.wait_answered()
        assert b"RTP/AVP" in leg.invite.body
        assert leg.hang_up() == 200
        trunk.check()


def test_calls_own_choice_wins_over_the_trunks(server: Server) -> None:
    with Trunk(twilio_termination("tls"), local_ip="127.0.0.3") as trunk:
        place(server, trunk, enableSrtp=True)
        leg = trunk.wait_call()
        assert leg.wait_answered()
        assert b"RTP/SAVP" in leg.invite.body
        assert leg.hang_up() == 200
        trunk.check()


@pytest.mark.parametrize("secure", [True, False])
def test_trunk_that_would_rather_have_srtp_falls_back_to_rtp_after_one_488(server: Server, secure: bool) -> None:
    switches = generic_pbx("tls", challenge="twilio", checks_security=True, secure_media=secure, supports_media=True)
    with Trunk(switches, local_ip="127.0.0.4") as trunk:
        session_id = place(server, trunk)
        assert trunk.wait(lambda: any(leg.wait_answered(0.01) for leg in trunk.called), 10)
        leg = trunk.called[-1]
        assert (b"RTP/SAVP" in leg.invite.body) is secure
        assert len(trunk.called) == (1 if secure else 2)
        assert leg.sound is not None
        assert leg.wait(lambda: len(leg.sound.receiver.packets) > 20, 5)
        assert leg.hang_up() == 200
        assert trunk.judge.names == (set() if secure else {"security"})
    assert record_of(server, session_id)["status"] == "answered"


def test_account_at_a_trunk_that_takes_no_register_is_not_registered_and_serves_calls(server: Server) -> None:
    assert server.health()["registrations"] == {}
    assert "registration failed" not in server.log


def test_trunk_is_watched_by_options_and_health_shows_it(server: Server) -> None:
    with Trunk(generic_pbx("udp"), local_ip="127.0.0.7", port=WATCHED_PORT) as trunk:
        server.wait(lambda: server.health()["trunks"]["watched"]["state"] == "reachable", 10, "the trunk to be reachable")
        n_before = len(trunk.received)
        assert trunk.wait(lambda: len(trunk.received) >= n_before + 3, 5)
        assert {message.method for message in trunk.received} == {"OPTIONS"}
        trunk.check()
    assert server.health()["trunks"]["plain"]["state"] == "not watched"


def test_operator_is_told_who_may_call(server: Server) -> None:
    assert "from   trunks secure, plain, either, small, slow, watched; nobody else" in server.log


def test_rewrites_and_rules_change_the_invite_and_stay_for_the_whole_call(server: Server) -> None:
    with Trunk(generic_pbx("udp"), local_ip="127.0.0.6") as trunk:
        place(server, trunk, number="00495550100")
        leg = trunk.wait_call()
        assert leg.wait_answered()
        assert leg.invite.uri.startswith("sip:+18885550100@127.0.0.6")
        assert "<sip:+15550177@" in leg.invite.get("from")
        assert leg.invite.get("contact").startswith("<sip:desk@127.0.0.1")
        assert leg.hang_up() == 200
        trunk.check()


def test_calls_over_the_trunks_rate_wait_for_their_turn(server: Server) -> None:
    with Trunk(generic_pbx("udp"), local_ip="127.0.0.6") as trunk:
        for number in ("+15550110", "+15550111", "+15550112"):
            place(server, trunk, number=number)
        legs = [trunk.wait_call(count=count) for count in (1, 2, 3)]
        starts = [leg.started_at for leg in legs]
        assert all(later - sooner >= 0.9 for sooner, later in pairwise(starts)), starts
        for leg in legs:
            assert leg.wait_answered()
            assert leg.hang_up() == 200
        trunk.check()


def test_call_over_the_trunks_number_of_calls_is_a_503_that_says_so(server: Server) -> None:
    with Trunk(generic_pbx("udp"), local_ip="127.0.0.5") as trunk:
        place(server, trunk)
        leg = trunk.wait_call()
        assert leg.wait_answered()
        with pytest.raises(urllib.error.HTTPError) as caught:
            place(server, trunk)
        assert (caught.value.code, caught.value.headers["Retry-After"]) == (503, "5")
        assert json.loads(caught.value.read())["code"] == "trunk_calls"
        assert leg.hang_up() == 200
        trunk.check()
