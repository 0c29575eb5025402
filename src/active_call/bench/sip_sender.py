"""The caller of the SIP bench, in a separate process: places calls at a rate, each INVITE, ACK, BYE, and records the responses with times.

`python -m active_call.bench.sip_sender`. On standard input a JSON line of `Task` fields, then a JSON line of `Load` fields for each run, or
`{"connections_s": 2}` to open and close connections for that long; for each, a JSON line with the figures on standard output. It has its
own clock and uses plain sockets. Over UDP it retransmits requests by RFC 3261 (timers A and E), and counts retransmissions and duplicates.
The server's RTP goes to a socket that is not read.
"""

from __future__ import annotations

import heapq
import json
import os
import socket
import sys
import time
from dataclasses import dataclass, field
from typing import Any, Final

from active_call.base.errors import TransportError
from active_call.bench.sip_sockets import Lines, StreamLines, UdpLine, count_connections

T1_S: Final = 0.5
GIVE_UP_S: Final = 8.0
"""A call that has not come this far in this time has failed; the RFC's 32 s would only make the bench of an overloaded server long."""
MAX_WAIT_S: Final = 0.02
_SDP: Final = (
    "v=0\r\no=- {n} 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 0 8 101\r\n"
    "a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na=sendrecv\r\n"
)


@dataclass(frozen=True, slots=True)
class Task:
    """Whom to call."""

    host: str
    port: int
    transport: str
    n_connections: int = 16


@dataclass(frozen=True, slots=True)
class Load:
    """The load: `rate` calls a second for `seconds`."""

    rate: float
    seconds: float


@dataclass(slots=True)
class Call:
    """One call in progress. `pending` is the method that waits for its final response."""

    number: int
    call_id: str
    pending: str = ""
    sent: bytes = b""
    invited_at: float = 0.0
    tried: bool = False
    ack: bytes = b""
    give_up_at: float = 0.0


@dataclass(slots=True)
class Seen:
    """The observations of one run; times in ms."""

    trying_ms: list[float] = field(default_factory=list)
    answer_ms: list[float] = field(default_factory=list)
    n_done: int = 0
    n_failed: int = 0
    n_repeated: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    late_ms: float = 0.0
    took_s: float = 0.0

    def fail(self, why: str) -> None:
        """Count a failed call by its reason."""
        self.n_failed += 1
        self.failures[why] = self.failures.get(why, 0) + 1


class Caller:
    """Places calls over `lines` and follows them."""

    def __init__(self, task: Task, lines: Lines) -> None:
        self._task, self._lines = task, lines
        self._sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sink.bind((task.host, 0))
        self._rtp_port = self._sink.getsockname()[1]
        self._uri = f"sip:+15550199@{task.host}:{task.port}"
        self._calls: dict[str, Call] = {}
        self._timers: list[tuple[float, float, str, str]] = []
        self._n_calls = 0
        self._seen = Seen()

    def run(self, load: Load) -> Seen:
        """Place the calls of `load` on time and wait for the last of them."""
        while any(self._lines.wait(0.0)):
            pass  # retransmissions after the last call of the previous run
        seen = self._seen = Seen()
        start, total = time.monotonic(), round(load.rate * load.seconds)
        n_placed = 0
        while n_placed < total or self._calls:
            now = time.monotonic()
            due = min(total, int((now - start) * load.rate) + 1)
            if n_placed < due:
                seen.late_ms = max(seen.late_ms, (now - start - n_placed / load.rate) * 1000)
            while n_placed < due:
                self._place()
                n_placed += 1
            next_at = start + n_placed / load.rate if n_placed < total else now + MAX_WAIT_S
            for data, at in self._lines.wait(min(next_at - now, MAX_WAIT_S)):
                self._receive(data, at)
            self._run_timers(time.monotonic())
        seen.took_s = time.monotonic() - start
        return seen

    # -- out

    def _place(self) -> None:
        self._n_calls += 1
        call = Call(self._n_calls, f"{os.getpid()}-{self._n_calls}@{self._task.host}")
        self._calls[call.call_id] = call
        call.give_up_at = time.monotonic() + GIVE_UP_S
        body = _SDP.format(n=call.number, port=self._rtp_port)
        contact = f"<sip:bench@{self._lines.local};transport={self._task.transport}>"
        headers = f"Contact: {contact}\r\nAllow: INVITE, ACK, BYE, CANCEL, OPTIONS\r\nContent-Type: application/sdp\r\n"
        call.invited_at = time.time()
        self._request(call, "INVITE", 1, self._uri, "<sip:+15550199@bench.example>", headers, body)

    def _request(self, call: Call, method: str, cseq: int, uri: str, to: str, headers: str = "", body: str = "", of: str = "") -> None:
        """Send a request; `of` is the request whose transaction it belongs to, for an ACK to a refusal."""
        transport, local = self._task.transport.upper(), self._lines.local
        branch = f"z9hG4bK{call.number}.{of or method}"
        data = (
            f"{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{transport} {local};branch={branch};rport\r\nMax-Forwards: 70\r\n"
            f"From: <sip:+15550100@bench.example>;tag=b{call.number}\r\nTo: {to}\r\nCall-ID: {call.call_id}\r\nCSeq: {cseq} {method}\r\n"
            f"{headers}Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()
        if method == "ACK":
            call.ack = data
        else:
            call.pending, call.sent = method, data
            if self._task.transport == "udp":
                heapq.heappush(self._timers, (time.monotonic() + T1_S, T1_S, call.call_id, method))
        self._lines.send(data, call.number)

    # -- in

    def _receive(self, data: bytes, at: float) -> None:
        text = data.partition(b"\r\n\r\n")[0].decode()
        call = self._calls.get(_header(text, "Call-ID"))
        if not text.startswith("SIP/2.0 "):
            if call is not None:
                self._end(call, "hung up by the server")
            return
        code, method = int(text[8:11]), _header(text, "CSeq").partition(" ")[2]
        if call is None:
            self._seen.n_repeated += code >= 200
        elif method != call.pending:
            self._receive_repeated(call, code, method)
        elif code < 200:
            if code == 100 and not call.tried:
                call.tried = True
                self._seen.trying_ms.append((at - call.invited_at) * 1000)
        elif code >= 300:
            if method == "INVITE":
                self._request(call, "ACK", 1, self._uri, _header(text, "To"), of="INVITE")
            self._end(call, f"{code} to {method}")
        elif method == "INVITE":
            self._answered(call, text, at)
        else:
            self._end(call)

    def _answered(self, call: Call, text: str, at: float) -> None:
        self._seen.answer_ms.append((at - call.invited_at) * 1000)
        target, to = _header(text, "Contact").partition("<")[2].partition(">")[0], _header(text, "To")
        self._request(call, "ACK", 1, target, to)
        self._request(call, "BYE", 2, target, to)

    def _receive_repeated(self, call: Call, code: int, method: str) -> None:
        if code >= 200:
            self._seen.n_repeated += 1
            if method == "INVITE":
                self._lines.send(call.ack, call.number)

    def _end(self, call: Call, why: str = "") -> None:
        del self._calls[call.call_id]
        if why:
            self._seen.fail(why)
        else:
            self._seen.n_done += 1

    def _run_timers(self, now: float) -> None:
        while self._timers and self._timers[0][0] <= now:
            due, wait_s, call_id, method = heapq.heappop(self._timers)
            call = self._calls.get(call_id)
            if call is None or call.pending != method or (method == "INVITE" and call.tried):
                continue
            wait_s *= 2
            heapq.heappush(self._timers, (due + wait_s, wait_s, call_id, method))
            self._seen.n_repeated += 1
            self._lines.send(call.sent, call.number)
        for call in list(self._calls.values()):
            if call.give_up_at > now:
                break
            self._end(call, f"no answer to {call.pending}")

    def close(self) -> None:
        """Close the sockets."""
        self._sink.close()
        self._lines.close()


def _header(text: str, name: str) -> str:
    start = text.find(f"\r\n{name}: ")
    if start < 0:
        return ""
    start += len(name) + 4
    end = text.find("\r\n", start)
    return text[start : end if end >= 0 else len(text)]


def _figures(seen: Seen, load: Load) -> dict[str, Any]:
    return {
        "calls": seen.n_done,
        "failed": seen.n_failed,
        "failures": seen.failures,
        "retransmissions": seen.n_repeated,
        "calls_per_s": round(seen.n_done / max(seen.took_s, load.seconds), 1),
        "trying_ms": seen.trying_ms,
        "answer_ms": seen.answer_ms,
        "sender_late_ms": round(seen.late_ms, 1),
    }


def _open_lines(task: Task) -> Lines:
    if task.transport == "udp":
        return UdpLine(task.host, task.port)
    return StreamLines(task.host, task.port, tls=task.transport == "tls", n_connections=task.n_connections)


def main() -> int:
    """Run the protocol of the module's docstring."""
    task = Task(**json.loads(sys.stdin.readline()))
    caller = Caller(task, _open_lines(task))
    try:
        for line in sys.stdin:
            order = json.loads(line)
            if "connections_s" in order:
                seconds = order["connections_s"]
                n_opened = count_connections(task.host, task.port, tls=task.transport == "tls", seconds=seconds)
                figures: dict[str, Any] = {"connections_per_s": round(n_opened / seconds, 1)}
            else:
                load = Load(**order)
                figures = _figures(caller.run(load), load)
            print(json.dumps(figures), flush=True)
    except TransportError as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return 1
    finally:
        caller.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
