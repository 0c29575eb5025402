"""The media of a SIP leg: one stream and its offer/answer (RFC 3264, RFC 4568).

The peer's SDP goes in, ours comes out, and the stream is configured accordingly. This module knows SDP and the media process, not SIP.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from active_call.base.errors import ActiveCallError, MediaError
from active_call.base.world import Randomness
from active_call.legs.agreed_media import agreed_rtp, statistics_of
from active_call.media.link.messages import Report
from active_call.media.pool.pool import MediaPool, MediaStream, StreamLost
from active_call.rtp.srtp_suites import new_key
from active_call.sdp.crypto import DEFAULT_OFFER, SUITES
from active_call.sdp.media_address import address_refusal, is_behind_nat, is_name_behind_nat
from active_call.sdp.negotiation import (
    Agreement,
    CryptoKey,
    Direction,
    LocalMedia,
    SrtpPolicy,
    accept_answer,
    build_offer,
    decline_all,
    is_without_audio,
    negotiate_answer,
)

log = logging.getLogger("active_call.sip")

LOOK_UP_TIMEOUT_S = 2.0
"""Timeout for a host name in SDP. The call continues meanwhile. Without an address it sends to the source of the peer's packets."""

MAX_LOOK_UPS: Final = 20
"""Look-ups for one call. A peer must not have us ask for a new name with every offer."""

LookUpHost = Callable[[str], Awaitable[tuple[str, ...]]]
"""The addresses of a host name. Raises ActiveCallError."""


async def _no_look_up(name: str) -> tuple[str, ...]:
    """Default that resolves no names."""
    del name
    return ()


class MediaSettings(Struct, frozen=True):
    """The media settings of all legs of this server."""

    bind_ip: str
    codecs: tuple[str, ...]
    latching: bool = True
    srtp: SrtpPolicy = SrtpPolicy.PREFERRED
    """Which offers are accepted. Whether our own offer uses SRTP is an argument of `offer`."""
    rtp_timeout_s: float = 20.0
    srtp_suites: tuple[str, ...] | None = None
    """Offered and accepted suites, in order of preference. None: offer the two that every trunk supports, and accept all that we know."""
    best_effort: bool = False
    """Answer offers with RTP/AVP and crypto lines with SRTP, if `srtp` is `PREFERRED`."""


class _Prepared(Struct, frozen=True):
    """The prepared answer to the peer's first offer."""

    offer: bytes
    answer: bytes
    agreement: Agreement


class SipMedia:
    """The stream of a leg, from opening to closing."""

    def __init__(
        self,
        pool: MediaPool,
        settings: MediaSettings,
        randomness: Randomness,
        *,
        public_ip: str,
        peer: str = "",
        look_up: LookUpHost = _no_look_up,
    ) -> None:
        self._pool = pool
        self._settings = settings
        self._randomness = randomness
        self.public_ip = public_ip
        self.peer = peer
        """The source address of the peer's signalling; empty if unknown."""
        self.is_proven = True
        """Whether the peer has proved that it received our last SDP. Before that, media to an address that is new in the call is sent only
        after packets of the peer have arrived from there.
        """
        self._look_up = look_up
        self._looking_up: asyncio.Task[None] | None = None
        self._n_look_ups = 0
        self._found: dict[str, str] = {}
        """By host name: its address, empty if there is no usable one."""
        self._session_id = int(randomness.token(4), 16)
        self._version = 0
        self._described = b""
        self._keys: tuple[CryptoKey, ...] = ()
        self._offer: bytes | None = None
        self._prepared: _Prepared | None = None
        self._before_offer: tuple[int, bytes] | None = None
        """Version and SDP before our open offer."""
        self.direction: Direction = "sendrecv"
        """The negotiated direction. Our answers do not go beyond it."""
        self.stream: MediaStream | None = None
        self._opening = asyncio.Lock()
        self._is_closed = False
        self.agreement: Agreement | None = None

    @property
    def place(self) -> tuple[str, str, int] | None:
        """The host of the peer's signalling, and the address and port of its media. None while its description is unknown."""
        agreement = self.agreement or (self._prepared.agreement if self._prepared is not None else None)
        if agreement is None or not agreement.remote_ip or not agreement.remote_port:
            return None
        return self.peer, agreement.remote_ip, agreement.remote_port

    async def open(self, on_report: Callable[[Report | StreamLost], None], near: MediaStream | None = None) -> MediaStream:
        """Reserve a stream and its port, once. Raises MediaError, also after `close`; then nothing stays open."""
        async with self._opening:
            if self.stream is None and not self._is_closed:
                self._keep(await self._pool.open_stream(on_report, bind_ip=self._bind_ip, near=near))
            if self.stream is None or self._is_closed:
                raise MediaError("the leg has been released")
            return self.stream

    def _keep(self, stream: MediaStream) -> None:
        if self._is_closed:
            stream.discard()
        else:
            self.stream = stream

    @property
    def _bind_ip(self) -> str:
        """The address to bind. A wildcard stands for both families: media may have another one than the signalling."""
        bind_ip = self._settings.bind_ip
        if bind_ip not in ("0.0.0.0", "::"):
            return bind_ip
        return "::" if ":" in self.public_ip else "0.0.0.0"

    def prove(self) -> None:
        """The peer has proved that it receives our messages: media may be sent. A second call has no effect."""
        if not self.is_proven:
            self.is_proven = True
            if self.stream is not None:
                self.stream.start_sending()

    def limit_silence(self, rtp_timeout_s: float | None) -> None:
        """End the call after this time without a packet; 0: never, None: the server's setting. Call before `answer` or `accept`."""
        if rtp_timeout_s is not None:
            self._settings = replace(self._settings, rtp_timeout_s=rtp_timeout_s)

    def answer(self, offer: bytes, *, may_send_to: Callable[[str], bool] | None = None, waits: bool = False) -> bytes:
        """Answer the peer's offer and configure the stream. Raises NegotiationError (488) or ParseError, with nothing changed.

        `waits`: send no media to an address that is new in this call before `prove`. `may_send_to` decides whether the negotiated address
        needs no proof.
        """
        self.take_back_offer()  # an open offer of ours has collided with this one and was refused
        if self.agreement is not None and is_without_audio(offer):
            return self._rest(offer, self.agreement)
        prepared, self._prepared = self._prepared, None
        is_prepared = prepared is not None and prepared.offer == offer and not self._described
        answer, agreement = (prepared.answer, prepared.agreement) if prepared is not None and is_prepared else self._negotiate(offer)
        if answer != self._described:
            self._take_description(answer)
        if agreement.crypto is not None:
            self._keys = (CryptoKey(agreement.crypto.tag, agreement.crypto.suite, agreement.crypto.send_key),)
        if waits:
            self.is_proven = False
        if may_send_to is not None and agreement.remote_ip and may_send_to(agreement.remote_ip):
            self.is_proven = True
        self._apply(agreement)
        return answer

    def prepare(self, offer: bytes) -> None:
        """Prepare the answer to the first offer for `answer`. No effect on the peer or the stream.

        Raises as `answer` does, so that a call that would be refused later is refused before it rings.
        """
        self._prepared = _Prepared(offer, *self._negotiate(offer))

    def _rest(self, offer: bytes, agreement: Agreement) -> bytes:
        """The peer has disabled the audio (port 0, RFC 3264 §8.2): nothing is sent or expected until it offers audio again."""

        def build(version: int) -> bytes:
            return decline_all(offer, self._local(), session_id=self._session_id, version=version)

        answer = build(self._version)
        if answer != self._described:
            answer = build(self._version + 1)
            self._take_description(answer)
        self._apply(replace(agreement, send=False, receive=False, on_hold=True))
        return answer

    def _negotiate(self, offer: bytes) -> tuple[bytes, Agreement]:
        """The answer to an offer, with its version, and the agreement. Raises NegotiationError or ParseError."""
        keys = {key.suite: key.key for key in self._keys}

        def key_for(suite: str) -> bytes:
            if suite not in keys:
                keys[suite] = new_key(self._randomness, suite)
            return keys[suite]

        def build(version: int) -> tuple[bytes, Agreement]:
            return negotiate_answer(
                offer, self._local(), key_for=key_for, session_id=self._session_id, version=version, direction=self.direction
            )

        if not self._described:
            return build(self._version + 1)
        answer, agreement = build(self._version)
        return (answer, agreement) if answer == self._described else build(self._version + 1)

    def offer(self, *, srtp: bool, direction: Direction | None = None) -> bytes:
        """Create our offer. `accept` takes its answer. `direction` None: the negotiated one."""
        if srtp and not self._keys:
            suites = self._settings.srtp_suites or DEFAULT_OFFER
            self._keys = tuple(CryptoKey(tag, suite, new_key(self._randomness, suite)) for tag, suite in enumerate(suites, start=1))
        keys = self._keys if srtp else ()
        previous = self._described or None
        before = (self._version, self._described)

        def build(version: int) -> bytes:
            return build_offer(
                self._local(),
                keys=keys,
                session_id=self._session_id,
                version=version,
                direction=direction or self.direction,
                previous=previous,
                best_effort=self.agreement is not None and self.agreement.best_effort,
            )

        offer = build(self._version)
        if offer != self._described:
            offer = build(self._version + 1)
            self._take_description(offer)
        self._offer = offer
        self._before_offer = before
        return offer

    def take_back_offer(self) -> None:
        """The peer has refused our last offer: the SDP before it applies again (RFC 3264 §8). No effect without an open offer."""
        if self._before_offer is not None:
            (self._version, self._described), self._before_offer = self._before_offer, None

    def start_over(self, srtp: SrtpPolicy | None = None) -> None:
        """Reset the offer for a second INVITE after a refused one. `srtp`: which offers are accepted from now on."""
        self._described, self._offer, self._before_offer, self._keys, self.agreement = b"", None, None, (), None
        if srtp is not None:
            self._settings = replace(self._settings, srtp=srtp)

    def accept(self, answer: bytes) -> None:
        """Take the answer to our last offer. Raises NegotiationError or ParseError."""
        if self._offer is None:
            return
        agreement = accept_answer(self._offer, answer, keys=self._keys, peer=self.peer)
        self._before_offer = None
        self.is_proven = True  # an answer proves that the peer has our offer
        self._apply(agreement)

    async def close(self) -> dict[str, float]:
        """Close the stream and return its statistics."""
        self._is_closed = True
        if self._looking_up is not None:
            self._looking_up.cancel()
        if self.stream is None:
            return {}
        return statistics_of(await self.stream.close())

    def _local(self) -> LocalMedia:
        assert self.stream is not None  # noqa: S101 (open comes first)
        chosen = self._settings
        suites = chosen.srtp_suites or SUITES
        return LocalMedia(
            self.public_ip,
            self.stream.port,
            chosen.codecs,
            srtp=chosen.srtp,
            suites=suites,
            rtcp_mux=True,
            peer=self.peer,
            best_effort=chosen.best_effort,
        )

    def _take_description(self, description: bytes) -> None:
        """Take a changed SDP as ours. The version in o= counts only changes; a refused offer is not one (RFC 3264 §8)."""
        self._version += 1
        self._described = description

    def _destination(self, agreement: Agreement) -> str:
        """The destination of media; empty if only the peer's packets can reveal it: its name is not resolved yet, or it is behind a NAT."""
        address = self._found.get(agreement.remote_host, "") if agreement.remote_host else agreement.remote_ip
        return "" if self._is_out_of_reach(address) else address

    def _is_out_of_reach(self, address: str) -> bool:
        """Whether the address is private on the peer's side of a NAT. On our side it belongs to another host."""
        return self._settings.latching and bool(address) and is_behind_nat(address, self.peer)

    def _begin_look_up(self, agreement: Agreement) -> None:
        if self._looking_up is not None:
            self._looking_up.cancel()
        if self._n_look_ups >= MAX_LOOK_UPS or is_name_behind_nat(agreement.remote_host, self.peer):
            return
        self._n_look_ups += 1
        self._looking_up = asyncio.get_running_loop().create_task(self._find(agreement), name="media host")  # cancelled by `close`

    async def _find(self, agreement: Agreement) -> None:
        """Resolve the host in the peer's SDP and send there, unless another SDP has been agreed on meanwhile."""
        name = agreement.remote_host
        try:
            async with asyncio.timeout(LOOK_UP_TIMEOUT_S):
                addresses = await self._look_up(name)
        except (ActiveCallError, OSError, TimeoutError) as error:
            addresses = ()
            log.warning("media host not found, its packets will show where it is", extra={"host": name, "why": str(error) or "timeout"})
        is_v6 = ":" in self.public_ip
        usable = [each for each in addresses if (":" in each) == is_v6 and not address_refusal(each, self.peer)]
        self._found[name] = usable[0] if usable else ""
        if usable and self.agreement is agreement and not self._is_closed:
            self._apply(agreement)

    def _apply(self, agreement: Agreement) -> None:
        self.agreement = agreement
        remote_ip = self._destination(agreement)
        if agreement.remote_host and agreement.remote_host not in self._found and self.stream is not None:
            self._begin_look_up(agreement)
        rtcp_ip, rtcp_port = agreement.remote_rtcp or ("", 0)
        if self._is_out_of_reach(rtcp_ip) or (":" in rtcp_ip) != (":" in self.public_ip):
            rtcp_ip = remote_ip
        stream, crypto = self.stream, agreement.crypto
        if stream is None:
            return
        stream.configure(
            msgspec.structs.replace(
                agreed_rtp(stream.stream, agreement),
                remote_ip=remote_ip,
                suite=crypto.suite if crypto else "",
                send_key=crypto.send_key if crypto else b"",
                receive_key=crypto.receive_key if crypto else b"",
                latching=self._settings.latching,
                rtp_timeout_s=0.0 if agreement.on_hold else self._settings.rtp_timeout_s,
                waits=not self.is_proven,
                remote_rtcp_ip=rtcp_ip if remote_ip else "",
                remote_rtcp_port=rtcp_port,
                may_be_silent=agreement.may_be_silent,
            )
        )
