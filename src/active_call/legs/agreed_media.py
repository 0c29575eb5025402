"""Convert the result of offer/answer to the order for the media process, and its last report to figures for the record."""

from __future__ import annotations

from active_call.codec import table as codecs
from active_call.media.link.messages import ConfigureRtp, StreamClosed
from active_call.sdp.codecs import TELEPHONE_EVENT
from active_call.sdp.negotiation import Agreement

_NAMES = {TELEPHONE_EVENT: codecs.TELEPHONE_EVENT.name}
"""Codec names in SDP, and in the media process where they differ."""


def agreed_rtp(stream: int, agreement: Agreement) -> ConfigureRtp:
    """Codecs, payload types, directions and packet length of `agreement`. The leg adds addresses, keys and timeouts."""
    return ConfigureRtp(
        stream=stream,
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
        send=agreement.send,
        receive=agreement.receive,
    )


def statistics_of(closed: StreamClosed | None) -> dict[str, float]:
    """Statistics of a stream for the record; times in ms. Empty without a report of the media process."""
    if closed is None:
        return {}
    told = {"peer_loss_percent": round(closed.peer_loss_percent, 2)} if closed.peer_loss_percent >= 0 else {}
    return told | {
        "packets_sent": closed.packets_sent,
        "packets_received": closed.packets_received,
        "packets_lost": closed.packets_lost,
        "packets_late": closed.packets_late,
        "packets_dropped": closed.packets_dropped,
        "jitter_ms": round(closed.jitter_ms, 2),
        "round_trip_ms": round(closed.round_trip_ms, 2),
        "mos": round(closed.mos, 2),
    }
