"""Asks a call for the answer to a further offer of its client, over any transport."""

from __future__ import annotations

import asyncio
from typing import Final

from active_call.base.errors import ActiveCallError
from active_call.call.handle import CallHandle
from active_call.call.requests import Renegotiate

ANSWER_S: Final = 10.0


async def ask_again(call: CallHandle, text: str, *, is_fragment: bool = False, if_match: str = "*") -> tuple[str, str]:
    """Our answer to an offer, or to a fragment of one (empty if it holds candidates only), and the new entity tag.

    Raises OtherPath for an outdated tag, ActiveCallError if it cannot be answered.
    """
    answer: asyncio.Future[tuple[str, str]] = asyncio.get_running_loop().create_future()
    try:
        async with asyncio.timeout(ANSWER_S):
            await call.request(Renegotiate(text, answer, is_fragment, if_match))
            return await answer
    except TimeoutError as error:
        raise ActiveCallError(f"no answer to the offer within {ANSWER_S:g} s") from error
    finally:
        answer.cancel()
