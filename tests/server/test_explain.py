"""What would happen to a call: the same decision as the server's, in plain words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from active_call.base.world import Randomness
from active_call.server.commands.main import app
from active_call.server.config.config import Config
from active_call.server.config.loading import load_config
from active_call.server.explain import Question, explain
from active_call.server.setup.trunks import admission_policy
from active_call.sip.access.access_list import RULES
from active_call.sip.access.request_admission import RequestAdmission
from active_call.sip.endpoint import Endpoint
from active_call.sip.events import Address, EndpointConfig, Flow, IncomingCall, Listener
from active_call.testing.virtual_time import CountingRandomness

CONFIG = """
[handler]
type = "playbook"
[[handler.rules]]
callee = '^sip:\\+1800'
playbook = "sales.md"
[[trunks]]
name = "twilio"
profile = "twilio"
srtp = "required"
max_calls = 10
max_cps = 2
[[trunks]]
name = "office"
allow = ["10.1.0.0/16"]
"""
US = Address("198.51.100.1", 5060)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "playbooks").mkdir()
    (tmp_path / "playbooks" / "sales.md").write_text("Hello", encoding="utf-8")
    return tmp_path


def load(home: Path, text: str = CONFIG) -> Config:
    path = home / "active-call.toml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, {}, {})


def what_the_server_does(config: Config, ip: str, user_agent: str) -> tuple[int, str, bool]:
    """Code of the answer (0: none), trunk, and whether a call came of it; asked of a real endpoint with a real INVITE."""
    randomness: Randomness = CountingRandomness()
    endpoint = Endpoint(EndpointConfig((Listener("udp", US, US),), "test"), randomness, RequestAdmission(admission_policy(config)))
    lines = [
        "INVITE sip:+18005551234@198.51.100.1 SIP/2.0",
        f"Via: SIP/2.0/UDP {'[' + ip + ']' if ':' in ip else ip}:5060;branch=z9hG4bKx;rport",
        "Max-Forwards: 70",
        "From: <sip:+15550100@example.com>;tag=1",
        "To: <sip:+18005551234@198.51.100.1>",
        "Call-ID: a",
        "CSeq: 1 INVITE",
        "Contact: <sip:+15550100@192.0.2.9>",
        f"User-Agent: {user_agent}",
        "Content-Length: 0",
    ]
    endpoint.receive_datagram(("\r\n".join(lines) + "\r\n\r\n").encode(), Flow("udp", US, Address(ip, 5060)), 1000.0)
    sent = [transmit.data.split(b"\r\n")[0].decode() for transmit in endpoint.take_transmits()]
    calls = [event for event in endpoint.take_events() if isinstance(event, IncomingCall)]
    return int(sent[0].split(" ")[1]) if sent else 0, calls[0].trunk if calls else "", bool(calls)


@pytest.mark.parametrize("strangers", ["auto", "reject", "silence"])
@pytest.mark.parametrize("user_agent", ["Twilio Gateway", "friendly-scanner"])
@pytest.mark.parametrize("ip", ["54.172.60.1", "54.172.60.4", "10.1.2.3", "203.0.113.9", "127.0.0.1", "2001:db8::1"])
def test_explanation_is_what_the_server_does(home: Path, ip: str, user_agent: str, strangers: str) -> None:
    config = load(home, CONFIG + f'[admission]\nstrangers = "{strangers}"\n')
    code, trunk, is_call = what_the_server_does(config, ip, user_agent)
    found = explain(config, Question(ip, to="+18005551234", user_agent=user_agent))
    assert found.allowed is is_call
    assert found.trunk == trunk
    assert found.rule in RULES
    if code == 0:
        assert found.reply == "none: it gets no response"
    else:
        assert found.reply.startswith("100 Trying" if code == 100 else str(code))


def test_open_server_takes_everybody_and_says_how_to_close_the_door(home: Path) -> None:
    found = explain(load(home, ""), Question("203.0.113.9"))
    assert (found.allowed, found.rule) == (True, "open")
    assert any("[[trunks]]" in note for note in found.notes)
    assert "nobody" in found.handler


@pytest.mark.parametrize(
    ("to", "allowed", "words"),
    [("+18005551234", True, "rule 1"), ("+4930", False, "404"), ("", True, "--to says which"), ("sip:+18005551234@x", True, "rule 1")],
)
def test_handler_is_told_by_the_number_that_is_called(home: Path, to: str, allowed: bool, words: str) -> None:
    found = explain(load(home), Question("10.1.2.3", to=to))
    assert found.allowed is allowed
    assert words in found.handler + found.reply


def test_trunk_range_limits_and_media_are_told(home: Path) -> None:
    found = explain(load(home), Question("54.172.60.1", to="+18005551234"))
    assert (found.trunk, found.profile, found.range) == ("twilio", "twilio", "54.172.60.0/30")
    assert "RTP/AVP is refused with 488" in found.media and "pcmu, pcma" in found.media
    assert "10 calls on the trunk" in found.limits and "2 new calls a second" in found.limits
    assert any("keys are sent unencrypted" in note for note in found.notes)


@pytest.mark.parametrize(
    ("ip", "words"),
    [("192.76.120.10", 'profile = "telnyx"'), ("168.86.130.1", "a media address of Twilio"), ("203.0.113.9", 'allow = ["203.0.113.9"]')],
)
def test_refusal_says_whose_address_it_is_and_how_to_let_it_in(home: Path, ip: str, words: str) -> None:
    assert any(words in note for note in explain(load(home), Question(ip)).notes)


def test_tls_that_nobody_listens_on_is_told(home: Path) -> None:
    found = explain(load(home), Question("54.172.60.1", transport="tls"))
    assert (found.allowed, found.rule) == (False, "not_listening")
    assert explain(load(home, "ws_port = 0\n" + CONFIG), Question("10.1.2.3", transport="ws", to="+1800")).allowed


def test_address_that_the_running_server_has_silenced_is_told(home: Path) -> None:
    config = load(home)
    admission = RequestAdmission(admission_policy(config))
    for _ in range(config.admission.silence_after):
        admission.judge_unreadable(Flow("udp", US, Address("203.0.113.9", 5060)), 100.0)
    assert explain(config, Question("203.0.113.9"), admission, 101.0).rule == "silenced"
    assert explain(config, Question("203.0.113.9"), admission, 101.0 + 3600).rule == "unlisted"
    assert explain(config, Question("203.0.113.10"), admission, 101.0, ["203.0.113.10"]).rule == "registrar"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--explain", "54.172.60.1", "--to", "+18005551234"], 0, "let in"),
        (["--explain", "203.0.113.9"], 1, "403 Forbidden"),
        (["--explain", "203.0.113.9", "--user-agent", "pplsip"], 1, "gets no response"),
        (["--explain", "10.1.2.3", "--to", "+4930", "--from", "+1555"], 1, "404"),
        (["--explain", "nonsense"], 2, "expected an IP address"),
        (["--explain", "10.1.2.3", "--transport", "pigeon"], 2, "expected one of the transports"),
        (["--explain", "10.1.2.3", "--conf", "absent.toml"], 2, "there is no such file"),
    ],
)
def test_command_line_explains_and_tells_by_its_exit_code(home: Path, arguments: list[str], code: int, words: str) -> None:
    load(home)
    result = CliRunner().invoke(app, ["doctor", *arguments])
    assert result.exit_code == code, result.output
    assert words in result.output


def test_command_line_gives_one_json_object_when_asked(home: Path) -> None:
    load(home)
    result = CliRunner().invoke(app, ["doctor", "--explain", "203.0.113.9", "--json"])
    body = json.loads(result.output)
    assert (body["allowed"], body["rule"], body["ip"], result.exit_code) == (False, "unlisted", "203.0.113.9", 1)
    refused = CliRunner().invoke(app, ["doctor", "--explain", "x", "--json"])
    assert (set(json.loads(refused.output)), refused.exit_code) == ({"error"}, 2)


def test_command_line_shows_profiles_and_trunks_without_secrets(home: Path) -> None:
    load(home, CONFIG + '[[trunks]]\nname = "own"\nprofile = "telnyx"\nserver = "sip.telnyx.com"\nusername = "u"\npassword = "geheim"\n')
    listed = CliRunner().invoke(app, ["trunk", "list"])
    assert listed.exit_code == 0
    assert "Twilio Elastic SIP Trunking" in listed.output and "[[trunks]] own: profile telnyx" in listed.output
    shown = CliRunner().invoke(app, ["trunk", "show", "own"])
    assert "192.76.120.10/32" in shown.output and "geheim" not in shown.output
    assert json.loads(CliRunner().invoke(app, ["trunk", "show", "own", "--json"]).stdout)["name"] == "own"
    found = json.loads(CliRunner().invoke(app, ["trunk", "list", "--json"]).stdout)
    assert [trunk["name"] for trunk in found["trunks"]] and "twilio" in [profile["name"] for profile in found["profiles"]]
    assert CliRunner().invoke(app, ["trunk", "show", "vonage"]).exit_code == 0
    assert CliRunner().invoke(app, ["trunk", "show", "nobody"]).exit_code == 2
