"""Callers who speak at the same time, with the whole server and its local engines: `python benchmarks/speech_load.py [--calls 100]`.

It starts `active-call serve` with a script playbook, places the calls over UDP, and has all callers say the same sentence at the same
moment, every `--every` seconds, `--times` times; then they hang up. After the first time some more callers try to call. It reports: calls
held until their end, the `status` of their records, turns understood, utterances that the overloaded recogniser dropped, requests to
repeat, calls refused. It exits with 1 if the record of an answered call is missing or has another status than `answered`.

The callers are in this process, in one loop of 20 ms; sentences are recordings (`--speech`: G.711 µ-law, 8 kHz).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import select
import socket
import struct
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from own_server import HOST, free_port, started_server

PACKET: Final = 160
SILENCE: Final = b"\xff" * PACKET
RATE: Final = 10.0
"""Calls a second while they are placed."""
T1_S: Final = 0.5
SPEECH: Final = Path(__file__).parents[1] / "tests" / "vectors" / "speech" / "joe_01.ulaw"
PLAYBOOK: Final = """---
llm: {provider: script}
greeting: Hello.
tts: {provider: espeak}
---
## opening hours
From nine to six.

## *
I see.
"""
CONFIG: Final = """
addr = "127.0.0.1"
udp_port = {udp}
http_addr = "127.0.0.1:{http}"
rtp_start_port = 20000
rtp_end_port = 26000
media_workers = 1
graceful_shutdown_timeout = 2
[handler]
type = "playbook"
default = "main.md"
[callrecord]
type = "local"
root = "cdr"
{engines}
"""


class Caller:
    """One call: what it has sent and received, and its state."""

    def __init__(self, number: int, server_port: int) -> None:
        self.number, self._server_port = number, server_port
        self.sip = self._socket()
        self.rtp = self._socket()
        self._call_id = f"speech-load-{os.getpid()}-{number}"
        self._uri = f"sip:+15550100@{HOST}:{server_port}"
        self._target, self._to = self._uri, f"<{self._uri}>"
        self._invite, self._ack, self._bye = b"", b"", b""
        self._next_repeat, self._repeat_s = 0.0, T1_S
        self._media: tuple[str, int] | None = None
        self._sequence = 0
        self.code = 0
        self.ended_by = ""
        self.n_received = 0

    def _socket(self) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((HOST, 0))
        sock.setblocking(False)
        return sock

    @property
    def is_up(self) -> bool:
        """Whether the call is answered and has not ended."""
        return self.code == 200 and not self.ended_by

    def invite(self, now: float) -> None:
        """Place the call."""
        port = self.rtp.getsockname()[1]
        sdp = f"v=0\r\no=- 1 1 IN IP4 {HOST}\r\ns=-\r\nc=IN IP4 {HOST}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\na=ptime:20\r\na=sendrecv\r\n"
        self._invite = self._request("INVITE", 1, "Content-Type: application/sdp\r\n", sdp)
        self._send(self._invite, now)

    def hang_up(self, now: float) -> None:
        """Send BYE."""
        self._bye = self._request("BYE", 2)
        self._send(self._bye, now)

    def speak(self, payload: bytes) -> None:
        """Send one packet of sound."""
        if self._media is not None and self.is_up:
            self._sequence += 1
            header = struct.pack("!BBHII", 0x80, 0, self._sequence & 0xFFFF, self._sequence * PACKET & 0xFFFFFFFF, self.number + 1)
            with contextlib.suppress(OSError):
                self.rtp.sendto(header + payload, self._media)

    def take(self, now: float) -> None:
        """Read what has come; retransmit unanswered requests (RFC 3261 §17.1)."""
        with contextlib.suppress(BlockingIOError):
            while self.rtp.recv(2048):
                self.n_received += 1
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while text := self.sip.recv(65_535).decode("utf-8", "replace"):
                self._receive(text)
        waiting = self._invite if not self.code else self._bye if self.is_up else b""
        if waiting and now >= self._next_repeat:
            self._repeat_s *= 2
            self._next_repeat = now + self._repeat_s
            self._transmit(waiting)

    def close(self) -> None:
        """Close the sockets."""
        self.sip.close()
        self.rtp.close()

    def _receive(self, text: str) -> None:
        cseq = _header(text, "CSeq").partition(" ")[2]
        if not text.startswith("SIP/2.0 "):
            self._answer(text)
            return
        code = int(text[8:11])
        if cseq == "BYE" and code >= 200:
            self.ended_by = "caller"
        elif cseq == "INVITE" and code >= 200:
            if not self.code:
                self.code = code
                self._to = _header(text, "To")
                if code == 200:
                    self._target = _header(text, "Contact").partition("<")[2].partition(">")[0]
                    media = re.search(r"m=audio (\d+)", text)
                    self._media = (HOST, int(media[1])) if media else None
                self._ack = self._request("ACK", 1)
            self._transmit(self._ack)

    def _answer(self, request: str) -> None:
        """Answer 200 to any request of the server; its BYE ends the call."""
        lines = [line for line in request.split("\r\n") if line.lower().startswith(("via:", "from:", "to:", "call-id:", "cseq:"))]
        self._transmit("\r\n".join(["SIP/2.0 200 OK", *lines, "Content-Length: 0", "", ""]).encode())
        if request.startswith("BYE ") and not self.ended_by:
            self.ended_by = f"server ({_header(request, 'Reason') or 'no reason'})"

    def _request(self, method: str, cseq: int, headers: str = "", body: str = "") -> bytes:
        own = self.sip.getsockname()[1]
        branch = f"z9hG4bK{self.number}{'INVITE' if method == 'ACK' and self.code >= 300 else method}"
        return (
            f"{method} {self._target} SIP/2.0\r\nVia: SIP/2.0/UDP {HOST}:{own};branch={branch};rport\r\nMax-Forwards: 70\r\n"
            f"From: <sip:{self.number}@{HOST}>;tag=c{self.number}\r\nTo: {self._to}\r\n"
            f"Call-ID: {self._call_id}\r\nCSeq: {cseq} {method}\r\n"
            f"Contact: <sip:{self.number}@{HOST}:{own}>\r\n{headers}Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()

    def _send(self, data: bytes, now: float) -> None:
        self._repeat_s, self._next_repeat = T1_S, now + T1_S
        self._transmit(data)

    def _transmit(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            self.sip.sendto(data, (HOST, self._server_port))


def _header(text: str, name: str) -> str:
    found = re.search(rf"(?mi)^{name}: *(.*?)\r$", text)
    return found[1] if found else ""


class Crowd:
    """All callers, in one loop. `late_ms` is the loop's largest delay: the bench's own error."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self.callers: list[Caller] = []
        self.late_ms = 0.0
        self._next_tick = time.monotonic()

    def place(self, count: int) -> list[Caller]:
        """Place `count` calls, `RATE` a second; returns them when each has its final response."""
        placed = []
        for _ in range(count):
            caller = Caller(len(self.callers), self._server_port)
            self.callers.append(caller)
            placed.append(caller)
            caller.invite(time.monotonic())
            self.run(1 / RATE)
        self.run(10.0, lambda: all(caller.code for caller in placed))
        return placed

    def say(self, speech: bytes) -> None:
        """All callers say it at the same time."""
        for start in range(0, len(speech) - PACKET + 1, PACKET):
            self._tick(speech[start : start + PACKET])

    def run(self, seconds: float, until: Any = None) -> None:
        """All are silent for this long, or until the condition is met."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not (until is not None and until()):
            self._tick(SILENCE)

    def hang_up(self) -> None:
        """All hang up."""
        for caller in self.callers:
            if caller.is_up:
                caller.hang_up(time.monotonic())
        self.run(20.0, lambda: not any(caller.is_up for caller in self.callers))

    def _tick(self, payload: bytes) -> None:
        self._next_tick += 0.02
        wait_s = self._next_tick - time.monotonic()
        if wait_s > 0:
            select.select([], [], [], wait_s)
        else:
            self.late_ms = max(self.late_ms, -wait_s * 1000)
        now = time.monotonic()
        for caller in self.callers:
            caller.speak(payload)
            caller.take(now)


@contextlib.contextmanager
def serving(folder: Path, engines: str) -> Iterator[tuple[int, int]]:
    """A server in `folder`; yields its SIP and HTTP ports once it is ready."""
    udp, http = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_STREAM)
    (folder / "main.md").write_text(PLAYBOOK, encoding="utf-8")
    (folder / "active-call.toml").write_text(CONFIG.format(udp=udp, http=http, engines=engines), encoding="utf-8")
    with started_server(folder, http):
        yield udp, http


def _get(http: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://{HOST}:{http}{path}", timeout=10) as response:
        return json.loads(response.read())


def records(folder: Path) -> list[dict[str, Any]]:
    """The full records of the calls, without those of refused INVITEs."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted((folder / "cdr").rglob("[!r]*.json"))]


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run it; the figures."""
    speech = options.speech.read_bytes()
    engines = f'[asr]\nprovider = "{options.asr}"\n' if options.asr else ""
    with serving(folder, engines) as (udp, http):
        crowd = Crowd(udp)
        crowd.place(options.calls)
        crowd.run(3.0)
        late: list[Caller] = []
        for turn in range(options.times):
            crowd.say(speech)
            crowd.run(options.every - len(speech) / 8000 if turn else 2.0)
            if not turn:
                late = crowd.place(options.more)
        crowd.run(0.0 if options.at_once else 4.0)
        still_up = sum(caller.is_up for caller in crowd.callers)
        crowd.hang_up()
        answered = [caller for caller in crowd.callers if caller.code == 200]
        deadline = time.monotonic() + 30
        while len(records(folder)) < len(answered) and time.monotonic() < deadline:
            time.sleep(0.5)
        health = _get(http, "/health")
    found = records(folder)
    for caller in crowd.callers:
        caller.close()
    return {
        "calls": options.calls,
        "answered": len(answered),
        "held_to_the_end": still_up,
        "ended_by": dict(Counter(caller.ended_by or "nobody" for caller in answered)),
        "refused_while_behind": dict(Counter(str(caller.code) for caller in late if caller.code != 200)),
        "admitted_while_behind": sum(caller.code == 200 for caller in late),
        "records": len(found),
        "status": dict(Counter(record["status"] for record in found)),
        "errors": dict(Counter(record["error"] for record in found if record["error"])),
        "turns_understood": sum(turn["speaker"] == "caller" for record in found for turn in record["turns"]),
        "utterances_lost": sum(record["media"].get("utterances_lost", 0) for record in found),
        "asked_to_repeat": sum("repeat" in turn["text"] for record in found for turn in record["turns"] if turn["speaker"] != "caller"),
        "calls_that_lost_some": sum(record["media"].get("utterances_lost", 0) > 0 for record in found),
        "sender_late_ms": round(crowd.late_ms, 1),
        "health_after": health["status"],
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Callers who all speak at once.")
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--more", type=int, default=10, help="calls that try to get in while the recogniser is behind")
    parser.add_argument("--times", type=int, default=3, help="how often all speak")
    parser.add_argument("--every", type=float, default=8.0, help="seconds from one time to the next")
    parser.add_argument("--at-once", action="store_true", help="all hang up with their last word, while the recogniser has a queue")
    parser.add_argument("--asr", default="", help="the recogniser; without it, what the server chooses")
    parser.add_argument("--speech", type=Path, default=SPEECH)
    parser.add_argument("--keep", type=Path, help="leave the server's log and records in this folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="speech-load-") as folder:
        if options.keep:
            options.keep.mkdir(parents=True, exist_ok=True)
        figures = measure(options, options.keep or Path(folder))
    print(json.dumps(figures, indent=2))
    return 0 if set(figures["status"]) == {"answered"} and figures["records"] == figures["answered"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
