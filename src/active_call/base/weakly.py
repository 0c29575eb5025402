"""Calls of a method that do not keep its object alive.

A part that is owned calls its owner through such a function. So owner and parts form no reference cycle, and are freed as soon as nobody
else uses the owner, without the garbage collector.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import MethodType
from typing import Any, ParamSpec, TypeVar
from weakref import ReferenceType, ref

P = ParamSpec("P")
R = TypeVar("R")


def weakly(method: Callable[P, R], otherwise: Callable[P, R]) -> Callable[P, R]:
    """A function that calls `method`, which is a bound method, or `otherwise` once the object of the method is gone.

    Raises TypeError if `method` is not bound.
    """
    if not isinstance(method, MethodType):
        raise TypeError(f"expected a bound method, found {method!r}")
    return partial(_call, ref(method.__self__), method.__func__, otherwise)


def _call(owner: ReferenceType[Any], function: Callable[..., R], otherwise: Callable[..., R], *args: object, **kwargs: object) -> R:
    living = owner()
    return otherwise(*args, **kwargs) if living is None else function(living, *args, **kwargs)
