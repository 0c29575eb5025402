"""A tiny user agent for proving the judge: correct by itself, wrong where a test twists one of its messages or leaves one out.

`twists` maps `"BYE"` (a request) or `"200 INVITE"` (a response) to a function that changes the message before it goes out; `omits` names
what is never sent or done: a key of the same form, or `repetition`, `refresh`.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from active_call.testing.phone.sip import Message, host_port, tag_of, uri_of
from active_call.testing.phone.wire import Hub, Peer
from active_call.testing.trunk import Switches, Trunk, descriptions
from active_call.testing.trunk.descriptions import Place
from active_call.testing.trunk.digest import expected_response, parameters
from active_call.testing.trunk.session_timer import read_expires
from active_call.testing.trunk.transactions import Timers, branch_of

Twists = Mapping[str, Callable[[Message], None]]
PAUSE_S = 0.05


def replaces(name: str, old: str, new: str) -> Callable[[Message], None]:
    """A twist: another value in a header."""

    def twist(message: Message) -> None:
        message.headers = [(key, value.replace(old, new) if key == name else value) for key, value in message.headers]

    return twist


def removes(name: str) -> Callable[[Message], None]:
    """A twist: a header less."""

    def twist(message: Message) -> None:
        message.headers = [(key, value) for key, value in message.headers if key != name]

    return twist


def in_body(old: bytes, new: bytes) -> Callable[[Message], None]:
    """A twist: another body."""

    def twist(message: Message) -> None:
        assert old in message.body, message.body
        message.body = message.body.replace(old, new)

    return twist


class TinyPeer:
    """One user agent with one call at a time."""

    def __init__(
        self,
        transport: str = "udp",
        *,
        twists: Twists | None = None,
        omits: Sequence[str] = (),
        secure: bool = False,
        supports: str = "",
        answer_after_s: float = 0.0,
        slow_s: float = 0.0,
        refuses: tuple[int, str] | None = None,
    ) -> None:
        self.transport, self.twists, self.omits, self.supports = transport, dict(twists or {}), set(omits), supports
        self.answer_after_s, self.slow_s, self.refuses = answer_after_s, slow_s, refuses
        self.lock = threading.RLock()
        self.timers = Timers()
        self.switches = Switches(profile="tiny", transport="udp", payload_types=(0, 8, 9, 96, 101, 126))
        self.place = Place("127.0.0.1", 40000, secrets.token_bytes(30) if secure else b"")
        self.call_id = self.local = self.remote = self.target = ""
        self.routes: list[str] = []
        self.sequence, self.version = 100, 0
        self.peer: Peer = ("", 0)
        self.invite = self.ours = Message("")
        self.last_ack: Message | None = None
        self.answered: dict[tuple[str, str], list[bytes]] = {}
        self.finals: list[Message] = []
        self.progress: list[Message] = []
        self.requests: list[Message] = []
        self.password = "secret"
        self.acked = threading.Event()
        self.cancelled = self.ends_forks = False
        self.offer = b""
        self.hub = Hub("127.0.0.1", transport, on_message=self._receive, on_tick=self._tick, on_fault=lambda _text: None)

    def __enter__(self) -> TinyPeer:
        return self

    def __exit__(self, *_: object) -> None:
        self.hub.close()

    @property
    def contact(self) -> str:
        return f"sip:agent@127.0.0.1:{self.hub.port};transport={self.transport}"

    @property
    def uri(self) -> str:
        return f"sip:+15550199@127.0.0.1:{self.hub.port};transport={self.transport}"

    def wait(self, condition: Callable[[], bool], timeout_s: float = 3.0) -> bool:
        deadline = time.monotonic() + timeout_s
        while not condition() and time.monotonic() < deadline:
            threading.Event().wait(0.005)
        return condition()

    def _tick(self) -> None:
        with self.lock:
            self.timers.run_due()

    # -- sending

    def emit(self, message: Message, peer: Peer) -> bytes:
        key = f"{message.status} {message.method}" if message.is_response else message.method
        if key in self.twists:
            self.twists[key](message)
        octets = message.encode()
        if key not in self.omits:
            self.hub.send(octets, peer)
        return octets

    def way(self) -> Peer:
        """The open connection, else the first route, else the target."""
        if self.transport != "udp" and self.hub.is_open(self.peer):
            return self.peer
        host, port, _ = host_port(uri_of(self.routes[0]) if self.routes else self.target)
        self.peer = self.hub.connect((host, port))
        return self.peer

    def make(self, method: str, uri: str, headers: Sequence[tuple[str, str]] = (), *, sequence: int = 0, branch: str = "") -> Message:
        if not sequence:
            self.sequence += 1
        branch = branch or f"z9hG4bK{secrets.token_hex(8)}"
        message = Message(f"{method} {uri} SIP/2.0")
        message.headers = [
            ("via", f"SIP/2.0/{self.transport.upper()} 127.0.0.1:{self.hub.port};rport;branch={branch}"),
            *(("route", route) for route in self.routes),
            ("from", self.local),
            ("to", self.remote),
            ("call-id", self.call_id),
            ("cseq", f"{sequence or self.sequence} {method}"),
            ("max-forwards", "70"),
        ]
        if method in ("INVITE", "UPDATE", "REFER", "REGISTER"):
            message.headers.append(("contact", f"<{self.contact}>"))
        message.headers += headers
        return message

    def request(self, method: str, headers: Sequence[tuple[str, str]] = (), body: bytes = b"", *, sequence: int = 0) -> Message | None:
        """Send a request inside the call and wait for its final response."""
        with self.lock:
            message = self.make(method, self.target, headers, sequence=sequence)
            if body:
                message.headers.append(("content-type", "application/sdp"))
                message.body = body
            if method == "INVITE":
                self.ours = message
            self.emit(message, self.way())
        return self.final(message)

    def final(self, message: Message, timeout_s: float = 1.5) -> Message | None:
        def found() -> list[Message]:
            return [one for one in list(self.finals) if branch_of(one) == branch_of(message) and one.method == message.method]

        self.wait(lambda: bool(found()), timeout_s)
        return found()[0] if found() else None

    def session(self, direction: str = "sendrecv") -> bytes:
        self.version += 1
        return descriptions.offer(self.switches, self.place, direction=direction, version=self.version)

    def dial(self, trunk: Trunk, *, number: str = "+15550100", caller: str = "+15550199", headers: Sequence[tuple[str, str]] = ()) -> None:
        """Send the INVITE; challenges, ACK and PRACK follow by themselves."""
        with self.lock:
            host = trunk.switches.domain or trunk.ip
            uri = f"sip:{number}@{host}:{trunk.hub.port};transport={self.transport}"
            self.target, self.routes = f"sip:{trunk.edge}", []
            self.call_id, self.local = secrets.token_hex(10), f"<sip:{caller}@example.com>;tag={secrets.token_hex(4)}"
            self.remote = f"<{uri}>"
            self.peer = self.hub.connect((trunk.ip, trunk.hub.port))
            self._send_invite(uri, list(headers))

    def _send_invite(self, uri: str, headers: list[tuple[str, str]]) -> None:
        supported = [("supported", self.supports)] if self.supports else []
        self.ours = self.make("INVITE", uri, [*supported, *headers])
        self.ours.body = self.offer = self.session()
        self.ours.headers.append(("content-type", "application/sdp"))
        self.emit(self.ours, self.peer)

    def cancel(self) -> None:
        with self.lock:
            self.cancelled = True
            cancel = Message(f"CANCEL {self.ours.uri} SIP/2.0")
            cancel.headers = [("via", self.ours.get("via"))]
            cancel.headers += [(name, self.ours.get(name)) for name in ("from", "to", "call-id", "max-forwards")]
            cancel.headers.append(("cseq", f"{self.ours.sequence} CANCEL"))
            self.emit(cancel, self.peer)

    def register(self, trunk: Trunk, *, expires: int = 3600) -> Message | None:
        with self.lock:
            uri = f"sip:{trunk.edge};transport={self.transport}"
            if not self.call_id:
                self.call_id, self.local = secrets.token_hex(8), f"<sip:agent@example.com>;tag={secrets.token_hex(4)}"
                self.peer = self.hub.connect((trunk.ip, trunk.hub.port))
            self.remote, self.routes = "<sip:agent@example.com>", []
            message = self.make("REGISTER", uri, [("expires", str(expires))])
            self.emit(message, self.peer)
        response = self.final(message)
        if response is None or response.status != 401:
            return response
        with self.lock:
            message = self.make("REGISTER", uri, [("expires", str(expires)), ("authorization", self.proof(response, message))])
            self.emit(message, self.peer)
        return self.final(message)

    def proof(self, response: Message, request: Message) -> str:
        """Credentials for a challenge."""
        header = "www-authenticate" if response.status == 401 else "proxy-authenticate"
        asked = parameters(response.get(header))
        given = {"username": "agent", "realm": asked["realm"], "nonce": asked["nonce"], "uri": request.uri}
        if "qop" in asked:
            given |= {"qop": "auth", "nc": "00000001", "cnonce": secrets.token_hex(4)}
        given["response"] = expected_response(self.password, given, request.method)
        given["opaque"] = asked["opaque"]
        bare = ("qop", "nc")
        return "Digest " + ", ".join(f"{name}={value}" if name in bare else f'{name}="{value}"' for name, value in given.items())

    # -- receiving

    def _receive(self, message: Message, peer: Peer) -> None:
        with self.lock:
            if message.is_response:
                self._receive_response(message, peer)
            else:
                self._receive_request(message, peer)

    def _receive_response(self, response: Message, peer: Peer) -> None:
        if response.status < 200:
            self.progress.append(response)
            if response.get("rseq"):
                self._make_dialog(response)
                self.emit(self.make("PRACK", self.target, [("rack", f"{response.get('rseq')} {response.get('cseq')}")]), self.way())
            return
        self.finals.append(response)
        if response.method != "INVITE":
            return
        if response.status >= 300:
            self._receive_refusal(response, peer)
            return
        if self.ends_forks and any(one.method == "INVITE" and one is not response and one.status < 300 for one in self.finals):
            self._end_fork(response)
            return
        if not tag_of(self.ours.get("to")):
            self._make_dialog(response)
        elif "adopts" in self.omits:
            self.routes = response.all("record-route")[::-1]
        body = b"" if self.ours.body else self._answer(response.body)
        ack = self.make("ACK", self.target, sequence=response.sequence)
        if body:
            ack.headers.append(("content-type", "application/sdp"))
            ack.body = body
        self.emit(ack, self.way())
        if self.cancelled and not tag_of(self.ours.get("to")):
            self.emit(self.make("BYE", self.target), self.way())

    def _end_fork(self, response: Message) -> None:
        """ACK and BYE for another branch; the dialog of the first one stays."""
        kept = self.remote
        self.remote = response.get("to")
        self.emit(self.make("ACK", self.target, sequence=response.sequence), self.way())
        self.emit(self.make("BYE", self.target), self.way())
        self.remote = kept

    def _make_dialog(self, response: Message) -> None:
        self.remote, self.target = response.get("to"), uri_of(response.get("contact"))
        self.routes = response.all("record-route")[::-1]

    def _receive_refusal(self, response: Message, peer: Peer) -> None:
        ack = Message(f"ACK {self.ours.uri} SIP/2.0")
        ack.headers = [("via", self.ours.get("via")), ("from", self.ours.get("from")), ("to", response.get("to"))]
        ack.headers += [("call-id", self.call_id), ("cseq", f"{response.sequence} ACK"), ("max-forwards", "70")]
        self.emit(ack, peer)
        if response.status == 407 and not self.ours.get("proxy-authorization"):
            self._send_invite(self.ours.uri, [("proxy-authorization", self.proof(response, self.ours))])
        elif response.status == 422:
            least = response.get("min-se")
            self._send_invite(self.ours.uri, [("session-expires", least), ("min-se", least)])

    def _answer(self, offered: bytes) -> bytes:
        self.version += 1
        return descriptions.answer(self.switches, self.place, descriptions.read(offered), version=self.version)

    def respond(
        self, request: Message, peer: Peer, code: int, reason: str, headers: Sequence[tuple[str, str]] = (), body: bytes = b""
    ) -> None:
        response = Message(f"SIP/2.0 {code} {reason}")
        copied = ("via", "record-route", "from", "to", "call-id", "cseq")
        response.headers = [(name, value) for name, value in request.headers if name in copied]
        if code > 100 and not tag_of(request.get("to")):
            tag = tag_of(self.local) or secrets.token_hex(5)
            response.headers = [(name, f"{value};tag={tag}" if name == "to" else value) for name, value in response.headers]
        if code < 300:
            response.headers.append(("contact", f"<{self.contact}>"))
        response.headers += [("allow", "INVITE,ACK,BYE,CANCEL,UPDATE,NOTIFY,PRACK,INFO"), *headers]
        if body:
            response.headers.append(("content-type", "application/sdp"))
            response.body = body
        octets = self.emit(response, peer)
        self.answered.setdefault((branch_of(request), request.method), []).append(octets)

    def _receive_request(self, request: Message, peer: Peer) -> None:
        if request.method == "ACK":
            self.last_ack = request
            self.acked.set()
            return
        if (branch_of(request), request.method) in self.answered:
            return
        self.requests.append(request)
        match request.method:
            case "INVITE" if tag_of(request.get("to")):
                self._answer_reinvite(request, peer)
            case "INVITE":
                self.peer = peer
                if self.slow_s:
                    self.timers.after(self.slow_s, lambda: self._ring(request, peer))
                else:
                    self._ring(request, peer)
            case "CANCEL":
                self.respond(request, peer, 200, "OK")
                self.respond(self.invite, peer, 487, "Request Terminated")
            case "UPDATE":
                timer = self._timer_headers(request)
                self.respond(request, peer, 200, "OK", timer, self._answer(request.body) if request.body else b"")
            case "NOTIFY":
                self.respond(request, peer, 200, "OK")
                if "terminated" in request.get("subscription-state") and "BYE" not in self.omits:
                    self.emit(self.make("BYE", self.target), self.way())
            case _:
                self.respond(request, peer, 200, "OK")

    def _ring(self, request: Message, peer: Peer) -> None:
        self.invite = request
        self.call_id, self.remote = request.get("call-id"), request.get("from")
        self.local = f"{request.get('to')};tag={secrets.token_hex(5)}"
        self.routes, self.target = request.all("record-route"), uri_of(request.get("contact"))
        self.respond(request, peer, 100, "Trying")
        if self.refuses:
            code, reason = self.refuses
            self.respond(request, peer, code, "Refused", [("contact", reason)] if code == 302 else [])
            return
        reliable = [("require", "100rel"), ("rseq", "77")] if "100rel" in request.get("require") else []
        self.respond(request, peer, 180, "Ringing", reliable)
        if self.answer_after_s >= 0:
            self.timers.after(self.answer_after_s, lambda: self._accept(request, peer))

    def _accept(self, request: Message, peer: Peer) -> None:
        if (branch_of(request), "CANCEL") in self.answered:
            return
        body = self._answer(request.body) if request.body else self.session()
        self.acked.clear()
        self.respond(request, peer, 200, "OK", self._timer_headers(request), body)
        if "repetition" not in self.omits:
            octets = self.answered[branch_of(request), "INVITE"][-1]
            self.timers.after(0.5, lambda: self._repeat(octets, peer, 0.5))

    def _repeat(self, octets: bytes, peer: Peer, interval_s: float) -> None:
        if not self.acked.is_set() and interval_s < 8:
            self.hub.send(octets, peer)
            self.timers.after(2 * interval_s, lambda: self._repeat(octets, peer, 2 * interval_s))

    def _answer_reinvite(self, request: Message, peer: Peer) -> None:
        if self.final_missing():
            self.respond(request, peer, 491, "Request Pending")
            return
        body = self._answer(request.body) if request.body else self.session()
        self.respond(request, peer, 200, "OK", self._timer_headers(request), body)

    def final_missing(self) -> bool:
        """Whether a re-INVITE of ours is under way."""
        ours = self.ours
        return bool(ours.start) and bool(tag_of(ours.get("to"))) and not any(branch_of(one) == branch_of(ours) for one in self.finals)

    def _timer_headers(self, request: Message) -> list[tuple[str, str]]:
        seconds, refresher = read_expires(request)
        if not seconds or "timer" not in self.supports:
            return []
        refresher = refresher or "uac"
        if refresher == "uas" and "refresh" not in self.omits:
            self.timers.after(seconds / 2, lambda: self._refresh(seconds))
        require = [("require", "timer")] if refresher == "uac" else []
        return [*require, ("session-expires", f"{seconds};refresher={refresher}")]

    def _refresh(self, seconds: int) -> None:
        message = self.make("UPDATE", self.target, [("supported", "timer"), ("session-expires", f"{seconds};refresher=uac")])
        self.emit(message, self.way())
