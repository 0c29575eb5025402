"""One local server of the OpenAI kind gives an open conversation, after a webhook has decided that the call is taken."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from running_server import running_server

from active_call.testing.phone.__main__ import play
from active_call.testing.phone.story import Story
from active_call.testing.sound import audio, voice

GREETING = "Hello, this is the flower shop."
ANSWER = "Our roses are fresh from the garden, and they cost twelve pounds."
FAREWELL = "Goodbye, and thank you for calling."
QUESTION = "how much are the roses today"


@dataclass
class Vendor:
    """An OpenAI-compatible server, and a webhook beside it; keeps what it was asked."""

    url: str = ""
    chats: list[dict[str, Any]] = field(default_factory=list)
    transcribed_bytes: list[int] = field(default_factory=list)
    invitations: list[dict[str, Any]] = field(default_factory=list)
    decision: dict[str, Any] = field(default_factory=dict)


@contextmanager
def a_vendor() -> Iterator[Vendor]:
    vendor = Vendor()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            match self.path:
                case "/v1/audio/transcriptions":
                    vendor.transcribed_bytes.append(len(body))
                    self.answer_json({"text": QUESTION if len(vendor.transcribed_bytes) == 1 else "thank you bye bye"})
                case "/v1/audio/speech":
                    text = json.loads(body)["input"]
                    self.answer("audio/pcm", [audio.resample(voice.speak(text, "en-us"), 8000, 24_000).tobytes()])
                case "/v1/chat/completions":
                    vendor.chats.append(json.loads(body))
                    last = vendor.chats[-1]["messages"][-1]["content"]
                    self.answer_chat(ANSWER if "roses" in last else f"{FAREWELL} <hangup/>")
                case "/webhook":
                    vendor.invitations.append(json.loads(body))
                    self.answer_json(vendor.decision)

        def answer_chat(self, text: str) -> None:
            chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
            pieces = [text[at : at + 5] for at in range(0, len(text), 5)]
            lines = [json.dumps({**chunk, "choices": [{"index": 0, "delta": {"content": piece}}]}) for piece in pieces]
            self.answer("text/event-stream", [f"data: {line}\n\n".encode() for line in [*lines, "[DONE]"]])

        def answer_json(self, value: dict[str, Any]) -> None:
            self.answer("application/json", [json.dumps(value).encode()])

        def answer(self, content_type: str, chunks: list[bytes]) -> None:
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for chunk in [*chunks, b""]:
                self.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    vendor.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield vendor
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def playbook(url: str) -> str:
    return f"""---
asr: {{provider: openai, endpoint: "{url}/v1", apiKey: none}}
tts: {{provider: openai, endpoint: "{url}/v1", apiKey: none}}
llm: {{provider: openai, baseUrl: "{url}/v1", apiKey: none, model: local}}
greeting: {GREETING}
---
You sell flowers to {{{{ X-Twilio-CallSid }}}} in the shop of {{{{ town }}}}.
"""


def test_conversation_with_an_openai_compatible_server_after_a_webhook_accepted(tmp_path: Path) -> None:
    with a_vendor() as vendor:
        vendor.decision = {"action": "accept", "playbook": "flowers.md", "vars": {"town": "Whitby"}}
        handler = f'[handler]\ntype = "webhook"\nurl = "{vendor.url}/webhook"\nmethod = "POST"'
        books = {"flowers.md": playbook(vendor.url)}
        with running_server(tmp_path / "server", books, handler=handler) as server:
            story = Story.from_dict(
                {
                    "agent": [GREETING, ANSWER, FAREWELL],
                    "decoys": ["Please hold the line.", "We have no roses today."],
                    "voice": "en-us+f2",
                    "steps": [
                        {"do": "listen", "expect": [GREETING]},
                        {"do": "say", "text": QUESTION},
                        {"do": "listen", "expect": [ANSWER]},
                        {"do": "say", "text": "thank you bye bye"},
                        {"do": "listen", "expect": [FAREWELL]},
                        {"do": "expect_hangup"},
                    ],
                    "success": {"max_violations": 0, "ended_by": "agent"},
                }
            )
            uri = f"sip:+15550123@127.0.0.1:{server.tls_port};transport=tls"
            summary = play(uri, story, tmp_path / "phone", transport="tls", srtp=True)
            assert summary["failures"] == []
            (record,) = server.wait_records(1)

        (invitation,) = vendor.invitations
        assert invitation["event"] == "invite"
        assert invitation["dialogId"] == record["sessionId"]
        assert invitation["callee"].startswith("sip:+15550123@")
        assert any(line.startswith("x-twilio-callsid: ca") for line in map(str.lower, invitation["headers"]))
        call_sid = next(line.partition(": ")[2] for line in invitation["headers"] if line.lower().startswith("x-twilio-callsid"))

        first = vendor.chats[0]["messages"]
        assert first[0]["role"] == "system"
        assert f"You sell flowers to {call_sid} in the shop of Whitby." in first[0]["content"]
        assert first[-1] == {"role": "user", "content": QUESTION}
        assert vendor.chats[0]["stream"] is True
        spoken = [(turn["speaker"], turn["text"]) for turn in record["turns"]]
        assert spoken == [
            ("agent", GREETING),
            ("caller", QUESTION),
            ("agent", ANSWER),
            ("caller", "thank you bye bye"),
            ("agent", FAREWELL),
        ]
        latencies = [turn for turn in record["turns"] if turn.get("latencyMs")]
        assert len(latencies) == 2
        # asked before the turn was over, the model may cost no time
        assert all(turn["recognitionMs"] > 0 and turn["marksMs"]["firstToken"] > 0 for turn in latencies)


def test_webhook_that_rejects_and_one_that_is_gone(tmp_path: Path) -> None:
    story = Story.from_dict({"agent": [GREETING], "steps": [{"do": "listen"}]})
    with a_vendor() as vendor:
        vendor.decision = {"action": "reject", "code": 603, "reason": "Not today"}
        handler = f'[handler]\ntype = "webhook"\nurl = "{vendor.url}/webhook"'
        with running_server(tmp_path / "rejects", {"main.md": playbook(vendor.url)}, handler=handler) as server:
            summary = play(f"sip:a@127.0.0.1:{server.udp_port}", story, tmp_path / "one", transport="udp")
            assert summary["failures"] == ["not answered: 603 Not today"]
            (record,) = server.wait_records(1)
            assert (record["status"], record["sipCode"]) == ("rejected", 603)
    with running_server(tmp_path / "gone", {"main.md": playbook("http://x")}, handler=handler) as server:
        summary = play(f"sip:a@127.0.0.1:{server.udp_port}", story, tmp_path / "two", transport="udp")
        assert summary["failures"][0].startswith("not answered: 503")
        (record,) = server.wait_records(1)
        assert record["sipCode"] == 503
