"""Caches which engines a call's options select, as long as the list of installed engines is valid.

Each call asks several times, mostly with the same options as the previous call. The answer depends on packages, models, voices and the
environment. To look all of it up takes some milliseconds: under load a thread does that, and calls use the last answers meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import msgspec

from active_call.base.errors import ConfigError
from active_call.providers.local.on_this_machine import look_up_period

T = TypeVar("T")
Options = TypeVar("Options")

Key = tuple[Callable[..., Any], type, bytes]
"""The question, the kind of option (two kinds without values look alike) and its values."""

MAX_STALE_PERIODS: Final = 3
"""Answers of older periods are not used: without load, a call gets what is there now."""


class Choices:
    """Caches the answers of `find(option, environment)`. Errors are not cached. Used on one thread, that of the loop if there is one."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._found: dict[Key, tuple[Any, Any]] = {}
        """The option and the answer."""
        self._period = (-1, -1)
        self._renewing: asyncio.Future[dict[Key, tuple[Any, Any]]] | None = None

    def of(self, find: Callable[[Options, Mapping[str, str]], T], option: Options) -> T:
        """The answer of `find`, computed again when models or voices may have changed."""
        period = look_up_period()
        if period != self._period and not self._renews(period):
            self._found, self._period, self._renewing = {}, period, None
        key = (find, type(option), msgspec.msgpack.encode(option))
        known = self._found.get(key)
        if known is None:
            known = self._found[key] = (option, find(option, self._environment))
        found: T = known[1]
        return found

    def _renews(self, period: tuple[int, int]) -> bool:
        """Whether a thread computes the answers of `period` while the present ones are still used."""
        generation, number = self._period
        if generation != period[0] or period[1] - number > MAX_STALE_PERIODS or not self._found:
            return False
        if self._renewing is None:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                return False
            self._renewing = loop.run_in_executor(None, self._look_up_again, dict(self._found))
            self._renewing.add_done_callback(lambda renewing: self._renewed(renewing, period))
        return True

    def _look_up_again(self, found: dict[Key, tuple[Any, Any]]) -> dict[Key, tuple[Any, Any]]:
        """The same questions, answered anew. In a thread."""
        again = {}
        for key, (option, _) in found.items():
            try:
                again[key] = (option, key[0](option, self._environment))
            except ConfigError:
                continue  # the next call that asks gets the error
        return again

    def _renewed(self, renewing: asyncio.Future[dict[Key, tuple[Any, Any]]], period: tuple[int, int]) -> None:
        if renewing is self._renewing:
            self._renewing = None
            if not renewing.cancelled() and renewing.exception() is None:
                self._found, self._period = renewing.result(), period
