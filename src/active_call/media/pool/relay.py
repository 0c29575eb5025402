"""Bridge two streams in any processes: directly within one media process, over a pair of loopback streams between two.

    process 1                                process 2
    stream == relay ---- RTP, 127.0.0.1 ---- relay == partner

Streams go in; a `Relay` comes out, which is closed without waiting. A relay is plain RTP with linear samples between our own processes, so
quality is not reduced. Each end sends what its neighbour receives. It costs a slot and a port in each process, and about 60 ms of delay.
This module knows no calls.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from active_call.base.errors import MediaError
from active_call.codec.table import L16_8000, L16_16000, Codec
from active_call.media.link.messages import ConfigureRtp, Report
from active_call.media.pool.stream import MediaStream, StreamLost

RELAY_IP: Final = "127.0.0.1"
RELAY_PAYLOAD_TYPE: Final = 96


class OpenStream(Protocol):
    """As `MediaPool.open_stream`."""

    def __call__(
        self, on_report: Callable[[Report | StreamLost], None], *, bind_ip: str | None, near: MediaStream | None
    ) -> Awaitable[MediaStream]: ...


class Relay:
    """Two bridged streams. Call `close` when either of them or the reason is gone. A second call has no effect."""

    def __init__(self, stream: MediaStream, partner: MediaStream, relays: tuple[MediaStream, MediaStream] | None, *, one_way: bool) -> None:
        self._stream = stream
        self._partner = partner
        self._relays = relays
        self.is_one_way = one_way
        self.is_closed = False

    @property
    def is_relayed(self) -> bool:
        """Whether the streams are in different processes."""
        return self._relays is not None

    def open_both_ways(self) -> None:
        """Let the partner hear the stream too."""
        if not self.is_closed and self.is_one_way:
            self.is_one_way = False
            if self._relays is None:
                self._partner.bridge(self._stream, one_way=True)
            else:
                self._relays[0].bridge(self._stream, one_way=True)
                self._partner.bridge(self._relays[1], one_way=True)

    def close(self) -> None:
        """End the bridge and close the relay streams, if any."""
        if self.is_closed:
            return
        self.is_closed = True
        if self._relays is None:
            self._stream.unbridge(self._partner)
            return
        for relay in self._relays:
            relay.discard()


async def join_streams(open_stream: OpenStream, stream: MediaStream, partner: MediaStream, *, one_way: bool) -> Relay:
    """Let `stream` hear `partner` and, unless `one_way`, `partner` hear `stream`. Raises MediaError if no relay can be opened."""
    if stream.pid == partner.pid:
        stream.bridge(partner, one_way=one_way)
        return Relay(stream, partner, None, one_way=one_way)
    relay = await _open_near(open_stream, stream)
    try:
        far_relay = await _open_near(open_stream, partner)
    except BaseException:
        relay.discard()
        raise
    codec = L16_16000 if max(stream.rate_hz, partner.rate_hz) > L16_8000.sample_rate_hz else L16_8000
    _speak_to(relay, far_relay, codec)
    _speak_to(far_relay, relay, codec)
    stream.bridge(relay, one_way=True)
    far_relay.bridge(partner, one_way=True)
    joined = Relay(stream, partner, (relay, far_relay), one_way=True)
    if not one_way:
        joined.open_both_ways()
    return joined


async def _open_near(open_stream: OpenStream, stream: MediaStream) -> MediaStream:
    relay = await open_stream(_ignore, bind_ip=RELAY_IP, near=stream)
    if relay.pid != stream.pid:
        relay.discard()
        raise MediaError("the media process has no room for a bridge")
    return relay


def _speak_to(relay: MediaStream, other: MediaStream, codec: Codec) -> None:
    relay.configure(
        ConfigureRtp(
            stream=relay.stream,
            remote_ip=RELAY_IP,
            remote_port=other.port,
            codec=codec.name,
            send_payload_type=RELAY_PAYLOAD_TYPE,
            receive_payload_type=RELAY_PAYLOAD_TYPE,
            rtp_timeout_s=0.0,
            latching=False,
        )
    )


def _ignore(report: Report | StreamLost) -> None:
    """Ignore reports: a relay ends with the streams that it bridges."""
