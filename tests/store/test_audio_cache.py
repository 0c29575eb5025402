"""The cache of decoded sound: bounded, and never half a file for anybody."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from active_call.store.audio_cache import DATA_OFFSET, AudioCache


def keep(cache: AudioCache, key: str, pcm: bytes, **facts: object) -> None:
    part = cache.begin(key)
    part.append(pcm)
    part.keep(facts)
    part.file.close()


def read(cache: AudioCache, key: str) -> bytes | None:
    cached = cache.open(key)
    if cached is None:
        return None
    with cached.file as file:
        file.seek(DATA_OFFSET)
        return file.read()


def test_kept_sound_comes_back_with_its_facts(tmp_path: Path) -> None:
    cache = AudioCache(tmp_path)
    keep(cache, "8000 https://example.com/ü", b"ab" * 100, etag='"1"')
    cached = cache.open("8000 https://example.com/ü")
    assert cached is not None
    cached.file.close()
    assert (cached.n_bytes, cached.facts) == (200, {"etag": '"1"'})
    assert read(cache, "8000 https://example.com/ü") == b"ab" * 100


def test_key_longer_than_the_header_is_kept_all_the_same(tmp_path: Path) -> None:
    cache = AudioCache(tmp_path)
    keep(cache, "u" * 10_000, b"ab")
    assert read(cache, "u" * 10_000) == b"ab"
    assert cache.open("u" * 9_999) is None


def test_sound_in_the_making_is_not_found(tmp_path: Path) -> None:
    cache = AudioCache(tmp_path)
    part = cache.begin("k")
    part.append(b"ab" * 10)
    assert cache.open("k") is None
    part.discard()
    part.file.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: b"", lambda data: data + b"x", lambda data: b"[" + data[1:]])
def test_damaged_file_counts_as_absent(tmp_path: Path, damage: object) -> None:
    cache = AudioCache(tmp_path)
    keep(cache, "k", b"ab" * 10)
    path = cache.path_of("k")
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    assert cache.open("k") is None


def test_least_recently_used_sounds_go_first(tmp_path: Path) -> None:
    cache = AudioCache(tmp_path, limit_bytes=3 * (DATA_OFFSET + 1000))
    for n, key in enumerate("abc"):
        keep(cache, key, bytes(1000))
        os.utime(cache.path_of(key), (n, n))
    assert read(cache, "a") is not None  # used: now b is the oldest
    keep(cache, "d", bytes(1000))
    assert [key for key in "abcd" if read(cache, key) is not None] == ["a", "c", "d"]


def test_reader_goes_on_when_its_sound_is_replaced_and_removed(tmp_path: Path) -> None:
    cache = AudioCache(tmp_path)
    keep(cache, "k", b"old!")
    cached = cache.open("k")
    keep(cache, "k", b"new!!!")
    cache.remove("k")
    assert cached is not None
    with cached.file as file:
        assert os.pread(file.fileno(), 10, DATA_OFFSET) == b"old!"


def test_part_file_of_a_dead_writer_is_swept_up_and_that_of_a_living_one_is_not(tmp_path: Path) -> None:
    (tmp_path / ".dead.part").write_bytes(b"x")
    os.utime(tmp_path / ".dead.part", (1, 1))
    cache = AudioCache(tmp_path)
    living = cache.begin("l")
    keep(cache, "k", b"ab")
    assert len(list(tmp_path.glob(".*.part"))) == 1
    living.discard()
    living.file.close()


def _write_often(folder: str, value: int) -> None:
    cache = AudioCache(Path(folder))
    for _ in range(100):
        keep(cache, "k", bytes([value]) * 50_000)


def test_writers_in_several_processes_never_show_a_reader_half_a_sound(tmp_path: Path) -> None:
    cache = AudioCache(tmp_path)
    keep(cache, "k", bytes([1]) * 50_000)
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_often, args=(str(tmp_path), value)) for value in (1, 2)]
    for writer in writers:
        writer.start()
    n_read = 0
    while any(writer.is_alive() for writer in writers):
        data = read(cache, "k")
        assert data in (bytes([1]) * 50_000, bytes([2]) * 50_000)
        n_read += 1
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert n_read > 10
