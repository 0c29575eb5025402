"""What is told of parts that do not work, and when it is over."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from active_call.store.recordings import why_not_written
from active_call.store.troubles import PROBE_EVERY_S, Troubles
from active_call.testing.virtual_time import run_virtually


@pytest.fixture(autouse=True)
def without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Virtual time does not wait for threads."""

    async def at_once(function: Callable[[], str]) -> str:
        return function()

    monkeypatch.setattr("active_call.store.troubles.asyncio.to_thread", at_once)


def test_trouble_with_a_probe_lasts_until_the_probe_succeeds() -> None:
    why, n_asked = ["full"], []

    def probe() -> str:
        n_asked.append(1)
        return why[0]

    async def story() -> None:
        troubles = Troubles()
        watching = asyncio.create_task(troubles.watch())
        troubles.note("recordings", "No space left on device", probe=probe)
        troubles.note("records", "down")
        await asyncio.sleep(100 * PROBE_EVERY_S)
        assert [each["part"] for each in troubles.current()] == ["recordings", "records"]
        why[0] = ""
        await asyncio.sleep(2 * PROBE_EVERY_S)
        assert [each["part"] for each in troubles.current()] == ["records"]
        asked = len(n_asked)
        await asyncio.sleep(5 * PROBE_EVERY_S)
        assert len(n_asked) == asked  # what works is not asked about
        watching.cancel()

    run_virtually(story())


def test_trouble_that_is_met_while_its_probe_is_under_way_stays() -> None:
    async def story() -> None:
        troubles = Troubles()

        def probe() -> str:
            troubles.note("recordings", "again", probe=lambda: "again")
            return ""

        troubles.note("recordings", "full", probe=probe)
        watching = asyncio.create_task(troubles.watch())
        await asyncio.sleep(2.5 * PROBE_EVERY_S)
        assert [each["reason"] for each in troubles.current()] == ["again"]
        watching.cancel()

    run_virtually(story())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux")
def test_folder_is_probed_by_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a" / "b"
    assert why_not_written(folder) == ""
    assert list(folder.iterdir()) == []
    (tmp_path / "file").touch()
    assert why_not_written(tmp_path / "file" / "sub") == os.strerror(20)

    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: Path("/dev/full").open("wb", buffering=0))  # noqa: SIM115
    assert why_not_written(folder) == os.strerror(28)
