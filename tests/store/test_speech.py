"""Speech on disk: whole or not at all, under the name that it was given."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from active_call.base.errors import MediaError, ProviderError
from active_call.providers.guarding.failover import FailoverTextToSpeech
from active_call.store.audio_cache import AudioCache
from active_call.store.speech import LOOK_UP_S, REST_S, SpeechLibrary
from active_call.testing.fakes.providers import FakeSynthesiser
from active_call.testing.virtual_time import run_virtually


async def at_once(function: Callable[..., Any], *args: Any) -> Any:
    """Virtual time does not wait for threads."""
    return function(*args)


def library(folder: Path) -> SpeechLibrary:
    return SpeechLibrary(AudioCache(folder), at_once)


async def sound_of(speech: SpeechLibrary, key: str, voice: FakeSynthesiser, text: str) -> tuple[bytes, int]:
    pieces = [piece async for piece in speech.pieces(key, voice, text)]
    await asyncio.sleep(0.01)  # it is written behind the listener's back
    return b"".join(pcm for pcm, _ in pieces), pieces[0][1]


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_sound_is_made_once_and_found_by_another_server(tmp_path: Path) -> None:
    async def story() -> None:
        voice = FakeSynthesiser(rate_hz=24000)
        made = await sound_of(library(tmp_path), "greeting", voice, "Good morning.")
        assert made[1] == 24000 and len(made[0]) == 2 * 24 * voice.duration_ms("Good morning.")
        assert await sound_of(library(tmp_path), "greeting", voice, "Good morning.") == made
        assert len(voice.spoken) == 1

    run_virtually(story())


def test_threads_keep_and_find_the_same(tmp_path: Path) -> None:
    async def story() -> None:
        voice = FakeSynthesiser()
        speech = SpeechLibrary(AudioCache(tmp_path))
        made = [pcm async for pcm, _ in speech.pieces("greeting", voice, "Good morning.")]
        await speech.close()
        speech = SpeechLibrary(AudioCache(tmp_path))
        assert b"".join([pcm async for pcm, _ in speech.pieces("greeting", voice, "?")]) == b"".join(made)
        assert len(voice.spoken) == 1

    asyncio.run(story())


def test_key_alone_names_the_sound_whatever_the_text_and_the_voice(tmp_path: Path) -> None:
    async def story() -> None:
        speech = library(tmp_path)
        made = await sound_of(speech, "greeting", FakeSynthesiser(rate_hz=24000), "Good morning.")
        assert await sound_of(speech, "greeting", FakeSynthesiser(rate_hz=16000), "Something else.") == made

    run_virtually(story())


@pytest.mark.parametrize("key", ["../../etc/passwd", "/etc/passwd", ".", "a\0b", "\udc80", "k" * 10_000])
def test_no_key_becomes_a_path(tmp_path: Path, key: str) -> None:
    async def story() -> None:
        folder, voice = tmp_path / "cache", FakeSynthesiser()
        speech = library(folder)
        made = await sound_of(speech, key, voice, "Hi")
        assert await sound_of(speech, key, voice, "Hi") == made and len(voice.spoken) == 1
        assert (len(files_in(folder)), files_in(tmp_path)) == (1, ["cache"])

    run_virtually(story())


def test_first_sound_does_not_wait_for_the_whole(tmp_path: Path) -> None:
    async def story() -> None:
        voice = FakeSynthesiser()
        async with aclosing(library(tmp_path).pieces("greeting", voice, "A rather long sentence.")) as pieces:
            pcm, _ = await anext(pieces)
            assert len(pcm) == 2 * 16 * voice.piece_ms
            assert files_in(tmp_path) == []

    run_virtually(story())


def test_sound_that_everybody_has_left_is_not_kept(tmp_path: Path) -> None:
    async def story() -> None:
        speech, voice = library(tmp_path), FakeSynthesiser()
        leaver = speech.pieces("greeting", voice, "A rather long sentence.")
        await anext(leaver)
        await leaver.aclose()
        await asyncio.sleep(1)
        assert (voice.n_abandoned, files_in(tmp_path)) == (1, [])
        whole, _ = await sound_of(speech, "greeting", voice, "A rather long sentence.")
        assert len(whole) == 2 * 16 * voice.duration_ms("A rather long sentence.")
        assert len(files_in(tmp_path)) == 1

    run_virtually(story())


def test_listener_who_leaves_takes_nothing_from_those_who_stay(tmp_path: Path) -> None:
    async def story() -> None:
        speech, voice = library(tmp_path), FakeSynthesiser()
        leaver = speech.pieces("greeting", voice, "A rather long sentence.")
        await anext(leaver)
        stayer = asyncio.create_task(sound_of(speech, "greeting", voice, "Another text."))
        await asyncio.sleep(0)
        await leaver.aclose()
        whole, _ = await stayer
        assert len(whole) == 2 * 16 * voice.duration_ms("A rather long sentence.")
        assert (len(voice.spoken), len(files_in(tmp_path))) == (1, 1)

    run_virtually(story())


def test_failure_reaches_the_listener_and_keeps_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        speech, voice = library(tmp_path), FakeSynthesiser()
        voice.failures["Hi"] = ProviderError("fake", "told to")
        with pytest.raises(ProviderError, match="told to"):
            await sound_of(speech, "greeting", voice, "Hi")
        assert files_in(tmp_path) == []
        voice.failures.clear()
        assert (await sound_of(speech, "greeting", voice, "Hi"))[0]
        assert len(files_in(tmp_path)) == 1

    run_virtually(story())


def test_sound_that_a_fallback_made_is_heard_and_not_kept(tmp_path: Path) -> None:
    async def story() -> None:
        first, second = FakeSynthesiser(), FakeSynthesiser()
        first.failures["Good morning."] = ProviderError("fake", "down", retryable=True)
        voice: Any = FailoverTextToSpeech([first, second])
        pcm, rate_hz = await sound_of(library(tmp_path), "greeting", voice, "Good morning.")
        assert len(pcm) == 2 * 16 * second.duration_ms("Good morning.") and rate_hz == 16_000
        assert files_in(tmp_path) == []

    run_virtually(story())


def test_text_without_sound_is_not_kept(tmp_path: Path) -> None:
    async def story() -> None:
        speech = library(tmp_path)
        assert [piece async for piece in speech.pieces("greeting", FakeSynthesiser(), "")] == []
        await asyncio.sleep(0.01)
        assert files_in(tmp_path) == []

    run_virtually(story())


def test_cache_that_is_emptied_is_filled_again(tmp_path: Path) -> None:
    async def story() -> None:
        speech, voice = library(tmp_path), FakeSynthesiser()
        await sound_of(speech, "greeting", voice, "Hi")
        (tmp_path / files_in(tmp_path)[0]).unlink()
        tmp_path.rmdir()
        await sound_of(speech, "greeting", voice, "Hi")
        assert (len(voice.spoken), len(files_in(tmp_path))) == (2, 1)

    run_virtually(story())


def test_folder_that_cannot_be_written_to_costs_only_the_keeping(tmp_path: Path) -> None:
    async def story() -> None:
        (tmp_path / "file").write_text("in the way")
        speech, voice = library(tmp_path / "file" / "cache"), FakeSynthesiser()
        assert (await sound_of(speech, "greeting", voice, "Hi"))[0]
        with pytest.raises(MediaError, match="media_cache_path"):
            await speech.keep("greeting", [b"ab"], 8000, "made of")

    run_virtually(story())


def test_sound_replaced_meanwhile_is_heard_to_its_end_and_not_kept(tmp_path: Path) -> None:
    async def story() -> None:
        speech, voice = library(tmp_path), FakeSynthesiser(delay_s=1)
        listener = asyncio.create_task(sound_of(speech, "greeting", voice, "Old words."))
        await asyncio.sleep(0.5)
        await speech.keep("greeting", [b"ne", b"w!"], 8000, "new words")
        assert len((await listener)[0]) == 2 * 16 * voice.duration_ms("Old words.")
        assert await sound_of(speech, "greeting", voice, "?") == (b"new!", 8000)

    run_virtually(story())


@pytest.mark.parametrize(("made_of", "rate_hz", "found"), [("k", 8000, b"abcd"), ("other", 8000, b""), ("k", 16000, b"")])
def test_prepared_sound_is_found_by_what_it_is_made_of(tmp_path: Path, made_of: str, rate_hz: int, found: bytes) -> None:
    async def story() -> None:
        speech = library(tmp_path)
        await speech.keep("k", [b"ab", b"cd"], 8000, made_of)
        assert b"".join([pcm async for pcm in speech.prepared("k", rate_hz)]) == found
        assert (await speech.n_bytes_kept("k", made_of), await speech.n_bytes_kept("k", "something else")) == (4, None)
        assert await speech.n_bytes_kept("unknown", made_of) is None

    run_virtually(story())


def test_sound_that_a_call_has_kept_is_not_taken_for_a_prepared_one(tmp_path: Path) -> None:
    async def story() -> None:
        speech = library(tmp_path)
        await sound_of(speech, "k", FakeSynthesiser(), "A key that looks like a hash.")
        assert [pcm async for pcm in speech.prepared("k", 16000)] == []

    run_virtually(story())


@pytest.mark.parametrize("facts", [{}, {"rate_hz": "8000"}, {"rate_hz": 0}, {"rate_hz": None}])
def test_file_without_a_rate_counts_as_absent(tmp_path: Path, facts: dict[str, Any]) -> None:
    async def story() -> None:
        part = AudioCache(tmp_path).begin("speech k")
        part.append(b"ab")
        part.keep(facts)
        part.file.close()
        voice = FakeSynthesiser()
        await sound_of(library(tmp_path), "k", voice, "Hi")
        assert len(voice.spoken) == 1

    run_virtually(story())


def test_close_ends_listeners_with_an_error(tmp_path: Path) -> None:
    async def story() -> None:
        speech = library(tmp_path)
        listener = asyncio.create_task(sound_of(speech, "k", FakeSynthesiser(delay_s=5), "Hi"))
        await asyncio.sleep(1)
        await speech.close()
        with pytest.raises(ProviderError):
            await listener
        assert files_in(tmp_path) == []

    run_virtually(story())


def test_disk_that_does_not_answer_is_not_waited_for_and_asked_again_later(tmp_path: Path) -> None:
    async def story() -> None:
        loop, asked = asyncio.get_running_loop(), []
        stalled = asyncio.Event()

        async def in_thread(function: Callable[..., Any], *args: Any) -> Any:
            asked.append(loop.time())
            await stalled.wait()
            return function(*args)

        speech, voice = SpeechLibrary(AudioCache(tmp_path), in_thread), FakeSynthesiser()
        begun_at = loop.time()
        async with aclosing(speech.pieces("greeting", voice, "Good morning.")) as pieces:
            await anext(pieces)
        assert loop.time() - begun_at < LOOK_UP_S + 1.0
        assert [pcm async for pcm in speech.prepared("other", voice.rate_hz)] == []
        assert len(asked) == 1  # it rests
        stalled.set()
        await asyncio.sleep(REST_S)
        assert [pcm async for pcm in speech.prepared("other", voice.rate_hz)] == []
        assert len(asked) == 2

    run_virtually(story())
