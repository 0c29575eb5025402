"""The sound of a SIP leg: one media stream and the offer/answer that describes it (RFC 3264, RFC 4568).

Descriptions of the peer enter, descriptions of ours leave, and the stream is set accordingly. Knows SDP and the media plane, not SIP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from active_call.base.errors import MediaError
from active_call.base.world import Randomness
from active_call.codec import table as codecs
from active_call.media.client import MediaPool, MediaStream, StreamLost
from active_call.media.link import Report
from active_call.rtp.srtp import new_key
from active_call.sdp.codecs import TELEPHONE_EVENT
from active_call.sdp.crypto import DEFAULT_OFFER, SUITES
from active_call.sdp.negotiation import (
    Agreement,
    CryptoKey,
    Direction,
    LocalMedia,
    SrtpPolicy,
    accept_answer,
    build_offer,
    negotiate_answer,
)

_NAMES = {TELEPHONE_EVENT: codecs.TELEPHONE_EVENT.name}
"""Of SDP and of the media plane, where they differ."""


@dataclass(frozen=True, slots=True)
class MediaSettings:
    """What all legs of this server offer."""

    bind_ip: str
    codecs: tuple[str, ...]
    latching: bool = True
    srtp: SrtpPolicy = SrtpPolicy.PREFERRED
    """What offers are taken; whether ours is encrypted is said with each."""
    rtp_timeout_s: float = 20.0
    srtp_suites: tuple[str, ...] | None = None
    """Offered in this order, and no others answered. None: the two that every trunk knows are offered, all that we have are answered."""


class LegMedia:
    """A leg's stream, from opening to close."""

    def __init__(self, pool: MediaPool, settings: MediaSettings, randomness: Randomness, *, public_ip: str) -> None:
        self._pool = pool
        self._settings = settings
        self._randomness = randomness
        self.public_ip = public_ip
        self._session_id = int(randomness.token(4), 16)
        self._version = 0
        self._described = b""
        self._keys: tuple[CryptoKey, ...] = ()
        self._offer: bytes | None = None
        self._before_offer: tuple[int, bytes] | None = None
        """Version and description before an offer of ours that is open."""
        self.direction: Direction = "sendrecv"
        """What is agreed on; our answers grant no more."""
        self.stream: MediaStream | None = None
        self._opening = asyncio.Lock()
        self._is_closed = False
        self.agreement: Agreement | None = None

    async def open(self, on_report: Callable[[Report | StreamLost], None], near: MediaStream | None = None) -> MediaStream:
        """Reserve a stream and its port, once. Raises MediaError; also when `close` has come first, and then nothing stays open."""
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
        """`::` stands for all addresses of both families: the call's own family is bound."""
        bind_ip = self._settings.bind_ip
        return "0.0.0.0" if bind_ip == "::" and ":" not in self.public_ip else bind_ip

    def answer(self, offer: bytes) -> bytes:
        """Answer the peer's offer and set the stream. Raises NegotiationError (488) or ParseError; then nothing has changed."""
        self.take_back_offer()  # an offer of ours that is still open has met this one, and was refused
        keys = {key.suite: key.key for key in self._keys}

        def key_for(suite: str) -> bytes:
            if suite not in keys:
                keys[suite] = new_key(self._randomness, suite)
            return keys[suite]

        def build(version: int) -> tuple[bytes, Agreement]:
            return negotiate_answer(
                offer, self._local(), key_for=key_for, session_id=self._session_id, version=version, direction=self.direction
            )

        answer, agreement = build(self._version)
        if answer != self._described:
            answer, agreement = build(self._version + 1)
            self._take_description(answer)
        if agreement.crypto is not None:
            self._keys = (CryptoKey(agreement.crypto.tag, agreement.crypto.suite, agreement.crypto.send_key),)
        self._apply(agreement)
        return answer

    def offer(self, *, srtp: bool, direction: Direction | None = None) -> bytes:
        """Our own offer; its answer goes to `accept`. `direction` None: as it is agreed on."""
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
            )

        offer = build(self._version)
        if offer != self._described:
            offer = build(self._version + 1)
            self._take_description(offer)
        self._offer = offer
        self._before_offer = before
        return offer

    def take_back_offer(self) -> None:
        """The peer has refused our last offer: what was described before it holds (RFC 3264 section 8). Without one nothing happens."""
        if self._before_offer is not None:
            (self._version, self._described), self._before_offer = self._before_offer, None

    def start_over(self, srtp: SrtpPolicy | None = None) -> None:
        """Forget what was offered, for another call in place of one that was refused; `srtp` is what is taken from now on."""
        self._described, self._offer, self._before_offer, self._keys, self.agreement = b"", None, None, (), None
        if srtp is not None:
            self._settings = replace(self._settings, srtp=srtp)

    def accept(self, answer: bytes) -> None:
        """The answer to our last offer. Raises NegotiationError or ParseError."""
        if self._offer is None:
            return
        agreement = accept_answer(self._offer, answer, keys=self._keys)
        self._before_offer = None
        self._apply(agreement)

    async def close(self) -> dict[str, float]:
        """Free the stream, for good; gives what crossed the wire."""
        self._is_closed = True
        if self.stream is None:
            return {}
        closed = await self.stream.close()
        if closed is None:
            return {}
        return {
            "packets_sent": closed.packets_sent,
            "packets_received": closed.packets_received,
            "packets_lost": closed.packets_lost,
            "packets_late": closed.packets_late,
            "packets_dropped": closed.packets_dropped,
            "jitter_ms": round(closed.jitter_ms, 2),
            "round_trip_ms": round(closed.round_trip_ms, 2),
            "mos": round(closed.mos, 2),
        }

    def _local(self) -> LocalMedia:
        assert self.stream is not None  # noqa: S101 (open comes first)
        chosen = self._settings
        suites = chosen.srtp_suites or SUITES
        return LocalMedia(self.public_ip, self.stream.port, chosen.codecs, srtp=chosen.srtp, suites=suites, rtcp_mux=True)

    def _take_description(self, description: bytes) -> None:
        """What we describe now; the version of o= counts changes only, and refused offers make none (RFC 3264 section 8)."""
        self._version += 1
        self._described = description

    def _apply(self, agreement: Agreement) -> None:
        self.agreement = agreement
        stream, crypto = self.stream, agreement.crypto
        if stream is None:
            return
        stream.configure(
            remote_ip=agreement.remote_ip,
            remote_port=agreement.remote_port,
            codec=agreement.codec,
            send_payload_type=agreement.send_payload_type,
            receive_payload_type=agreement.receive_payload_type,
            send_event_type=-1 if agreement.send_event_type is None else agreement.send_event_type,
            receive_event_type=-1 if agreement.receive_event_type is None else agreement.receive_event_type,
            ptime_ms=agreement.ptime_ms,
            send_parameters=agreement.send_parameters,
            receive_formats=tuple((each.payload_type, _NAMES.get(each.name, each.name)) for each in agreement.formats),
            event_clock_hz=agreement.event_clock_hz,
            rtcp_mux=agreement.rtcp_mux,
            suite=crypto.suite if crypto else "",
            send_key=crypto.send_key if crypto else b"",
            receive_key=crypto.receive_key if crypto else b"",
            send=agreement.send,
            receive=agreement.receive,
            latching=self._settings.latching,
            rtp_timeout_s=0.0 if agreement.on_hold else self._settings.rtp_timeout_s,
        )
