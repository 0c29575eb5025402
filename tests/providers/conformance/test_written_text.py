"""What adapters owe whose vendors take text while it is written: one context, each clause at once, and nothing lost when a context ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from conformance.callers import services
from conformance.tts_cases import CASES, TtsCase

from active_call.base.errors import ProviderError
from active_call.providers.base import SpeechChunk, speech_of
from active_call.providers.registry import create_synthesiser
from active_call.providers.speech.speech_cache import CachedTextToSpeech
from active_call.providers.speech.written_text import WrittenSpeech
from active_call.testing.vendors.tts import cartesia as cartesia_tts
from active_call.testing.vendors.tts import cosyvoice as cosyvoice_tts
from active_call.testing.vendors.tts.cosyvoice import CosyVoiceServer
from active_call.testing.vendors.tts.deepgram import MAX_FLUSHES
from active_call.testing.vendors.tts.elevenlabs import ElevenLabsSpeechServer
from active_call.testing.vendors.wire.speaking import MS_PER_CHAR, sound_of

BY_NAME = {case.provider: case for case in CASES}
WRITING = [BY_NAME[name] for name in ("cartesia", "elevenlabs", "deepgram", "rime", "inworld", "aliyun", "tencent", "hume")]
each_vendor = pytest.mark.parametrize("case", WRITING, ids=lambda case: case.provider)
CLAUSES = ["Certainly, I can help,", "and it takes a minute at most.", "Who is calling, please?"]
PATIENCE_S = 20.0


@asynccontextmanager
async def speaking(case: TtsCase, server: Callable[[], Any] | None = None, **option: Any) -> AsyncIterator[tuple[Any, Any]]:
    async with (server or case.server)() as simulator, services() as shared:
        engine = create_synthesiser(case.option_for(simulator, **option), shared, attempts=1)
        try:
            yield simulator, engine
        finally:
            await engine.close()


class Reader:
    """Takes the chunks of a stream until the end of a clause."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.words: list[Any] = []

    async def clause(self) -> bytes:
        """The sound of the next clause."""
        pcm = b""
        async with asyncio.timeout(PATIENCE_S):
            async for chunk in self._stream:
                pcm += chunk.pcm
                self.words += chunk.words
                if chunk.ends_flush:
                    return pcm
        return pcm

    async def rest(self) -> bytes:
        """All that is left."""
        async with asyncio.timeout(PATIENCE_S):
            chunks = [chunk async for chunk in self._stream]
        self.words += [word for chunk in chunks for word in chunk.words]
        return b"".join(chunk.pcm for chunk in chunks)


def ms_of(pcm: bytes, rate_hz: int) -> float:
    return len(pcm) / 2 * 1000 / rate_hz


@each_vendor
def test_each_clause_sounds_before_the_next_one_is_written_on_one_context(case: TtsCase) -> None:
    async def run() -> None:
        async with speaking(case) as (server, engine):
            assert engine.capabilities.streaming_text
            stream = engine.open()
            reader = Reader(stream)
            for number, clause in enumerate(CLAUSES):
                stream.push_text(clause + " ")
                stream.flush()
                pcm = await reader.clause()
                assert abs(ms_of(pcm, engine.capabilities.rate_hz) - len(clause) * MS_PER_CHAR) < 250
                assert [said.strip() for said in server.spoken] == CLAUSES[: number + 1]
            stream.end_text()
            await reader.rest()
            await stream.cancel()
            assert server.complaints == [] and server.n_sockets == 1 and getattr(server, "n_contexts", 1) == 1
            again_on = 1 if case.keeps else 2
            if engine.capabilities.word_times:
                assert [word.text for word in reader.words][: len(" ".join(CLAUSES).split()) - 1] == " ".join(CLAUSES).split()[:-1]
                assert reader.words == sorted(reader.words, key=lambda word: word.start_ms)
            again = b"".join([chunk.pcm async for chunk in speech_of(engine, "And after it.")])
            assert again in (sound_of(text, engine.capabilities.rate_hz) for text in ("And after it.", "And after it. "))
            assert server.n_sockets == again_on

    asyncio.run(run())


@each_vendor
def test_clauses_that_come_at_once_are_spoken_in_order(case: TtsCase) -> None:
    async def run() -> None:
        async with speaking(case) as (server, engine):
            stream = engine.open()
            for clause in CLAUSES:
                stream.push_text(clause + " ")
                stream.flush()
            stream.end_text()
            pcm = await Reader(stream).rest()
            await stream.cancel()
            n_chars = sum(len(clause) + 1 for clause in CLAUSES)
            assert abs(ms_of(pcm, engine.capabilities.rate_hz) - n_chars * MS_PER_CHAR) < 100
            assert [said.strip() for said in server.spoken] == CLAUSES and server.complaints == []

    asyncio.run(run())


@each_vendor
def test_text_that_is_given_up_half_way_does_not_sound_in_the_next_one(case: TtsCase) -> None:
    async def run() -> None:
        async with speaking(case) as (server, engine):
            stream = engine.open()
            stream.push_text("A long story that is given up at once. " * 10)
            stream.flush()
            await anext(stream)
            await stream.cancel()
            pcm = b"".join([chunk.pcm async for chunk in speech_of(engine, "After it.")])
            assert pcm in (sound_of(text, engine.capabilities.rate_hz) for text in ("After it.", "After it. "))
            assert server.complaints == []

    asyncio.run(run())


@each_vendor
@pytest.mark.parametrize(("faults", "is_retryable"), [({"wrong_key": True}, False), ({"quota": True}, False), ({"close_after": 2}, True)])
def test_whatever_goes_wrong_while_text_is_written_is_one_provider_error(case: TtsCase, faults: dict[str, Any], is_retryable: bool) -> None:
    async def run() -> None:
        async with speaking(case) as (server, engine):
            for name, value in faults.items():
                setattr(server.faults, name, value)
            stream = engine.open()
            stream.push_text(CLAUSES[1])
            stream.flush()
            with pytest.raises(ProviderError) as caught:
                await Reader(stream).rest()
            await stream.cancel()
            assert caught.value.retryable is is_retryable and server.key not in str(caught.value)

    asyncio.run(run())


@each_vendor
def test_connection_that_breaks_between_two_clauses_costs_no_word(case: TtsCase) -> None:
    async def run() -> None:
        async with speaking(case) as (server, engine):
            speech = WrittenSpeech(engine)
            speech.say(CLAUSES[0])
            said: dict[int, bytes] = {}
            ended = 0
            async with asyncio.timeout(PATIENCE_S):
                async for number, chunk in speech.sound():
                    said[number] = said.get(number, b"") + chunk.pcm
                    ended += chunk.ends_flush
                    if chunk.ends_flush and ended == 1:
                        await server.drop_all()
                        speech.say(CLAUSES[1])
                        speech.end()
            for number, clause in enumerate(CLAUSES[:2]):
                assert abs(ms_of(said[number], engine.capabilities.rate_hz) - len(clause) * MS_PER_CHAR) < 250
            assert server.n_sockets == 2

    asyncio.run(run())


def test_context_that_the_vendor_has_forgotten_is_begun_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cartesia_tts, "EXPIRES_S", 0.2)

    async def run() -> None:
        async with speaking(BY_NAME["cartesia"]) as (server, engine):
            engine.inner.context_idle_s = 0.1
            stream = engine.open()
            reader = Reader(stream)
            for clause in CLAUSES[:2]:
                stream.push_text(clause + " ")
                stream.flush()
                await reader.clause()
                await asyncio.sleep(0.3)  # the model thinks
            stream.end_text()
            await reader.rest()
            await stream.cancel()
            assert server.n_contexts == 2 and server.n_sockets == 1 and server.complaints == []
            assert [word.text for word in reader.words] == " ".join(CLAUSES[:2]).split()
            assert reader.words == sorted(reader.words, key=lambda word: word.start_ms)

    asyncio.run(run())


@pytest.mark.parametrize("of_pieces", [False, True])
def test_words_have_the_same_times_whatever_the_times_of_letters_count_from(of_pieces: bool) -> None:
    async def run() -> None:
        case = BY_NAME["elevenlabs"]
        async with speaking(case, lambda: ElevenLabsSpeechServer(times_are_of_pieces=of_pieces)) as (_, engine):
            chunks: list[SpeechChunk] = [chunk async for chunk in speech_of(engine, "We open at eight.")]
            words = [(word.text, word.start_ms) for chunk in chunks for word in chunk.words]
            assert words == [("We", 0.0), ("open", 3 * MS_PER_CHAR), ("at", 8 * MS_PER_CHAR), ("eight.", 11 * MS_PER_CHAR)]

    asyncio.run(run())


def test_deepgrams_limit_of_flushes_is_met_by_another_connection() -> None:
    async def run() -> None:
        async with speaking(BY_NAME["deepgram"]) as (server, engine):
            speech = WrittenSpeech(engine)
            n_clauses = MAX_FLUSHES + 5
            for number in range(n_clauses):
                speech.say(f"Clause {number},")
            speech.end()
            async with asyncio.timeout(PATIENCE_S):
                heard = [number async for number, chunk in speech.sound() if chunk.ends_flush]
            assert heard == list(range(n_clauses)) and server.n_sockets == 2

    asyncio.run(run())


@pytest.mark.parametrize("of_sentences", [False, True])
@pytest.mark.parametrize(("clauses", "n_tasks"), [(["Certainly.", "It takes a minute.", "Who is calling?"], 1), (CLAUSES, 2)])
def test_cosyvoice_speaks_the_sentences_of_a_text_in_one_task(clauses: list[str], n_tasks: int, of_sentences: bool) -> None:
    async def run() -> None:
        case = BY_NAME["aliyun"]
        async with speaking(case, lambda: CosyVoiceServer(times_are_of_sentences=of_sentences)) as (server, engine):
            stream = engine.open()
            reader = Reader(stream)
            for clause in clauses:
                stream.push_text(clause)
                stream.flush()
                assert abs(ms_of(await reader.clause(), engine.capabilities.rate_hz) - len(clause) * MS_PER_CHAR) < 1
            stream.end_text()
            await reader.rest()
            await stream.cancel()
            assert server.n_tasks == n_tasks and server.n_sockets == 1 and server.complaints == []
            begun_ms = [word.start_ms for word in reader.words]
            assert [word.text for word in reader.words] == " ".join(clauses).split() and begun_ms == sorted(set(begun_ms))
            assert begun_ms[len(clauses[0].split())] == len(clauses[0]) * MS_PER_CHAR

    asyncio.run(run())


def test_cosyvoices_task_is_ended_before_it_fails_for_want_of_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cosyvoice_tts, "IDLE_S", 1.5)

    async def run() -> None:
        async with speaking(BY_NAME["aliyun"]) as (server, engine):
            engine.inner.context_idle_s = 0.1
            speech = WrittenSpeech(engine)
            speech.say("One moment.")
            said: dict[int, bytes] = {}
            async with asyncio.timeout(PATIENCE_S):
                async for number, chunk in speech.sound():
                    said[number] = said.get(number, b"") + chunk.pcm
                    if chunk.ends_flush and len(said) == 1:
                        await asyncio.sleep(0)
                        asyncio.get_running_loop().call_later(2.0, lambda: (speech.say("Here it is."), speech.end()))  # a tool runs
            assert [ms_of(said[number], engine.capabilities.rate_hz) for number in (0, 1)] == [11 * MS_PER_CHAR] * 2
            assert server.n_tasks == 2 and server.n_sockets == 1 and server.complaints == []

    asyncio.run(run())


@each_vendor
def test_text_that_is_known_whole_is_kept_and_one_that_is_written_is_not(case: TtsCase) -> None:
    async def run() -> None:
        async with speaking(case) as (server, engine):
            cached = CachedTextToSpeech(engine)
            for _ in range(2):
                assert b"".join([chunk.pcm async for chunk in speech_of(cached, "Welcome to Acme.")])
            assert (cached.hits, cached.misses, len(server.spoken)) == (1, 1, 1)
            for _ in range(2):
                stream = cached.open()
                reader = Reader(stream)
                stream.push_text("One moment, ")
                stream.flush()
                assert await reader.clause()
                stream.push_text("please. ")
                stream.end_text()
                assert await reader.rest()
                await stream.cancel()
            assert (cached.hits, cached.misses, len(server.spoken)) == (1, 1, 5)

    asyncio.run(run())
