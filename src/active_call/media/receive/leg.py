"""The RTP side of one stream: sockets, keys, jitter buffer, statistics, and the decision which packets are accepted.

Datagrams enter through `packet_batch`; `pop` takes frames from the jitter buffer. Packets leave through `srtp_out`, `sendto` and
`destination`, which the sending half of the tick uses directly. This module knows nothing of playing and detection. RFC 3550, 3711, 4733,
4961.

Packets that are in sequence are read for all streams at once (`packet_batch`). The leg describes these packets in the columns of
`ReceiveColumns` and handles every other packet itself.

The checks in order: authentic (with SRTP), RTP header, negotiated payload type, accepted source. A packet that fails one is counted in
`refused` and has no other effect.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from active_call.base.errors import ParseError
from active_call.base.pcm import FRAME_MS
from active_call.base.rate import Rate
from active_call.codec.opus import OpusEncoder
from active_call.codec.stream import Encoder, new_encoder
from active_call.codec.table import PCMU
from active_call.media.link.messages import CodecChanged, ConfigureRtp, DigitReceived, Link, MediaStarted
from active_call.media.receive.codec_input import G711, CodecInput
from active_call.media.receive.columns import NOBODY, ReceiveColumns
from active_call.media.receive.latch import Address, Latch
from active_call.media.receive.one_way_audio import Refused
from active_call.media.receive.payload_types import COMFORT_NOISE, NOTHING_AGREED, agreed_types, encoder_for
from active_call.media.receive.srtp_keys import SrtpKeys
from active_call.media.send.mixer import Samples
from active_call.rtp.dtmf import Digit, DigitReceiver, DigitSender
from active_call.rtp.packet import HEADER_BYTES, PLAIN_HEADER, is_rtcp, payload_bounds, unpack_header
from active_call.rtp.quality import Losses
from active_call.rtp.srtp import Context, SrtpSession
from active_call.rtp.stream import ReceiveStream

CLOCK_HZ: Final = 8000
TICK_S: Final = FRAME_MS / 1000
NOWHERE: Final = ("", "0.0.0.0", "::")
"""Unknown, or the old form of hold (RFC 3264 §8.4). The kernel would interpret these as this host."""
CODEC_CHANGES_PER_S: Final = 3
"""Each change regroups all streams of the process. A new offer causes two, if packets of the old codec follow its first one."""
DIGITS_PER_S: Final = 25
"""Twice what ITU-T Q.24 allows (40 ms of tone, 40 ms of pause). A packet can be a digit, and each digit costs the control process 2 ms."""
MAX_PROVEN: Final = 8
"""Addresses stored per call, because a hold or a transfer may return to one."""


class Leg:
    """The sockets and the state of one stream. Call `configure` first: before it every packet is dropped."""

    __slots__ = (
        "_audio_type",
        "_codec_changes",
        "_comfort_noise_at",
        "_digits",
        "_encoder",
        "_event_clocks_hz",
        "_intake",
        "_is_muxed",
        "_proven",
        "_slots",
        "_types",
        "config",
        "control_heard_at",
        "destination",
        "digits_in",
        "digits_out",
        "emit",
        "fd",
        "heard_from",
        "keys",
        "latch",
        "may_send",
        "on_control",
        "on_sending_changed",
        "port",
        "receiving",
        "reception",
        "refused",
        "rtcp_socket",
        "rtp_socket",
        "send_codec",
        "send_errors",
        "sendto",
        "slot",
        "sound",
        "started",
        "stream",
    )

    def __init__(
        self,
        stream: int,
        port: int,
        sockets: tuple[socket.socket, socket.socket],
        intake: ReceiveColumns,
        slot: int,
        emit: Callable[[Link], None],
    ) -> None:
        self.stream = stream
        self.slot = slot
        self._slots = np.array([slot], np.intp)
        self.port = port
        self.rtp_socket, self.rtcp_socket = sockets
        self.fd = self.rtp_socket.fileno()
        self._intake = intake
        intake.begin_stream(slot)
        intake.fds[slot] = self.fd
        self.sendto = self.rtp_socket.sendto
        self.emit = emit
        self.config: ConfigureRtp | None = None
        self.latch = Latch(("", 0), latching=True)
        self.destination = ("", 0)
        self._proven: list[Address] = []
        """Addresses for which packets or the signalling have proved that the peer receives there, most recent last."""
        self.may_send = False
        """Whether sound may be sent: it is negotiated, the peer is proven, and there is a destination."""
        self.on_sending_changed: Callable[[], None] = _do_nothing
        """Called when packets of the peer, not an order, have changed `may_send`."""
        self.control_heard_at = 0.0
        """When the peer's last RTCP arrived."""
        self._comfort_noise_at = 0.0
        self.heard_from: tuple[Any, ...] | None = None
        """The address whose packets are accepted at once, as the socket returns it: the source of the latch, if there is no candidate.
        The columns have a copy of it."""
        self.keys = SrtpKeys(intake)
        self.receiving: Context | None = None
        """The context that unprotects packets if there is exactly one key. The batch reads it for every packet."""
        self.send_codec = PCMU
        self.sound = CodecInput(intake.jitter, slot)
        self._encoder: Encoder = new_encoder(PCMU.name)
        self._types = NOTHING_AGREED
        self.digits_in = DigitReceiver(CLOCK_HZ)
        self.digits_out = DigitSender(CLOCK_HZ)
        self.reception: ReceiveStream | None = None
        self.started = False
        self.send_errors = 0
        self.refused = Refused()
        self._audio_type = -1
        self._codec_changes = Rate(CODEC_CHANGES_PER_S)
        self._digits = Rate(DIGITS_PER_S)
        self._event_clocks_hz: tuple[int, ...] = (CLOCK_HZ, CLOCK_HZ)
        self._is_muxed = False
        self.on_control: Callable[[bytes, tuple[Any, ...], float], None] = _ignore
        """Takes RTCP from the RTP port if rtcp-mux is negotiated (RFC 5761)."""

    @property
    def srtp_in(self) -> SrtpSession | None:
        """Unprotects the peer's packets; None for plain RTP and while keys are awaited."""
        return self.keys.incoming

    @property
    def srtp_out(self) -> SrtpSession | None:
        """Protects our packets."""
        return self.keys.outgoing

    @property
    def is_g711_out(self) -> bool:
        """Whether our packets can be built in the batch."""
        return self.send_codec in G711

    @property
    def opus_encoder(self) -> OpusEncoder | None:
        """The encoder of our packets, if they are Opus. It changes only by an order."""
        return self._encoder if isinstance(self._encoder, OpusEncoder) else None

    @property
    def is_g711_in(self) -> bool:
        """Whether the peer's packets can be read in the batch."""
        return self.sound.is_batched

    @property
    def n_received(self) -> int:
        """Number of accepted packets."""
        return self._intake.n_received.item(self.slot)

    @property
    def last_arrival(self) -> float:
        """When the last of them arrived, or offer/answer was applied."""
        return self._intake.last_arrival.item(self.slot)

    @property
    def last_received_at(self) -> float:
        """When the last RTP or RTCP of the peer arrived. A participant has left if both are missing (RFC 3550 §6.3.5)."""
        return max(self.last_arrival, self.control_heard_at)

    @property
    def is_silent_by_agreement(self) -> bool:
        """Whether the peer may send nothing during silence: it has announced so, or its last packet was comfort noise (RFC 3389)."""
        is_agreed = self.config is not None and self.config.may_be_silent
        return is_agreed or (self._comfort_noise_at > 0.0 and self._comfort_noise_at >= self.last_arrival)

    @property
    def is_proven(self) -> bool:
        """Whether sound and RTCP may be sent to the destination. A proof is valid only for the address for which it was given."""
        return self.destination in self._proven

    @property
    def may_report(self) -> bool:
        """Whether RTCP may be sent. On hold at 0.0.0.0 there is no destination, and with `inactive` no sound to report on."""
        config = self.config
        return config is not None and self._is_ready and (config.send or config.receive)

    @property
    def _is_ready(self) -> bool:
        """Whether a packet could be sent: the peer is proven and reachable, and the keys are known."""
        return self.is_proven and self._is_reachable and not self.keys.are_awaited

    @property
    def _is_reachable(self) -> bool:
        return self.destination[0] not in NOWHERE and self.destination[1] > 0

    @property
    def n_lost(self) -> int:
        """Packets sent to us that did not arrive, over all sources. Unlike RTCP's figure, no duplicate makes up for one."""
        return max(self.losses.lost, 0)

    def configure(self, order: ConfigureRtp, now: float) -> None:
        """Apply offer/answer. What it does not change continues: the latched source, and roll-over counters of unchanged keys.

        Raises ValueError, with nothing changed, for an unknown suite, key or codec.
        """
        types = agreed_types(order)
        encoder = encoder_for(order)
        before = self.config
        self.keys.use(before, order, now)
        self.latch.signal((order.remote_ip, order.remote_port), latching=order.latching)
        self.destination = self.latch.destination
        self.config = order
        if not order.waits:
            self._note_proven(self.destination)
        self.may_send = order.send and self._is_ready
        self._intake.last_arrival[self.slot] = now  # restarts the watchdog
        self._types = types
        self._take_type(order.receive_payload_type)
        self._is_muxed = order.rtcp_mux
        if before is None or (before.codec, before.send_parameters) != (order.codec, order.send_parameters):
            self.send_codec = types.send_codec
            self._encoder = encoder
        self._use_event_clock(order.event_clock_hz, types.send_codec.rtp_clock_hz)
        if self.latch.source is None:
            self._hear_from(None)
        self._update_columns()

    def prove(self) -> None:
        """The peer has proved that it receives: start sending what was waiting."""
        self._note_proven(self.destination)
        self._settle_sending()

    def take_control_proof(self, address: tuple[Any, ...]) -> None:
        """RTCP of the peer has arrived from `address`. If that is next to the destination of the sound, it proves the destination."""
        ip, port = self.destination
        if not self.is_proven and address[:2] in ((ip, port), (ip, port + 1)):
            self.prove()

    def _note_proven(self, address: Address) -> None:
        if address[0] in NOWHERE or address in self._proven:
            return
        self._proven = [*self._proven[1 - MAX_PROVEN :], address]

    def _settle_sending(self) -> None:
        may_send = self.config is not None and self.config.send and self._is_ready
        if may_send != self.may_send:
            self.may_send = may_send
            self.on_sending_changed()

    def _update_columns(self) -> None:
        """Write the columns that describe this leg's in-sequence packets."""
        intake, slot, config = self._intake, self.slot, self.config
        self.receiving = self.keys.receiving
        intake.is_open[slot] = config is not None and self.keys.is_single
        intake.is_secured[slot] = self.srtp_in is not None
        intake.is_muxed[slot] = self._is_muxed
        audio_type = self._audio_type if config is not None and config.receive else NOBODY
        is_g711 = self.sound.codec in G711
        intake.batched_type[slot] = audio_type if is_g711 else NOBODY
        intake.stored_type[slot] = NOBODY if is_g711 else audio_type
        is_bound = self.reception is not None and (self.srtp_in is not None or self.latch.ssrc == self.reception.ssrc)
        intake.ssrc[slot] = self.reception.ssrc if self.reception is not None and is_bound else NOBODY

    def refuse(self, status: int) -> None:
        """Count a datagram that `receiving` could not unprotect, by libsrtp's status."""
        if self.srtp_in is not None:
            self.srtp_in.refuse(status)
        self.refused.unauthentic += 1

    def take_datagram(self, row: int, size: int, address: tuple[Any, ...], now: float) -> None:
        """Take the datagram of `size` bytes in `row`, which arrived at `now` from `address`."""
        intake = self._intake
        datagram = intake.datagram(row, size)
        if self._is_muxed and is_rtcp(datagram):
            self.on_control(datagram.tobytes(), address, now)
            return
        if self.keys.forget_old(now):
            self._update_columns()
        size = self.keys.unprotect(row, size)
        if size < 0:
            self.refused.unauthentic += 1
        else:
            self.take_packet(row, size, address, now)

    def take_packet(self, row: int, size: int, address: tuple[Any, ...], now: float) -> None:
        """Take the packet of `size` bytes in `row`. It has been authenticated if the stream is secured."""
        intake, config, slot = self._intake, self.config, self.slot
        packet = intake.datagram(row, size)
        if size < HEADER_BYTES or config is None:
            self.refused.malformed += 1
            return
        flags, kind, sequence, timestamp, ssrc = unpack_header(packet)
        self.note_source(ssrc)
        start, end = HEADER_BYTES, size
        if flags != PLAIN_HEADER:
            try:
                start, end = payload_bounds(packet, flags)
            except ParseError:
                self.refused.malformed += 1
                return
        payload_type = kind & 0x7F
        if payload_type not in self._types.known:
            self.refused.unknown_type += 1
            return
        if address == self.heard_from and (ssrc == self.latch.ssrc or self.srtp_in is not None):
            intake.heard_at[slot] = now
        elif not self._accept(address, ssrc, sequence, now):
            self.refused.wrong_source += 1
            return
        reception = self.reception
        if reception is None or reception.ssrc != ssrc:
            reception = self._begin_source(ssrc, address, now)
        if not reception.receive(sequence, timestamp, now):
            self.refused.malformed += 1
            return
        intake.note_accepted(self._slots, np.array([now]))
        if not config.receive:
            self.sound.jitter.note_other(sequence)
            return
        if payload_type != self._audio_type and payload_type in self._types.audio:
            if self._types.audio[payload_type] is not self.sound.codec and not self._codec_changes.take(now):
                self.refused.codec_changes += 1
                return
            self._take_type(payload_type)
        if payload_type == self._audio_type:
            intake.last_timestamp[slot] = timestamp
            self.sound.jitter.push(sequence, timestamp, packet[start:end].tobytes(), now)
            return
        self.sound.jitter.note_other(sequence)
        if payload_type == COMFORT_NOISE:
            self._comfort_noise_at = now
        else:
            self._receive_event(packet[start:end].tobytes(), timestamp, sequence, now, marker=kind > 0x7F)

    def note_source(self, ssrc: int) -> None:
        """A packet with this SSRC has arrived, authentic if the stream is secured."""
        current = self.reception.ssrc if self.reception is not None else None
        if ssrc != current and self.srtp_in is not None:
            self.keys.note_source(ssrc, current)

    def _accept(self, address: tuple[Any, ...], ssrc: int, sequence: int, now: float) -> bool:
        latch, heard_at, slot = self.latch, self._intake.heard_at, self.slot
        bound = latch.ssrc
        latch.heard_at = heard_at.item(slot)
        accepted = latch.accept(address[:2], ssrc, sequence, now, secured=self.srtp_in is not None)
        heard_at[slot] = latch.heard_at
        self.destination = latch.destination
        self._hear_from(address if latch.source == address[:2] and latch.candidate is None else None)
        if latch.proves_destination:
            self._note_proven(latch.destination)
        self._settle_sending()
        if latch.ssrc != bound:
            self._update_columns()
        return accepted

    def _hear_from(self, address: tuple[Any, ...] | None) -> None:
        if address != self.heard_from:
            self.heard_from = address
            self._intake.note_source(self.slot, address)

    def _begin_source(self, ssrc: int, address: tuple[Any, ...], now: float) -> ReceiveStream:
        """Start a new timeline and new statistics for another SSRC (RFC 3550 §8)."""
        if self.reception is not None:
            self.sound.reset()
            self.digits_in.reset()
        intake = self._intake
        self.reception = ReceiveStream(ssrc, self.sound.codec.rtp_clock_hz, table=intake.reception, row=self.slot)
        self._update_columns()
        if not self.started:
            self.started = True
            self.emit(MediaStarted(self.stream, now, address[0], address[1]))
        return self.reception

    def _receive_event(self, payload: bytes, timestamp: int, sequence: int, now: float, *, marker: bool) -> None:
        try:
            digit = self.digits_in.receive(payload, timestamp, sequence, marker=marker)
        except ParseError:
            self.refused.malformed += 1
            return
        self._report(digit, now)

    def _report(self, digit: Digit | None, now: float) -> None:
        if digit is None:
            return
        if self._digits.take(now):
            self.emit(DigitReceived(self.stream, digit.digit, digit.duration_ms, now))
        else:
            self.refused.digits += 1

    def encode(self, samples: Samples) -> bytes:
        """The payload of one packet for `samples` at the rate of `send_codec`."""
        return self._encoder.encode(samples)

    def take_reported_loss(self, fraction_lost: int) -> None:
        """The peer reports this fraction (of 256) of our packets as lost: a codec with FEC adapts its redundancy."""
        if isinstance(self._encoder, OpusEncoder):
            self._encoder.take_loss(fraction_lost * 100 / 256)

    def _take_type(self, payload_type: int) -> None:
        """Sound now arrives with this payload type. A peer may send any format of the answer at any time (RFC 3264 §6.1)."""
        codec = self._types.audio[payload_type]
        if codec is not self.sound.codec:
            self.sound.use(codec)
            if self.reception is not None:
                self.reception.clock_rate = codec.rtp_clock_hz
            self.emit(CodecChanged(self.stream, codec.name))
        self._audio_type = payload_type
        self._update_columns()

    def _use_event_clock(self, *clocks_hz: int) -> None:
        """Set the clock of telephone events and of the stream's timestamps, which events share (RFC 4733 §2.1)."""
        if clocks_hz != self._event_clocks_hz:
            self._event_clocks_hz = clocks_hz
            self.digits_in = DigitReceiver(*clocks_hz)
            self.digits_out = DigitSender(*clocks_hz)

    def arrival_of_frame(self, now: float) -> float:
        """When the last popped frame arrived: the arrival of the last packet minus the frames still buffered."""
        return self.last_arrival - TICK_S * self.sound.jitter.depth if self.started else now

    @property
    def losses(self) -> Losses:
        """The loss counters over all codecs so far."""
        return self.sound.losses

    def flush_digits(self, now: float) -> None:
        """Report a digit whose end was lost, once the peer's media clock has passed it."""
        if not self.digits_in.is_idle:
            digit = self.digits_in.flush(
                (self._intake.last_timestamp.item(self.slot) + int((now - self.last_arrival) * self.sound.codec.rtp_clock_hz)) & 0xFFFFFFFF
            )
            self._report(digit, now)

    def send(self, packet: bytes) -> None:
        """Protect and send one RTP packet. A network error is counted."""
        try:
            self.sendto(packet if self.srtp_out is None else self.srtp_out.protect(packet), self.destination)
        except OSError:
            self.send_errors += 1

    def close(self) -> None:
        """Close both sockets."""
        self.rtp_socket.close()
        self.rtcp_socket.close()


def _ignore(datagram: bytes, address: tuple[Any, ...], now: float) -> None:
    """Default of `on_control`."""


def _do_nothing() -> None:
    """Default of `on_sending_changed`."""
