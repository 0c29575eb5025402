"""Calls of a method that do not keep its object alive."""

from __future__ import annotations

import gc
from weakref import ref

import pytest

from active_call.base.weakly import weakly


class Owner:
    def __init__(self) -> None:
        self.part = weakly(self.add, lambda number, *, twice=False: -1)

    def add(self, number: int, *, twice: bool = False) -> int:
        return number * (2 if twice else 1)


def test_method_is_called_with_all_arguments_while_its_object_lives() -> None:
    owner = Owner()
    assert (owner.part(3), owner.part(3, twice=True)) == (3, 6)


def test_owner_of_a_part_is_freed_at_once_and_the_part_gets_the_other_answer() -> None:
    gc.disable()
    try:
        owner = Owner()
        part, there = owner.part, ref(owner)
        del owner
        assert there() is None
        assert part(3, twice=True) == -1
    finally:
        gc.enable()


def test_function_without_an_object_is_refused() -> None:
    with pytest.raises(TypeError, match="bound method"):
        weakly(lambda: 1, lambda: 2)
