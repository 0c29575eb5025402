"""The SIP messages of a leg, for the record of its call."""

from __future__ import annotations

from active_call.contract.options import CallOption
from active_call.legs.abilities import signalling_of
from active_call.legs.leg import Leg
from active_call.store.records import SipMessageLine


def sip_messages_of(leg: Leg, option: CallOption) -> tuple[SipMessageLine, ...]:
    """The messages of `leg` so far, with the detail that `option.sip_messages` selects."""
    if option.sip_messages == "off":
        return ()
    return tuple(
        SipMessageLine(
            timestamp=message.at_ms,
            received=message.is_received,
            transport=message.transport,
            peer=message.peer,
            start_line=message.start_line,
            headers=dict(message.headers),
            text=message.text,
        )
        for message in signalling_of(leg, whole=option.sip_messages == "full")
    )
