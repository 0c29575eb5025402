"""Holds, texts, digits and headers on the wire, judged by the simulated trunk; the sound of a hold recognised to the sample."""

from __future__ import annotations

import contextlib
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running_server import Server, running_server

from active_call.testing.sound import audio
from active_call.testing.sound.listening import Recogniser, Utterance, utterances
from active_call.testing.trunk import Trunk, generic_pbx, twilio_origination

LONG = "We are open from nine in the morning until five in the afternoon, and on Saturday until noon."
DECOYS = ["Your balance is forty two dollars.", "Please leave a message after the tone."]
PLAYBOOK = f"""---
llm: {{provider: script}}
greeting: {LONG}
interruption: {{strategy: none}}
sip:
  hangupHeaders: {{X-Caller: "{{{{ caller }}}}", X-Result: "{{{{ result }}}}"}}
---
## press 1
<set_var key="result" value="done"/><set_var key="X-Ticket" value="4711"/> <hangup/>
## hello there
Hello.
"""


@pytest.fixture(scope="module")
def one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("holds"), PLAYBOOK, extra="media_workers = 1") as running:
        yield running


@pytest.fixture
def server(one_server: Server) -> Iterator[Server]:
    """The server without a call, before and after."""
    one_server.begin_anew()
    yield one_server
    for call in one_server.get("/list")["active_calls"]:
        with contextlib.suppress(urllib.error.HTTPError):  # it has just ended by itself
            one_server.get(f"/kill/{call['id']}")
    one_server.wait(lambda: not one_server.get("/list")["active_calls"], 5, "the calls to end")


def called(trunk: Trunk, server: Server) -> Any:
    transport = trunk.switches.transport
    port = server.tls_port if transport == "tls" else server.udp_port
    leg = trunk.call(f"sip:+15550199@127.0.0.1:{port};transport={transport}")
    assert leg.wait_answered()
    return leg


def session_of(server: Server) -> str:
    (call,) = server.get("/list")["active_calls"]
    return str(call["id"])


def command(server: Server, name: str, **fields: Any) -> None:
    assert server.post(f"/command/{session_of(server)}", {"command": name, **fields})["status"] == "sent"


def last_record(server: Server, n_before: int) -> dict[str, Any]:
    return dict(server.wait_records(n_before + 1, 10)[-1])


def n_records(server: Server) -> int:
    return len(server.records())


def events_of(record: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [event for event in record["events"] if event["event"] == name]


def wait_begun(leg: Any) -> None:
    """Wait until the agent is in the middle of its greeting."""
    assert leg.wait(lambda: len(leg.sound.receiver.voiced_at) > 50, 15)


def wait_finished(leg: Any, n_before: int = 0) -> None:
    """Wait until the agent has spoken for two seconds, without the packets of speech before, and is silent for one."""
    voiced_at = leg.sound.receiver.voiced_at
    assert leg.wait(lambda: len(voiced_at) > n_before + 100 and time.monotonic() - voiced_at[-1] > 1.0, 30)


def tones_of(leg: Any, epoch: float) -> list[Utterance]:
    """Where its tones are, each with the silence after it."""
    timeline = leg.sound.receiver.timeline(epoch)
    return [one for one in utterances(timeline, gap_ms=40) if len(timeline) - one.end > 40 * audio.RATE_HZ // 1000]


def voiced_of(timeline: Any) -> Any:
    """The speech in it, with pauses of more than half a second cut out but for their edges."""
    edge = audio.RATE_HZ // 8
    pieces = [timeline[max(0, one.start - edge) : one.end + edge] for one in utterances(timeline, gap_ms=500)]
    return np.concatenate([*pieces, audio.silence(300)])


# -- holds of the peer ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("direction", "zero"), [pytest.param("sendonly", False, marks=pytest.mark.slow), ("inactive", False), ("sendrecv", True)], ids=str
)
def test_agent_stops_on_hold_and_goes_on_at_the_sample(server: Server, direction: str, zero: bool) -> None:
    """RFC 3264 section 8.4, and the old form with 0.0.0.0; the agent's sentence is whole when the gap is cut out.

    `sendonly` is slow: the phones of `test_held_transfers` and linphone hold that way.
    """
    before = n_records(server)
    with Trunk(generic_pbx(supports_media=True)) as trunk:
        leg = called(trunk, server)
        epoch = time.monotonic()
        wait_begun(leg)
        assert leg.wait_final(leg.reinvite(direction=direction, zero_address=zero)) == 200
        leg.wait(lambda: False, 0.2)
        silent_from = len(leg.sound.receiver.packets)
        leg.wait(lambda: False, 2.0)
        assert len(leg.sound.receiver.packets) - silent_from <= 1  # nothing is sent to who holds us
        n_before = len(leg.sound.receiver.voiced_at)
        assert leg.wait_final(leg.reinvite()) == 200
        wait_finished(leg, n_before)
        recogniser = Recogniser([LONG], DECOYS)
        assert recogniser.recognise(voiced_of(leg.sound.receiver.timeline(epoch))).sentences == (LONG,)
        assert leg.hang_up() == 200
        trunk.check()
    record = last_record(server, before)
    assert [(event["onHold"], event["initiator"]) for event in events_of(record, "hold")] == [(True, "caller"), (False, "caller")]
    assert [event["playId"] for event in events_of(record, "trackEnd")] == ["r1"]
    assert events_of(record, "interruption") == []
    assert record["error"] is None


# -- holds of ours -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["tls", pytest.param("tcp", marks=pytest.mark.slow)])
def test_hold_by_command_is_sendonly_with_music_and_back(server: Server, transport: Any) -> None:
    """Over TCP it is slow: `test_sipp_requests` and `test_kamailio_edge` hold without TLS."""
    before = n_records(server)
    with Trunk(twilio_origination(transport, supports_media=True)) as trunk:
        leg = called(trunk, server)
        epoch = time.monotonic()
        wait_begun(leg)
        command(server, "hold")
        hold = leg.wait_request("INVITE", 3)
        assert hold is not None
        assert b"a=sendonly" in hold.body
        held_at, n_before = time.monotonic(), len(leg.sound.receiver.packets)
        assert leg.wait(lambda: len(leg.sound.receiver.packets) > n_before + 150, 15)
        music = leg.sound.receiver.timeline(epoch)[int((held_at - epoch + 0.5) * 8000) :][: 2 * 8000]
        assert audio.frame_levels(music).min() > 50  # it never stops
        assert LONG not in Recogniser([LONG], DECOYS).recognise(music).sentences
        command(server, "unhold")
        back = leg.wait_request("INVITE", 3, count=2)
        assert back is not None
        assert b"a=sendrecv" in back.body
        wait_finished(leg, len(leg.sound.receiver.voiced_at))
        assert leg.hang_up() == 200
        leg.sound.judge(trunk.judge)
        trunk.check()
    record = last_record(server, before)
    assert [(event["onHold"], event["initiator"]) for event in events_of(record, "hold")] == [(True, "system"), (False, "system")]
    assert [event["playId"] for event in events_of(record, "trackEnd")] == ["r1"]


def test_hold_that_meets_a_reinvite_of_the_peer_is_tried_again(server: Server) -> None:
    before = n_records(server)
    with Trunk(generic_pbx(supports_media=True, glares=True)) as trunk:
        leg = called(trunk, server)
        leg.wait(lambda: False, 0.5)
        command(server, "hold", mode="inactive")
        assert leg.wait_request("INVITE", 8, count=2) is not None
        leg.wait(lambda: False, 1.0)
        assert leg.hang_up() == 200
        trunk.check()
    record = last_record(server, before)
    assert [(event["onHold"], event["initiator"]) for event in events_of(record, "hold")] == [(True, "system")]


def test_call_on_hold_is_not_ended_for_want_of_packets_and_can_be_hung_up(server: Server) -> None:
    before = n_records(server)
    with Trunk(twilio_origination("tcp", supports_media=True)) as trunk:
        leg = called(trunk, server)
        command(server, "hold", mode="inactive")
        assert leg.wait_request("INVITE", 3) is not None
        leg.wait(lambda: False, 0.5)
        command(server, "hangup", reason="enough", headers={"X-Why": "test"})
        assert leg.wait_ended(5) == "peer hung up"
        bye = leg.wait_request("BYE", 1)
        assert bye is not None
        assert bye.get("x-why") == "test"
        trunk.check()
    assert last_record(server, before)["hangupReason"] == "enough"


# -- texts, digits, headers ----------------------------------------------------------------------------------------------------------------


def test_headers_of_the_playbook_and_its_variables_reach_the_bye(server: Server) -> None:
    with Trunk(twilio_origination("tls", supports_media=True)) as trunk:
        leg = called(trunk, server)
        wait_finished(leg)
        leg.sound.sender.press("1")
        assert leg.wait_ended(8) == "peer hung up"
        bye = leg.wait_request("BYE", 1)
        assert bye is not None
        assert (bye.get("x-result"), bye.get("x-ticket")) == ("done", "4711")
        assert bye.get("x-caller").startswith("sip:+15550100@")
        trunk.check()


def test_texts_go_both_ways_inside_the_call(server: Server) -> None:
    before = n_records(server)
    with Trunk(generic_pbx(supports_media=True)) as trunk:
        leg = called(trunk, server)
        leg.wait(lambda: False, 0.5)
        command(server, "message", body="Bonjour", contentType="text/plain;charset=utf-8", headers={"X-Kind": "note"})
        sent = leg.wait_request("MESSAGE", 3)
        assert sent is not None
        assert (sent.body, sent.get("content-type"), sent.get("x-kind")) == (b"Bonjour", "text/plain;charset=utf-8", "note")
        with trunk.lock:
            exchange = leg.request("MESSAGE", body="été".encode(), content_type="text/plain")
        assert leg.wait_final(exchange) == 200
        assert leg.hang_up() == 200
        trunk.check()
    (event,) = events_of(last_record(server, before), "message")
    assert (event["body"], event["contentType"]) == ("été", "text/plain")


def test_digits_go_by_info_where_no_telephone_event_was_agreed_on(server: Server) -> None:
    with Trunk(generic_pbx(supports_media=True, payload_types=(0,))) as trunk:
        leg = called(trunk, server)
        leg.wait(lambda: False, 0.5)
        command(server, "dtmf", digits="1#", duration=120)
        second = leg.wait_request("INFO", 3, count=2)
        assert second is not None
        bodies = [one.body for one in leg.requests if one.method == "INFO"]
        assert bodies == [b"Signal=1\r\nDuration=120\r\n", b"Signal=#\r\nDuration=120\r\n"]
        assert second.get("content-type") == "application/dtmf-relay"
        assert leg.hang_up() == 200
        trunk.check()


def test_digits_as_tones_are_heard_as_those_of_the_keys(server: Server) -> None:
    with Trunk(generic_pbx(supports_media=True)) as trunk:
        leg = called(trunk, server)
        wait_finished(leg)
        epoch = time.monotonic()
        command(server, "dtmf", digits="59", duration=200, method="inband")
        assert leg.wait(lambda: len(tones_of(leg, epoch)) == 2, 10)
        leg.wait(lambda: False, 0.5)  # and no more
        timeline = leg.sound.receiver.timeline(epoch).astype(float)
        found = []
        for one in tones_of(leg, epoch):
            spectrum = abs(np.fft.rfft(timeline[one.start : one.end], 8000))
            low, high = int(spectrum[600:1000].argmax()) + 600, int(spectrum[1100:1700].argmax()) + 1100
            found.append((low, high))
        assert len(found) == 2
        for (low, high), (row, column) in zip(found, [(770, 1336), (852, 1477)], strict=True):
            assert abs(low - row) < row * 0.015  # ITU-T Q.24
            assert abs(high - column) < column * 0.015
        assert leg.hang_up() == 200
        trunk.check()


def test_press_that_comes_by_info_and_as_telephone_event_is_one(server: Server) -> None:
    before = n_records(server)
    with Trunk(generic_pbx(supports_media=True)) as trunk:
        leg = called(trunk, server)
        leg.wait(lambda: False, 0.5)
        for digit in "553":
            leg.sound.sender.press(digit)
            assert leg.wait_final(leg.press_by_info(digit)) == 200
            leg.wait(lambda: False, 0.6)
        assert leg.hang_up() == 200
        trunk.check()
    assert [event["digit"] for event in events_of(last_record(server, before), "dtmf")] == ["5", "5", "3"]


# -- before the answer ---------------------------------------------------------------------------------------------------------------------


def test_early_media_of_a_call_of_ours_is_told_and_the_agent_waits_for_the_answer(server: Server) -> None:
    before = n_records(server)
    with Trunk(generic_pbx(supports_media=True, progress=("183",), answer_after_s=2.0)) as trunk:
        body = {"callee": f"sip:+15550177@{trunk.edge};transport=udp", "caller": "+15550100", "playbook": "main.md"}
        server.post("/call", body)
        assert trunk.wait(lambda: bool(trunk.called) and trunk.called[0].state == "answered", 8)
        leg = trunk.called[0]
        epoch = time.monotonic()
        recogniser = Recogniser([LONG], DECOYS)
        assert leg.sound is not None
        receiver = leg.sound.receiver
        wait_finished(leg)
        assert recogniser.recognise(voiced_of(receiver.timeline(epoch))).sentences == (LONG,)  # from its first word on
        assert leg.hang_up() == 200
        trunk.check()
    record = last_record(server, before)
    (ringing,) = events_of(record, "ringing")
    assert ringing["earlyMedia"] is True
    assert events_of(record, "trackStart")[0]["timestamp"] >= events_of(record, "answer")[0]["timestamp"]


def test_ringing_command_opens_the_sound_with_a_183(tmp_path: Path) -> None:
    handler = "# nobody takes calls but clients"
    with running_server(tmp_path, PLAYBOOK, extra="media_workers = 1", handler=handler) as server, Trunk(generic_pbx()) as trunk:
        leg = trunk.call(f"sip:+15550199@127.0.0.1:{server.udp_port};transport=udp")
        assert leg.wait(lambda: leg.state == "ringing", 5)
        command(server, "ringing", earlyMedia=True, ringtone="tone:ringback")
        assert leg.wait(lambda: any(one.status == 183 for one in leg.exchange.responses), 5)
        (progress,) = [one for one in leg.exchange.responses if one.status == 183]
        assert b"m=audio" in progress.body
        command(server, "accept")
        assert leg.wait_answered()
        final = leg.exchange.final
        assert final is not None
        assert final.body == progress.body  # one answer to one offer (RFC 3261 section 13.2.1)
        assert leg.hang_up() == 200
        trunk.check()
