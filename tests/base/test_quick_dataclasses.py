"""Dataclasses made quickly behave like those that Python makes."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle
import sys
from dataclasses import dataclass, field
from typing import Any

import pytest

from active_call.base.quick_dataclasses import MAKERS, quick_dataclasses


def make() -> dict[str, type]:
    """Classes of all kinds."""

    @dataclass(frozen=True, slots=True)
    class Empty:
        """Nothing."""

    @dataclass(frozen=True, slots=True)
    class One:
        """One field."""

        x: Any

    @dataclass(frozen=True)
    class Some:
        """Fields with and without a part in the methods."""

        x: Any
        y: Any = field(default=2, repr=False)
        z: Any = field(default=3, compare=False)
        n: Any = field(default=4, hash=False)

    @dataclass(slots=True)
    class Open:
        """Can be changed, has no hash."""

        x: Any
        y: Any = None

    @dataclass(order=True)
    class Ordered:
        """Can be sorted."""

        x: Any
        y: Any = 0

    @dataclass(frozen=True)
    class Child(Some):
        """Has inherited fields."""

        more: Any = ()

    @dataclass(frozen=True)
    class Plain(One):
        """Defines its own methods."""

        def __repr__(self) -> str:
            return "mine"

        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

    return {kind.__name__: kind for kind in (Empty, One, Some, Open, Ordered, Child, Plain)}


SLOW = make()
with quick_dataclasses():
    QUICK = make()


def seen(action: Any) -> Any:
    """What an action returns or raises."""
    try:
        return action()
    except Exception as error:
        return type(error), str(error)


def behaviour(kinds: dict[str, type]) -> dict[tuple[Any, ...], Any]:
    found: dict[tuple[Any, ...], Any] = {}
    nan = math.nan
    for name, kind in kinds.items():
        values = [kind()] if name == "Empty" else [kind(1), kind(nan), kind([1]), kind("a'b")]
        if name not in ("Empty", "One", "Plain"):
            values += [kind(1, 5), kind(x=1, y=2)]
        for index, one in enumerate(values):
            found[name, index, "repr"] = seen(lambda one=one: repr(one))
            found[name, index, "hash"] = seen(lambda one=one: hash(one))
            found[name, index, "copy"] = seen(lambda one=one: copy.copy(one) == one)
            found[name, index, "set"] = seen(lambda one=one: setattr(one, "x", 9))
            found[name, index, "set other"] = seen(lambda one=one: setattr(one, "other", 9))
            found[name, index, "delete"] = seen(lambda one=one: delattr(one, "x"))
            found[name, index, "as dict"] = seen(lambda one=one: dataclasses.asdict(one))
            for other_index, other in enumerate([*values, 1, None]):
                found[name, index, "==", other_index] = seen(lambda one=one, other=other: (one == other, one != other))
                found[name, index, "<", other_index] = seen(lambda one=one, other=other: one < other)
        found[name, "methods"] = [getattr(getattr(kind, method), "__qualname__", "") for method in ("__repr__", "__eq__", "__hash__")]
        found[name, "match"] = kind.__match_args__  # type: ignore[attr-defined]
    return found


def test_quick_dataclasses_behave_like_those_of_python() -> None:
    slow, quick = behaviour(SLOW), behaviour(QUICK)
    assert {key: value for key, value in quick.items() if value != slow[key]} == {}


def test_quick_repr_of_a_value_that_contains_itself_ends() -> None:
    one = QUICK["Open"](1)
    one.y = one
    assert repr(one).endswith("Open(x=1, y=...)")


with quick_dataclasses():

    @dataclass(frozen=True, slots=True)
    class Pickled:
        """In a module, so that pickle finds it."""

        x: int


def test_quick_dataclass_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(Pickled(3))) == Pickled(3)


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="nothing is replaced")
def test_makers_are_those_of_python_again_afterwards_and_only_init_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    create = dataclasses._create_fn  # type: ignore[attr-defined]

    def creating(name: str, *given: Any, **named: Any) -> Any:
        compiled.append(name)
        return create(name, *given, **named)

    monkeypatch.setattr(dataclasses, "_create_fn", creating)
    before = [getattr(dataclasses, name) for name in MAKERS]
    with quick_dataclasses():
        make()
    assert [getattr(dataclasses, name) for name in MAKERS] == before
    assert set(compiled) == {"__init__", "__lt__", "__le__", "__gt__", "__ge__"}
