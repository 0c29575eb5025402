"""The calls of the callers, as plain text over one UDP socket: INVITE, ACK, BYE (RFC 3261), an SDP offer with or without a key (RFC 4568).

Time and responses enter, requests leave; `begin` and `end` start and stop a call's sound. A refused call is placed again in order, so that
the offered load stays constant. Requests are retransmitted by RFC 3261 section 17.1 (timers A and E), and a repeated 200 is acknowledged
again (section 13.2.2.4). It shares nothing with the server's SIP core.
"""

from __future__ import annotations

import base64
import heapq
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from active_call.bench.server.task import Task, key_of

T1_S: Final = 0.5
GIVE_UP_S: Final = 10.0
"""A call without a final response by then has failed."""
BYE_RATE: Final = 200.0
CRYPTO: Final = "AES_CM_128_HMAC_SHA1_80"


@dataclass(slots=True)
class Call:
    """One attempt on a line. `pending` is the method that waits for its final response, empty if none does."""

    line: int
    call_id: str
    branch: str
    pending: str = "INVITE"
    sent: bytes = b""
    invited_at: float = 0.0
    is_provisional: bool = False
    answered_at: float = 0.0
    over_at: float = 0.0
    rtp_port: int = 0
    target: str = ""
    to: str = ""
    server_key: bytes = b""
    ack: bytes = b""


@dataclass(slots=True)
class Counts:
    """The results of the calls; latencies in ms."""

    answer_ms: list[float] = field(default_factory=list)
    refusal_ms: list[float] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    without_retry_after: int = 0
    retransmissions: int = 0
    ran_out: int = 0


class Calls:
    """All calls. `send` sends a message; `begin(line, port, now)` and `end(line)` start and stop a call's sound."""

    def __init__(
        self,
        task: Task,
        local: str,
        port_of: Callable[[int], int],
        send: Callable[[bytes], None],
        begin: Callable[[int, int, float], None],
        end: Callable[[int], None],
    ) -> None:
        self._task, self._local, self._port_of = task, local, port_of
        self._send, self._begin, self._end = send, begin, end
        self._free = deque(range(task.n_lines))
        self._calls: dict[str, Call] = {}
        self._timers: list[tuple[float, float, str, str]] = []
        self._n_attempts = 0
        self._waiting = task.calls
        """Callers waiting to call, for the first time or again."""
        self._n_tried = 0
        """Callers that have had any answer."""
        self._begun_at = 0.0
        self.counts = Counts()
        self.answered: list[Call] = []

    @property
    def has_offered_all(self) -> bool:
        """Each caller has been answered, refused or given up at least once."""
        return self._n_tried >= self._task.calls

    @property
    def n_open(self) -> int:
        """Calls that have not ended."""
        return len(self._calls)

    def start(self, now: float) -> None:
        """Place calls from `now` on, at the task's rate."""
        self._begun_at = now

    def place_due(self, now: float) -> None:
        """Place the calls that are due."""
        due = int((now - self._begun_at) * self._task.rate) + 1
        while self._n_attempts < due:
            self._n_attempts += 1
            if self._waiting:
                self._place(now)

    def _place(self, now: float) -> None:
        if not self._free:
            self.counts.ran_out += 1
            return
        self._waiting -= 1
        line = self._free.popleft()
        number = self._n_attempts
        call = Call(line, f"{number}.{self._task.seed}@{self._local}", f"z9hG4bK{number}", invited_at=now)
        self._calls[call.call_id] = call
        user = "record" if self._task.record and number % self._task.record == 0 else "bench"
        self._request(
            call,
            "INVITE",
            1,
            f"sip:{user}@{self._task.host}:{self._task.port}",
            f"<sip:{user}@{self._task.host}>",
            now,
            "Content-Type: application/sdp\r\nAllow: INVITE, ACK, BYE, CANCEL\r\n",
            self._offer(call),
        )

    def _offer(self, call: Call) -> str:
        ip = self._local.partition(":")[0]
        key = base64.b64encode(key_of(self._task, call.line)).decode()
        profile = "RTP/SAVP" if key else "RTP/AVP"
        crypto = f"a=crypto:1 {CRYPTO} inline:{key}\r\n" if key else ""
        return (
            f"v=0\r\no=- {call.line + 1} 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n"
            f"m=audio {self._port_of(call.line)} {profile} 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n"
            f"a=fmtp:101 0-16\r\na=ptime:20\r\n{crypto}a=sendrecv\r\n"
        )

    def _request(self, call: Call, method: str, cseq: int, uri: str, to: str, now: float, headers: str = "", body: str = "") -> None:
        tag = call.branch[-6:]
        data = (
            f"{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {self._local};branch={call.branch}.{method[0]}{cseq};rport\r\nMax-Forwards: 70\r\n"
            f"From: <sip:caller@bench.example>;tag={tag}\r\nTo: {to}\r\nCall-ID: {call.call_id}\r\nCSeq: {cseq} {method}\r\n"
            f"Contact: <sip:caller@{self._local}>\r\n{headers}Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()
        call.pending, call.sent = method, data
        heapq.heappush(self._timers, (now + T1_S, T1_S, call.call_id, method))
        self._send(data)

    # -- incoming messages

    def receive(self, data: bytes, at: float, now: float) -> None:
        """A message of the server; `at`: when the kernel received it, in monotonic seconds."""
        head, _, body = data.partition(b"\r\n\r\n")
        text = head.decode("utf-8", "replace")
        call = self._calls.get(header(text, "Call-ID"))
        if not text.startswith("SIP/2.0 "):
            self._receive_request(call, text, now)
            return
        code, method = int(text[8:11]), header(text, "CSeq").partition(" ")[2]
        if call is None:
            return
        if method != call.pending:
            if method == "INVITE" and code >= 200 and call.ack:
                self._send(call.ack)
        elif code < 200:
            call.is_provisional = True
        elif method == "INVITE":
            self._settle(call, code, text, body.decode("utf-8", "replace"), at, now)
        else:
            self._close(call)

    def _settle(self, call: Call, code: int, text: str, body: str, at: float, now: float) -> None:
        self._n_tried += 1
        took_ms = max(at - call.invited_at, 0.0) * 1000
        if code >= 300:
            self.counts.refused[str(code)] += 1
            self.counts.refusal_ms.append(took_ms)
            if code == 503 and not header(text, "Retry-After"):
                self.counts.without_retry_after += 1
            uri = call.sent.partition(b" ")[2].partition(b" ")[0].decode()
            self._acknowledge(call, uri, header(text, "To"), f"{call.branch}.I1")
            self._close(call)
            self._waiting += 1
            return
        self.counts.answer_ms.append(took_ms)
        call.answered_at, call.pending = now, ""
        call.target = header(text, "Contact").partition("<")[2].partition(">")[0]
        call.to = header(text, "To")
        call.rtp_port, call.server_key = read_answer(body)
        self._acknowledge(call, call.target, call.to, f"{call.branch}.A1")
        self.answered.append(call)
        self._begin(call.line, call.rtp_port, now)

    def _acknowledge(self, call: Call, uri: str, to: str, branch: str) -> None:
        call.ack = (
            f"ACK {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {self._local};branch={branch};rport\r\nMax-Forwards: 70\r\n"
            f"From: <sip:caller@bench.example>;tag={call.branch[-6:]}\r\nTo: {to}\r\nCall-ID: {call.call_id}\r\nCSeq: 1 ACK\r\n"
            f"Content-Length: 0\r\n\r\n"
        ).encode()
        self._send(call.ack)

    def _receive_request(self, call: Call | None, text: str, now: float) -> None:
        method = text.partition(" ")[0]
        if method == "ACK":
            return
        code = "481 Call Does Not Exist" if call is None else "200 OK" if method in ("BYE", "OPTIONS") else "405 Method Not Allowed"
        copied = "".join(f"{name}: {value}\r\n" for name in ("Via", "From", "To", "Call-ID", "CSeq") for value in headers(text, name))
        self._send(f"SIP/2.0 {code}\r\n{copied}Content-Length: 0\r\n\r\n".encode())
        if call is not None and method == "BYE":
            self.counts.failed["hung up by the server"] += call.pending != "BYE"
            call.over_at = now
            self._close(call)

    def _close(self, call: Call) -> None:
        """A call has ended. A line that was answered is not used again, because its packets are used up."""
        if self._calls.pop(call.call_id, None) is None:
            return
        if call.answered_at:
            self._end(call.line)
        else:
            self._free.append(call.line)

    # -- time

    def run_timers(self, now: float) -> None:
        """Retransmit unanswered requests, and give up those that waited too long."""
        while self._timers and self._timers[0][0] <= now:
            due, wait_s, call_id, method = heapq.heappop(self._timers)
            call = self._calls.get(call_id)
            if call is None or call.pending != method:
                continue
            if method == "INVITE" and now - call.invited_at > GIVE_UP_S:
                self.counts.failed["no answer to INVITE"] += 1
                self._n_tried += 1
                self._close(call)
                continue
            heapq.heappush(self._timers, (due + wait_s * 2, wait_s * 2, call_id, method))
            if method != "INVITE" or not call.is_provisional:
                self.counts.retransmissions += 1
                self._send(call.sent)

    def hang_up(self, n_calls: int, now: float) -> None:
        """Send BYE for at most `n_calls` of the answered ones."""
        if n_calls <= 0:
            return
        up = [call for call in self._calls.values() if call.answered_at and not call.pending]
        for call in up[:n_calls]:
            call.over_at = now
            self._request(call, "BYE", 2, call.target, call.to, now)


def header(text: str, name: str) -> str:
    """The first value of a header; empty if there is none. Compact names are not supported."""
    return next(iter(headers(text, name)), "")


def headers(text: str, name: str) -> list[str]:
    """All values of a header."""
    wanted = name.lower()
    lines = (line.partition(":") for line in text.split("\r\n")[1:])
    return [value.strip() for found, _, value in lines if found.strip().lower() == wanted]


def read_answer(sdp: str) -> tuple[int, bytes]:
    """The port of the sound and the server's key, empty for plain RTP. Raises ValueError for SDP without sound."""
    port, key = 0, b""
    for line in sdp.splitlines():
        if line.startswith("m=audio ") and not port:
            port = int(line.split(" ")[1])
        elif line.startswith("a=crypto:") and not key:
            key = base64.b64decode(line.partition("inline:")[2].split("|")[0].split(" ")[0])
    if not port:
        raise ValueError("the answer has no sound (m=audio)")
    return port, key
