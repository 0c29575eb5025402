"""The simulated trunk: one edge with its listener, its calls in both directions, and the judge.

Enters: switches, addresses to call, messages of the user agent. Leaves: legs, and violations. Blocking calls, one thread inside; `with
Trunk(...) as trunk:` closes it, and `trunk.check()` fails the test. Whole messages only; the legs handle their meaning inside a call.

    trunk ── wire (sockets) ── phone_sip (reading), writing
      ├─ transactions                        repetitions, timers
      ├─ admission ── digest                 challenge, registrar, OPTIONS
      └─ calling, called ── leg ── descriptions, identity, session_timer, media
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence

from active_call.testing.phone.sip import Message, host_port, tag_of
from active_call.testing.phone.wire import Hub, Peer
from active_call.testing.trunk.admission import Admission
from active_call.testing.trunk.called import CalledLeg, same_call
from active_call.testing.trunk.calling import CallingLeg
from active_call.testing.trunk.judging import Judge
from active_call.testing.trunk.leg import Headers, Leg
from active_call.testing.trunk.ports import CallPort
from active_call.testing.trunk.switches import Switches
from active_call.testing.trunk.transactions import T1_S, T2_S, TIMEOUT_S, Exchange, Timer, Timers, branch_of
from active_call.testing.trunk.writing import encode

_ACK_LIMIT_S = 3.0
"""How long the ACK of a refusal may take before it is missed; a proxy would repeat the refusal until Timer H, 32 s."""


class Trunk:
    """One simulated trunk on `local_ip`. `edge` is its address as the user agent sees it."""

    def __init__(self, switches: Switches, *, local_ip: str = "127.0.0.1", port: int = 0) -> None:
        self.switches, self.ip = switches, local_ip
        self.judge = Judge()
        self.lock = threading.RLock()
        self._changed = threading.Condition(self.lock)
        self.timers = Timers()
        self.admission = Admission(self)
        self.legs: list[Leg] = []
        self.received: list[Message] = []
        """Every message that came, repetitions included."""
        self._exchanges: dict[tuple[str, str], Exchange] = {}
        self._repetitions: dict[tuple[str, str], Timer] = {}
        self._answered: dict[tuple[str, str], bytes] = {}
        self._unacknowledged: dict[str, Timer] = {}
        self._delayed: set[str] = set()
        self.hub = Hub(local_ip, switches.transport, on_message=self._receive, on_tick=self._tick, on_fault=self._fault, port=port)

    def __enter__(self) -> Trunk:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release every socket and thread; what was found stays."""
        self.hub.close()
        for leg in self.legs:
            leg.close()

    @property
    def edge(self) -> str:
        """Host and port of the listener."""
        return f"{self.ip}:{self.hub.port}"

    def check(self) -> None:
        """Raise AssertionError with every violation, if there is one."""
        self.judge.check()

    # -- calls ---------------------------------------------------------------------------------------------------------------------------

    def call(
        self, *uris: str, caller: str = "+15550100", headers: Headers = (), over: Peer | None = None, direction: str = "sendrecv"
    ) -> CallingLeg:
        """Call a user agent; several addresses are tried as the carrier's failover has it. `over` is a flow that is open already.

        `direction`: of the sound in the first offer; `sendonly` and `inactive` begin the call on hold.
        """
        with self.lock:
            leg = CallingLeg(self, uris, caller=caller, headers=headers, over=over, direction=direction)
            self.legs.append(leg)
            leg.start()
            return leg

    def call_registered(self, number: str = "15550177", caller: str = "+15550100") -> CallingLeg:
        """Call whoever is registered, over the flow of the registration, as the carrier writes it: its Contact, the number as user.

        Raises AssertionError if nobody is.
        """
        binding, flow = self.admission.binding, self.admission.bound_to
        if not binding or flow is None:
            raise AssertionError("nobody is registered")
        scheme, _, rest = binding.partition(":")
        return self.call(f"{scheme}:{number}@{rest.rpartition('@')[2]}", over=flow, caller=caller)

    def wait_call(self, timeout_s: float = 10.0, *, count: int = 1) -> CalledLeg:
        """The `count`th admitted call. Raises AssertionError if it does not come."""
        self.wait(lambda: len(self.called) >= count, timeout_s)
        if len(self.called) < count:
            raise AssertionError(f"no call number {count} within {timeout_s:g} s; came: {[one.start for one in self.received]}")
        return self.called[count - 1]

    @property
    def called(self) -> list[CalledLeg]:
        """Admitted calls of the user agent."""
        return [leg for leg in self.legs if isinstance(leg, CalledLeg)]

    def wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until a condition is true; False after the time."""
        with self._changed:
            return self._changed.wait_for(condition, timeout_s)

    def options(self, uri: str) -> Exchange:
        """Send OPTIONS to a user agent, outside any call."""
        with self.lock:
            leg = CallingLeg(self, [uri], caller="+15550100")
            self.legs.append(leg)
            leg.remote = f"<{uri}>"
            return self.transmit_request(leg.message("OPTIONS", uri, 1), self.reach(uri), None)

    # -- sending -------------------------------------------------------------------------------------------------------------------------

    def reach(self, uri: str) -> Peer:
        """The way to a URI. Raises OSError or ValueError."""
        host, port, _ = host_port(uri)
        return self.hub.connect((socket.gethostbyname(host), port or (5061 if self.switches.transport == "tls" else 5060)))

    def transmit(self, message: Message, peer: Peer) -> bytes:
        """Send once; returns the octets."""
        octets = encode(message, self.switches)
        self.hub.send(octets, peer)
        return octets

    def transmit_request(self, message: Message, peer: Peer, on_response: Callable[[Exchange, Message], None] | None = None) -> Exchange:
        """Send a request, and repeat it over UDP until something comes back (RFC 3261 timers A, B, E, F)."""
        exchange = Exchange(message, peer, on_response)
        key = (branch_of(message), message.method)
        self._exchanges[key] = exchange
        octets = self.transmit(message, peer)

        def again() -> None:
            if self.switches.transport == "udp":
                self.hub.send(octets, peer)

        def missed() -> None:
            self.judge.add_violation("unanswered", f"{message.method} was never answered", message)

        most = TIMEOUT_S if message.method == "INVITE" else T2_S
        self._repetitions[key] = self.timers.repeat(T1_S, most, TIMEOUT_S, again, missed)
        return exchange

    def respond(
        self,
        request: Message,
        peer: Peer,
        code: int,
        reason: str,
        *,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        leg: CallPort | None = None,
        to_tag: str = "",
    ) -> bytes:
        """Answer a request; the octets are kept for its repetitions."""
        copied = [(name, value) for name, value in request.headers if name in ("via", "from", "to", "call-id", "cseq")]
        tag = to_tag or (tag_of(leg.local) if leg is not None else "trunk")
        if code > 100:
            copied = [(name, f"{value};tag={tag}" if name == "to" and not tag_of(value) else value) for name, value in copied]
        response = Message(f"SIP/2.0 {code} {reason}", copied, body)
        if isinstance(leg, CalledLeg) and request.method == "INVITE" and 101 <= code < 300 and not tag_of(request.get("to")):
            response.headers += [("record-route", one) for one in leg.record_routes]
        if leg is not None and request.method in ("INVITE", "UPDATE", "REFER") and 200 <= code < 300:
            response.headers.append(("contact", f"<{leg.contact}>"))
        given = {name for name, _ in headers}
        response.headers += [("allow", ",".join(self.switches.allow)), *headers]
        if "server" not in given:
            response.headers.append(("server", "Twilio Gateway" if self.switches.carrier_headers == "twilio" else "test trunk"))
        if body:
            response.headers.append(("content-type", "application/sdp"))
        octets = self.transmit(response, peer)
        self._answered[branch_of(request), request.method] = octets
        return octets

    def expect_ack(self, invite: Message) -> None:
        """A refusal of an INVITE was sent: its ACK belongs to the same transaction (RFC 3261 section 17.1.1.3)."""

        def missed() -> None:
            self.judge.add_violation("ack-for-failure", f"no ACK for the refusal of CSeq {invite.sequence}", invite)

        self._unacknowledged[branch_of(invite)] = self.timers.after(_ACK_LIMIT_S, missed)

    def wait_settled(self, timeout_s: float = _ACK_LIMIT_S + 0.5) -> bool:
        """Whether every refusal of ours has been acknowledged."""
        return self.wait(lambda: not self._unacknowledged, timeout_s)

    # -- receiving -----------------------------------------------------------------------------------------------------------------------

    def _fault(self, text: str) -> None:
        with self.lock:
            self.judge.add_violation("unreadable", text)

    def _tick(self) -> None:
        with self._changed:
            self.timers.run_due()
            if self.switches.idle_close_s:
                self._cut_idle()
            self._changed.notify_all()

    def _cut_idle(self) -> None:
        now = time.monotonic()
        for sock, used_at in list(self.hub.used_at.items()):
            if now - used_at >= self.switches.idle_close_s:
                self.hub.cut(sock)

    def _receive(self, message: Message, peer: Peer) -> None:
        with self._changed:
            self.received.append(message)
            if message.is_response:
                self._receive_response(message)
            else:
                self._receive_request(message, peer)
            self._changed.notify_all()

    def _receive_response(self, response: Message) -> None:
        key = (branch_of(response), response.method)
        exchange = self._exchanges.get(key)
        if exchange is None:
            self.judge.add_violation("response-echo", "a response to nothing of ours", response)
            return
        repetition = self._repetitions.get(key)
        if repetition is not None and (response.status >= 200 or response.method == "INVITE"):
            repetition.cancel()
        self.judge.judge_response(exchange.request, response)
        is_new = exchange.final is None or response.status < 300
        exchange.responses.append(response)
        exchange.times.append(time.monotonic())
        if response.method == "INVITE" and response.status >= 300:
            self._acknowledge_refusal(exchange, response)
        if exchange.on_response is not None and is_new:
            exchange.on_response(exchange, response)

    def _acknowledge_refusal(self, exchange: Exchange, response: Message) -> None:
        request = exchange.request
        ack = Message(f"ACK {request.uri} SIP/2.0", [("via", request.get("via"))])
        ack.headers += [(name, request.get(name)) for name in ("from", "call-id", "max-forwards")]
        ack.headers += [("to", response.get("to")), ("cseq", f"{request.sequence} ACK")]
        self.transmit(ack, exchange.peer)

    def _receive_request(self, request: Message, peer: Peer) -> None:
        branch = branch_of(request)
        if request.method == "ACK" and branch in self._unacknowledged:
            self._unacknowledged.pop(branch).cancel()
            return
        known = self._answered.get((branch, request.method))
        if known is not None:
            self.hub.send(known, peer)
            return
        if request.method == "CANCEL":
            self._receive_cancel(request, peer)
        elif tag_of(request.get("to")):
            self._receive_in_dialog(request, peer)
        elif request.method == "INVITE":
            self._receive_invite(request, peer)
        elif request.method == "REGISTER":
            self.admission.register(request, peer)
        elif request.method == "OPTIONS":
            self.admission.options(request, peer)
        elif request.method != "ACK":
            self.judge.add_violation("dialog", f"{request.method} outside any call", request)
            self.respond(request, peer, 481, "Call/Transaction Does Not Exist")

    def _receive_in_dialog(self, request: Message, peer: Peer) -> None:
        leg = next((one for one in self.legs if one.call_id == request.get("call-id") and one.remote), None)
        if leg is not None:
            leg.receive(request, peer)
            return
        if request.method != "ACK":
            self.judge.add_violation("dialog", f"{request.method} with a Call-ID that we do not know", request)
            self.respond(request, peer, 481, "Call/Transaction Does Not Exist")

    def _receive_cancel(self, cancel: Message, peer: Peer) -> None:
        branch = branch_of(cancel)
        if branch in self._delayed:
            self.judge.add_violation("cancel", "CANCEL before any response to the INVITE", cancel)
            return
        leg = next((one for one in self.called if branch_of(one.invite) == branch), None)
        if leg is None or not same_call(leg.invite, cancel) or leg.invite.uri != cancel.uri:
            self.judge.add_violation("cancel", "CANCEL matches no INVITE in branch, Call-ID and Request-URI", cancel)
            self.respond(cancel, peer, 481, "Call/Transaction Does Not Exist")
            return
        leg.receive_cancel(cancel, peer)

    def _receive_invite(self, invite: Message, peer: Peer) -> None:
        if not self.switches.silent_s:
            self._consider(invite, peer)
            return
        branch = branch_of(invite)
        if branch not in self._delayed:
            self._delayed.add(branch)
            self.timers.after(self.switches.silent_s, lambda: self._consider(invite, peer))

    def _consider(self, invite: Message, peer: Peer) -> None:
        self._delayed.discard(branch_of(invite))
        if not self.admission.admits(invite, peer):
            return
        min_se = self.switches.min_se_s
        leg = CalledLeg(self, invite, peer)
        if min_se and leg.timer.is_too_brief(invite):
            leg.close()
            self.respond(invite, peer, 422, "Session Interval Too Small", headers=[("min-se", str(min_se))])
            self.expect_ack(invite)
            return
        self.legs.append(leg)
        leg.start()
        if leg.ended:
            self.admission.refused.append(invite)
