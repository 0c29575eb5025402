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
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import httpx

from active_call.base.errors import ConfigError, ProviderError
from active_call.base.world import World
from active_call.providers.sources import close_source

logger = logging.getLogger(__name__)

T = TypeVar("T")


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


def limits_of(engine: object, attempts: int | None = None) -> Limits:
    """What `engine` is allowed: its own limits or the defaults, with another number of attempts where one is given."""
    limits: Limits = getattr(engine, "limits", None) or Limits()
    return limits if attempts is None else replace(limits, attempts=attempts)


class SignsOfLife:
    """What one stream tells of a vendor who is at work and has no result yet (a model that thinks), or who has nothing to do at present.

    `is_due` says whether a result is due; while it is not, no deadline counts.
    """

    def __init__(self, more_s: float, is_due: Callable[[], bool] = lambda: True) -> None:
        self.is_due = is_due
        self._limit: asyncio.Timeout | None = None
        self._limit_s: float | None = None
        self._more_s = more_s

    def wait(self, limit: asyncio.Timeout, limit_s: float) -> None:
        """A result is waited for within `limit`, which is `limit_s` long where one is due."""
        self._limit, self._limit_s = limit, limit_s

    def tell(self) -> None:
        """The vendor is at work: the deadline moves."""
        self._reschedule(self._more_s)

    def ask(self) -> None:
        """A result is due from now on: the deadline begins, where none counts yet."""
        if self._limit is not None and self._limit.when() is None and self._limit_s is not None:
            self._reschedule(self._limit_s)

    def _reschedule(self, limit_s: float) -> None:
        if self._limit is not None and not self._limit.expired():
            with contextlib.suppress(RuntimeError):  # nothing is waited for at the moment
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

    async def stream(self, attempt: Callable[[], AsyncIterator[T]], life: SignsOfLife | None = None) -> AsyncGenerator[T, None]:
        """Yield what `attempt()` yields, retried while nothing has come. Closing this closes that. Raises ProviderError.

        With `life`, an attempt that gives a sign of life has until the deadline for a further result.
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
                    is_due = life is None or life.is_due()
                    async with asyncio.timeout(limit_s if is_due else None) as limit:
                        if life is not None:
                            life.wait(limit, limit_s)
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
        """The circuit is open: the provider is not asked at present."""
        return self._clock.now() < self._open_until

    def admit(self) -> None:
        """Raise ProviderError at once while the circuit is open."""
        if self.is_refusing:
            self.refused += 1
            raise ProviderError(self.provider, "not asked, because it has just failed several times in a row", retryable=True)

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
            self.note_outage()
        if not again:
            raise failure
        await asyncio.sleep(self.limits.retry_delay_s)

    def note_success(self) -> None:
        """The provider works: the failures before do not count any more."""
        self._failures_in_row = 0

    def note_outage(self) -> None:
        """One more retryable failure in a row; after enough of them the circuit opens."""
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
