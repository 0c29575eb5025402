"""The provider wall: every failure behind it becomes a ProviderError, in time, counted, and logged once.

A call or a stream of an adapter enters; its results leave, or one ProviderError. The wall holds the deadlines (first result, next result),
the retries (never after a first result, which the caller has heard) and a circuit breaker: after several consecutive failures the provider
is refused at once for a few seconds, so that a caller hears the fallback instead of waiting for a dead vendor.
Knows no vendor. This is one of the three places that may catch every exception.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import TypeVar

import httpx
from msgspec import Struct
from msgspec.structs import replace

from active_call.base.errors import ConfigError, ProviderError
from active_call.base.world import World
from active_call.providers.sources import close_source

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Limits(Struct, frozen=True):
    """The limits of one provider. An adapter may set its own in the attribute `limits`."""

    first_result_s: float = 4.5
    """Until the first result or sign of deadline. A second attempt also fits into the agent's patience (10 s)."""
    next_result_s: float = 10.0
    attempts: int = 2
    retry_delay_s: float = 0.2
    failures_until_open: int = 5
    open_s: float = 5.0


def limits_of(engine: object, attempts: int | None = None) -> Limits:
    """The limits of `engine`: its own or the defaults, with another number of attempts if one is given."""
    limits: Limits = getattr(engine, "limits", None) or Limits()
    return limits if attempts is None else replace(limits, attempts=attempts)


class ResultDeadline:
    """The deadline for the next result of one stream. A vendor that works without a result yet (a reasoning model) extends it.

    `is_due` says whether a result is due; while it is not, no deadline runs.
    """

    def __init__(self, more_s: float, is_due: Callable[[], bool] = lambda: True) -> None:
        self.is_due = is_due
        self._limit: asyncio.Timeout | None = None
        self._limit_s: float | None = None
        self._more_s = more_s

    def wait(self, limit: asyncio.Timeout, limit_s: float) -> None:
        """Wait for a result within `limit`, which is `limit_s` long while one is due."""
        self._limit, self._limit_s = limit, limit_s

    def extend(self) -> None:
        """The vendor is working: the deadline is extended."""
        self._reschedule(self._more_s)

    def start(self) -> None:
        """A result is due from now on: start the deadline unless it runs."""
        if self._limit is not None and self._limit.when() is None and self._limit_s is not None:
            self._reschedule(self._limit_s)

    def _reschedule(self, limit_s: float) -> None:
        if self._limit is not None and not self._limit.expired():
            with contextlib.suppress(RuntimeError):  # nothing is awaited at the moment
                self._limit.reschedule(asyncio.get_running_loop().time() + limit_s)


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
            self.admit()
            number += 1
            try:
                async with asyncio.timeout(self.limits.first_result_s):
                    result = await attempt()
            except Exception as error:  # noqa: BLE001 - the provider wall
                await self._handle_failure(error, number, may_retry=True, waited_s=self.limits.first_result_s)
            else:
                self.note_success()
                return result

    async def stream(self, attempt: Callable[[], AsyncIterator[T]], deadline: ResultDeadline | None = None) -> AsyncGenerator[T, None]:
        """Yield what `attempt()` yields, retried while nothing has come. Closing this closes that. Raises ProviderError.

        With `deadline`, a sign that the vendor works extends the deadline to that of a further result.
        """
        number = 0
        while True:
            self.admit()
            number += 1
            begun = False
            source = attempt()
            limit_s = self.limits.first_result_s
            try:
                while True:
                    is_due = deadline is None or deadline.is_due()
                    async with asyncio.timeout(limit_s if is_due else None) as limit:
                        if deadline is not None:
                            deadline.wait(limit, limit_s)
                        try:
                            item = await anext(source)
                        except StopAsyncIteration:
                            break
                    begun = True
                    limit_s = self.limits.next_result_s
                    yield item
                self.note_success()
                return
            except Exception as error:  # noqa: BLE001 - the provider wall
                await self._handle_failure(error, number, may_retry=not begun, waited_s=limit_s)
            finally:
                await close_source(source)

    @property
    def is_refusing(self) -> bool:
        """The circuit is open: the provider is not asked."""
        return self._clock.now() < self._open_until

    def admit(self) -> None:
        """Raise ProviderError at once while the circuit is open."""
        if self.is_refusing:
            self.refused += 1
            raise ProviderError(self.provider, "not asked, because it has just failed several times in a row", retryable=True)

    async def _handle_failure(self, error: Exception, number: int, *, may_retry: bool, waited_s: float) -> None:
        """Count and log. Returns after the retry delay if another attempt is due, else raises."""
        if isinstance(error, ConfigError):
            raise error
        failure = as_provider_error(self.provider, error, waited_s)
        self.errors += 1
        again = may_retry and failure.retryable and number < self.limits.attempts
        unforeseen = failure.__cause__ is error and not isinstance(error, TimeoutError | httpx.HTTPError)
        fields = {"provider": self.provider, "reason": failure.reason, "attempt": number, "will_retry": again}
        logger.warning("provider failed", extra=fields, exc_info=error if unforeseen else None)
        if failure.retryable:
            self.note_outage()
        if not again:
            raise failure
        await asyncio.sleep(self.limits.retry_delay_s)

    def note_success(self) -> None:
        """The provider works: earlier failures no longer count."""
        self._failures_in_row = 0

    def note_outage(self) -> None:
        """Count one more consecutive retryable failure; after enough of them the circuit opens."""
        self._failures_in_row += 1
        if self._failures_in_row >= self.limits.failures_until_open:
            self._open_until = self._clock.now() + self.limits.open_s
            logger.error("provider is not asked for a while", extra={"provider": self.provider, "open_s": self.limits.open_s})


def as_provider_error(provider: str, error: Exception, waited_s: float) -> ProviderError:
    """`error` as a ProviderError or another error that callers know; its cause is kept."""
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
