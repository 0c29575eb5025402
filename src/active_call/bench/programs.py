"""Another program of the bench, as the measuring program uses it: started, controlled with JSON lines, and stopped at the end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from active_call.base.errors import MediaError

LINE_LIMIT_BYTES: Final = 1 << 26


class Talking:
    """A running program; `name` is for errors."""

    def __init__(self, process: asyncio.subprocess.Process, name: str) -> None:
        self._process = process
        self._name = name
        self.pid = process.pid

    def tell(self, message: dict[str, Any]) -> None:
        """Write a line."""
        if self._process.stdin is not None:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")

    async def answer(self) -> Any:
        """Read a line. Raises MediaError if the program has ended."""
        line = await self._process.stdout.readline() if self._process.stdout is not None else b""
        if not line:
            raise MediaError(f"{self._name} has ended")
        return json.loads(line)

    async def ask(self, message: dict[str, Any]) -> Any:
        """Write a line and read one."""
        self.tell(message)
        return await self.answer()


@asynccontextmanager
async def talking(*command: str) -> AsyncIterator[Talking]:
    """Start `command`; it is killed when the context ends."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=LINE_LIMIT_BYTES
    )
    try:
        yield Talking(process, command[-1])
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
