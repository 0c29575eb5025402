"""The payload types that offer/answer allows, and their codecs. Pure; RFC 3551, RFC 4733."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from active_call.codec.opus import OpusEncoder, settings_for
from active_call.codec.stream import Encoder, new_encoder
from active_call.codec.table import AUDIO_CODECS, CODECS, PCMU, TELEPHONE_EVENT, Codec
from active_call.media.link.messages import ConfigureRtp

COMFORT_NOISE: Final = 13
"""RFC 3551 §6. We never treat it as sound, even if it was negotiated."""


class PayloadTypes(Struct, frozen=True):
    """The negotiated payload types. `audio`: those of sound. `known`: all that may arrive."""

    send_codec: Codec
    audio: Mapping[int, Codec]
    events: frozenset[int]
    known: frozenset[int]


NOTHING_AGREED: Final = PayloadTypes(PCMU, {}, frozenset(), frozenset())


def agreed_types(order: ConfigureRtp) -> PayloadTypes:
    """The payload types of `order`. Raises ValueError for a codec that is unknown or not an audio codec."""
    send_codec = _audio_codec(order.codec)
    audio = {number: _audio_codec(name) for number, name in order.receive_formats if name != TELEPHONE_EVENT.name}
    audio.setdefault(order.receive_payload_type, send_codec)
    events = {order.receive_event_type, order.send_event_type} - {-1, COMFORT_NOISE}
    events |= {number for number, name in order.receive_formats if name == TELEPHONE_EVENT.name}
    events -= audio.keys()
    return PayloadTypes(send_codec, audio, frozenset(events), frozenset(events | audio.keys() | {COMFORT_NOISE}))


def encoder_for(order: ConfigureRtp) -> Encoder:
    """An encoder for the codec that `order` lets us send. Raises ValueError, or OpusError if libopus is missing."""
    encoder = new_encoder(order.codec)
    if isinstance(encoder, OpusEncoder):
        encoder.configure(settings_for(order.send_parameters))
    return encoder


def _audio_codec(name: str) -> Codec:
    codec = CODECS.get(name)
    if codec not in AUDIO_CODECS:
        raise ValueError(f"unknown codec {name!r}")
    return codec
