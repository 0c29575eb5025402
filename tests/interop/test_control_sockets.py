"""Programs that drive calls through a WebSocket, as clients of the contract do, against the running server; SIPp is the other end."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from peers.sipp import Sipp
from peers.sipp_steps import Steps, sdp
from running_server import Server, running_server
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import ServerConnection, serve

import active_call
import active_call.client.errors
from active_call.testing.sound import audio, voice

PLAYBOOK = """---
llm: {provider: script, greeting: Welcome to the bakery.}
---
# Scene: main

## hello
Hello.
"""


ALLOWS_THIS_MACHINE = '[outgoing]\nallow_private = ["127.0.0.1"]\n'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("server"), PLAYBOOK, extra=ALLOWS_THIS_MACHINE) as running:
        yield running


class Client:
    """A socket whose events are kept as they come."""

    def __init__(self, server: Server, query: str = "", path: str = "/call/sip") -> None:
        self.line: ClientConnection = connect(f"ws://127.0.0.1:{server.http_port}{path}{query}", max_size=2**20, legacy=True)
        self.events: list[dict[str, Any]] = []

    def send(self, command: str, **fields: Any) -> None:
        self.line.send(json.dumps({"command": command, **fields}))

    def until(self, name: str, timeout_s: float = 20.0, **fields: Any) -> dict[str, Any]:
        """The next event of that name; what comes before it is kept."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                event = json.loads(self.line.recv(timeout=max(deadline - time.monotonic(), 0.01)))
            except (TimeoutError, ConnectionClosed) as missing:
                raise AssertionError(f"no {name}: {missing!r} after {self.events}") from missing
            self.events.append(event)
            if event["event"] == name and fields.items() <= event.items():
                return dict(event)

    def closes(self, timeout_s: float = 10.0) -> int:
        """The code with which the server closes."""
        try:
            while True:
                self.events.append(json.loads(self.line.recv(timeout=timeout_s)))
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd is not None else 1006

    def names(self) -> list[str]:
        return [event["event"] for event in self.events]


def called(folder: Path, steps: Steps) -> Sipp:
    """The called side, which listens already."""
    sipp = Sipp(steps.write(folder / "scenario.xml"), folder, timeout_s=40)
    sipp.start()
    return sipp


def answers(*, then_waits: bool = True) -> Steps:
    steps = Steps("called").is_asked("INVITE").answer(180, "Ringing").answer(200, "OK", body=sdp()).is_asked("ACK")
    return steps.is_asked("BYE").answer(200, "OK", within=True) if then_waits else steps


def address(sipp: Sipp) -> str:
    return f"sip:+15550188@127.0.0.1:{sipp.port}"


# -- calls that the client places --------------------------------------------------------------------------------------------------------


def test_client_places_a_call_speaks_streams_text_and_hangs_up(tmp_path: Path, server: Server) -> None:
    """The SIP mode of the reference's client: its query, its commands, in its order."""
    with called(tmp_path, answers()) as sipp:
        client = Client(server, "?dump=true")
        client.send("invite", option={"callee": address(sipp), "caller": "sip:bot@127.0.0.1"})
        answer = client.until("answer")
        assert "m=audio" in answer["sdp"] and answer["trackId"]
        assert not {"error", "reject", "hangup"} & set(client.names())
        client.send("tts", text="Hello there.", playId="1", endOfStream=True, waitInputTimeout=5)
        assert client.until("trackStart")["trackId"] == "server-side-track"
        assert client.until("trackEnd")["playId"] == "1"
        client.send("history", speaker="user", text="When do you open?")
        assert client.until("addHistory", speaker="user")["text"] == "When do you open?"
        client.send("tts", text="We open at nine.", playId="2", streaming=True)
        client.send("tts", text="We close at five.", playId="2", streaming=True, endOfStream=True)
        client.send("hangup", reason="done", initiator="callee")
        assert client.until("hangup")["reason"] == "done"
        assert client.closes() == 1000
        result = sipp.result()
    assert (result.successful, result.failed) == (1, 0), result.errors


def test_call_has_the_id_that_the_client_gave_and_ends_with_its_socket(tmp_path: Path, server: Server) -> None:
    with called(tmp_path, answers()) as sipp:
        client = Client(server, "?id=my-call-7&ping_interval=5")
        client.send("invite", option={"callee": address(sipp)})
        assert client.until("answer")["trackId"] == "my-call-7"
        (listed,) = [one for one in server.get("/list")["active_calls"] if one["id"] == "my-call-7"]
        assert listed["callType"] == "sip" and listed["startTime"]
        client.line.close()
        result = sipp.result()
    assert (result.successful, result.failed) == (1, 0), result.errors
    server.wait(lambda: any(one["sessionId"] == "my-call-7" for one in server.records()), 20, "the record")
    record = next(one for one in server.records() if one["sessionId"] == "my-call-7")
    assert record["hangupReason"] == "socket closed"


def test_refused_call_is_a_reject_and_a_hangup(tmp_path: Path, server: Server) -> None:
    steps = Steps("called").is_asked("INVITE").answer(486, "Busy Here").is_asked("ACK")
    with called(tmp_path, steps) as sipp:
        client = Client(server)
        client.send("invite", option={"callee": address(sipp)})
        assert client.until("reject")["code"] == 486
        client.until("hangup")
        assert client.closes() == 1000


def test_bad_commands_are_one_error_each_that_names_the_field_and_the_call_goes_on(tmp_path: Path, server: Server) -> None:
    with called(tmp_path, answers()) as sipp:
        client = Client(server)
        client.line.send("{not json")
        client.line.send(json.dumps(["command"]))
        client.send("dance")
        client.send("tts", text="too early")
        client.send("invite", option={})
        client.send("invite", option={"callee": 7})
        errors = [client.until("error") for _ in range(6)]
        assert {error["sender"] for error in errors} == {"command"}
        for error, part in zip(errors, ["", "object", "'dance'", "invite", "option.callee", "option.callee"], strict=True):
            assert part in error["error"], error
        client.send("invite", option={"callee": address(sipp)})
        client.until("answer")
        client.send("invite", option={"callee": address(sipp)})
        assert "already" in client.until("error")["error"]
        client.send("tts", text=5)
        assert client.until("error")["error"].startswith("text:")
        client.send("bridge", targetSessionId="nobody")
        assert client.until("error")["error"] == "bridge: there is no call 'nobody'"
        client.line.send(b"\x00\x01")
        assert "sound" in client.until("error")["error"]
        client.send("hangup")
        client.until("hangup")
        result = sipp.result()
    assert (result.successful, result.failed) == (1, 0), result.errors


def test_detached_call_outlives_its_socket_and_is_joined_again_with_what_was_missed(tmp_path: Path, server: Server) -> None:
    session_id = f"kept-{uuid.uuid4()}"
    with called(tmp_path, answers()) as sipp:
        client = Client(server, f"?id={session_id}&detach=true")
        client.send("invite", option={"callee": address(sipp)})
        last_seen = client.until("answer")["seq"]
        client.line.close()
        server.post(f"/command/{session_id}", {"command": "history", "speaker": "user", "text": "Anybody there?"})
        time.sleep(0.3)
        again, listener = Client(server, f"?id={session_id}&since={last_seen}"), Client(server, f"?id={session_id}")
        missed = again.until("addHistory")
        assert missed["text"] == "Anybody there?" and missed["seq"] > last_seen
        again.line.close()
        time.sleep(0.3)
        assert any(one["id"] == session_id for one in server.get("/list")["active_calls"])
        listener.send("hangup", reason="enough")
        assert listener.until("hangup")["reason"] == "enough"
        result = sipp.result()
    assert (result.successful, result.failed) == (1, 0), result.errors


def test_playbook_that_waits_for_the_id_holds_the_conversation(tmp_path: Path, server: Server) -> None:
    run = server.post("/api/playbook/run", {"playbook": "main.md", "type": "sip"})
    with called(tmp_path, answers()) as sipp:
        client = Client(server, f"?id={run['session_id']}")
        client.send("invite", option={"callee": address(sipp)})
        assert client.until("addHistory")["text"] == "Welcome to the bakery."
        client.send("hangup")
        client.until("hangup")
        assert sipp.result().successful == 1


# -- calls that come in ------------------------------------------------------------------------------------------------------------------


@contextmanager
def webhook(answer: Callable[[dict[str, Any]], tuple[int, bytes]]) -> Iterator[str]:
    class Service(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, answered = answer(body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(answered)))
            self.end_headers()
            self.wfile.write(answered)

        def log_message(self, *_: object) -> None:
            return

    http = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}/hook"
    finally:
        http.shutdown()
        http.server_close()


def serve_caller(server: Server, dialog_id: str, seen: list[Client], *, hang_up: bool) -> None:
    client = Client(server, f"?id={dialog_id}&dump=true")
    seen.append(client)
    client.send("ringing")
    client.send("accept", option={"asr": {"sampleRate": 16000}})
    time.sleep(0.3)  # it does not wait for `answer`
    client.send("tts", text="Good morning.")
    client.until("answer")
    client.until("trackEnd")
    client.send("interrupt", graceful=True)  # nothing plays: no error
    client.send("history", speaker="user", text="Hello.")
    client.until("addHistory")
    assert "error" not in client.names()
    if hang_up:
        client.send("hangup")
        client.until("hangup")
    else:
        client.line.close()


@pytest.mark.parametrize(
    ("hang_up", "when"),
    [
        pytest.param(True, "before its 200", id="hangs up-before its 200"),
        pytest.param(False, "after its 200", id="closes its socket-after its 200"),
    ],
)
def test_service_connects_to_the_call_that_the_webhook_told_of(tmp_path: Path, hang_up: bool, when: str) -> None:
    """The webhook mode of the reference's client: `ringing`, `accept`, `tts` without playId."""
    seen: list[Client] = []
    told: list[dict[str, Any]] = []
    threads: list[threading.Thread] = []

    def answer(body: dict[str, Any]) -> tuple[int, bytes]:
        told.append(body)
        begins = threading.Event()

        def go() -> None:
            if when == "after its 200":
                begins.wait(0.5)
            serve_caller(running, body["dialogId"], seen, hang_up=hang_up)

        threads.append(threading.Thread(target=go, daemon=True))
        threads[-1].start()
        if when == "before its 200":
            time.sleep(0.4)
        return 200, b'{"message": "OK"}'

    with webhook(answer) as url:
        handler = f'[handler]\ntype = "webhook"\nurl = "{url}"\nmethod = "POST"'
        with running_server(tmp_path / "server", PLAYBOOK, handler=handler) as running:
            steps = Steps("calls").invite().gets(100, optional=True).gets(180, optional=True).gets(200, to="1 INVITE", makes_route=True)
            steps.ack().is_asked("BYE").answer(200, "OK", within=True)
            scenario = steps.write(tmp_path / "caller.xml")
            with Sipp(scenario, tmp_path / "caller", target=f"127.0.0.1:{running.udp_port}", timeout_s=30) as sipp:
                result = sipp.result()
            assert (result.successful, result.failed) == (1, 0), result.errors + running.log[-3000:]
            threads[0].join(10)
            (record,) = running.wait_records(1)
            assert record["sessionId"] == told[0]["dialogId"]
            assert record["sipCode"] is None or record["sipCode"] == 200


def test_accept_without_a_call_is_told_so(server: Server) -> None:
    client = Client(server, "?id=nobody")
    client.send("accept", option={})
    event = client.until("reject")
    assert (event["reason"], event["code"]) == ("no pending call", 486)
    client.line.close()


# -- the socket itself -------------------------------------------------------------------------------------------------------------------


def test_first_ping_comes_at_once_and_says_the_time(server: Server) -> None:
    heard: list[bytes] = []
    client = Client(server, "?ping=1")
    receive = client.line.process_event

    def watch(event: Any) -> None:
        if getattr(event, "opcode", None) == 9:
            heard.append(bytes(event.data))
        receive(event)

    client.line.process_event = watch  # type: ignore[method-assign]
    deadline = time.monotonic() + 5
    while len(heard) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    client.line.close()
    assert len(heard) >= 2
    assert abs(datetime.fromisoformat(heard[0].decode()).timestamp() - time.time()) < 10


@pytest.mark.parametrize(
    ("query", "part"),
    [
        ("?ping=often", "ping"),
        ("?detach=perhaps", "detach"),
        ("?since=-1", "since"),
        ("?id=" + "x" * 300, "id"),
        ("?ping_interval=1e9", "ping_interval"),
    ],
)
def test_query_that_cannot_be_used_is_a_400_that_names_the_parameter(server: Server, query: str, part: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        Client(server, query)
    assert refused.value.response.status_code == 400
    assert json.loads(refused.value.response.body)["error"].startswith(f"{part}:")


def test_token_is_asked_for_and_may_stand_in_the_query(tmp_path: Path) -> None:
    with running_server(tmp_path / "server", PLAYBOOK, extra='http_token = "s3cret"') as running:
        for query in ("", "?token=wrong"):
            with pytest.raises(InvalidStatus) as refused:
                Client(running, query)
            assert refused.value.response.status_code == 401
        client = Client(running, "?token=s3cret")
        client.send("accept")
        client.until("reject")
        client.line.close()
        assert "s3cret" not in running.log


def test_socket_of_a_foreign_page_is_refused(server: Server) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://127.0.0.1:{server.http_port}/call/sip", origin="https://evil.example")  # type: ignore[arg-type]
    assert refused.value.response.status_code == 403


def test_unknown_calls_are_404_with_a_body(server: Server) -> None:
    for path, body in (("/kill/nobody", None), ("/command/nobody", b'{"command": "interrupt"}')):
        request = urllib.request.Request(f"http://127.0.0.1:{server.http_port}{path}", body, {"Content-Type": "application/json"})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=30)
        assert refused.value.code == 404
        assert json.loads(refused.value.read()) == {"status": "not_found", "id": "nobody"}


def test_playbook_is_read_and_written_as_text(server: Server) -> None:
    url = f"http://127.0.0.1:{server.http_port}/api/playbooks/written.md"
    for content_type in ("text/plain;charset=UTF-8", "text/markdown", "application/x-www-form-urlencoded"):
        request = urllib.request.Request(url, PLAYBOOK.encode(), {"Content-Type": content_type}, method="POST")
        assert urllib.request.urlopen(request, timeout=30).status == 200
    with urllib.request.urlopen(url, timeout=30) as response:
        assert re.match("text/markdown", response.headers["Content-Type"])
        assert response.read().decode() == PLAYBOOK


# -- calls whose sound goes over the socket ----------------------------------------------------------------------------------------------


class Speaker(Client):
    """A client of `/call`, which sends and hears sound."""

    def __init__(self, server: Server, query: str = "") -> None:
        super().__init__(server, query, path="/call")
        self.sound: list[bytes] = []

    def until(self, name: str, timeout_s: float = 20.0, **fields: Any) -> dict[str, Any]:
        deadline = time.monotonic() + timeout_s
        while True:
            message = self.line.recv(timeout=max(deadline - time.monotonic(), 0.01))
            if isinstance(message, bytes):
                self.sound.append(message)
                continue
            event = json.loads(message)
            self.events.append(event)
            if event["event"] == name and fields.items() <= event.items():
                return dict(event)

    def hears(self) -> None:
        """Return when there was sound."""
        deadline = time.monotonic() + 10
        while loudness(self.sound) < 100:
            assert time.monotonic() < deadline, "nothing is heard"
            message = self.line.recv(timeout=10)
            if isinstance(message, bytes):
                self.sound.append(message)

    def speak(self, sound: bytes, frame: int) -> None:
        """In real time, a message of `frame` bytes each 20 ms, from a thread of its own."""

        def go() -> None:
            begun = time.monotonic()
            for n, at in enumerate(range(0, len(sound), frame)):
                time.sleep(max(0.0, begun + n * 0.02 - time.monotonic()))
                with suppress(ConnectionClosed):
                    self.line.send(sound[at : at + frame])

        threading.Thread(target=go, daemon=True).start()


@pytest.mark.parametrize(
    ("query", "codec", "rate_hz"),
    [
        ("?rate=24000", "pcm", 24_000),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in (("", "pcm", 16_000), ("?rate=8000", "pcm", 8000), ("", "pcmu", 8000))),
    ],
)
def test_client_with_sound_hears_the_agent_and_is_heard(server: Server, query: str, codec: str, rate_hz: int) -> None:
    """`tests/legs/websocket/test_formats` holds each format; the other ones are slow here."""
    client = Speaker(server, query)
    client.send("invite", option={"codec": codec, "caller": "page", "asr": {"extra": {"phrases": ["hello"]}}})
    client.until("answer")
    client.send("tts", text="Good morning to you.", playId="1")
    client.until("trackEnd", playId="1")
    heard = b"".join(client.sound)
    pcm = audio.MULAW.decode(heard) if codec == "pcmu" else np.frombuffer(heard, "<i2")
    assert 0.5 < len(pcm) / rate_hz < 15
    assert np.sqrt(np.mean(pcm.astype(float) ** 2)) > 200
    words = audio.resample(voice.speak("hello"), 8000, rate_hz)
    speech = np.concatenate((audio.silence(1000, rate_hz), words, audio.silence(1500, rate_hz))).astype("<i2")
    client.speak(audio.MULAW.encode(speech) if codec == "pcmu" else speech.tobytes(), rate_hz // 50 * (1 if codec == "pcmu" else 2))
    assert client.until("speaking")["trackId"]
    final = client.until("asrFinal")
    assert abs(final["startTime"] / 1000 - time.time()) < 30 and final["endTime"] >= final["startTime"]
    client.send("hangup")
    client.until("hangup")
    assert client.closes() == 1000


def test_playbook_talks_over_the_socket(server: Server) -> None:
    run = server.post("/api/playbook/run", {"playbook": "main.md", "type": "websocket"})
    client = Speaker(server, f"?id={run['session_id']}")
    client.send("invite", option={})
    assert client.until("addHistory")["text"] == "Welcome to the bakery."
    assert np.sqrt(np.mean(np.frombuffer(b"".join(client.sound), "<i2").astype(float) ** 2)) > 100
    (listed,) = [one for one in server.get("/list")["active_calls"] if one["id"] == run["session_id"]]
    assert listed["callType"] == "webSocket"
    client.line.close()
    server.wait(lambda: not server.get("/list")["active_calls"], 10, "the end of the call")


@pytest.mark.parametrize("keeps", ["linger=30", "detach=true"])
def test_client_that_comes_back_hears_the_call_and_is_heard_again(server: Server, keeps: str) -> None:
    session_id = f"back-{uuid.uuid4()}"
    client = Speaker(server, f"?id={session_id}&{keeps}")
    client.send("invite", option={})
    last_seen = client.until("answer")["seq"]
    client.line.close()
    control = Client(server, f"?id={session_id}&detach=true")  # has no sound
    again = Speaker(server, f"?id={session_id}&{keeps}&since={last_seen}")
    listener = Speaker(server, f"?id={session_id}&detach=true")
    control.send("tts", text="Good morning to you.", playId="1")
    again.until("trackEnd", playId="1")
    assert loudness(again.sound) > 100
    listener.until("trackEnd", playId="1")
    assert listener.sound == []
    speech = np.concatenate((audio.resample(voice.speak("hello"), 8000, 16_000), audio.silence(1500, 16_000))).astype("<i2")
    again.speak(speech.tobytes(), 640)
    control.until("speaking")
    control.send("hangup")
    assert again.until("hangup")["reason"]
    with pytest.raises(InvalidStatus) as over:  # nothing is left to be joined
        Speaker(server, f"?id={session_id}&{keeps}&since={last_seen}")
    assert over.value.response.status_code == 404


def test_sound_that_is_none_is_an_error_and_the_call_goes_on(server: Server) -> None:
    client = Speaker(server)
    client.send("invite", option={"codec": "mp3"})
    assert "option.codec" in client.until("error")["error"]
    client.send("invite", option={"codec": "opus"})
    client.until("answer")
    client.line.send(b"\xff" * 3000)
    assert "Opus" in client.until("error")["error"]
    client.send("hangup")
    client.until("hangup")


def test_subscribed_sound_of_a_sip_call_comes_as_binary_messages(tmp_path: Path, server: Server) -> None:
    with called(tmp_path, answers()) as sipp:
        client = Speaker(server)
        client.line.close()
        client.line = connect(f"ws://127.0.0.1:{server.http_port}/call/sip", max_size=2**20, legacy=True)
        client.send("invite", option={"callee": address(sipp), "subscribe": True})
        client.until("answer")
        client.send("tts", text="Good morning to you.", playId="1")
        client.until("trackEnd", playId="1")
        client.send("hangup")
        client.until("hangup")
        assert sipp.result().successful == 1
    ours = b"".join(message[1:] for message in client.sound if message[0] == 0)
    assert 0.5 < len(ours) / 32_000 < 30
    assert np.sqrt(np.mean(np.frombuffer(ours, "<i2").astype(float) ** 2)) > 100


# -- what commands do to the call --------------------------------------------------------------------------------------------------------


def test_sentences_as_the_reference_client_streams_them_are_all_heard_in_order(server: Server) -> None:
    """Each sentence is a whole `tts` of one playId; the last has no text, ends the stream and hangs up."""
    client = Speaker(server)
    client.send("invite", option={})
    client.until("answer")
    for text in ("We open at nine.", "We close at five.", "Goodbye."):
        client.send("tts", text=text, playId="reply-1")
    client.send("tts", text="", playId="reply-1", endOfStream=True, autoHangup=True)
    assert client.until("hangup")["reason"] == "autohangup"
    assert client.closes() == 1000
    assert "interruption" not in client.names()
    heard_s = sum(map(len, client.sound)) / 32_000
    ends = [event for event in client.events if event["event"] == "trackEnd"]
    assert [event["trackId"] for event in ends][-1] not in ("server-side-track", "")  # the client's own sound, at the end
    told_s = sum(event["duration"] for event in ends if event["trackId"] == "server-side-track") / 1000
    assert told_s > 2.5 and heard_s == pytest.approx(told_s, abs=1.0)
    assert not {"asrDelta", "asrFinal"} & set(client.names())


def loudness(pieces: list[bytes]) -> float:
    samples = np.frombuffer(b"".join(pieces), "<i2").astype(float)
    return float(np.sqrt(np.mean(samples**2))) if len(samples) else 0.0


def test_bridged_clients_hear_each_other_until_they_are_parted(server: Server) -> None:
    one, other = Speaker(server, "?id=bridge-1"), Speaker(server, "?id=bridge-2")
    for client in (one, other):
        client.send("invite", option={})
        client.until("answer")
    one.send("bridge", targetSessionId="bridge-2")
    one.until("bridge", state="joined")
    other.until("bridge", state="joined")
    other.sound.clear()
    words = audio.resample(voice.speak("hello"), 8000, 16_000)
    one.speak(np.concatenate((words, words, audio.silence(500, 16_000))).astype("<i2").tobytes(), 640)
    other.hears()
    one.send("unbridge", targetSessionId="bridge-2")
    assert one.until("bridge", state="parted")["targetSessionId"] == "bridge-2"
    other.until("bridge", state="parted")
    assert server.get("/kill/bridge-1") == {"status": "killed", "id": "bridge-1"}
    assert one.until("hangup")["reason"] == "killed"
    other.send("hangup")
    other.until("hangup")


def test_sound_passes_through_a_service_and_back(server: Server) -> None:
    """`mediaPass`: a service that says what it hears, an octave of rates apart."""
    got: list[bytes] = []

    def serve_sound(line: ServerConnection) -> None:
        for message in line:
            got.append(message if isinstance(message, bytes) else b"")
            line.send(message)

    with serve(serve_sound, "127.0.0.1", 0) as service:
        threading.Thread(target=service.serve_forever, daemon=True).start()
        url = f"ws://127.0.0.1:{service.socket.getsockname()[1]}/sound"
        client = Speaker(server)
        client.send("invite", option={"mediaPass": {"url": url, "inputSampleRate": 16000, "outputSampleRate": 16000, "packetSize": 640}})
        client.until("answer")
        words = audio.resample(voice.speak("hello"), 8000, 16_000)
        client.speak(np.concatenate((words, words, audio.silence(1500, 16_000))).astype("<i2").tobytes(), 640)
        assert client.until("trackStart")["playId"] == "media-pass"
        client.hears()
        client.send("hangup")
        client.until("hangup")
        service.shutdown()
    assert {len(message) for message in got} == {640}


def test_event_stream_tells_commands_and_events(server: Server) -> None:
    client = Client(server, "?id=streamed", path="/call")
    client.send("invite", option={})
    with urllib.request.urlopen(f"http://127.0.0.1:{server.http_port}/events/streamed", timeout=10) as stream:
        server.post("/command/streamed", {"command": "custom", "data": {"a": 1}, "sender": "crm"})
        server.post("/command/streamed", {"command": "hangup", "reason": "enough"})
        lines = [line.decode().rstrip() for line in stream]
    told = list(itertools.pairwise(lines))
    assert ("event: command", 'data: {"command":"custom","data":{"a":1},"sender":"crm"}') in told
    kinds = [line for line in lines if line.startswith("event:")]
    assert kinds.count("event: command") == 2 and kinds[-1] == "event: event"
    assert '"hangup"' in lines[-3] or '"hangup"' in lines[-2]
    client.line.close()


def test_python_client_places_a_call_is_heard_and_listens_in(tmp_path: Path, server: Server) -> None:
    async def story(callee: str) -> None:
        async with active_call.Client(f"http://127.0.0.1:{server.http_port}") as client:
            async with client.call(callee) as call:
                assert [one["id"] for one in await client.list()] == [call.id]
                sound: list[bytes] = []

                async def listen() -> None:
                    sound.extend([piece async for piece in client.listen(call.id)])

                listening = asyncio.create_task(listen())
                await asyncio.sleep(0.3)
                assert await call.say("Good morning to you.") == "Good morning to you."
                await call.whisper("Be kind.")
                assert call._socket is not None
                call._socket.transport.abort()  # the network breaks
                assert await call.say("And good night.") == "And good night."
            await asyncio.wait_for(listening, 10)
            wav = b"".join(sound)
            assert wav[:4] == b"RIFF" and loudness([wav[44 : 44 + (len(wav) - 44) // 4 * 4]]) > 100
            told = [type(event).__name__ async for event in call.events()]
            assert told.count("TrackEnd") == 2 and told[-1] == "Hangup" and told.count("Answer") == 1
            with pytest.raises(active_call.client.errors.CallOver):
                await client.kill(call.id)

    with called(tmp_path, answers()) as sipp:
        asyncio.run(story(address(sipp)))
        assert sipp.result().successful == 1
