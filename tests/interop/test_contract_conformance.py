"""The protocol as strangers read it: a plain WebSocket and HTTP client that knows the contract alone, against the running server.

Every event is judged by its name, its fields and their types; every command that cannot be used by its one error.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import httpx
import pytest
from running_server import Server
from shared_servers import shared_server
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

BOOK = "---\nllm: {provider: script, greeting: Welcome to the bakery. We are open today.}\n---\n# Scene: main\n\n## hello\nHello.\n"
WITHOUT_TRACK = {"ping", "metrics", "addHistory", "custom"}
FIELDS: dict[str, dict[str, type]] = {
    "incoming": {"caller": str, "callee": str, "sdp": str, "headers": dict},
    "ringing": {"earlyMedia": bool},
    "answer": {"sdp": str},
    "reject": {"reason": str, "code": int},
    "hangup": {"reason": str, "initiator": str, "startTime": str, "hangupTime": str, "from": dict, "to": dict},
    "speaking": {"startTime": int},
    "silence": {"startTime": int, "duration": int},
    "asrDelta": {"index": int, "startTime": int, "endTime": int, "text": str},
    "asrFinal": {"index": int, "startTime": int, "endTime": int, "text": str},
    "trackEnd": {"duration": int, "ssrc": int},
    "interruption": {"totalDuration": int, "current": int},
    "hold": {"onHold": bool},
    "metrics": {"key": str, "duration": int, "data": dict},
    "error": {"sender": str, "error": str},
    "addHistory": {"speaker": str, "text": str},
    "custom": {"data": object},
}
BAD = [
    ("{", "not JSON"),
    ("[]", "JSON object"),
    ("{}", "command"),
    ('{"command": 5}', "command"),
    ('{"command": "jump"}', "jump"),
    ('{"command": "tts"}', "text"),
    ('{"command": "tts", "text": 5}', "text"),
    ('{"command": "tts", "text": "x", "autoHangup": "x"}', "autoHangup"),
    ('{"command": "tts", "text": "!!", "base64": true}', "text"),
    ('{"command": "play"}', "url"),
    ('{"command": "interrupt", "fadeOutMs": -1}', "fadeOutMs"),
    ('{"command": "mute", "trackId": "nobody"}', "nobody"),
    ('{"command": "history", "speaker": "a"}', "text"),
    ('{"command": "custom"}', "data"),
    ('{"command": "dtmf", "digits": "xyz"}', "digits"),
    ('{"command": "record", "action": "jump"}', "action"),
    ('{"command": "message"}', "body"),
    ('{"command": "bridge"}', "targetSessionId"),
    ('{"command": "bridge", "targetSessionId": "nobody"}', "nobody"),
    ('{"command": "refer"}', "callee"),
    ('{"command": "setVar"}', "key"),
    ('{"command": "addIceCandidate"}', "candidate"),
    ('{"command": "reject", "code": "x"}', "code"),
    ('{"command": "accept"}', "accept"),
    ('{"command": "invite", "option": {}}', "invite"),
    ('{"command": "hold"}', "hold"),
]


@pytest.fixture
def server() -> Iterator[Server]:
    with shared_server(BOOK) as running:
        yield running


def judge(event: dict[str, Any]) -> None:
    name = event["event"]
    assert abs(event["timestamp"] / 1000 - time.time()) < 300, event
    assert isinstance(event.get("trackId"), str) == (name not in WITHOUT_TRACK), event
    for field, kind in FIELDS.get(name, {}).items():
        assert isinstance(event.get(field), kind), (field, event)


class Socket:
    """One socket; every event that it gets is judged."""

    def __init__(self, server: Server, path: str, **query: str) -> None:
        url = f"ws://127.0.0.1:{server.http_port}{path}"
        self.line = connect(f"{url}?{httpx.QueryParams(query)}" if query else url, legacy=True)
        self.events: list[dict[str, Any]] = []
        self.sound: list[bytes] = []

    def send(self, command: str, **fields: Any) -> None:
        self.line.send(json.dumps({"command": command, **fields}))

    def until(self, name: str, **fields: Any) -> dict[str, Any]:
        while True:
            message = self.line.recv(timeout=60)
            if isinstance(message, bytes):
                self.sound.append(message)
                continue
            event = json.loads(message)
            judge(event)
            self.events.append(event)
            if event["event"] == name and fields.items() <= event.items():
                return dict(event)

    def names(self) -> list[str]:
        return [event["event"] for event in self.events]

    def closes(self) -> int:
        try:
            while True:
                self.line.recv(timeout=60)
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd is not None else 1006


def test_call_of_a_socket_is_told_as_the_contract_says(server: Server) -> None:
    client = Socket(server, "/call", id="conform-1", dump_events="true", server_side_track="bot")
    client.send("tts", text="too early")
    assert client.until("error")["sender"] == "command"
    client.send("accept")
    assert client.until("reject")["reason"] == "no pending call"
    client.send("invite", option={"codec": "pcm", "asr": {"sampleRate": 16_000}})
    client.until("answer")
    assert client.events[-2]["event"] == "trackStart" and client.events[-2]["trackId"] == "conform-1"
    client.send("tts", text="One moment please.", playId="p", sampleRate=1, waitInputTimeout=3)
    assert client.until("trackStart", playId="p")["trackId"] == "bot"
    client.until("trackEnd", playId="p", trackId="bot")
    assert {len(piece) for piece in client.sound} == {640}
    for text, word in BAD:
        client.line.send(text)
        error = client.until("error")
        assert (error["sender"], word in error["error"]) == ("command", True), (text, error)
    client.send("custom", sender="me", data=[1])
    assert client.until("custom")["data"] == [1]
    n_errors = client.names().count("error")
    assert n_errors == len(BAD) + 1  # one each
    for track in ("bot", "server-side-track", "conform-1", None):
        client.send("mute", trackId=track)
        client.send("unmute", track_id=track)
    client.send("history", speaker="user", text="hello there")
    client.until("addHistory", speaker="user")
    client.send("tts", text="This is a long sentence that somebody interrupts before it is over.", playId="c")
    client.until("trackStart", playId="c")
    client.send("interrupt", fadeOutMs=20)
    cut = client.until("interruption", playId="c")
    assert client.until("trackEnd", playId="c", trackId="bot")["duration"] == cut["current"]
    client.send("tts", text="Goodbye.", playId="d")
    client.send("tts", playId="d", endOfStream=True, autoHangup=True)
    assert client.until("trackEnd", trackId="conform-1")["duration"] > 0
    ended = client.until("hangup")
    assert ended["reason"] == "autohangup" and set(ended["from"]) >= {"username", "realm", "source"}
    assert all(datetime.fromisoformat(ended[name]).tzinfo for name in ("startTime", "hangupTime", "answerTime"))
    assert client.names().count("error") == n_errors
    assert client.closes() == 1000


def test_call_over_sip_is_told_as_the_contract_says(server: Server) -> None:
    client = Socket(server, "/call/sip", dump="true", ping="20")
    client.send("invite", option={"callee": f"sip:bob@127.0.0.1:{server.udp_port}", "subscribe": True})
    answer = client.until("answer")
    assert client.names()[-2:] == ["trackStart", "answer"] and "error" not in client.names()
    assert answer["trackId"].startswith("s.")
    client.until("mediaReady")
    client.send("hold")
    assert client.until("hold")["onHold"] is True
    client.send("unhold")
    assert client.until("hold")["onHold"] is False
    while {piece[0] for piece in client.sound} != {0, 1}:
        message = client.line.recv(timeout=60)
        client.sound += [message] if isinstance(message, bytes) else []
    client.send("hangup", reason="enough")
    assert client.until("hangup")["reason"] == "enough"
    assert client.closes() == 1000


def test_http_answers_as_the_contract_says(server: Server) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{server.http_port}", timeout=60) as http:
        unknown = {"status": "not_found", "id": "nobody"}
        asked = (http.get("/kill/nobody"), http.delete("/call/nobody"), http.post("/command/nobody", json={"command": "pause"}))
        assert [(answer.status_code, answer.json()) for answer in asked] == [(404, unknown)] * 3
        assert http.get("/events/nobody").status_code == 404
        assert http.get("/iceservers").json() == [{"urls": ["stun:stun.l.google.com:19302"]}]
        speech = {"command": "tts", "text": "Good day.", "cacheKey": "conform"}
        assert [http.post("/precache", json=speech).json()["status"] for _ in range(2)] == ["cached", "exists"]
        refused = http.post("/precache", json={"command": "play", "url": "x"})
        assert (refused.status_code, refused.json()["status"]) == (400, "error")
        assert http.post("/api/playbooks/conform.md", content=BOOK).status_code == 200
        assert http.get("/api/playbooks/conform.md").text == BOOK
        for name in ("..%2f..%2fetc%2fpasswd", "a%2fb.md", "x.txt"):
            answer = http.get(f"/api/playbooks/{name}")
            assert (answer.status_code, "Invalid filename" in answer.text) == (400, True)
