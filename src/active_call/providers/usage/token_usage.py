"""The usage of one request to a model: the vendor's own count, or an estimate if there is none. Pure.

A model's wall feeds it the request and the events; at the end it reports one use. A request that the vendor refused used nothing; a
request that was cancelled, or broke off, used its input and the output until then.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

from active_call.providers.chat import ChatEvent, ChatModel, ReplyRequest, TextDelta, ToolCallDelta, Usage
from active_call.providers.usage.estimates import tokens_of_request, tokens_of_text
from active_call.providers.usage.metering import Meter, current_meter
from active_call.providers.usage.units import Billed, Unit, Used


def amounts_of(usage: Usage) -> dict[Unit, float]:
    """The vendor's count, in units that exclude each other."""
    cached_text = usage.cached_tokens - usage.cached_audio_tokens
    amounts = {
        Unit.INPUT_TOKENS: usage.input_tokens - usage.audio_input_tokens - cached_text,
        Unit.CACHED_INPUT_TOKENS: cached_text,
        Unit.OUTPUT_TOKENS: usage.output_tokens - usage.audio_output_tokens,
        Unit.AUDIO_INPUT_TOKENS: usage.audio_input_tokens - usage.cached_audio_tokens,
        Unit.CACHED_AUDIO_TOKENS: usage.cached_audio_tokens,
        Unit.AUDIO_OUTPUT_TOKENS: usage.audio_output_tokens,
        Unit.REASONING_TOKENS: usage.reasoning_tokens,
    }
    return {unit: float(amount) for unit, amount in amounts.items() if amount > 0}


class MeteredChatModel:
    """A model without a wall, such as a program's own: its replies are counted under the name `program`."""

    def __init__(self, inner: ChatModel) -> None:
        self.name = inner.name
        self.capabilities = inner.capabilities
        self.inner = inner
        self.billed = Billed("llm", "program", "")

    async def reply(self, request: ReplyRequest) -> AsyncGenerator[ChatEvent, None]:
        used, was_refused, stream = ReplyMeter(self.billed, request, current_meter()), False, self.inner.reply(request)
        try:
            async for event in stream:
                used.note(event)
                yield event
        except Exception:
            was_refused = True
            raise
        finally:
            used.close(was_refused=was_refused)
            await stream.aclose()

    async def close(self) -> None:
        await self.inner.close()


class ReplyMeter:
    """Counts one attempt at one request."""

    def __init__(self, billed: Billed, request: ReplyRequest, meter: Meter) -> None:
        self._billed = billed
        self._request = request
        self._meter = meter
        self._usage: Usage | None = None
        self._written: list[str] = []
        self._has_begun = False

    def note(self, event: ChatEvent) -> None:
        """Count an event of the reply."""
        self._has_begun = True
        match event:
            case Usage():
                self._usage = event
            case TextDelta(text):
                self._written.append(text)
            case ToolCallDelta():
                self._written += (event.name, event.arguments)
            case _:
                pass

    def close(self, *, was_refused: bool = False) -> None:
        """The attempt has ended. `was_refused`: it ended with the vendor's error."""
        if was_refused and not self._has_begun:
            return
        if self._usage is not None:
            amounts, is_estimated = amounts_of(self._usage), False
        else:
            amounts, is_estimated = self._estimate(), True
        self._meter(Used(self._billed, {**amounts, Unit.REQUESTS: 1.0}, is_estimated))

    def _estimate(self) -> dict[Unit, float]:
        amounts = {Unit.INPUT_TOKENS: tokens_of_request(self._request), Unit.OUTPUT_TOKENS: tokens_of_text(*self._written)}
        return {unit: float(amount) for unit, amount in amounts.items() if amount}
