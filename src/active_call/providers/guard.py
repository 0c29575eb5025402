"""The provider wall: everything that goes wrong behind it comes out as a ProviderError, in time, counted, and logged once.

A call or a stream of an adapter enters; its results leave, or one ProviderError. Here are the deadlines (first result, next result),
the retries (never after a first result, which has been heard already) and a simple circuit: after several failures in a row the
provider is refused at once for a few seconds, so that a caller hears the fallback instead of waiting for a dead vendor.
No vendor is known here. This is one of the three places that may catch everything.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import httpx

from active_call.base.errors import ConfigError, ProviderError
from active_call.base.pcm import BYTES_PER_SAMPLE
from active_call.base.repair import valid_unicode
from active_call.base.world import World
from active_call.providers.base import ChatMessage, ChatModel, ReplyRequest, TextToSpeech
from active_call.providers.vendor_values import SoundCheck, TextRepair, text_of

logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_REPLY_CHARS = 200_000
"""Hours of speech: a model that says more has lost its way."""
MAX_SOUND_S = 1200
"""Of one text."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one provider is allowed. An adapter may carry its own as the attribute `limits`."""

    first_result_s: float = 4.5
    """Until the first sign of life, so that a second attempt lies within the agent's patience (10 s) too."""
    next_result_s: float = 10.0
    attempts: int = 2
    retry_delay_s: float = 0.2
    failures_until_open: int = 5
    open_s: float = 5.0


class SignsOfLife:
    """What one stream tells of a vendor who is at work and has no result yet (a model that thinks)."""

    def __init__(self, more_s: float) -> None:
        self.limit: asyncio.Timeout | None = None
        """The deadline of the result that is waited for now."""
        self._more_s = more_s

    def tell(self) -> None:
        """Move the deadline."""
        if self.limit is not None and not self.limit.expired():
            with contextlib.suppress(RuntimeError):  # nothing is waited for at the moment
                self.limit.reschedule(asyncio.get_running_loop().time() + self._more_s)


class Guard:
    """The wall around one provider instance. `errors` and `refused` count for metrics."""

    def __init__(self, provider: str, world: World, limits: Limits | None = None) -> None:
        self.provider = provider
        self.errors = 0
        self.refused = 0
        self._clock = world.clock
        self.limits = limits or Limits()
        self._failures_in_row = 0
        self._open_until = 0.0

    async def call(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """The result of `attempt()`, retried as the limits allow. Raises ProviderError (or ConfigError, as it came)."""
        number = 0
        while True:
            self._admit()
            number += 1
            try:
                async with asyncio.timeout(self.limits.first_result_s):
                    result = await attempt()
            except Exception as error:  # noqa: BLE001 - the provider wall
                await self._handle_failure(error, number, may_retry=True, waited_s=self.limits.first_result_s)
            else:
                self._failures_in_row = 0
                return result

    async def stream(self, attempt: Callable[[], AsyncIterator[T]], life: SignsOfLife | None = None) -> AsyncIterator[T]:
        """Yield what `attempt()` yields, retried while nothing has come. Closing this closes that. Raises ProviderError.

        With `life`, an attempt that gives a sign of life has until the deadline for a further result.
        """
        number = 0
        while True:
            self._admit()
            number += 1
            begun = False
            source = attempt()
            limit_s = self.limits.first_result_s
            try:
                while True:
                    async with asyncio.timeout(limit_s) as limit:
                        if life is not None:
                            life.limit = limit
                        try:
                            item = await anext(source)
                        except StopAsyncIteration:
                            break
                    begun = True
                    limit_s = self.limits.next_result_s
                    yield item
                self._failures_in_row = 0
                return
            except Exception as error:  # noqa: BLE001 - the provider wall
                await self._handle_failure(error, number, may_retry=not begun, waited_s=limit_s)
            finally:
                await _close(source)

    def _admit(self) -> None:
        """Raise at once while the circuit is open."""
        if self._clock.now() < self._open_until:
            self.refused += 1
            raise ProviderError(self.provider, "not asked: it failed several times in a row a moment ago", retryable=True)

    async def _handle_failure(self, error: Exception, number: int, *, may_retry: bool, waited_s: float) -> None:
        """Count and log; return after the retry delay if another attempt is due, else raise."""
        if isinstance(error, ConfigError):
            raise error
        failure = as_provider_error(self.provider, error, waited_s)
        self.errors += 1
        again = may_retry and failure.retryable and number < self.limits.attempts
        unforeseen = failure.__cause__ is error and not isinstance(error, TimeoutError | httpx.HTTPError)
        fields = {"provider": self.provider, "reason": failure.reason, "attempt": number, "will_retry": again}
        logger.warning("provider failed", extra=fields, exc_info=error if unforeseen else None)
        if failure.retryable:
            self._note_outage()
        if not again:
            raise failure
        await asyncio.sleep(self.limits.retry_delay_s)

    def _note_outage(self) -> None:
        self._failures_in_row += 1
        if self._failures_in_row >= self.limits.failures_until_open:
            self._open_until = self._clock.now() + self.limits.open_s
            logger.error("provider is not asked for a while", extra={"provider": self.provider, "open_s": self.limits.open_s})


def as_provider_error(provider: str, error: Exception, waited_s: float) -> ProviderError:
    """`error` as the family that callers know; its own cause is kept."""
    match error:
        case ProviderError():
            return error
        case TimeoutError():
            failure = ProviderError(provider, f"no result within {waited_s:g} s", retryable=True)
        case httpx.TimeoutException():
            failure = ProviderError(provider, f"no answer in time ({type(error).__name__})", retryable=True)
        case httpx.TransportError():
            failure = ProviderError(provider, f"connection failed: {str(error) or type(error).__name__}", retryable=True)
        case _:
            failure = ProviderError(provider, f"unforeseen {type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure


async def _close(source: AsyncIterator[Any]) -> None:
    aclose = getattr(source, "aclose", None)
    if aclose is not None:
        await aclose()


class GuardedTextToSpeech:
    """A synthesiser behind the wall: whole samples leave it, and some for every text with words in it."""

    def __init__(self, inner: TextToSpeech, world: World) -> None:
        self.name = inner.name
        self.rate_hz = inner.rate_hz
        self.endpoint: str | None = getattr(inner, "endpoint", None)
        """The server that is really asked, where there is one."""
        self.guard = Guard(inner.name, world, getattr(inner, "limits", None))
        self._inner = inner

    def synthesise(self, text: str, *, speaker: str | None = None, speed: float | None = None) -> AsyncIterator[bytes]:
        return self.guard.stream(lambda: self._checked(valid_unicode(text), speaker, speed))

    async def _checked(self, text: str, speaker: str | None, speed: float | None) -> AsyncIterator[bytes]:
        check = SoundCheck(self.name, self.rate_hz * BYTES_PER_SAMPLE * MAX_SOUND_S)
        source = self._inner.synthesise(text, speaker=speaker, speed=speed)
        try:
            async for piece in source:
                if sound := check.feed(piece):
                    yield sound
        finally:
            await _close(source)
        if sound := check.finish():
            yield sound
        if not check.n_bytes and any(char.isalnum() for char in text):
            raise ProviderError(self.name, "made no sound", retryable=True)

    async def warm(self) -> None:
        """Load what the engine loads at first use."""
        await _warm(self._inner)

    async def close(self) -> None:
        await self._inner.close()


class GuardedChatModel:
    """A responder behind the wall: valid Unicode leaves it, whatever the adapter yields."""

    def __init__(self, inner: ChatModel, world: World) -> None:
        self.name = inner.name
        self.guard = Guard(inner.name, world, getattr(inner, "limits", None))
        self.inner = inner

    def respond(self, request: ReplyRequest) -> AsyncIterator[str]:
        life = SignsOfLife(self.guard.limits.next_result_s)
        request = replace(_valid(request), on_progress=life.tell)
        return self.guard.stream(lambda: self._checked(request), life)

    async def _checked(self, request: ReplyRequest) -> AsyncIterator[str]:
        repair, n_chars = TextRepair(), 0
        source = self.inner.respond(request)
        try:
            async for piece in source:
                text = repair.feed(text_of(piece))
                n_chars += len(text)
                if n_chars > MAX_REPLY_CHARS:
                    raise ProviderError(self.name, "the reply has no end")
                if text:
                    yield text
        finally:
            await _close(source)
        if rest := repair.finish():
            yield rest

    async def warm(self) -> None:
        """Load what the engine loads at first use."""
        await _warm(self.inner)

    async def close(self) -> None:
        await self.inner.close()


def _valid(request: ReplyRequest) -> ReplyRequest:
    """`request` with valid Unicode in its messages: no vendor takes anything else."""
    return replace(request, messages=tuple(ChatMessage(message.role, valid_unicode(message.content)) for message in request.messages))


async def _warm(engine: object) -> None:
    warm = getattr(engine, "warm", None)
    if warm is not None:
        await warm()
