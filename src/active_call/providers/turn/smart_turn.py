"""Smart Turn v3 for the calls: requests of many calls, sent to one engine process in batches.

The sound of a turn enters, a probability leaves. A batch holds the requests that came while the process was busy, at most `MAX_BATCH`;
cancelled requests are left out. The model file is a path from the settings, or part of the package `pipecat-ai`, which is not imported.
"""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path

from active_call.base.errors import ActiveCallError, ConfigError, ProviderError
from active_call.providers.services import LocalEngines
from active_call.providers.turn import smart_turn_engine

NAME = "smart-turn"
KEY = "eou.model"
MAX_BATCH = 4
"""This many take about 0.3 s of a busy core: a larger batch would delay each answer beyond the pause that is judged."""
MAX_WAITING = 16
"""With more, an answer would come after the turn was decided without it."""
_IN_PACKAGE = Path("audio/turn/smart_turn/data/smart-turn-v3.2-cpu.onnx")


def find_model(path: str | None) -> Path:
    """The ONNX file: `path`, else that of the installed package. Raises ConfigError."""
    if path:
        file = Path(path).expanduser()
        if not file.is_file():
            raise ConfigError(KEY, f"there is no file {path}; expected the ONNX file of Smart Turn v3")
        return file
    spec = importlib.util.find_spec("pipecat")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        if (file := Path(folder) / _IN_PACKAGE).is_file():
            return file
    raise ConfigError(KEY, "Smart Turn's network is missing: pip install --no-deps pipecat-ai, or set eou.model to its ONNX file")


class SmartTurn:
    """One network for all calls: a `TurnJudge`. Raises ConfigError if file or runtime are missing."""

    def __init__(self, path: str | None, local: LocalEngines) -> None:
        self._path = str(find_model(path))
        if importlib.util.find_spec("onnxruntime") is None:
            raise ConfigError("eou.type", "smart-turn needs ONNX Runtime: pip install 'active-call[smart-turn]'")
        self._local = local
        self._is_warm = False
        self._waiting: list[tuple[bytes, asyncio.Future[float]]] = []
        self._work: asyncio.Task[None] | None = None

    async def warm(self) -> None:
        """As `TurnJudge.warm`: start the process and load the network."""
        if not self._is_warm:
            self._is_warm = True
            await self._local.run(smart_turn_engine.load, self._path)

    async def judge(self, pcm: bytes) -> float:
        """As `TurnJudge.judge`."""
        if len(self._waiting) >= MAX_WAITING:
            raise ProviderError(NAME, f"{MAX_WAITING} questions are already waiting", retryable=True)
        answer: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting.append((pcm, answer))
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._work_off(), name=NAME)
        return await answer

    async def close(self) -> None:
        """Stop answering."""
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
        for _, answer in self._waiting:
            answer.cancel()
        self._waiting.clear()

    async def _work_off(self) -> None:
        while self._waiting:
            wanted = [(pcm, answer) for pcm, answer in self._waiting if not answer.done()]
            batch, self._waiting = wanted[:MAX_BATCH], wanted[MAX_BATCH:]
            if batch:
                await self._ask(batch)

    async def _ask(self, batch: list[tuple[bytes, asyncio.Future[float]]]) -> None:
        try:
            answers = await self._local.run(smart_turn_engine.judge, self._path, [pcm for pcm, _ in batch])
        except ActiveCallError as error:
            for _, answer in batch:
                if not answer.done():
                    answer.set_exception(error)
        except BaseException:
            for _, answer in batch:
                answer.cancel()
            raise
        else:
            for (_, answer), probability in zip(batch, answers, strict=True):
                if not answer.done():
                    answer.set_result(probability)
