"""The kit of `legs.sip_leg.SipLeg`: the real gateway and endpoint, driven as `net.sip_driver` does, and a far end that speaks raw SIP.

What the far end writes and reads is text (`tests/sip/raw_sip`): our SIP is not judged by our SIP. Packets take 10 ms and are not lost.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from far_end import Habits, Party, Seen
from raw_sip import Message, read, request_text, response_text

from active_call.base.world import World
from active_call.contract.options import CallOption
from active_call.legs.sip.dialling import DialPlan
from active_call.legs.sip.gateway import SipGateway, SipSettings
from active_call.legs.sip.leg import SipLeg
from active_call.legs.sip.media import MediaSettings
from active_call.legs.trunks.policy import Trunks
from active_call.sip.endpoint import Endpoint
from active_call.sip.events import Address, EndpointConfig, Flow, Listener, Target
from active_call.testing.fakes.stream import FakeStream
from active_call.testing.virtual_time import CountingRandomness, VirtualClock

US, PEER = Address("198.51.100.1", 5060), Address("192.0.2.9", 5060)
FLOW = Flow("udp", US, PEER)
TRAVEL_S = 0.01
FORMATS = "a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n"
T = TypeVar("T")


class Pool:
    """Hands out fake streams; stands in for `media.client.MediaPool`."""

    def __init__(self) -> None:
        self.opens_after_s = 0.0
        self.streams: list[FakeStream] = []

    async def open_stream(self, on_report: Callable[[Any], None], *, bind_ip: str, near: object = None) -> FakeStream:
        await asyncio.sleep(self.opens_after_s)
        self.streams.append(FakeStream(on_report))
        return self.streams[-1]


class SipStage:
    """See `far_end.Stage`; also the driver of its endpoint."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._clock = VirtualClock(self._loop)
        world = World(self._clock, CountingRandomness())
        self._endpoint = Endpoint(EndpointConfig(listeners=(Listener("udp", US, US),), user_agent="active-call"), world.randomness)
        self._pool = Pool()
        settings = SipSettings(US.host, MediaSettings(US.host, ("pcmu", "pcma")), DialPlan(Trunks()))
        self._gateway = SipGateway(self._endpoint, self._pool, settings, world, None)  # type: ignore[arg-type]
        self._gateway.connect(self, self._on_incoming, lambda _: None)
        self._far_ends: dict[str, SipFarEnd] = {}
        """By Call-ID; who is to be called, by its address."""
        self._on_the_wire: deque[Callable[[], object]] = deque()
        self._incoming: asyncio.Future[SipLeg] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_pumping = False
        self._n_calls = 0
        self._n_branches = 0

    # -- as `net.sip_driver`

    def run(self, operation: Callable[[float], T]) -> T:
        try:
            return operation(self._clock.now())
        finally:
            self._pump()

    def _pump(self) -> None:
        if self._is_pumping:
            return
        self._is_pumping = True
        try:
            while self._drain_once():
                pass
        finally:
            self._is_pumping = False
            self._arm()

    def _drain_once(self) -> bool:
        transmits = self._endpoint.take_transmits()
        for transmit in transmits:
            self._put_on_wire(partial(self._deliver, read(transmit.data)))
        look_ups = self._endpoint.take_look_ups()
        for look_up in look_ups:
            place = Target(look_up.transports[0], look_up.host, look_up.port)
            self._endpoint.handle_look_up(look_up.id, (place,), "", self._clock.now())
        events = self._endpoint.take_events()
        self._gateway.handle_events(events)
        return bool(transmits or look_ups or events)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        due = self._endpoint.next_timeout()
        if due is not None:
            self._timer = self._loop.call_at(due, lambda: self.run(self._endpoint.handle_timeout))

    # -- the wire

    def send(self, data: bytes) -> None:
        """From a far end to us."""
        self._put_on_wire(lambda: self.run(lambda now: self._endpoint.receive_datagram(data, FLOW, now)))

    def _put_on_wire(self, arrive: Callable[[], object]) -> None:
        """Nothing overtakes: timers of the same moment have no order."""
        self._on_the_wire.append(arrive)
        self._loop.call_later(TRAVEL_S, lambda: self._on_the_wire.popleft()())

    def new_branch(self) -> str:
        self._n_branches += 1
        return f"z9hG4bKpeer{self._n_branches}"

    def _deliver(self, message: Message) -> None:
        call_id = message.get("Call-ID")
        if call_id not in self._far_ends:
            self._far_ends[call_id] = self._far_ends.pop(message.uri)
        self._far_ends[call_id].receive(message)

    # -- as `far_end.Stage`

    @property
    def opens_after_s(self) -> float:
        return self._pool.opens_after_s

    @opens_after_s.setter
    def opens_after_s(self, seconds: float) -> None:
        self._pool.opens_after_s = seconds

    @property
    def streams(self) -> list[FakeStream]:
        return self._pool.streams

    def _on_incoming(self, leg: SipLeg) -> None:
        assert self._incoming is not None
        self._incoming.set_result(leg)

    async def incoming(self, habits: Habits) -> Party:
        self._n_calls += 1
        call_id = f"call-{self._n_calls}@peer"
        far = self._far_ends[call_id] = SipFarEnd(self, habits, call_id)
        self._incoming = self._loop.create_future()
        far.invites()
        return Party(await self._incoming, far)

    async def outgoing(self, habits: Habits) -> Party:
        self._n_calls += 1
        callee = f"sip:desk-{self._n_calls}@{PEER.host}"
        far = self._far_ends[callee] = SipFarEnd(self, habits)
        return Party(self._gateway.new_leg(CallOption(callee=callee, caller=f"sip:agent@{US.host}")), far)

    def leftovers(self) -> list[str]:
        counts = {"calls": self._endpoint.n_calls, "dialogs": self._endpoint.n_dialogs, "legs": self._gateway.n_legs}
        return [f"{n} {name}" for name, n in counts.items() if n]


class SipFarEnd:
    """See `far_end.FarEnd`: one call of a telephone that keeps to RFC 3261, but for what its habits say."""

    def __init__(self, stage: SipStage, habits: Habits, call_id: str = "") -> None:
        self.seen = Seen()
        self._stage = stage
        self._habits = habits
        self._call_id = call_id
        self._is_caller = bool(call_id)
        self._own = "<sip:+15550001@192.0.2.9>;tag=peer1"
        self._theirs = "<sip:agent@198.51.100.1>"
        self._target = "sip:agent@198.51.100.1"
        self._cseq = 100
        self._version = 1
        self._invite: Message | None = None
        """Of ours, while it waits for its answer."""
        self._own_invite = ("", 0)
        """Branch and number of the one that has made the call."""
        self._answer_to: Message | None = None
        """The 2xx that waits for `confirms`."""
        self._is_known = self._is_caller
        """The INVITE that makes the call was seen; others are inside it."""
        self._holds_by = ""
        self._refer_cseq = 0
        self._has_cancelled = False

    # -- what it does

    def invites(self) -> None:
        sound = b"" if self._habits.leaves_the_offer_to_us else self._own_sound()
        self._own_invite = (self._request("INVITE", sound, to=self._theirs), self._cseq)

    def _own_sound(self) -> bytes:
        return self._sdp() if self._habits.has_usable_sound else self._sdp(formats="18")

    def rings_again(self) -> None:
        if self._invite is not None and not self._habits.is_silent:
            sound = self._sdp() if self._habits.has_early_media else b""
            self._reply(self._invite, 183 if sound else 180, sound)

    def hangs_up(self, q850: int | None = None) -> None:
        reason = () if q850 is None else (("Reason", f"Q.850;cause={q850}"),)
        if self.seen.is_over:
            return
        if self.seen.is_answered:
            self._request("BYE", extra=reason)
            self.seen.is_over = True
        elif self._is_caller:
            self.cancels()
        elif self._invite is not None:
            self._refuse(603, "Decline")

    def cancels(self) -> None:
        if self._is_caller and not self.seen.is_answered and not self.seen.is_over:
            self._has_cancelled = True
            branch, number = self._own_invite
            self._send("CANCEL", branch, number, b"", self._theirs.partition(";tag=")[0], "")

    def confirms(self) -> None:
        answer, self._answer_to = self._answer_to, None
        if answer is not None:
            self._habits.confirms = True
            self._acknowledge(answer)

    def holds(self, form: str = "sendonly") -> None:
        self._holds_by = form if self._is_up else ""
        if form == "zero":
            self._offer(self._sdp(address="0.0.0.0"))
        elif form == "update":
            self._offer(self._sdp(direction="sendonly"), "UPDATE")
        else:
            self._offer(self._sdp(direction=form))

    def unholds(self) -> None:
        self._holds_by = ""
        self._offer(self._sdp())

    def _offer(self, sound: bytes, method: str = "INVITE") -> None:
        if self._is_up:
            self._version += 1
            self._request(method, sound)

    def presses(self, digit: str) -> None:
        if self._is_up:
            self._request("INFO", f"Signal={digit}\r\nDuration=160\r\n".encode(), kind="application/dtmf-relay")

    def writes(self, text: str) -> None:
        if self._is_up:
            self._request("MESSAGE", text.encode(), kind="text/plain;charset=UTF-8")

    def asks_for_transfer(self, target: str) -> None:
        if self._is_up:
            self._request("REFER", extra=(("Refer-To", f"<{target}>"), ("Referred-By", "<sip:boss@192.0.2.9>")))

    def tells_transfer(self, code: int, *, final: bool) -> None:
        if self._is_up and self._refer_cseq:
            state = "terminated;reason=noresource" if final else "active;expires=60"
            headers = (("Event", "refer"), ("Subscription-State", state))
            self._request("NOTIFY", f"SIP/2.0 {code} Told\r\n".encode(), extra=headers, kind="message/sipfrag;version=2.0")

    @property
    def _is_up(self) -> bool:
        return self.seen.is_answered and not self.seen.is_over

    # -- what reaches it

    def receive(self, message: Message) -> None:
        if message.code:
            self._responded(message, message.get("CSeq").split(" ")[1])
        elif message.method == "INVITE" and not self._is_known:
            self._invited(message)
        elif message.method == "INVITE" and ";tag=" not in message.get("To"):
            pass  # repeated
        elif message.method == "CANCEL":
            self._reply(message, 200)
            if self._invite is not None and self._habits.is_slow_to_withdraw:
                self._answer()
            elif self._invite is not None:
                self._refuse(487, "Request Terminated", message)
        elif message.method == "BYE":
            self._reply(message, 200)
            self._over(message)
        elif message.method != "ACK":
            self._requested(message)

    def _over(self, message: Message | None = None) -> None:
        self.seen.is_over = True
        if message is not None:
            self.seen.bye_headers = dict(message.headers)

    def _responded(self, response: Message, method: str) -> None:
        if method == "INVITE" and response.get("CSeq").split(" ")[0] == str(self._own_invite[1]):
            self._call_responded(response)
        elif method == "INVITE" and response.code >= 200:
            self._acknowledge(response)
        elif method == "REFER":
            self.seen.transfer_answers.append(response.code < 300)

    def _call_responded(self, response: Message) -> None:
        if response.code > 100:
            self._theirs = response.get("To")
        if response.code in (180, 183):
            self.seen.rings.append(bool(response.body))
        elif response.code >= 300:
            self._acknowledge(response)
            self.seen.refused_with = response.code
            self._over(response)
        elif response.code >= 200:
            self.seen.is_answered = True
            self._target = response.get("Contact").strip("<>")
            if self._has_cancelled:  # the two have crossed
                self._acknowledge(response)
                self.hangs_up()
            elif self._habits.confirms:
                self._acknowledge(response)
            else:
                self._answer_to = response

    def _acknowledge(self, response: Message) -> None:
        number = int(response.get("CSeq").split(" ")[0])
        branch = self._stage.new_branch() if response.code < 300 else response.branch
        is_owed = number == self._own_invite[1] and self._habits.leaves_the_offer_to_us and not self._habits.forgets_to_answer
        self._send(
            "ACK", branch, number, self._own_sound() if is_owed and response.code < 300 else b"", response.get("To"), "application/sdp"
        )

    def _invited(self, invite: Message) -> None:
        """We call it."""
        self._is_known = True
        self._invite = invite
        self._call_id = invite.get("Call-ID")
        self._theirs = invite.get("From")
        self._target = invite.get("Contact").strip("<>")
        self._own = f"{invite.get('To')};tag=peer1"
        habits, loop = self._habits, asyncio.get_running_loop()
        if habits.is_silent:
            return
        self.rings_again()
        if not habits.never_answers:
            loop.call_later(habits.answers_after_s, self._decide)

    def _decide(self) -> None:
        if self._invite is None:
            pass  # withdrawn meanwhile
        elif self._habits.refuses is not None:
            self._refuse(*self._habits.refuses)
        else:
            self._answer()

    def _answer(self) -> None:
        assert self._invite is not None
        self.seen.is_answered = True
        sound = b"" if self._habits.has_early_media and not self._habits.repeats_its_sound else self._sdp()
        self._reply(self._invite, 200, sound, extra=(("X-Desk", "7"), *self._allow))
        self._invite = None

    def _refuse(self, code: int, reason: str, because: Message | None = None) -> None:
        assert self._invite is not None
        self._stage.send(response_text(self._invite, code, reason, tag="peer1"))
        self._invite = None
        self._over(because)

    def _requested(self, request: Message) -> None:
        """A request of ours inside the call."""
        if self.seen.is_over:
            self._reply(request, 481)
            return
        match request.method:
            case "INVITE":
                direction = next(iter(re.findall(rb"a=(sendonly|recvonly|inactive|sendrecv)\r\n", request.body)), b"sendrecv").decode()
                self.seen.held_as.append(direction)
                sends, takes = self._holds_by not in ("inactive", "zero"), not self._holds_by
                sends, takes = sends and direction in ("sendrecv", "recvonly"), takes and direction in ("sendrecv", "sendonly")
                answer = {(True, True): "sendrecv", (True, False): "sendonly", (False, True): "recvonly"}.get((sends, takes), "inactive")
                refusal = self._habits.refuses_hold
                self._reply(request, refusal or 200, b"" if refusal else self._sdp(direction=answer))
            case "MESSAGE":
                self.seen.texts.append(request.body.decode())
                self._reply(request, *(self._habits.refuses_requests or (200, "OK")))
            case "INFO":
                self.seen.digits += request.body.decode().partition("Signal=")[2][:1]
                self._reply(request, *(self._habits.refuses_requests or (200, "OK")))
            case "REFER":
                self.seen.referred_to.append(request.get("Refer-To").strip("<>"))
                self._refer_cseq = int(request.get("CSeq").split(" ")[0])
                self._reply(request, *(self._habits.refuses_transfer or (202, "Accepted")))
            case "NOTIFY":
                code = int(request.body.split(b" ")[1])
                if code > 100:
                    self.seen.transfer_told.append((code, request.get("Subscription-State").startswith("terminated")))
                self._reply(request, 200)
            case _:
                self._reply(request, 501)

    # -- how it writes

    @property
    def _allow(self) -> tuple[tuple[str, str], ...]:
        return () if self._habits.methods is None else (("Allow", ", ".join(self._habits.methods)),)

    def _sdp(self, *, direction: str = "sendrecv", address: str = "192.0.2.9", formats: str = "0 101") -> bytes:
        head = f"v=0\r\no=peer 1 {self._version} IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n"
        return f"{head}m=audio 4000 RTP/AVP {formats}\r\n{FORMATS}a={direction}\r\n".encode()

    def _request(
        self, method: str, body: bytes = b"", *, extra: tuple[tuple[str, str], ...] = (), kind: str = "application/sdp", to: str = ""
    ) -> str:
        """Send a request with the next number; its branch."""
        self._cseq += 1
        branch = self._stage.new_branch()
        self._send(method, branch, self._cseq, body, to or self._theirs, kind, extra)
        return branch

    def _send(self, method: str, branch: str, cseq: int, body: bytes, to: str, kind: str, extra: tuple[tuple[str, str], ...] = ()) -> None:
        allow = self._allow if method == "INVITE" else ()
        data = request_text(
            method,
            branch=branch,
            call_id=self._call_id,
            cseq=cseq,
            to=to,
            sender=self._own,
            uri=self._target,
            contact="<sip:peer@192.0.2.9:5060>" if method in ("INVITE", "UPDATE", "REFER") else None,
            extra=(*extra, *allow),
            body=body,
            content_type=kind or None,
        )
        self._stage.send(data)

    def _reply(self, request: Message, code: int, body: bytes | str = b"", *, extra: tuple[tuple[str, str], ...] = ()) -> None:
        reason = body if isinstance(body, str) else "Whatever"
        sound = body if isinstance(body, bytes) else b""
        contact = "<sip:peer@192.0.2.9:5060>"
        self._stage.send(response_text(request, code, reason, tag="peer1", contact=contact, extra=extra, body=sound))
