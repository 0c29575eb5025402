"""The leg of a call with a browser: its offer comes with the invitation, our answer leaves at once, sound begins with the keys.

new ──dial or accept──> answered (LegAnswered with our description) ──keys──> ready (LegReady)
                           └──no keys in time, path lost, goodbye──> over
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from active_call.base.errors import LocalProtocolError, MediaError
from active_call.base.world import Randomness
from active_call.codec import table as codecs
from active_call.contract.options import CallOption
from active_call.legs.events import LegAnswered, LegEnded, LegEvent, LegMedia, LegReady
from active_call.legs.webrtc.description import LOOPBACK, Ours, build_answer, read_offer
from active_call.legs.webrtc.dtls import SrtpKeys, own_certificate
from active_call.legs.webrtc.transport import BrowserTransport, IceSettings
from active_call.media.link.messages import ConfigureRtp, Report
from active_call.media.pool.pool import MediaPool, MediaStream, StreamLost
from active_call.sdp.codecs import TELEPHONE_EVENT
from active_call.sdp.negotiation import Agreement

NO_HEADERS: Final[Mapping[str, str]] = {}
CODECS: Final = ("opus", "g722", "pcmu", "pcma")
"""What is agreed on with browsers, as far as the configuration allows it."""
RTP_TIMEOUT_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class BrowserSettings:
    """What all calls with browsers of this server use."""

    ice: IceSettings = field(default_factory=IceSettings)
    codecs: tuple[str, ...] = CODECS


class WebRtcLeg:
    """See the module. `offer`: the browser's description."""

    kind: Final = "webrtc"
    trunk: Final = ""
    headers: Final = NO_HEADERS

    def __init__(
        self,
        pool: MediaPool,
        settings: BrowserSettings,
        randomness: Randomness,
        offer: str,
        *,
        caller: str,
        callee: str,
        call_id: str,
        peer: str,
    ) -> None:
        self._pool = pool
        self._settings = settings
        self.offer = offer
        self.caller = caller
        self.callee = callee
        self.call_id = call_id
        self.peer_address = peer
        self.stream: MediaStream | None = None
        self._session_id = int(randomness.token(4), 16)
        self._browser = BrowserTransport(settings.ice, self._take_keys, self._lost)
        self._agreement: Agreement | None = None
        self._relay_port = 0
        self._early: list[str] = []
        """Candidates that came before the answer."""
        self._opening = asyncio.Lock()
        self._is_answering = False
        self._is_answered = False
        self._has_begun = False
        self._ended: LegEnded | None = None
        self._is_released = False
        self._untold: list[LegEvent] = []
        self._sink: Callable[[LegEvent], None] = self._untold.append

    # -- the browser

    async def add_candidate(self, candidate: str) -> None:
        """A candidate that the browser has found later (trickle ICE, RFC 8838); an empty one says that no more follows."""
        if self._has_begun:
            await self._browser.add_candidate(candidate)
        elif len(self._early) < 64:
            self._early.append(candidate)

    def _take_keys(self, keys: SrtpKeys) -> None:
        agreement, stream = self._agreement, self.stream
        if agreement is None or stream is None or self._ended is not None:
            return
        stream.configure(
            ConfigureRtp(
                stream=stream.stream,
                remote_ip=LOOPBACK,
                remote_port=self._relay_port,
                codec=agreement.codec,
                send_payload_type=agreement.send_payload_type,
                receive_payload_type=agreement.receive_payload_type,
                send_event_type=-1 if agreement.send_event_type is None else agreement.send_event_type,
                receive_event_type=-1 if agreement.receive_event_type is None else agreement.receive_event_type,
                ptime_ms=agreement.ptime_ms,
                send_parameters=agreement.send_parameters,
                receive_formats=tuple((one.payload_type, _name(one.name)) for one in agreement.formats),
                event_clock_hz=agreement.event_clock_hz,
                rtcp_mux=True,
                suite=keys.suite,
                send_key=keys.send_key,
                receive_key=keys.receive_key,
                send=agreement.send,
                receive=agreement.receive,
                latching=False,
                rtp_timeout_s=RTP_TIMEOUT_S,
                remote_rtcp_ip=LOOPBACK,
                remote_rtcp_port=self._relay_port,
            )
        )
        self._sink(LegReady())

    def _lost(self, reason: str) -> None:
        by_browser = "closed" in reason
        self._end(LegEnded(by="caller" if by_browser else "system", cause="hangup" if by_browser else "no_media", reason=reason))

    # -- as `legs.leg.Leg`

    def attach(self, sink: Callable[[LegEvent], None]) -> None:
        """See `legs.leg.Leg`, as all that follows."""
        self._sink = sink
        untold, self._untold = self._untold, []
        for event in untold:
            sink(event)

    async def open_media(self, near: MediaStream | None = None) -> MediaStream:
        async with self._opening:
            if self.stream is None and not self._is_released:
                self._keep(await self._pool.open_stream(self._report, bind_ip=LOOPBACK, near=near))
            if self.stream is None or self._is_released:
                raise MediaError("the leg has been released")
            return self.stream

    def _keep(self, stream: MediaStream) -> None:
        if self._is_released:
            stream.discard()
        else:
            self.stream = stream

    def _report(self, report: Report | StreamLost) -> None:
        self._sink(LegMedia(report))

    async def dial(self, option: CallOption, *, call_id: str = "") -> None:
        self.call_id = call_id or self.call_id
        await self._answer(option)

    async def ring(self, *, early_media: bool = False) -> None:
        del early_media  # a browser has no ringing before the answer

    async def accept(self, option: CallOption) -> None:
        await self._answer(option)

    async def _answer(self, option: CallOption) -> None:
        """Agree with the offer and begin to connect. Raises NegotiationError or ParseError for an offer that cannot be answered."""
        if self._ended is not None or self._is_answering:
            raise LocalProtocolError("the call is over" if self._ended is not None else "the call is answered already")
        self._is_answering = True
        stream = await self.open_media()
        offer = read_offer(self.offer)
        self._relay_port = await self._browser.open_relay()
        self._browser.lead_to(stream.port)
        candidates = await self._browser.gather()
        ours = Ours(self._browser.ufrag, self._browser.password, own_certificate().fingerprint, candidates)
        wanted = (option.codec.lower(),) if option.codec and option.codec.lower() in CODECS else self._settings.codecs
        answer, self._agreement = build_answer(offer, ours, wanted, self._relay_port, session_id=self._session_id)
        if self._ended is not None:
            raise LocalProtocolError("the call is over")
        await self._browser.begin(offer)
        self._has_begun = True
        for candidate in self._early:
            await self._browser.add_candidate(candidate)
        self._is_answered = True
        self._sink(LegAnswered(answer))

    def reject(self, code: int, reason: str) -> bool:
        if not 300 <= code <= 699:
            raise LocalProtocolError(f"a {code} rejects nothing")
        if self._is_answered or self._ended is not None:
            return False
        self._end(LegEnded(by="system", cause="rejected", code=code, reason=reason))
        return True

    def hang_up(self, *, headers: Mapping[str, str], by: str, cause: str, reason: str) -> None:
        del headers
        self._end(LegEnded(by=by, cause=cause, reason=reason))

    async def release(self) -> dict[str, float]:
        self._is_released = True
        await self._browser.close()
        if self.stream is None:
            return {}
        closed = await self.stream.close()
        if closed is None:
            return {}
        return {
            "packets_sent": closed.packets_sent,
            "packets_received": closed.packets_received,
            "packets_lost": closed.packets_lost,
            "jitter_ms": round(closed.jitter_ms, 2),
            "round_trip_ms": round(closed.round_trip_ms, 2),
            "mos": round(closed.mos, 2),
        }

    def _end(self, event: LegEnded) -> None:
        if self._ended is None:
            self._ended = event
            self._sink(event)

    # -- as `legs.abilities.Dtmf`

    @property
    def has_telephone_events(self) -> bool:
        return self._agreement is not None and self._agreement.send_event_type is not None

    def allows(self, method: str) -> bool:
        del method
        return False

    def send_digits_by_signalling(self, digits: str, duration_ms: int) -> None:
        del digits, duration_ms
        raise LocalProtocolError("a webrtc call has no signalling for digits")


def _name(name: str) -> str:
    return codecs.TELEPHONE_EVENT.name if name == TELEPHONE_EVENT else name
