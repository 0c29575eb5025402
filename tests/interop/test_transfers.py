"""Transfers on the wire: a judging trunk as the caller, baresip and SIPp as the target, and what each of them hears."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from peers.baresip import Baresip
from peers.sipp import Sipp
from running_server import Server
from shared_servers import shared_server

from active_call.testing.phone.sip import tag_of
from active_call.testing.sound import audio, voice
from active_call.testing.sound.audio import Pcm
from active_call.testing.sound.listening import Recogniser, recognise_wav, utterances
from active_call.testing.trunk.switches import generic_pbx, twilio_origination
from active_call.testing.trunk.trunk import Trunk

GREETING = "Welcome to the switchboard."
CONNECTING = "I will connect you to the sales department."
SORRY = "I am sorry, I could not connect you."
BACK = "You are back with me. Is there anything else I can do for you?"
SALES = "Good morning, this is the sales department speaking."
ORDER = "I would like to order two chocolate cakes for tomorrow."
DECOYS = ["Your balance is forty two dollars.", "Please leave a message after the tone.", "We are open from nine until five."]
EVERYTHING = [GREETING, CONNECTING, SORRY, BACK, SALES, ORDER]

PLAYBOOK = """---
llm: {{provider: script}}
greeting: Welcome to the switchboard.
interruption: {{strategy: none}}
refer: {{timeout: 5}}
---
## press 1
I will connect you to the sales department. <refer to="{target}"/>
## press 2
I will connect you to the sales department. <refer to="{target}" mode="bridge" autoHangup="true"/>
## press 9
<hangup/>
## goodbye now
<hangup/>
"""


@dataclass
class Caller:
    """A call of the trunk, and what it has received since it was answered."""

    leg: Any
    epoch: float
    epoch_ms: float

    @property
    def timeline(self) -> Pcm:
        return np.asarray(self.leg.sound.receiver.timeline(self.epoch))

    @property
    def heard(self) -> list[str]:
        """Every sentence in it, wherever there are pauses."""
        recogniser = Recogniser(EVERYTHING, DECOYS)
        pieces = [self.timeline[one.start : one.end] for one in utterances(self.timeline)]
        return [sentence for piece in pieces for sentence in recogniser.recognise(piece).sentences]

    def between(self, start_ms: float, end_ms: float) -> Pcm:
        """What was received between two time stamps."""
        first, last = (max(0, int((at - self.epoch_ms) * audio.RATE_HZ / 1000)) for at in (start_ms, end_ms))
        return self.timeline[first:last]

    def heard_of_the_agent(self, record: dict[str, Any]) -> list[str]:
        """The sentences in what was received while the agent's plays sounded, music around them left out."""
        recogniser = Recogniser(EVERYTHING, DECOYS)
        starts = {event["playId"]: event["timestamp"] for event in record["events"] if event["event"] == "trackStart"}
        found: list[str] = []
        for event in record["events"]:
            if event["event"] == "trackEnd":
                found += recogniser.recognise(self.between(starts[event["playId"]] - 20, event["timestamp"] + 20)).sentences
        return found

    @property
    def n_voiced(self) -> int:
        """How many packets with speech it has received."""
        return len(self.leg.sound.receiver.voiced_at)

    def listens(self, n_before: int, n_least: int = 25) -> None:
        """Wait until somebody has spoken `n_least` packets, after so many before, and has ended a second ago."""
        voiced_at = self.leg.sound.receiver.voiced_at
        assert self.leg.wait(lambda: len(voiced_at) > n_before + n_least and time.monotonic() - voiced_at[-1] > 1.0, 30)

    def wait(self, seconds: float) -> None:
        self.leg.wait(lambda: False, seconds)

    def say(self, text: str) -> None:
        self.leg.sound.sender.say(voice.speak(text, "en-us+m3"))
        assert self.leg.sound.sender.wait_idle(10)
        self.wait(1.0)


def level(pcm: Pcm) -> float:
    """The root mean square."""
    return float(np.sqrt((pcm.astype(float) ** 2).mean()))


def transfer_states(record: dict[str, Any]) -> list[str]:
    return [event["state"] for event in record["events"] if event["event"] == "transfer"]


def server_for(target: str, *, workers: int = 1) -> AbstractContextManager[Server]:
    return shared_server(PLAYBOOK.format(target=target), extra=f"media_workers = {workers}")


def uri(server: Server, transport: str = "tls") -> str:
    return f"sip:+15550199@127.0.0.1:{server.tls_port if transport == 'tls' else server.udp_port};transport={transport}"


def dialled(trunk: Trunk, server: Server) -> Caller:
    leg = trunk.call(uri(server, trunk.switches.transport))
    assert leg.wait_answered()
    assert leg.sound is not None
    caller = Caller(leg, time.monotonic(), time.time() * 1000)
    caller.listens(0)
    return caller


def test_refused_refer_is_bridged_to_baresip_and_the_two_hear_each_other(tmp_path: Path) -> None:
    """The peer says 603 to REFER; TLS and SRTP on one side, plain RTP over UDP on the other."""
    reply = np.concatenate((audio.silence(2500), voice.speak(SALES, "en-us+f2"), audio.silence(60_000)))
    with (
        Baresip(tmp_path / "sales", speech=reply, answers=True) as sales,
        server_for(sales.uri) as server,
        Trunk(twilio_origination("tls", supports_media=True, takes_transfers=False)) as trunk,
    ):
        sales.start()
        caller = dialled(trunk, server)
        caller.leg.sound.sender.press("1")
        assert caller.leg.wait_request("REFER", 8) is not None
        assert sales.wait_established(10), sales.log + server.log
        caller.listens(caller.n_voiced, 100)  # the sales department speaks, after what is left of the music
        caller.say(ORDER)
        n_before = caller.n_voiced
        sales.command("hangup")
        caller.listens(n_before, 100)  # the agent is back
        assert [one for one in caller.heard if one != CONNECTING] == [GREETING, SALES, BACK]  # that is close to music
        caller.leg.sound.judge(trunk.judge)
        assert caller.leg.hang_up() == 200
        trunk.check()
        (record,) = server.wait_records(1, 10)
        assert caller.heard_of_the_agent(record) == [GREETING, CONNECTING, BACK]
        sales.stop()
        assert [one for group in recognise_wav(sales.heard, EVERYTHING, DECOYS) for one in group.sentences] == [ORDER]
        assert transfer_states(record) == ["referring", "calling", "connected", "completed"] or transfer_states(record) == [
            "referring",
            "calling",
            "progress",
            "connected",
            "completed",
        ]
        (transfer,) = record["transfers"]
        assert (transfer["state"], transfer["farLegs"][0]["hangupReason"]) == ("completed", "remote_bye")
        assert transfer["farLegs"][0]["media"]["packets_received"] > 200
        assert (record["status"], record["error"], record["hangupBy"]) == ("answered", None, "caller")
        assert [event["event"] for event in record["events"] if event["refer"]][-1] == "hangup"


def test_busy_target_is_waited_for_with_music_and_the_agent_says_so(tmp_path: Path) -> None:
    with (
        Sipp("rings_and_is_busy", tmp_path / "busy", timeout_s=40) as busy,
        server_for(f"sip:sales@127.0.0.1:{busy.port}") as server,
        Trunk(twilio_origination("tls", supports_media=True, takes_transfers=False)) as trunk,
    ):
        busy.start()
        caller = dialled(trunk, server)
        caller.leg.sound.sender.press("1")
        assert caller.leg.wait_request("REFER", 8) is not None
        caller.wait(7.0)
        caller.leg.sound.sender.press("9")
        assert caller.leg.wait_ended(8) == "peer hung up"
        assert busy.result().successful == 1
        (record,) = server.wait_records(1, 10)
        last = [event for event in record["events"] if event["event"] == "transfer"][-1]
        assert (last["state"], last["code"], last["reason"], last["returned"]) == ("failed", 486, "the line is busy", True)
        began = next(event["timestamp"] for event in record["events"] if event["event"] == "transfer" and event["state"] == "calling")
        assert level(caller.between(began + 500, began + 2500)) > 300
        assert caller.heard_of_the_agent(record) == [GREETING, CONNECTING, SORRY]
        trunk.check()


def test_silent_peer_is_passed_over_after_its_time(tmp_path: Path) -> None:
    with (
        Baresip(tmp_path / "sales", speech=audio.silence(60_000), answers=True) as sales,
        server_for(sales.uri) as server,
        Trunk(twilio_origination("tls", supports_media=True, transfer_outcome=0)) as trunk,
    ):
        sales.start()
        caller = dialled(trunk, server)
        caller.leg.sound.sender.press("1")
        assert caller.leg.wait_request("REFER", 8) is not None
        asked_at = time.monotonic()
        assert sales.wait_established(12), server.log
        assert 4.5 < time.monotonic() - asked_at < 8
        assert caller.leg.hang_up() == 200
        trunk.check()
        (record,) = server.wait_records(1, 10)
        assert transfer_states(record)[:3] == ["referring", "progress", "calling"]
        assert sales.wait_for("session closed", 5) or sales.wait_for("Call terminated", 5), sales.log


def test_caller_who_hangs_up_while_it_rings_has_the_other_call_cancelled(tmp_path: Path) -> None:
    with (
        Sipp("rings_until_cancelled", tmp_path / "rings", timeout_s=40) as rings,
        server_for(f"sip:sales@127.0.0.1:{rings.port}") as server,
        Trunk(twilio_origination("tls", supports_media=True, takes_transfers=False)) as trunk,
    ):
        rings.start()
        caller = dialled(trunk, server)
        caller.leg.sound.sender.press("2")
        server.wait(lambda: server.health()["sip"]["calls"] == 2, 10, "the second call")
        caller.wait(1.0)
        assert caller.leg.hang_up() == 200
        trunk.check()
        assert rings.result().successful == 1
        (record,) = server.wait_records(1, 10)
        assert transfer_states(record)[-1] == "cancelled"
        assert len(record["transfers"][0]["farLegs"]) == 1
        server.wait(lambda: server.health()["sip"]["calls"] == 0, 5, "no call to be left")


def test_target_that_hangs_up_ends_the_call_where_that_is_asked_for(tmp_path: Path) -> None:
    with (
        Baresip(tmp_path / "sales", speech=audio.silence(60_000), answers=True) as sales,
        server_for(sales.uri) as server,
        Trunk(twilio_origination("tls", supports_media=True)) as trunk,
    ):
        sales.start()
        caller = dialled(trunk, server)
        caller.leg.sound.sender.press("2")
        assert sales.wait_established(10), server.log
        caller.wait(1.0)
        assert caller.leg.wait_request("REFER", 0.1) is None  # mode bridge
        sales.command("hangup")
        assert caller.leg.wait_ended(5) == "peer hung up"
        trunk.check()
        (record,) = server.wait_records(1, 10)
        assert (transfer_states(record)[-1], record["hangupBy"], record["hangupReason"]) == ("completed", "callee", "far_hangup")


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2], ids=["one-media-process", "two-media-processes"])
def test_two_callers_are_bridged_by_command_and_given_back(tmp_path: Path, workers: int) -> None:
    """A trunk's caller over TLS and SRTP, and baresip over UDP; with two media processes their sound goes over a relay.

    One process is slow: `tests/media/send/test_bridging` has it, and the transfers here bridge within one.
    """
    spoken = np.concatenate((audio.silence(8000), voice.speak(SALES, "en-us+f2"), audio.silence(60_000)))
    with (
        server_for("sip:nobody@127.0.0.1", workers=workers) as server,
        Baresip(tmp_path / "caller", speech=spoken) as baresip,
        Trunk(twilio_origination("tls", supports_media=True)) as trunk,
    ):
        baresip.start(dial=f"sip:switchboard@127.0.0.1:{server.udp_port};transport=udp")
        assert baresip.wait_established(), baresip.log
        our_caller = dialled(trunk, server)
        calls = {entry["cs.option"]["caller"]: entry["id"] for entry in server.get("/list")["active_calls"]}
        ours = next(call for who, call in calls.items() if "+15550100" in who)
        theirs = next(call for call in calls.values() if call != ours)
        n_before = our_caller.n_voiced
        server.post(f"/command/{ours}", {"command": "bridge", "targetSessionId": theirs})
        our_caller.listens(n_before)
        our_caller.say(ORDER)
        n_before = our_caller.n_voiced
        server.post(f"/command/{theirs}", {"command": "unbridge"})
        our_caller.listens(n_before)
        assert our_caller.heard == [GREETING, SALES, BACK]
        our_caller.leg.hang_up()
        baresip.command("hangup")
        records = server.wait_records(2, 10)
        baresip.stop()
        assert [one for group in recognise_wav(baresip.heard, EVERYTHING, DECOYS) for one in group.sentences] == [GREETING, ORDER, BACK]
        trunk.check()
        for record in records:
            assert [event["state"] for event in record["events"] if event["event"] == "bridge"] == ["joined", "parted"]
            assert record["error"] is None


def test_trunk_that_refers_us_leaves_us_with_baresip(tmp_path: Path) -> None:
    """REFER of the peer: 202, NOTIFYs with its progress, and after its BYE the agent greets whoever it was transferred to."""
    playbook = PLAYBOOK.format(target="sip:nobody@127.0.0.1").replace("refer: {timeout: 5}", "refer: {onRequest: bridge, timeout: 8}")
    with (
        Baresip(tmp_path / "sales", speech=audio.silence(60_000), answers=True) as sales,
        shared_server(playbook, extra="media_workers = 1") as server,
        Trunk(generic_pbx(supports_media=True)) as trunk,
    ):
        sales.start()
        caller = dialled(trunk, server)
        with trunk.lock:
            headers = [("refer-to", f"<{sales.uri}>"), ("referred-by", "<sip:boss@pbx.example.com>")]
            exchange = caller.leg.request("REFER", headers=headers)
        assert caller.leg.wait_final(exchange) == 202
        assert sales.wait_established(10), server.log

        def notifies() -> list[Any]:
            return [one for one in caller.leg.requests if one.method == "NOTIFY"]

        assert caller.leg.wait(lambda: any("terminated" in one.get("subscription-state") for one in notifies()), 5)
        last = notifies()[-1]
        assert notifies()[0].body.startswith(b"SIP/2.0 100")
        assert (last.body.partition(b"\r\n")[0], last.get("event")) == (b"SIP/2.0 200 OK", "refer")
        assert caller.leg.hang_up() == 200
        time.sleep(3.5)  # the agent greets
        sales.command("hangup")
        (record,) = server.wait_records(1, 10)
        sales.stop()
        trunk.check()
        assert [one for group in recognise_wav(sales.heard, EVERYTHING, DECOYS) for one in group.sentences] == [GREETING]
        assert [event["referTo"] for event in record["events"] if event["event"] == "transferRequest"] == [sales.uri]
        assert (transfer_states(record)[-1], record["hangupBy"], record["error"]) == ("completed", "callee", None)


def test_attended_transfer_names_the_dialog_that_is_to_be_replaced(tmp_path: Path) -> None:
    with (
        server_for("sip:nobody@127.0.0.1") as server,
        Trunk(generic_pbx(supports_media=True)) as trunk,
        Trunk(generic_pbx(supports_media=True)) as desk,
    ):
        caller, other = dialled(trunk, server), dialled(desk, server)
        calls = server.get("/list")["active_calls"]
        ours, theirs = (entry["id"] for entry in sorted(calls, key=lambda entry: str(entry["createdTime"])))
        server.post(f"/command/{ours}", {"command": "refer", "callee": "sip:desk@example.com", "options": {"callId": theirs}})
        refer = caller.leg.wait_request("REFER", 5)
        assert refer is not None
        target, _, embedded = refer.get("refer-to").strip("<>").partition("?")
        assert target == other.leg.contact
        replaced, _, required = embedded.partition("&")
        call_id, to_tag, from_tag = unquote(replaced.removeprefix("Replaces=")).split(";")
        assert (call_id, required) == (other.leg.call_id, "Require=replaces")
        assert to_tag == f"to-tag={tag_of(other.leg.local)}"  # RFC 3891 section 3: as the replaced user agent sees it
        assert from_tag == f"from-tag={tag_of(other.leg.remote)}"
        assert caller.leg.wait_ended(5) == "peer hung up"
        assert other.leg.hang_up() == 200
        trunk.check()
        desk.check()


def test_call_that_is_replaced_goes_on_with_who_replaces_it(tmp_path: Path) -> None:
    """The end of an attended transfer to us: an INVITE with Replaces takes over the agent, and the first leg gets its BYE (RFC 3891)."""
    with (
        server_for("sip:nobody@127.0.0.1") as server,
        Trunk(generic_pbx(supports_media=True)) as trunk,
    ):
        secretary = dialled(trunk, server)
        to_tag, from_tag = tag_of(secretary.leg.remote), tag_of(secretary.leg.local)
        headers = [("replaces", f"{secretary.leg.call_id};to-tag={to_tag};from-tag={from_tag}"), ("require", "replaces")]
        leg = trunk.call(uri(server, "udp"), caller="+15550123", headers=headers)
        assert leg.wait_answered()
        caller = Caller(leg, time.monotonic(), time.time() * 1000)
        assert secretary.leg.wait_ended(5) == "peer hung up"
        caller.listens(0)
        caller.leg.sound.sender.press("9")
        assert caller.leg.wait_ended(8) == "peer hung up"
        trunk.check()
        (record,) = server.wait_records(1, 10)
        assert caller.heard == [GREETING]
        assert (transfer_states(record), record["hangupBy"], record["error"]) == (["progress", "completed"], "agent", None)
        assert record["callId"] == secretary.leg.call_id
        assert record["transfers"][0]["target"].startswith("sip:+15550123@")
