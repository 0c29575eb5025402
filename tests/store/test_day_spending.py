"""The file with what a day has cost: written, read back, and what is wrong with it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from active_call.store.day_spending import DaySpendingFile, DaySum

TODAY = DaySum("2026-03-04", 1.25, "USD")


def test_sum_is_read_back_by_the_next_process(tmp_path: Path) -> None:
    async def run() -> DaySum | None:
        first = DaySpendingFile(tmp_path / "new" / "spending.json")
        assert await first.load() is None
        first.note(DaySum("2026-03-04", 1.0, "USD"))
        first.note(TODAY)
        await first.close()
        await first.close()
        return await DaySpendingFile(tmp_path / "new" / "spending.json").load()

    assert asyncio.run(run()) == TODAY
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["spending.json"]


@pytest.mark.parametrize("text", ["", "[]", '{"day": "2026-03-04"}', '{"day": "x", "spent": NaN, "currency": "USD"}', "{"])
def test_file_without_sense_begins_at_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "spending.json"
    path.write_text(text)
    assert asyncio.run(DaySpendingFile(path).load()) is None


def test_file_that_cannot_be_written_is_told_once(tmp_path: Path, caplog: Any) -> None:
    async def run() -> None:
        (tmp_path / "spending.json").mkdir()
        file = DaySpendingFile(tmp_path / "spending.json")
        for _ in range(3):
            file.note(TODAY)
            await file.close()

    asyncio.run(run())
    assert [record.message for record in caplog.records] == ["the day's spending cannot be stored"]
