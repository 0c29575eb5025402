"""Answers a further offer of a call's peer: the leg answers it, and the sender gets the result."""

from __future__ import annotations

from active_call.base.errors import ActiveCallError, LocalProtocolError
from active_call.call.requests import OtherPath, Renegotiate
from active_call.legs.abilities import Renegotiable


async def renegotiate(leg: Renegotiable, asked: Renegotiate) -> None:
    """Complete `asked.answer` in any case."""
    answer = asked.answer
    try:
        if asked.if_match not in ("*", leg.ice_tag):
            raise OtherPath(f"If-Match: the current tag is {leg.ice_tag}, not {asked.if_match[:80]}")
        text = await (leg.take_fragment(asked.text) if asked.is_fragment else leg.renegotiate(asked.text))
        if not answer.done():
            answer.set_result((text, leg.ice_tag))
    except ActiveCallError as error:
        if not answer.done():
            answer.set_exception(error)
    finally:
        if not answer.done():
            answer.set_exception(LocalProtocolError("the call has ended"))
