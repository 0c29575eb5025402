"""A folder of Markdown is found by words: passages, ranking, changes, limits, and what is not read."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.store.knowledge.index import CHECK_S, MAX_FILE_BYTES, KnowledgeIndex, match_of
from active_call.store.knowledge.library import KnowledgeError, KnowledgeLibrary, as_text
from active_call.store.knowledge.passages import MAX_PASSAGE_CHARS, passages_of

HOURS = """# Opening hours
We are open from nine to six.

## Holidays
On Christmas day the shop is closed.
"""
DELIVERY = """# Delivery
Roses are delivered within two days. Delivery costs five dollars.

```
# no heading
```
"""


class Clock:
    def __init__(self) -> None:
        self.at = 0.0

    def now(self) -> float:
        return self.at


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "hours.md").write_text(HOURS)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "delivery.txt").write_text(DELIVERY)
    return tmp_path


def titles(index: KnowledgeIndex, query: str) -> list[str]:
    return [found.title for found in index.search(query, 3)]


def test_best_passage_comes_first_with_its_headings_and_file(folder: Path) -> None:
    index = KnowledgeIndex(folder, Clock().now)
    (first, *_) = index.search("are you closed on christmas?", 3)
    assert (first.file, first.title, first.text) == ("hours.md", "Opening hours › Holidays", "On Christmas day the shop is closed.")
    assert titles(index, "how long does a delivery of roses take")[0] == "Delivery"
    assert index.search("delivering", 1)[0].file == str(Path("more") / "delivery.txt")
    assert titles(index, "quantum physics") == [] and titles(index, "") == []


def test_query_holds_no_syntax(folder: Path) -> None:
    index = KnowledgeIndex(folder, Clock().now)
    for query in ('"', "NEAR(", "file:x OR", "a* -b", "roses' OR 1=1 --", "\x00"):
        index.search(query, 3)
    assert match_of("the opening hours") == '"opening" OR "hours"' and match_of("what is the") == '"what" OR "is" OR "the"'


def test_file_that_has_changed_is_read_again(folder: Path) -> None:
    clock = Clock()
    index = KnowledgeIndex(folder, clock.now)
    assert titles(index, "tulips") == []
    (folder / "tulips.md").write_text("# Tulips\nTulips come in spring.\n")
    assert titles(index, "tulips") == []
    clock.at += CHECK_S
    assert titles(index, "tulips") == ["Tulips"]


def test_only_text_inside_the_folder_is_read(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.md").write_text("# Secret\nxylophone\n")
    (folder / "link.md").symlink_to(outside / "secret.md")
    (folder / ".hidden.md").write_text("xylophone")
    (folder / "data.json").write_text("xylophone")
    (folder / "huge.md").write_bytes(b"xylophone " * (MAX_FILE_BYTES // 10 + 1))
    assert titles(KnowledgeIndex(folder, Clock().now), "xylophone") == []


def test_chinese_is_found_by_its_characters(folder: Path) -> None:
    (folder / "zh.md").write_text("# 营业时间\n我们每天早上九点开门。\n", encoding="utf-8")
    assert titles(KnowledgeIndex(folder, Clock().now), "几点开门")[0] == "营业时间"


@given(st.text(max_size=4000))
def test_passages_are_bounded_and_lose_no_words(text: str) -> None:
    found = list(passages_of(text, "name"))
    assert all(len(one.text) <= MAX_PASSAGE_CHARS for one in found)


def test_library_says_in_words_that_a_folder_is_missing_and_text_is_bounded(folder: Path) -> None:
    async def run() -> None:
        library = KnowledgeLibrary(Clock())  # type: ignore[arg-type]
        found = await library.search(folder, "opening delivery", 3)
        assert len(found) >= 2 and len(as_text(found, 60)) <= 60
        with pytest.raises(KnowledgeError, match="cannot be searched"):
            await library.search(folder / "gone", "x", 1)
        await library.close()

    asyncio.run(run())
