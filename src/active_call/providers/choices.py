"""Caches which engines a call's options select, as long as the list of installed engines is valid.

Each call asks several times, mostly with the same options as the previous call. The answer depends on packages, models, voices and the
environment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from active_call.providers.local.on_this_machine import look_up_period

T = TypeVar("T")
Options = TypeVar("Options")


class Choices:
    """Caches the answers of `find(option, environment)`. Errors are not cached."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._found: dict[tuple[Callable[..., Any], type, bytes], Any] = {}
        """The key holds the question, the kind of option (two kinds without values look alike) and its values."""
        self._period = (-1, -1)

    def of(self, find: Callable[[Options, Mapping[str, str]], T], option: Options) -> T:
        """The answer of `find`, computed again when models or voices may have changed."""
        period = look_up_period()
        if period != self._period:
            self._found.clear()
            self._period = period
        key = (find, type(option), msgspec.msgpack.encode(option))
        if key not in self._found:
            self._found[key] = find(option, self._environment)
        found: T = self._found[key]
        return found
