"""Calls in G.722 and Opus with baresip: an independent user agent with independent codecs; speech judged from the audio on both sides."""

from __future__ import annotations

import json
import time
from pathlib import Path

import av
import numpy as np
import pytest
from peers.baresip import G722, OPUS, Baresip
from shared_servers import shared_server
from test_baresip_calls import PLAYBOOK, judge, question
from websockets.sync.client import connect

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


def test_tones_asked_for_before_and_after_the_answer_have_one_pitch(tmp_path: Path) -> None:
    with (
        shared_server(PLAYBOOK, extra=CODECS) as server,
        Baresip(tmp_path / "called", speech=question(), answers=True, codec=G722) as called,
        connect(f"ws://127.0.0.1:{server.http_port}/call/sip", legacy=True) as line,
    ):
        called.start()
        line.send(json.dumps({"command": "invite", "option": {"callee": called.uri}}))
        for play_id in ("early", "late"):
            line.send(json.dumps({"command": "play", "url": "tone:440/600000", "playId": play_id}))
            event: dict[str, object] = {}
            while event.get("event") != "trackStart" or event.get("playId") != play_id:
                event = json.loads(line.recv(timeout=30))
            time.sleep(1.5)
        line.send(json.dumps({"command": "hangup"}))
        assert called.wait_for("terminated")
        called.stop()
        halves = np.array_split(_sound(called.heard), 2)
        assert [round(_pitch(half, 16_000), -1) for half in halves] == [440, 440]


def _sound(path: Path) -> np.ndarray:  # type: ignore[type-arg]
    with av.open(str(path)) as file:
        return np.concatenate([frame.to_ndarray().reshape(-1) for frame in file.decode(audio=0)]).astype(float)


def _pitch(sound: np.ndarray, rate_hz: int) -> float:  # type: ignore[type-arg]
    return float(np.abs(np.fft.rfft(sound))[1:].argmax() + 1) * rate_hz / len(sound)
