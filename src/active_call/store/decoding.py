"""The threads that read and decode sound files, so that neither the event loop nor a tick waits for a file.

Sources enter; renditions grow, and complete ones are cached. Knows no network. Each file being decoded has its own thread, because it may
wait for a slow server; FFmpeg works without the interpreter's lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from active_call.base.errors import MediaError
from active_call.base.pcm import BYTES_PER_SAMPLE
from active_call.media.sounds.files import ByteSource, decode
from active_call.store.audio_cache import AudioCache, PartFile
from active_call.store.downloads import Feed
from active_call.store.rendition import Rendition

T = TypeVar("T")

MAX_SECONDS: Final = 2 * 3600
"""The longest sound that is decoded; longer ones are treated as endless."""
MAX_AT_ONCE: Final = 16
STEP_MS: Final = 250
"""How much is decoded before readers are notified."""
_NICENESS: Final = 5


class Decoder:
    """A pool of threads named `sound-file`."""

    def __init__(self, cache: AudioCache) -> None:
        self._cache = cache
        self._threads = ThreadPoolExecutor(MAX_AT_ONCE, "sound-file", _be_nice)

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """Run a function that reads or writes files."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *args)

    async def decode(self, key: str, source: ByteSource, name: str, rendition: Rendition, facts: Mapping[str, Any] | None) -> None:
        """Decode `source` into `rendition`, and cache it under `key` with `facts` unless they are None. Raises MediaError and OSError.

        Cancelling waits for the thread to notice.
        """
        loop = asyncio.get_running_loop()
        stopped = threading.Event()

        def grown(part: PartFile) -> None:
            loop.call_soon_threadsafe(rendition.grow, part.file, part.n_bytes)

        steps = _in_steps(decode(source, name, rendition.rate_hz), name, rendition.rate_hz)
        work = loop.run_in_executor(self._threads, self._write, key, steps, facts, grown, stopped)
        if isinstance(source, Feed):
            work.add_done_callback(lambda _: source.abandon())
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            stopped.set()
            if isinstance(source, Feed):
                source.finish(MediaError(f"{name}: cancelled"), at_once=True)
            with contextlib.suppress(MediaError, OSError):
                await work
            raise

    def _write(
        self,
        key: str,
        steps: Iterator[bytes],
        facts: Mapping[str, Any] | None,
        grown: Callable[[PartFile], None],
        stopped: threading.Event,
    ) -> None:
        part = self._cache.begin(key)
        try:
            for pcm in steps:
                if stopped.is_set():
                    return
                part.append(pcm)
                grown(part)
            if facts is not None:
                part.keep(facts)
        finally:
            part.discard()
            if not part.n_bytes:
                part.file.close()  # it has no reader

    def close(self) -> None:
        """Accept no more work. Running work must have been cancelled."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _in_steps(pieces: Iterator[bytes], name: str, rate_hz: int) -> Iterator[bytes]:
    """The same sound in steps large enough for a system call. Raises MediaError for endless sound."""
    step_bytes = STEP_MS * rate_hz * BYTES_PER_SAMPLE // 1000
    left_bytes = MAX_SECONDS * rate_hz * BYTES_PER_SAMPLE
    step = bytearray()
    for piece in pieces:
        step += piece
        if len(step) >= step_bytes:
            left_bytes -= len(step)
            if left_bytes < 0:
                raise MediaError(f"{name}: longer than {MAX_SECONDS // 3600} hours")
            yield bytes(step)
            step.clear()
    if step:
        yield bytes(step)


def _be_nice() -> None:
    with contextlib.suppress(OSError):  # Linux: for this thread only
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
