"""A speech-to-speech model for tests: it answers requests with tones and the texts of its script, and truncates its history on request."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

from active_call.base.errors import ActiveCallError
from active_call.base.pcm import BYTES_PER_SAMPLE, samples_in
from active_call.providers.realtime_model import (
    AgentSound,
    ItemAdded,
    RealtimeCapabilities,
    RealtimeEvent,
    RealtimeSession,
    ReplyDone,
    Speaker,
    ToolRequested,
    Transcript,
)
from active_call.testing.fakes.providers import tone

RATE_HZ = 24_000
PIECE_MS = 100
MS_PER_CHAR = 50.0


class FakeRealtimeModel:
    """Answers each `request_reply` with the next text of `script`, in sound and words; `call NAME ARGUMENTS` calls that tool instead.

    `conversations` holds every stream opened, the newest last. `heard`: what the caller has said and nobody has recognised yet; a
    reply that is requested tells it first.
    """

    name = "fake"
    capabilities = RealtimeCapabilities(RATE_HZ, RATE_HZ, tools=True, transcripts=True, truncates=True)

    def __init__(self, script: Iterable[str] = (), heard: deque[str | ActiveCallError] | None = None) -> None:
        self.script = deque(script)
        self.heard: deque[str | ActiveCallError] = deque() if heard is None else heard
        self.conversations: list[FakeRealtimeStream] = []
        self.is_closed = False

    def open(self, session: RealtimeSession, on_event: Callable[[RealtimeEvent], None]) -> FakeRealtimeStream:
        self.conversations.append(FakeRealtimeStream(self, session, on_event))
        return self.conversations[-1]

    async def close(self) -> None:
        self.is_closed = True


class FakeRealtimeStream:
    """One conversation. `items` are the texts of its history by id; `pushed_samples`, `answers` and `truncated` what it was told."""

    def __init__(self, model: FakeRealtimeModel, session: RealtimeSession, on_event: Callable[[RealtimeEvent], None]) -> None:
        self.session = session
        self.items: dict[str, tuple[Speaker, str]] = {}
        self.pushed_samples = 0
        self.answers: dict[str, str] = {}
        self.truncated: dict[str, int] = {}
        self.is_closed = False
        self._script, self._heard = model.script, model.heard
        self._on_event = on_event
        self._reply: asyncio.Task[None] | None = None

    def push_audio(self, pcm: bytes) -> None:
        self.pushed_samples += len(pcm) // BYTES_PER_SAMPLE

    def push_text(self, text: str, speaker: Speaker = "user") -> None:
        self._add(speaker, text)

    def answer_tool(self, call_id: str, output: str) -> None:
        self.answers[call_id] = output

    def request_reply(self, instructions: str = "") -> None:
        self.cancel_reply()
        while self._heard:
            said = str(self._heard.popleft())
            self._report(Transcript(self._add("user", said), "user", said, is_final=True))
        text = self._script.popleft() if self._script else ""
        self._reply = asyncio.get_running_loop().create_task(self._speak(text), name="fake realtime reply")
        self._reply.add_done_callback(lambda reply: self._report(ReplyDone(is_cancelled=reply.cancelled())))

    def cancel_reply(self) -> None:
        if self._reply is not None and not self._reply.done():
            self._reply.cancel()

    def truncate(self, item: str, heard_ms: int) -> None:
        self.truncated[item] = heard_ms
        if item in self.items:
            speaker, text = self.items[item]
            self.items[item] = (speaker, text[: int(heard_ms / MS_PER_CHAR)])

    def update(self, session: RealtimeSession) -> None:
        self.session = session

    async def close(self) -> None:
        self.is_closed = True
        if self._reply is not None:
            self._reply.cancel()
            await asyncio.gather(self._reply, return_exceptions=True)

    def _report(self, event: RealtimeEvent) -> None:
        if not self.is_closed:
            self._on_event(event)

    def _add(self, speaker: Speaker, text: str) -> str:
        item, after = f"item_{len(self.items) + 1}", next(reversed(self.items), "")
        self.items[item] = (speaker, text)
        asyncio.get_running_loop().call_soon(self._report, ItemAdded(item, speaker, after))
        return item

    async def _speak(self, text: str) -> None:
        item = self._add("agent", text)
        await asyncio.sleep(0)
        if text.startswith("call "):
            name, _, arguments = text.removeprefix("call ").partition(" ")
            self._report(ToolRequested(item, f"call_{item}", name, arguments or "{}"))
        else:
            await self._sound(item, text)

    async def _sound(self, item: str, text: str) -> None:
        sound = tone(samples_in(len(text) * MS_PER_CHAR, RATE_HZ), RATE_HZ)
        piece_bytes = samples_in(PIECE_MS, RATE_HZ) * BYTES_PER_SAMPLE
        for start in range(0, len(sound), piece_bytes):
            self._report(AgentSound(item, sound[start : start + piece_bytes]))
            await asyncio.sleep(0)
        self._report(Transcript(item, "agent", text, is_final=True))
