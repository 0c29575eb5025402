"""SIPp asks the server for every kind of offer inside and at the start of a call; SIPp's own parser judges each answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from peers.sipp import Result, Sipp
from peers.sipp_steps import Steps, sdp
from running_server import Server, running_server

PLAYBOOK = "---\nllm: {provider: script}\ngreeting: Hello.\n---\n# Scene: main\n\n## hello\nHello.\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("server"), PLAYBOOK, extra="media_workers = 1") as running:
        yield running


def play(steps: Steps, folder: Path, server: Server, *, transport: str = "u1") -> tuple[Result, dict[str, Any]]:
    """Run the scenario once against the server; the result and the call's record."""
    n_before = len(server.records())
    scenario = steps.write(folder / "scenario.xml")
    with Sipp(scenario, folder, target=f"127.0.0.1:{server.udp_port}", transport=transport, timeout_s=20) as sipp:
        result = sipp.result()
    assert (result.successful, result.failed) == (1, 0), result.errors + server.log[-1500:]
    return result, server.wait_records(n_before + 1, 10)[-1]


def established(body: str | None = None, *, headers: str = "") -> Steps:
    """A call that is answered."""
    steps = Steps("calls").invite(body, headers=headers).gets(100, optional=True).gets(180, optional=True)
    return steps.gets(200, to="1 INVITE", makes_route=True, body="m=audio [0-9]+ RTP/AVP 0 101").ack()


def hung_up(steps: Steps, cseq: int) -> Steps:
    return steps.ask("BYE", cseq=cseq).gets(200, to=f"{cseq} BYE")


def holds_of(record: dict[str, Any]) -> list[bool]:
    return [event["onHold"] for event in record["events"] if event["event"] == "hold"]


@pytest.mark.parametrize(
    ("offer", "answered"),
    [
        (sdp("sendonly", version=2), "a=recvonly"),
        (sdp("inactive", version=2), "a=inactive"),
        (sdp(version=2, address="0.0.0.0"), "a=(recvonly|inactive)"),
        (sdp("sendonly", version=2, address="0.0.0.0"), "a=recvonly"),
    ],
    ids=["sendonly", "inactive", "0.0.0.0", "sendonly at 0.0.0.0"],
)
@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_hold_and_resume_are_answered_as_rfc3264_8_4_says(tmp_path: Path, server: Server, method: str, offer: str, answered: str) -> None:
    steps = established().ask(method, cseq=2, body=offer)
    steps.gets(100, optional=True).gets(200, to=f"2 {method}", body=answered)
    if method == "INVITE":
        steps.ack(cseq=2)
    steps.ask(method, cseq=3, body=sdp(version=3)).gets(100, optional=True).gets(200, to=f"3 {method}", body="a=sendrecv")
    if method == "INVITE":
        steps.ack(cseq=3)
    _, record = play(hung_up(steps, 4), tmp_path, server)
    assert holds_of(record) == [True, False]
    assert (record["hangupBy"], record["error"]) == ("caller", None)


@pytest.mark.parametrize("transport", ["u1", "t1"])
def test_delayed_offer_is_made_in_the_200_and_taken_from_the_ack(tmp_path: Path, server: Server, transport: str) -> None:
    steps = Steps("calls").invite("").gets(100, optional=True).gets(180, optional=True)
    steps.gets(200, to="1 INVITE", makes_route=True, has={"Content-Type": "application/sdp"}, body="m=audio [1-9][0-9]* RTP/AVP")
    steps.ack(body=sdp())
    steps.ask("INVITE", cseq=2).gets(100, optional=True).gets(200, to="2 INVITE", body="m=audio [1-9][0-9]* RTP/AVP")
    steps.ack(cseq=2, body=sdp(version=2))
    _, record = play(hung_up(steps, 3), tmp_path, server, transport=transport)
    assert (record["status"], record["error"]) == ("answered", None)


def test_update_without_a_description_refreshes_the_target_only(tmp_path: Path, server: Server) -> None:
    steps = established().ask("UPDATE", cseq=2).gets(200, to="2 UPDATE", has={"Contact": "sip:", "Allow": "UPDATE"})
    _, record = play(hung_up(steps, 3), tmp_path, server)
    assert holds_of(record) == []


def test_offer_that_cannot_be_met_is_refused_and_the_call_goes_on(tmp_path: Path, server: Server) -> None:
    strange = sdp(version=2).replace("RTP/AVP 0 101", "RTP/AVP 18").replace("a=rtpmap:0 PCMU/8000", "a=rtpmap:18 G729/8000")
    steps = established().ask("INVITE", cseq=2, body=strange).gets(100, optional=True).gets(488, to="2 INVITE").ack_refusal(cseq=2)
    steps.ask("INVITE", cseq=3, body=sdp(version=3)).gets(100, optional=True).gets(200, to="3 INVITE").ack(cseq=3)
    _, record = play(hung_up(steps, 4), tmp_path, server)
    assert (record["hangupBy"], record["hangupReason"]) == ("caller", "remote_bye")


def test_message_and_info_of_the_caller_become_events(tmp_path: Path, server: Server) -> None:
    steps = established().ask("MESSAGE", cseq=2, body="guten Tag", content_type="text/plain").gets(200, to="2 MESSAGE")
    steps.ask("INFO", cseq=3, body="Signal=5\nDuration=160", content_type="application/dtmf-relay").gets(200, to="3 INFO")
    steps.ask("INFO", cseq=4, body="#", content_type="application/dtmf").gets(200, to="4 INFO")
    steps.ask("OPTIONS", cseq=5).gets(200, to="5 OPTIONS", has={"Allow": "MESSAGE"})
    _, record = play(hung_up(steps, 6), tmp_path, server)
    told = [
        (event["event"], (event.get("body") or event["digit"]).strip())
        for event in record["events"]
        if event["event"] in ("message", "dtmf")
    ]
    assert told == [("message", "guten Tag"), ("dtmf", "5"), ("dtmf", "#")]
