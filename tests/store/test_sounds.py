"""The library of sounds: files and a pretended web server; what is heard is compared with what was put into the WAV."""

from __future__ import annotations

import asyncio
import io
import os
import threading
import wave
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from active_call.base.errors import MediaError
from active_call.base.trust import NO_TRUST, Place, Trust
from active_call.base.world import SystemClock
from active_call.net.outgoing import OutgoingRefused, places_of
from active_call.store.audio_cache import DATA_OFFSET, AudioCache
from active_call.store.sound_folders import SoundFolders
from active_call.store.sounds import SoundLibrary

URL = "https://sounds.example.com/hold.wav"


def samples(seconds: float, first: int = 0) -> np.ndarray:
    return ((np.arange(int(seconds * 8000)) + first) % 20_000).astype("<i2")


def wav(pcm: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(pcm.tobytes())
    return buffer.getvalue()


class Body(httpx.AsyncByteStream):
    """A response's body, one piece at a time, from a generator of the test's."""

    def __init__(self, pieces: AsyncGenerator[bytes, None]) -> None:
        self._pieces = pieces

    async def aclose(self) -> None:
        await self._pieces.aclose()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._pieces:
            yield piece


class LibraryBench:
    """A library over a folder, and the requests that reached the server."""

    def __init__(self, folder: Path, answer: Callable[[httpx.Request], httpx.Response]) -> None:
        self.requests: list[httpx.Request] = []
        self.folder = folder
        self.cache = AudioCache(folder / "cache")

        def handle(request: httpx.Request) -> httpx.Response:
            self.requests.append(request)
            return answer(request)

        self.client = httpx.AsyncClient(transport=httpx.MockTransport(handle))
        self.library = SoundLibrary(self.cache, self.client, SystemClock(), folder)

    async def hear(self, source: str = URL, rate_hz: int = 8000) -> np.ndarray:
        return np.frombuffer(b"".join([pcm async for pcm in self.library.pieces(source, rate_hz)]), "<i2")

    async def hear_into(self, heard: list[bytes]) -> None:
        async for pcm in self.library.pieces(URL, 8000):
            heard.append(pcm)  # noqa: PERF401 - what was heard before the end counts

    def kept(self) -> list[Path]:
        return sorted((self.folder / "cache").glob("*.pcm"))


def with_library(
    folder: Path,
    work: Callable[[LibraryBench], Awaitable[Any]],
    answer: Callable[[httpx.Request], httpx.Response] = lambda _: httpx.Response(500),
) -> Any:
    async def body() -> Any:
        bench = LibraryBench(folder, answer)
        try:
            async with asyncio.timeout(20):
                return await work(bench)
        finally:
            await bench.library.close()
            await bench.client.aclose()
            assert not list(folder.rglob("*.part"))

    return asyncio.run(body())


def test_file_is_heard_whole_and_the_second_time_from_the_cache(tmp_path: Path) -> None:
    pcm = samples(1.3)
    (tmp_path / "a.wav").write_bytes(wav(pcm))

    async def work(bench: LibraryBench) -> None:
        assert np.array_equal(await bench.hear("a.wav"), pcm)
        (kept,) = bench.kept()
        before = kept.stat().st_ino
        assert np.array_equal(await bench.hear("file://" + str(tmp_path / "a.wav")), pcm)
        assert bench.kept()[0].stat().st_ino == before

    with_library(tmp_path, work)


def test_file_that_was_changed_is_heard_as_it_is_now(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"

    async def work(bench: LibraryBench) -> None:
        path.write_bytes(wav(samples(1)))
        await bench.hear("a.wav")
        path.write_bytes(wav(samples(1, first=77)))
        os.utime(path, (1, 1))
        assert np.array_equal(await bench.hear("a.wav"), samples(1, first=77))

    with_library(tmp_path, work)


def test_long_file_over_a_slow_server_begins_before_it_has_come(tmp_path: Path) -> None:
    data, may_go_on = wav(samples(600)), asyncio.Event()

    async def slow() -> AsyncGenerator[bytes, None]:
        yield data[:200_000]
        await may_go_on.wait()
        yield data[200_000:]

    async def work(bench: LibraryBench) -> None:
        async with aclosing(bench.library.pieces(URL, 8000)) as pieces:
            first = [await anext(pieces) for _ in range(2)]
            assert np.array_equal(np.frombuffer(b"".join(first), "<i2"), samples(600)[: len(b"".join(first)) // 2])
            assert not bench.kept()
            may_go_on.set()
            rest = b"".join([pcm async for pcm in pieces])
            assert max(map(len, first)) <= 8000
        assert (sum(map(len, first)) + len(rest)) // 2 == 600 * 8000

    with_library(tmp_path, work, lambda _: httpx.Response(200, headers={"Content-Length": str(len(data))}, stream=Body(slow())))


def test_calls_that_ask_at_the_same_time_share_one_request(tmp_path: Path) -> None:
    async def work(bench: LibraryBench) -> None:
        heard = await asyncio.gather(*[bench.hear() for _ in range(20)])
        assert all(np.array_equal(pcm, samples(2)) for pcm in heard)
        assert len(bench.requests) == 1

    with_library(tmp_path, work, lambda _: httpx.Response(200, content=wav(samples(2))))


def test_kept_sound_is_asked_for_with_its_validators_and_played_when_not_modified(tmp_path: Path) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.headers.get("if-none-match") == '"v1"' and request.headers.get("if-modified-since") == "Mon, 02 Mar 2026 10:00:00 GMT":
            return httpx.Response(304)
        return httpx.Response(200, content=wav(samples(1)), headers={"ETag": '"v1"', "Last-Modified": "Mon, 02 Mar 2026 10:00:00 GMT"})

    async def work(bench: LibraryBench) -> None:
        assert np.array_equal(await bench.hear(), samples(1))
        assert np.array_equal(await bench.hear(), samples(1))
        assert [bool(request.headers.get("if-none-match")) for request in bench.requests] == [False, True]

    with_library(tmp_path, work, answer)


def test_sound_that_was_changed_on_the_server_is_heard_anew(tmp_path: Path) -> None:
    versions = iter([1, 2])

    def answer(_: httpx.Request) -> httpx.Response:
        version = next(versions)
        return httpx.Response(200, content=wav(samples(1, first=version)), headers={"ETag": f'"{version}"'})

    async def work(bench: LibraryBench) -> None:
        assert np.array_equal(await bench.hear(), samples(1, first=1))
        assert np.array_equal(await bench.hear(), samples(1, first=2))
        assert len(bench.kept()) == 1

    with_library(tmp_path, work, answer)


def test_fresh_sound_is_played_without_asking(tmp_path: Path) -> None:
    async def work(bench: LibraryBench) -> None:
        await bench.hear()
        assert np.array_equal(await bench.hear(), samples(1))
        assert len(bench.requests) == 1

    with_library(tmp_path, work, lambda _: httpx.Response(200, content=wav(samples(1)), headers={"Cache-Control": "public, max-age=600"}))


def test_sound_that_must_not_be_stored_is_not_kept(tmp_path: Path) -> None:
    async def work(bench: LibraryBench) -> None:
        assert np.array_equal(await bench.hear(), samples(1))
        assert not bench.kept()

    with_library(tmp_path, work, lambda _: httpx.Response(200, content=wav(samples(1)), headers={"Cache-Control": "no-store, max-age=600"}))


def test_kept_sound_is_played_when_the_server_is_down(tmp_path: Path) -> None:
    answers = iter([httpx.Response(200, content=wav(samples(1)), headers={"ETag": '"1"'}), httpx.Response(503)])

    async def work(bench: LibraryBench) -> None:
        await bench.hear()
        assert np.array_equal(await bench.hear(), samples(1))

    with_library(tmp_path, work, lambda _: next(answers))


def failing(error: Exception) -> Callable[[httpx.Request], httpx.Response]:
    def answer(_: httpx.Request) -> httpx.Response:
        raise error

    return answer


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda _: httpx.Response(404), "404 Not Found"),
        (lambda _: httpx.Response(304), "304"),
        (lambda _: httpx.Response(200, content=b"<html>Sign in</html>"), "not a playable sound file"),
        (lambda _: httpx.Response(200, content=b"", headers={"Content-Length": "99999999999"}), "99999999999 bytes"),
        (failing(httpx.ReadTimeout("")), "did not answer for 10 s"),
        (failing(httpx.ConnectTimeout("")), "did not answer for 5 s"),
        (failing(httpx.ConnectError("connection refused")), "connection refused"),
    ],
)
def test_url_that_gives_no_sound_is_told_with_its_reason(tmp_path: Path, answer: Any, reason: str) -> None:
    async def work(bench: LibraryBench) -> None:
        with pytest.raises(MediaError) as told:
            await bench.hear()
        assert URL in str(told.value)
        assert reason in str(told.value)
        assert not bench.kept()

    with_library(tmp_path, work, answer)


def test_missing_file_is_told_with_its_path(tmp_path: Path) -> None:
    async def work(bench: LibraryBench) -> None:
        with pytest.raises(MediaError, match=r"none\.wav: No such file"):
            await bench.hear("none.wav")

    with_library(tmp_path, work)


def test_url_of_another_scheme_is_no_file(tmp_path: Path) -> None:
    async def work(bench: LibraryBench) -> None:
        with pytest.raises(MediaError, match=r"^ftp://x/a\.wav: expected a file, or an http or https URL$"):
            await bench.hear("ftp://x/a.wav")

    with_library(tmp_path, work)


def test_download_that_breaks_off_is_played_as_far_as_it_came_and_not_kept(tmp_path: Path) -> None:
    async def broken() -> AsyncGenerator[bytes, None]:
        yield wav(samples(60))[:200_000]
        raise httpx.ReadError("connection reset by peer")

    async def work(bench: LibraryBench) -> None:
        heard: list[bytes] = []
        with pytest.raises(MediaError, match="connection reset"):
            await bench.hear_into(heard)
        assert len(b"".join(heard)) > 150_000
        assert np.array_equal(np.frombuffer(b"".join(heard), "<i2"), samples(60)[: len(b"".join(heard)) // 2])
        assert not bench.kept()

    with_library(tmp_path, work, lambda _: httpx.Response(200, stream=Body(broken()), headers={"Content-Length": "960044"}))


def test_broadcast_without_end_stops_when_nobody_listens_and_begins_anew_for_the_next(tmp_path: Path) -> None:
    ended: list[bool] = []

    async def endless() -> AsyncGenerator[bytes, None]:
        data = wav(samples(3600))
        try:
            for start in range(0, len(data), 4000):
                yield data[start : start + 4000]
                await asyncio.sleep(0)
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def work(bench: LibraryBench) -> None:
        for n_times in (1, 2):
            async with aclosing(bench.library.pieces(URL, 8000)) as pieces:
                assert np.array_equal(np.frombuffer(await anext(pieces), "<i2")[:100], samples(1)[:100])
            while len(ended) < n_times:
                await asyncio.sleep(0.001)
        assert not bench.kept()

    with_library(tmp_path, work, lambda _: httpx.Response(200, stream=Body(endless())))


def test_sound_repeated_joins_without_a_gap(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav(samples(0.7)))

    async def work(bench: LibraryBench) -> None:
        heard = b""
        async with aclosing(bench.library.pieces("a.wav", 8000, repeat=True)) as pieces:
            while len(heard) < 4 * 11_200:
                heard += await anext(pieces)
        assert np.array_equal(np.frombuffer(heard, "<i2")[:22_400], np.tile(samples(0.7), 4))

    with_library(tmp_path, work)


def test_each_rate_has_a_sound_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav(samples(1)))

    async def work(bench: LibraryBench) -> None:
        assert len(await bench.hear("a.wav", 16_000)) == pytest.approx(16_000, abs=40)
        assert len(await bench.hear("a.wav", 8000)) == 8000
        assert len(bench.kept()) == 2

    with_library(tmp_path, work)


def test_folder_that_cannot_be_written_to_does_not_keep_the_sound_from_being_heard(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("in the way")
    (tmp_path / "a.wav").write_bytes(wav(samples(1)))

    async def work(bench: LibraryBench) -> None:
        assert np.array_equal(await bench.hear("a.wav"), samples(1))

    with_library(tmp_path, work)


def test_many_sounds_at_once_leave_no_file_open_and_no_thread_busy(tmp_path: Path) -> None:
    for n in range(40):
        (tmp_path / f"{n}.wav").write_bytes(wav(samples(0.5, first=n)))

    async def work(bench: LibraryBench) -> None:
        before = len(list(Path("/proc/self/fd").iterdir()))
        heard = await asyncio.gather(*[bench.hear(f"{n}.wav") for n in range(40)])
        assert all(np.array_equal(pcm, samples(0.5, first=n)) for n, pcm in enumerate(heard))
        assert len(list(Path("/proc/self/fd").iterdir())) == before
        assert len([thread for thread in threading.enumerate() if thread.name.startswith("sound-file")]) <= 16

    with_library(tmp_path, work)


def test_tone_is_a_sound_like_any_other(tmp_path: Path) -> None:
    async def work(bench: LibraryBench) -> None:
        heard = await bench.hear("dtmf:5/100")
        spectrum = np.abs(np.fft.rfft(heard[:800], 8000))
        assert 768 <= 500 + spectrum[500:1000].argmax() <= 772
        assert 1334 <= 1000 + spectrum[1000:2000].argmax() <= 1338
        with pytest.raises(MediaError, match="unknown country"):
            await bench.hear("tone:xx/busy")

    with_library(tmp_path, work)


def test_whole_sound_lies_in_the_cache_as_samples(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav(samples(1.3)))

    async def work(bench: LibraryBench) -> None:
        for _ in range(2):
            path = await bench.library.whole("a.wav", 8000)
            assert np.array_equal(np.frombuffer(path.read_bytes()[DATA_OFFSET:], "<i2"), samples(1.3))
        with pytest.raises(MediaError, match=r"none\.wav"):
            await bench.library.whole("none.wav", 8000)

    with_library(tmp_path, work)


# -- what only some calls may have

INNER = "http://sounds.corp.example/hold.wav"
TRUST = Trust(places_of([INNER]))


class ClientsOfCalls:
    """Clients as `GuardedClients` makes them: one for all calls, which does not reach `INNER`, and one that does."""

    def __init__(self, answer: Callable[[httpx.Request], httpx.Response]) -> None:
        self.n_requests = {True: 0, False: 0}
        self.may_all_ask = False

        def handle(request: httpx.Request, *, is_trusted: bool) -> httpx.Response:
            self.n_requests[is_trusted] += 1
            if not is_trusted and not self.may_all_ask:
                raise httpx.ConnectError("not on the public internet") from OutgoingRefused("10.0.0.7")
            return answer(request)

        self._clients = {
            is_trusted: httpx.AsyncClient(transport=httpx.MockTransport(lambda request, t=is_trusted: handle(request, is_trusted=t)))  # type: ignore[misc]
            for is_trusted in (True, False)
        }

    def trusted_among(self, urls: Iterable[str | None], trust: Trust) -> frozenset[Place]:
        return places_of(urls) & trust.hosts

    def shared(self, trusted: frozenset[Place]) -> httpx.AsyncClient:
        return self._clients[bool(trusted)]


def with_calls(folder: Path, clients: ClientsOfCalls, work: Callable[[SoundLibrary], Awaitable[None]]) -> None:
    async def body() -> None:
        general = clients.shared(frozenset())
        folders = SoundFolders(folder, {folder / "sounds"})
        library = SoundLibrary(AudioCache(folder / "cache"), general, SystemClock(), folder, folders, clients)
        try:
            async with asyncio.timeout(20):
                await work(library)
        finally:
            await library.close()

    asyncio.run(body())


async def heard(library: SoundLibrary, source: str, trust: Trust) -> np.ndarray:
    return np.frombuffer(b"".join([pcm async for pcm in library.pieces(source, 8000, trust=trust)]), "<i2")


@pytest.mark.parametrize("headers", [{}, {"Cache-Control": "max-age=3600"}, {"ETag": '"1"'}])
def test_sound_that_another_call_fetched_is_not_given_to_a_call_that_may_not_fetch_it(tmp_path: Path, headers: dict[str, str]) -> None:
    pcm = samples(0.5)
    clients = ClientsOfCalls(lambda _: httpx.Response(200, content=wav(pcm), headers=headers))

    async def work(library: SoundLibrary) -> None:
        for _ in range(2):
            assert np.array_equal(await heard(library, INNER, TRUST), pcm)
        for trust in (NO_TRUST, Trust(places_of(["http://other.corp.example/"]))):
            with pytest.raises(MediaError, match="public internet"):
                await heard(library, INNER, trust)
            with pytest.raises(MediaError, match="public internet"):
                await library.whole(INNER, 8000, trust=trust)
        assert np.array_equal(await heard(library, INNER, TRUST), pcm)

    with_calls(tmp_path, clients, work)


def test_sound_that_is_on_its_way_for_one_call_is_not_heard_by_a_call_that_may_not_fetch_it(tmp_path: Path) -> None:
    data, may_go_on = wav(samples(60)), asyncio.Event()

    async def slow() -> AsyncGenerator[bytes, None]:
        yield data[:200_000]
        await may_go_on.wait()
        yield data[200_000:]

    clients = ClientsOfCalls(lambda _: httpx.Response(200, stream=Body(slow()), headers={"Content-Length": str(len(data))}))

    async def work(library: SoundLibrary) -> None:
        async with aclosing(library.pieces(INNER, 8000, trust=TRUST)) as pieces:
            await anext(pieces)
            with pytest.raises(MediaError, match="public internet"):
                await heard(library, INNER, NO_TRUST)
            may_go_on.set()

    with_calls(tmp_path, clients, work)


def test_kept_sound_of_a_host_that_may_no_longer_be_asked_is_not_played(tmp_path: Path) -> None:
    clients = ClientsOfCalls(lambda _: httpx.Response(200, content=wav(samples(0.5)), headers={"ETag": '"1"'}))

    async def work(library: SoundLibrary) -> None:
        clients.may_all_ask = True
        await heard(library, INNER, NO_TRUST)
        clients.may_all_ask = False
        with pytest.raises(MediaError, match="public internet"):
            await heard(library, INNER, NO_TRUST)

    with_calls(tmp_path, clients, work)


def test_file_beside_one_playbook_is_not_played_in_a_call_of_another_also_from_the_cache(tmp_path: Path) -> None:
    (tmp_path / "books").mkdir()
    (tmp_path / "books/a.wav").write_bytes(wav(samples(0.5)))
    trust = Trust(folders=frozenset({tmp_path / "books"}))

    async def work(library: SoundLibrary) -> None:
        assert len(await heard(library, "books/a.wav", trust))
        both = await asyncio.gather(heard(library, "books/a.wav", trust), heard(library, "books/a.wav", NO_TRUST), return_exceptions=True)
        assert isinstance(both[1], MediaError) and not isinstance(both[0], BaseException)

    with_calls(tmp_path, ClientsOfCalls(lambda _: httpx.Response(500)), work)
