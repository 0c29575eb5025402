"""Makes the methods of dataclasses quickly while a program loads its modules (Python 3.11 and 3.12).

`dataclasses` writes the text of each method and compiles it, six methods for a frozen class: a sixth of the time of a server's start.
Inside `quick_dataclasses()` only `__init__` is made so; the other methods are closures with the same behaviour. Python 3.13 compiles
all methods of a class together, so nothing is replaced there.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from operator import attrgetter
from typing import Any, Final

_Fields = list[dataclasses.Field[Any]]


def _reader(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    """A function that returns the values of these attributes."""
    if len(names) > 1:
        return attrgetter(*names)
    if not names:
        return lambda _: ()
    get = attrgetter(names[0])
    return lambda value: (get(value),)


def _repr_method(fields: _Fields, globals: Mapping[str, Any]) -> Callable[[Any], str]:  # noqa: A002 (the signature of dataclasses)
    names = [field.name for field in fields]

    def __repr__(self: Any) -> str:  # noqa: N807
        return f"{self.__class__.__qualname__}({', '.join([f'{name}={getattr(self, name)!r}' for name in names])})"

    wrapped: Callable[[Any], str] = dataclasses._recursive_repr(__repr__)  # type: ignore[attr-defined]
    return wrapped


def _frozen_methods(cls: Any, fields: _Fields, globals: Mapping[str, Any]) -> tuple[Callable[..., None], ...]:  # noqa: A002
    names = frozenset(field.name for field in fields)

    def __setattr__(self: Any, name: str, value: Any) -> None:  # noqa: N807
        if type(self) is cls or name in names:
            raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
        super(cls, self).__setattr__(name, value)

    def __delattr__(self: Any, name: str) -> None:  # noqa: N807
        if type(self) is cls or name in names:
            raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
        super(cls, self).__delattr__(name)

    return __setattr__, __delattr__


def _comparing_method(made: Callable[..., Any], name: str, op: str, self_tuple: str, other_tuple: str, globals: Any) -> Any:  # noqa: A002
    """`==` for the attributes in `self_tuple`, a text like "(self.x,self.y,)"; other comparisons are made by `made`."""
    if op != "==":
        return made(name, op, self_tuple, other_tuple, globals=globals)
    read = _reader([part.removeprefix("self.") for part in self_tuple.strip("()").split(",") if part])

    def __eq__(self: Any, other: Any) -> bool:  # noqa: N807
        if other.__class__ is self.__class__:
            return read(self) == read(other)
        return NotImplemented

    return __eq__


def _hash_method(fields: _Fields, globals: Mapping[str, Any]) -> Callable[[Any], int]:  # noqa: A002
    read = _reader([field.name for field in fields])

    def __hash__(self: Any) -> int:  # noqa: N807
        return hash(read(self))

    return __hash__


MAKERS: Final = ("_repr_fn", "_frozen_get_del_attr", "_cmp_fn", "_hash_fn")
"""The functions of `dataclasses` that are replaced."""


@contextmanager
def quick_dataclasses() -> Iterator[None]:
    """Classes defined inside have quick methods. Without effect where Python's makers are others."""
    makers = {name: getattr(dataclasses, name, None) for name in MAKERS}
    if sys.version_info >= (3, 13) or None in makers.values():
        yield
        return
    compared = makers["_cmp_fn"]

    def comparing(name: str, op: str, self_tuple: str, other_tuple: str, globals: Any) -> Any:  # noqa: A002
        return _comparing_method(compared, name, op, self_tuple, other_tuple, globals)  # type: ignore[arg-type]

    quick = {"_repr_fn": _repr_method, "_frozen_get_del_attr": _frozen_methods, "_cmp_fn": comparing, "_hash_fn": _hash_method}
    vars(dataclasses).update(quick)
    try:
        yield
    finally:
        vars(dataclasses).update(makers)
