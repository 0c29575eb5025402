"""Files and hosts that somebody outside names, against a real server with a call up: nothing is read, nothing inside is asked.

A web server of loopback stands for what is private; it must never hear from the server under test unless the operator has listed it.
"""

from __future__ import annotations

import http.server
import io
import json
import threading
import time
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from running_server import Server
from speechless_server import speechless_server

from active_call.testing.phone.user_agent import Phone

PLAYBOOK = "---\nllm: {provider: script}\ngreeting: Hello.\n---\n# Scene: main\n## goodbye\nBye. <hangup/>\n"


class Private:
    """The web server that must not be asked."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.body = b""
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner.paths.append(self.path)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(owner.body)

            do_POST = do_GET  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def a_call(server: Server, callee: str = "bakery") -> Iterator[tuple[Phone, str]]:
    """A call that is up, and its session id."""
    with Phone() as phone:
        phone.dial(f"sip:{callee}@127.0.0.1:{server.udp_port}")
        assert phone.wait_answered(10), phone.responses
        calls = server.get("/list")["active_calls"]
        yield phone, calls[-1]["id"]
        phone.hang_up()
        phone.wait_ended(5)


@pytest.fixture(scope="module")
def private() -> Iterator[Private]:
    private = Private()
    yield private
    private.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, private: Private) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    for name in ("sounds/good.wav", "recordings/other.wav", "outside.wav"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with wave.open(str(folder / name), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8000)
            file.writeframes(b"\1\0" * 800)
    (folder / "sounds/link.wav").symlink_to(folder / "recordings/other.wav")
    with speechless_server(folder, PLAYBOOK, recording=True) as running:
        yield running


def events_after(server: Server, session_id: str, command: dict[str, Any]) -> None:
    assert server.post(f"/command/{session_id}", command)["status"] == "sent"


def finished_record(server: Server, session_id: str) -> dict[str, Any]:
    record: dict[str, Any] = {}

    def is_there() -> bool:
        try:
            record.update(server.get(f"/api/records/{session_id}"))
        except OSError:
            return False
        return bool(record.get("endTime") or record.get("hangupReason"))

    server.wait(is_there, 15, "the record")
    return record


def test_only_sounds_are_played_and_nothing_private_is_asked(server: Server, private: Private) -> None:
    here = server.folder
    refused = [
        "file:///etc/passwd", "/etc/passwd", "../outside.wav", "outside.wav", f"{here}/recordings/other.wav", "recordings/other.wav",
        "sounds/../recordings/other.wav", "sounds/link.wav", "file:///proc/self/environ", f"{private.url}/a.wav",
        private.url.replace("127.0.0.1", "localhost") + "/b.wav", private.url.replace("127.0.0.1", "[::ffff:127.0.0.1]") + "/c.wav",
        private.url.replace("http", "HTTP") + "/d.wav", f"http://127.0.0.1:{server.http_port}/health",
    ]  # fmt: skip
    with a_call(server) as (_, session_id):
        for source in refused:
            events_after(server, session_id, {"command": "play", "url": source})
            time.sleep(0.15)
        events_after(server, session_id, {"command": "hold", "moh": f"{private.url}/hold.wav"})
        time.sleep(0.3)
        events_after(server, session_id, {"command": "unhold"})
        events_after(server, session_id, {"command": "play", "url": "sounds/good.wav"})
        time.sleep(2.0)  # it is silent: nothing but the record tells that it was played
    record = finished_record(server, session_id)
    errors = [event["error"] for event in record["events"] if event["event"] == "error" and event["sender"] == "play"]
    played = {event.get("playId") for event in record["events"] if event["event"] == "trackStart"}
    assert len(errors) >= len(refused)
    assert "sounds/good.wav" in played
    assert not played & set(refused)
    assert private.paths == []


def test_recordings_are_for_this_user_alone_and_do_not_leave_their_folder(server: Server) -> None:
    with a_call(server):
        time.sleep(0.5)
    recordings = [path for path in (server.folder / "recordings").rglob("*.wav") if path.name != "other.wav"]
    assert recordings
    assert {path.stat().st_mode & 0o077 for path in recordings} == {0}
    option = {"recorder": {"recorderFile": "../stolen.wav"}}
    with pytest.raises(OSError, match="400"):
        server.post("/call", {"callee": "sip:x@127.0.0.1:9", "playbook": "main.md", "option": option})


def test_endpoint_of_a_clients_choice_is_guarded(server: Server, private: Private) -> None:
    option = {"provider": "openai", "endpoint": f"{private.url}/v1", "apiKey": "k", "model": "tts-1"}
    with pytest.raises(OSError, match="500"):
        server.post("/precache", {"text": "hello", "option": option})
    assert private.paths == []


def test_keys_of_the_media_leave_no_trace(server: Server) -> None:
    with Phone(profile="trunk") as phone:
        phone.dial(f"sip:bakery@127.0.0.1:{server.udp_port}", srtp=True)
        assert phone.wait_answered(10), phone.responses
        session_id = server.get("/list")["active_calls"][-1]["id"]
        phone.hang_up()
        phone.wait_ended(5)
    text = json.dumps(finished_record(server, session_id))
    assert "a=crypto" in text
    assert "inline:" not in text
    assert "inline:" not in server.log


def test_agent_asks_only_what_its_playbook_lists(tmp_path: Path) -> None:
    listed, other = Private(), Private()
    book = f"""---
llm: {{provider: script}}
greeting: Hello.
---
# Scene: main
## press 1
One. <http url="{listed.url}/listed?who={{{{ caller }}}}" set_var="a"/>
## press 2
Two. <http url="http://{{{{ where }}}}/x" set_var="b"/>
"""
    try:
        with speechless_server(tmp_path, book) as server, a_call(server) as (phone, session_id):
            events_after(server, session_id, {"command": "setVar", "key": "where", "value": other.url.removeprefix("http://")})
            for digit in "12":
                phone.press(digit)
                time.sleep(1.0)
            server.wait(lambda: bool(listed.paths), 5, "the request to the place that is listed")
            time.sleep(0.5)
        assert listed.paths[0].startswith("/listed?who=")
        assert other.paths == []
    finally:
        listed.close()
        other.close()


RULES = """[handler]
type = "playbook"
default = "main.md"
[[handler.rules]]
callee = "corp"
playbook = "inside/corp.md"
"""


def a_sound() -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\1\0" * 800)
    return buffer.getvalue()


def test_hosts_and_folders_of_one_playbook_are_for_its_own_calls_alone(tmp_path: Path, private: Private) -> None:
    """The call of `corp.md` may fetch from its host and play from its folder; a call of `main.md` gets neither, also not from the cache."""
    inner, private.body = f"{private.url}/corp.wav", a_sound()
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside/welcome.wav").write_bytes(a_sound())
    (tmp_path / "inside/corp.md").write_text(PLAYBOOK.replace("main\n", f'main\n<play file="{inner}"/>\n'), encoding="utf-8")
    speech = {"provider": "openai", "endpoint": f"{private.url}/v1", "secretKey": "k", "model": "tts-1"}
    begun = len(private.paths)
    with speechless_server(tmp_path, PLAYBOOK, handler=RULES) as server:
        with a_call(server, "corp") as (_, corp_id):
            server.wait(lambda: "/corp.wav" in private.paths[begun:], 10, "the sound that the playbook names")
            for url in (inner, "inside/welcome.wav"):
                events_after(server, corp_id, {"command": "play", "url": url})
                time.sleep(1.0)
            asked = len(private.paths)
            with a_call(server) as (_, other_id):
                for url in (inner, f"{private.url}/other.wav", "inside/welcome.wav"):
                    events_after(server, other_id, {"command": "play", "url": url})
                    time.sleep(0.3)
            with pytest.raises(OSError, match="500"):
                server.post("/precache", {"text": "hello", "option": speech})
        mine, other = finished_record(server, corp_id), finished_record(server, other_id)
    assert [event["error"] for event in mine["events"] if event["event"] == "error"] == []
    errors = [event["error"] for event in other["events"] if event["event"] == "error" and event["sender"] == "play"]
    assert len(errors) == 3
    assert len(private.paths) == asked
