"""The leg of a call with a browser: its offer arrives with the call, our answer is sent at once, media starts when the keys are known.

new ──dial or accept──> answered (LegAnswered with our description) ──keys──> ready (LegReady)
                           └──no keys in time, path lost, close_notify──> over

A further offer of the browser is answered at any time. If it has another ufrag and password, ICE restarts because the browser's network has
changed; keys and media continue.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
from msgspec.structs import replace

from active_call.base.errors import ActiveCallError, LocalProtocolError
from active_call.base.weakly import weakly
from active_call.base.world import Randomness
from active_call.codec import table
from active_call.contract.options import CallOption
from active_call.legs.agreed_media import agreed_rtp, statistics_of
from active_call.legs.client_leg import ClientLeg
from active_call.legs.events import LegAnswered, LegEnded, LegReady
from active_call.legs.webrtc.description import LOOPBACK, BrowserOffer, Ours, answered_codec, build_answer, read_offer
from active_call.legs.webrtc.dtls import SrtpKeys, own_certificate
from active_call.legs.webrtc.fragments import fragment_of, read_fragment, with_ice
from active_call.legs.webrtc.path import IcePath
from active_call.legs.webrtc.settings import CODECS, BrowserSettings
from active_call.legs.webrtc.transport import BrowserTransport
from active_call.media.pool.pool import MediaPool, MediaStream
from active_call.sdp.negotiation import Agreement, NegotiationError

RTP_TIMEOUT_S: Final = 20.0


def _ignore(*args: object) -> None:
    del args


class WebRtcLeg(ClientLeg):
    """See the module. `offer`: the browser's description."""

    kind: Final = "webrtc"

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
        codec: str | None = None,
    ) -> None:
        """`codec`: the only one to answer with, if it is one of a browser's."""
        super().__init__(pool, caller=caller, callee=callee, call_id=call_id, peer=peer)
        self._settings = settings
        self._codecs = (codec.lower(),) if codec and codec.lower() in CODECS else settings.codecs
        self.offer = offer
        self._session_id = int(randomness.token(4), 16)
        self._browser = BrowserTransport(settings.ice, weakly(self._take_keys, _ignore), weakly(self._lost, _ignore), peer=peer)
        self._agreement: Agreement | None = None
        self._theirs: BrowserOffer | None = None
        """The current offer, once it is answered."""
        self._keys: SrtpKeys | None = None
        self._version = 0
        self._renegotiating = asyncio.Lock()
        self._relay_port = 0
        self._early: list[str] = []
        """Candidates that arrived before the answer."""
        self._is_answering = False
        self._has_begun = False

    # -- the browser

    async def add_candidate(self, candidate: str) -> None:
        """A later candidate of the browser (trickle ICE, RFC 8838)."""
        if self._has_begun:
            await self._browser.add_candidate(candidate)
        elif len(self._early) < 64:
            self._early.append(candidate)

    @property
    def ice_tag(self) -> str:
        """The HTTP entity tag of the ICE session in the last answer (RFC 9725 §4.3.1)."""
        return f'"{self._browser.newest.ufrag}"'

    async def renegotiate(self, offer: str) -> str:
        """See `legs.abilities.Renegotiable`."""
        async with self._renegotiating:
            held = self._theirs
            if held is None or self._ended is not None:
                raise LocalProtocolError("the call is over" if self._ended is not None else "the call is not answered yet")
            theirs = read_offer(offer)
            if not set(theirs.fingerprints) & set(held.fingerprints):
                raise NegotiationError("the offer has another certificate; start a new call for it")
            theirs = replace(theirs, setup=held.setup)
            is_restart = (theirs.ufrag, theirs.password) != (held.ufrag, held.password)
            path = await self._browser.gather_restart() if is_restart else self._browser.newest
            try:
                answer = self._answer_to(theirs, path)
            except ActiveCallError:
                if is_restart:
                    await self._browser.drop_restart()
                raise
            self._theirs, self.offer = theirs, offer
            if is_restart:
                await self._browser.restart(path, theirs)
            if self._keys is not None:
                self._configure(self._keys)
            return answer

    async def take_fragment(self, fragment: str) -> str:
        """See `legs.abilities.Renegotiable`."""
        read, held = read_fragment(fragment), self._theirs
        if held is not None and read.ufrag and (read.ufrag, read.password) != (held.ufrag, held.password):
            return fragment_of(await self.renegotiate(with_ice(self.offer, read)))
        for candidate in read.candidates:
            await self.add_candidate(candidate)
        return ""

    def _answer_to(self, theirs: BrowserOffer, path: IcePath) -> str:
        is_lite = self._settings.ice.is_lite
        ours = Ours(path.ufrag, path.password, own_certificate().fingerprint, path.candidates, is_lite)
        self._version += 1
        answer, self._agreement = build_answer(
            theirs, ours, self._codecs, self._relay_port, session_id=self._session_id, version=self._version
        )
        return answer

    def _take_keys(self, keys: SrtpKeys) -> None:
        self._keys = keys
        if self._configure(keys):
            self._sink(LegReady())

    def _configure(self, keys: SrtpKeys) -> bool:
        agreement, stream = self._agreement, self.stream
        if agreement is None or stream is None or self._ended is not None:
            return False
        stream.configure(
            msgspec.structs.replace(
                agreed_rtp(stream.stream, agreement),
                remote_ip=LOOPBACK,
                remote_port=self._relay_port,
                rtcp_mux=True,
                suite=keys.suite,
                send_key=keys.send_key,
                receive_key=keys.receive_key,
                latching=False,
                rtp_timeout_s=RTP_TIMEOUT_S,
                remote_rtcp_ip=LOOPBACK,
                remote_rtcp_port=self._relay_port,
            )
        )
        return True

    def _lost(self, reason: str, by_browser: bool) -> None:
        self._end(LegEnded(by="caller" if by_browser else "system", cause="hangup" if by_browser else "no_media", reason=reason))

    # -- as `legs.leg.Leg`

    async def _open(self, near: MediaStream | None) -> MediaStream:
        """The stream has the rate of the codec from the start: sound may be queued before the keys configure it."""
        codec = answered_codec(read_offer(self.offer), self._codecs)
        rate_hz = table.CODECS[codec].sample_rate_hz if codec else None
        return await self._pool.open_stream(self._report, bind_ip=LOOPBACK, rate_hz=rate_hz, near=near)

    async def _answer(self, option: CallOption) -> None:
        """Answer the offer and start to connect. Raises NegotiationError or ParseError if the offer cannot be answered."""
        del option
        self._require_unanswered(self._is_answering)
        self._is_answering = True
        stream = await self.open_media()
        offer = read_offer(self.offer)
        self._relay_port = await self._browser.open_relay()
        self._browser.set_media_port(stream.port)
        path = await self._browser.gather()
        answer = self._answer_to(offer, path)
        self._require_unanswered(self._is_answered)
        await self._browser.begin(offer)
        self._theirs = offer
        self._has_begun = True
        for candidate in self._early:
            await self._browser.add_candidate(candidate)
        self._is_answered = True
        self._sink(LegAnswered(answer))

    async def release(self) -> dict[str, float]:
        """See `legs.leg.Leg`."""
        self._is_released = True
        await self._browser.close()
        if self.stream is None:
            return {}
        return statistics_of(await self.stream.close())

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
