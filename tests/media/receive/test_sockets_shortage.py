"""Sockets of a call when the process may open no more."""

from __future__ import annotations

import errno

import pytest

from active_call.base.errors import MediaError
from active_call.media.receive import sockets


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_want_of_descriptors_is_told_apart_from_a_bad_address(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, "Too many open files")

    monkeypatch.setattr(sockets, "_open", fail)
    with pytest.raises(sockets.OutOfDescriptors):
        sockets.open_pair("127.0.0.1", 20_000)


def test_address_of_another_machine_is_no_want_of_descriptors() -> None:
    with pytest.raises(MediaError, match="cannot bind") as error:
        sockets.open_pair("192.0.2.1", 20_000)
    assert not isinstance(error.value, sockets.OutOfDescriptors)
