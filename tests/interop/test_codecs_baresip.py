"""Calls in G.722 and Opus with baresip: an independent user agent with independent codecs; speech judged from the audio on both sides."""

from __future__ import annotations

from pathlib import Path

import pytest
from peers.baresip import G722, OPUS, Baresip
from shared_servers import shared_server
from test_baresip_calls import PLAYBOOK, judge, question

CODECS = 'codecs = ["opus", "g722", "pcmu", "telephone_event"]'
CASES = [
    (OPUS, "opus/48000/2", True),
    (G722, "G722/8000", False),
    pytest.param(OPUS, "opus/48000/2", False, marks=pytest.mark.slow),
    pytest.param(G722, "G722/8000", True, marks=pytest.mark.slow),
]
"""Each codec, with SRTP and without; the other two pairs are slow."""
IDS = ["opus-srtp", "g722", "opus", "g722-srtp"]


def answer_of(record: dict) -> str:  # type: ignore[type-arg]
    return str(next(event["sdp"] for event in record["events"] if event["event"] == "answer"))


@pytest.mark.parametrize(("codec", "rtpmap", "srtp"), CASES, ids=IDS)
def test_baresip_dials_in_with_a_wide_band_codec_and_the_two_understand_each_other(
    tmp_path: Path, codec: str, rtpmap: str, srtp: bool
) -> None:
    transport = "tls" if srtp else "udp"
    with (
        shared_server(PLAYBOOK, extra=CODECS) as server,
        Baresip(tmp_path / "caller", speech=question(), transport=transport, srtp=srtp, codec=codec) as caller,
    ):
        port = server.tls_port if srtp else server.udp_port
        caller.start(dial=f"sip:bakery@127.0.0.1:{port};transport={transport}")
        assert caller.wait_established(), caller.log + server.log
        (record,) = server.wait_records(1, 40)
        caller.stop()
        judge(record, caller.heard)
        assert rtpmap in answer_of(record)
        assert record["media"]["packets_lost"] == 0


@pytest.mark.parametrize(
    ("codec", "rtpmap"), [pytest.param(OPUS, "opus/48000/2", marks=pytest.mark.slow), (G722, "G722/8000")], ids=["opus", "g722"]
)
def test_post_call_rings_a_baresip_that_speaks_only_a_wide_band_codec(tmp_path: Path, codec: str, rtpmap: str) -> None:
    """Opus is slow: a baresip that dials in speaks it (above), and the offer of ours is `tests/sdp`'s."""
    with (
        shared_server({"main.md": PLAYBOOK, "sales.md": PLAYBOOK}, extra=CODECS) as server,
        Baresip(tmp_path / "called", speech=question(), transport="tls", srtp=True, answers=True, codec=codec) as called,
    ):
        called.start()
        server.post("/call", {"callee": called.uri, "playbook": "sales.md", "sip": {"enableSrtp": True}})
        (record,) = server.wait_records(1, 40)
        called.stop()
        judge(record, called.heard)
        assert rtpmap in answer_of(record)
