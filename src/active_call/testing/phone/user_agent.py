"""A telephone behind a carrier's trunk that judges the program: it dials, talks, listens, presses digits and hangs up.

Enters: what to do (`dial`, `say`, `press` …). Leaves: what was heard and said on one clock, how the call went, and every breach of the
RFCs that a carrier would not forgive (`violations`). It shares no code with the program: own SIP, own RTP, own G.711. Blocking calls,
threads inside; one `Phone` is one call.

The state goes one way: idle -> calling -> ringing -> answered -> ended. The profile `trunk` sends what a carrier's edge sends: two Via,
two Record-Route, a Contact that only the Record-Route set reaches; `plain` is a simple user agent.
"""

from __future__ import annotations

import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from active_call.testing.phone import sip as phone_sip
from active_call.testing.phone.receiver import AudioReceiver
from active_call.testing.phone.rtp import AudioSender, MediaPlan, bind_pair
from active_call.testing.phone.sip import Message, host_port, tag_of, uri_of
from active_call.testing.phone.wire import Peer, Wire
from active_call.testing.sound import voice
from active_call.testing.sound.audio import Pcm

Profile = Literal["trunk", "plain"]
State = Literal["idle", "calling", "ringing", "answered", "ended"]

T1_S, T2_S, TIMEOUT_S = 0.5, 4.0, 32.0  # RFC 3261 section 17.1.1.1: T1, T2, 64*T1
_FIRST_RESPONSE_S = 0.2
"""RFC 3261 section 17.2.1: a server that needs longer than this for an answer sends 100 first."""
_GATEWAY = "172.25.16.223"
"""The carrier's inner gateway: an address that no one outside can reach, as carriers send it."""
_ALLOW = "ACK,BYE,CANCEL,INVITE,OPTIONS,REFER,NOTIFY"


@dataclass(frozen=True, slots=True)
class Ended:
    """How the call ended. `by`: agent, caller, or network (nobody answered, the connection broke)."""

    by: Literal["agent", "caller", "network"]
    code: int
    reason: str


@dataclass(slots=True)
class Setup:
    """Moments of the call in monotonic seconds; 0.0 if it did not happen."""

    invited_at: float = 0.0
    first_response_at: float = 0.0
    ringing_at: float = 0.0
    answered_at: float = 0.0
    ended_at: float = 0.0


@dataclass(slots=True)
class _Retransmission:
    message: Message
    due: float
    interval: float
    deadline: float
    max_interval: float = T2_S


@dataclass(slots=True)
class _Dialog:
    """What the phone remembers of its one dialog."""

    call_id: str
    local: str
    remote: str
    contact: str
    routes: list[str]
    sequence: int
    target: str = ""
    remote_sequence: int = -1
    onward: list[str] = field(default_factory=list)


class Phone:
    """One telephone for one call. `on_event(kind, text)` is told of digits and the end, from the phone's own thread."""

    def __init__(
        self, local_ip: str = "127.0.0.1", *, profile: Profile = "trunk", on_event: Callable[[str, str], None] | None = None
    ) -> None:
        self._ip, self._profile = local_ip, profile
        self._on_event = on_event or (lambda _kind, _text: None)
        self._changed = threading.Condition(threading.RLock())
        self._rtp, self._rtcp = bind_pair(local_ip)
        self._wire: Wire | None = None
        self._resending: dict[str, _Retransmission] = {}
        self._key = b""
        self._answer_tags: set[str] = set()
        self._acked: Message | None = None
        self._cancelled = self._hanging_up = False
        self.state: State = "idle"
        self.setup = Setup()
        self.epoch = time.monotonic()
        """Second 0 of both timelines: the moment of dialling."""
        self.ended: Ended | None = None
        self.violations: list[str] = []
        self.remarks: list[str] = []
        """Recommendations of an RFC that the peer does not follow."""
        self.requests: list[Message] = []
        """Every request the other side sent in the dialog."""
        self.responses: list[tuple[float, Message]] = []
        self.sender: AudioSender | None = None
        self.receiver: AudioReceiver | None = None

    # -- calling -------------------------------------------------------------------------------------------------------------------------

    def dial(
        self, uri: str, *, transport: str = "", srtp: bool = False, caller: str = "+15550100", headers: Sequence[tuple[str, str]] = ()
    ) -> None:
        """Send the INVITE and return. `transport` udp, tcp or tls; by default what the URI names, else udp.

        Raises OSError if it cannot connect, ValueError if it is not a SIP URI.
        """
        host, port, named = host_port(uri)
        self._transport = transport or named or "udp"
        self._dialled = (socket.gethostbyname(host), port or (5061 if self._transport == "tls" else 5060))
        self._wire = Wire(self._ip, self._dialled, self._transport, on_message=self._receive, on_tick=self._tick, on_fault=self._fault)
        self._key = secrets.token_bytes(30) if srtp else b""
        self._dialog = self._new_dialog(uri, caller)
        self._invite = self._request("INVITE", uri, self._dialog.sequence, to=f"<{uri}>")
        self._invite.headers += [("record-route", route) for route in self._dialog.routes]
        self._invite.headers += [("contact", f"<{self._dialog.contact}>"), ("allow", _ALLOW), *headers]
        if self._profile == "trunk":
            self._invite.headers += [
                ("p-asserted-identity", f"<sip:{caller}@{_GATEWAY}:5060>"),
                ("x-twilio-callsid", f"CA{secrets.token_hex(16)}"),
                ("x-twilio-accountsid", f"AC{secrets.token_hex(16)}"),
            ]
        self._invite.headers.append(("content-type", "application/sdp"))
        self._invite.body = self._offer()
        self.epoch = self.setup.invited_at = time.monotonic()
        self.state = "calling"
        self._transmit_reliably("INVITE", self._invite)

    def _new_dialog(self, uri: str, caller: str) -> _Dialog:
        assert self._wire is not None
        edge, transport = f"{self._ip}:{self._wire.port}", self._transport
        if self._profile == "plain":
            contact = f"sip:{caller}@{edge};transport={transport}"
            local = f"<sip:{caller}@{self._ip}>;tag={secrets.token_hex(5)}"
            return _Dialog(f"{secrets.token_hex(12)}@{self._ip}", local, f"<{uri}>", contact, [], 1)
        routes = [f"<sip:{edge};lr>"]
        if transport != "udp":
            routes = [f"<sip:{edge};transport={transport};r2=on;lr>", f"<sip:{self._ip};r2=on;lr>"]
        tag = f"{secrets.randbelow(10**8):08d}_{secrets.token_hex(4)}_{secrets.token_hex(8)}"
        local = f"<sip:{caller}@trunk.pstn.example.com:5060>;tag={tag}"
        contact = f"sip:{caller}@{_GATEWAY}:5060;transport=udp"
        return _Dialog(f"{secrets.token_hex(16)}@0.0.0.0", local, f"<{uri}>", contact, routes, 29044)

    def _offer(self, *, direction: str = "sendrecv", version: int = 1) -> bytes:
        origin = "172.18.155.180" if self._profile == "trunk" else self._ip
        return phone_sip.offer(self._ip, self._rtp.getsockname()[1], self._key, origin=origin, direction=direction, version=version)

    def _request(self, method: str, uri: str, sequence: int, *, to: str, branch: str = "") -> Message:
        """A request of the dialog, with the Via of the edge and, behind it, of the gateway."""
        assert self._wire is not None
        branch = branch or f"z9hG4bK{secrets.token_hex(8)}"
        rport = ";rport" if self._profile == "plain" else ""
        vias = [f"SIP/2.0/{self._transport.upper()} {self._ip}:{self._wire.port}{rport};branch={branch}"]
        if self._profile == "trunk":
            vias.append(f"SIP/2.0/UDP {_GATEWAY}:5060;rport=5060;branch={branch}_inner_1-2")
        return Message(
            f"{method} {uri} SIP/2.0",
            [
                *(("via", via) for via in vias),
                *(("route", route) for route in self._dialog.onward),
                ("from", self._dialog.local),
                ("to", to),
                ("call-id", self._dialog.call_id),
                ("cseq", f"{sequence} {method}"),
                ("max-forwards", "60"),
                ("user-agent", "active-call test phone"),
            ],
        )

    def wait_answered(self, timeout_s: float = 15.0) -> bool:
        """Whether the call is answered within the time."""
        with self._changed:
            self._changed.wait_for(lambda: self.state in ("answered", "ended"), timeout_s)
            return self.state == "answered"

    def wait_ended(self, timeout_s: float) -> Ended | None:
        """How the call ended; None while it goes on."""
        with self._changed:
            self._changed.wait_for(lambda: self.ended is not None, timeout_s)
            return self.ended

    def hang_up(self) -> None:
        """Send BYE; `wait_ended` tells when it was answered."""
        with self._changed:
            if self.state != "answered":
                raise RuntimeError(f"nothing to hang up: the call is {self.state}")
            self._hanging_up = True
            self._dialog.sequence += 1
            bye = self._request("BYE", self._dialog.target, self._dialog.sequence, to=self._dialog.remote)
            self._transmit_reliably("BYE", bye)

    def cancel(self) -> None:
        """Give up before the answer; the peer must answer 200 to the CANCEL and 487 to the INVITE (RFC 3261 section 9)."""
        with self._changed:
            if self.state not in ("calling", "ringing"):
                raise RuntimeError(f"nothing to cancel: the call is {self.state}")
            self._cancelled = True
            branch = re.search(r"branch=([^;]+)", self._invite.get("via"))
            assert branch is not None
            cancel = self._request("CANCEL", self._invite.uri, self._invite.sequence, to=self._invite.get("to"), branch=branch.group(1))
            self._transmit_reliably("CANCEL", cancel)

    def close(self) -> None:
        """Release sockets and threads; the records stay."""
        for part in (self.sender, self.receiver):
            if part is not None:
                part.stop()
        if self._wire is not None:
            self._wire.close()
        self._rtp.close()
        self._rtcp.close()

    def __enter__(self) -> Phone:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- talking and listening -----------------------------------------------------------------------------------------------------------

    def say(self, speech: Pcm | str, voice_name: str = voice.CALLER_VOICE) -> None:
        """Queue speech: text, or samples at 8 kHz."""
        self._talking().say(voice.speak(speech, voice_name) if isinstance(speech, str) else speech)

    def press(self, digit: str) -> None:
        """Queue a digit (RFC 4733)."""
        self._talking().press(digit)

    def _talking(self) -> AudioSender:
        if self.sender is None:
            raise RuntimeError("the call is not answered")
        return self.sender

    @property
    def heard(self) -> Pcm:
        """What came out of the receiver so far, sample 0 at `epoch`."""
        return self.receiver.timeline(self.epoch) if self.receiver else np.zeros(0, dtype=np.int16)

    @property
    def said(self) -> Pcm:
        """What went into the microphone so far, sample 0 at `epoch`."""
        return self.sender.timeline(self.epoch) if self.sender else np.zeros(0, dtype=np.int16)

    # -- what arrives --------------------------------------------------------------------------------------------------------------------

    def _fault(self, text: str) -> None:
        if self.ended is None:
            self.violations.append(text)

    def _receive(self, message: Message, peer: Peer) -> None:
        with self._changed:
            if self.ended is not None and self.ended.reason == "vanished":
                return
            if message.is_response:
                self._receive_response(message)
            else:
                self._receive_request(message, peer)
            self._changed.notify_all()

    def _receive_response(self, response: Message) -> None:
        now = time.monotonic()
        self.responses.append((now, response))
        method = response.method
        sent = self._resending.get(method)
        if method == "INVITE":
            self.violations += phone_sip.wrong_in_response(self._invite, response)
            self._receive_invite_response(response, now)
        elif sent is not None:
            self.violations += phone_sip.wrong_in_response(sent.message, response)
            if response.status >= 200:
                del self._resending[method]
                if response.status != 200:
                    self.violations.append(f"{method} answered {response.status} {response.reason}")
                if method == "BYE":
                    self._finish(Ended("caller", response.status, "hung up"))

    def _receive_invite_response(self, response: Message, now: float) -> None:
        self._resending.pop("INVITE", None)
        if not self.setup.first_response_at:
            self.setup.first_response_at = now
            if now - self.setup.invited_at > _FIRST_RESPONSE_S:
                self.remarks.append(f"nothing came back for {(now - self.setup.invited_at) * 1000:.0f} ms")
        if response.status < 200:
            if self.state not in ("calling", "ringing"):
                self.violations.append(f"{response.status} after the final response")
            if response.status == 100 and self.state == "ringing":
                self.violations.append("100 after a ringing response")
            if response.status > 100 and self.state == "calling":
                self.state, self.setup.ringing_at = "ringing", now
        elif response.status < 300:
            self._receive_answer(response, now)
        else:
            ack = self._request("ACK", self._invite.uri, self._invite.sequence, to=response.get("to"), branch=_branch_of(self._invite))
            self._send(ack)
            if self._cancelled and response.status != 487:
                self.violations.append(f"the cancelled INVITE was answered {response.status}, expected 487")
            if self.ended is None:
                by: Literal["agent", "caller"] = "caller" if self._cancelled else "agent"
                self._finish(Ended(by, response.status, response.reason))
        self._answer_tags |= {tag_of(response.get("to"))} - {""}
        if len(self._answer_tags) > 1:
            self.violations.append(f"several To tags from one server: {sorted(self._answer_tags)}")

    def _receive_answer(self, response: Message, now: float) -> None:
        """The first 2xx begins the call; every further one is acknowledged again (RFC 3261 section 13.2.2.4)."""
        if self._acked is not None:
            self._send(self._acked)
            return
        wrong = phone_sip.wrong_in_contact(response, self._dialled, self._transport)
        if not response.get("content-type").lower().startswith("application/sdp"):
            wrong.append(f"200 with Content-Type {response.get('content-type')!r}")
        if not response.get("allow"):
            self.remarks.append("200 without Allow")
        own = self._dialog.routes
        self._dialog.onward = [route for route in reversed(response.all("record-route")) if route not in own]
        self._dialog.remote, self._dialog.target = response.get("to"), uri_of(response.get("contact"))
        description, wrong_sdp = phone_sip.read_description(response.body, secure=bool(self._key))
        self.violations += wrong + wrong_sdp
        self._acked = self._request("ACK", self._dialog.target, self._invite.sequence, to=self._dialog.remote)
        self._send(self._acked)
        self.state, self.setup.answered_at = "answered", now
        self._start_media(description)
        if self._cancelled:
            self.hang_up()

    def _start_media(self, description: phone_sip.Description) -> None:
        codec = next((one for one in description.types if one in (0, 8)), None)
        if codec is None or description.remote[1] == 0 or (self._key and len(description.key) != 30):
            return
        events = phone_sip.EVENT_TYPE if phone_sip.EVENT_TYPE in description.types else -1
        plan = MediaPlan(description.remote, codec, events, self._key, description.key)
        self.sender, self.receiver = AudioSender(self._rtp, self._rtcp, plan), AudioReceiver(self._rtp, self._rtcp, plan)
        self.receiver.start()
        self.sender.start()

    def _receive_request(self, request: Message, peer: Peer) -> None:
        dialog = self._dialog
        ours = request.get("call-id") == dialog.call_id and tag_of(request.get("to")) == tag_of(dialog.local)
        if not ours or (self._acked is not None and tag_of(request.get("from")) != tag_of(dialog.remote)):
            if request.method == "OPTIONS":
                self._respond(request, 200, "OK", peer)
            elif request.method != "ACK":
                self.violations.append(f"{request.method} outside the dialog")
                self._respond(request, 481, "Call/Transaction Does Not Exist", peer)
            return
        if request.method == "ACK":
            return
        repeated = request.sequence == dialog.remote_sequence and self._transport == "udp"
        if not repeated:
            self.requests.append(request)
            self.violations += phone_sip.wrong_in_request(
                request, contact=dialog.contact, routes=dialog.routes, last_sequence=dialog.remote_sequence
            )
        dialog.remote_sequence = max(dialog.remote_sequence, request.sequence)
        if request.all("route") != dialog.routes:
            self._respond(request, 481, "Call/Transaction Does Not Exist", peer)  # what a gateway answers that the edge cannot find
            return
        self._answer_request(request, peer)

    def _answer_request(self, request: Message, peer: Peer) -> None:
        match request.method:
            case "BYE":
                self._respond(request, 200, "OK", peer)
                self._finish(Ended("agent", 200, request.get("reason") or "BYE"))
            case "INVITE":
                self._answer_reinvite(request, peer)
            case "REFER":
                self._on_event("refer", uri_of(request.get("refer-to")))
                self._respond(request, 202, "Accepted", peer)
            case "OPTIONS" | "NOTIFY":
                self._respond(request, 200, "OK", peer)
            case _:
                self._respond(request, 405, "Method Not Allowed", peer)

    def _answer_reinvite(self, request: Message, peer: Peer) -> None:
        description, wrong = phone_sip.read_description(request.body, secure=bool(self._key), is_answer=False)
        if request.body:
            self.violations += [f"re-INVITE: {one}" for one in wrong]
            if self.sender is not None and description.remote[1]:
                self.sender.redirect(description.remote)
        direction = {"sendonly": "recvonly", "recvonly": "sendonly", "inactive": "inactive"}.get(description.direction, "sendrecv")
        self._on_event("reinvite", description.direction)
        self._respond(request, 200, "OK", peer, body=self._offer(direction=direction, version=2))

    def _respond(self, request: Message, status: int, reason: str, peer: Peer, *, body: bytes = b"") -> None:
        copied = [(name, value) for name, value in request.headers if name in ("via", "from", "to", "call-id", "cseq")]
        response = Message(f"SIP/2.0 {status} {reason}", [*copied, ("allow", _ALLOW)], body)
        if request.method in ("INVITE", "OPTIONS"):
            response.headers.append(("contact", f"<{self._dialog.contact}>"))
        if body:
            response.headers.append(("content-type", "application/sdp"))
        self._send(response, peer)

    # -- sending -------------------------------------------------------------------------------------------------------------------------

    def _send(self, message: Message, peer: Peer | None = None) -> None:
        assert self._wire is not None
        self._wire.send(message, peer)

    def _transmit_reliably(self, method: str, message: Message) -> None:
        """Send, and repeat over UDP until something comes back (RFC 3261 timers A and E); without an answer the call is over."""
        now = time.monotonic()
        due = now + T1_S if self._transport == "udp" else now + TIMEOUT_S
        self._resending[method] = _Retransmission(message, due, T1_S, now + TIMEOUT_S)
        self._send(message)

    def _tick(self) -> None:
        now = time.monotonic()
        with self._changed:
            for method, waiting in list(self._resending.items()):
                if now >= waiting.deadline:
                    del self._resending[method]
                    self.violations.append(f"{method} was never answered")
                    self._finish(Ended("network", 408, f"{method} timed out"))
                elif now >= waiting.due:
                    waiting.interval = min(2 * waiting.interval, waiting.max_interval)
                    waiting.due = now + waiting.interval
                    self._send(waiting.message)

    def _finish(self, ended: Ended) -> None:
        with self._changed:
            if self.ended is not None:
                return
            self.ended, self.state, self.setup.ended_at = ended, "ended", time.monotonic()
            if self.sender is not None:
                self.sender.is_silent = True
            self._on_event("ended", f"{ended.by} {ended.code} {ended.reason}")
            self._changed.notify_all()


def _branch_of(message: Message) -> str:
    found = re.search(r"branch=([^;]+)", message.get("via"))
    return found.group(1) if found else ""
