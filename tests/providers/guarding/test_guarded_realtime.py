from __future__ import annotations

import asyncio
from typing import Any

import pytest

from active_call.base.errors import ActiveCallError, ConfigError, ProviderError
from active_call.base.world import World
from active_call.providers.guarding.guarded_realtime import MAX_TEXT_CHARS, GuardedRealtimeModel
from active_call.providers.realtime_model import (
    AgentSound,
    ItemAdded,
    RealtimeCapabilities,
    RealtimeFailed,
    RealtimeSession,
    ReplyDone,
    ToolRequested,
    Transcript,
    UserTurn,
)
from active_call.testing.virtual_time import VirtualClock, run_virtually


class Broken:
    """Raises `error` from every method of its stream, and from `open` with `refuses`."""

    name = "vendor"
    capabilities = RealtimeCapabilities(16_000, 24_000)

    def __init__(self, error: Exception, *, refuses: bool = False) -> None:
        self.error, self.refuses = error, refuses
        self.tell: Any = None

    def open(self, session: RealtimeSession, on_event: Any) -> Any:
        if self.refuses:
            raise self.error
        self.tell = on_event
        return self

    def __getattr__(self, name: str) -> Any:
        def fail(*_: Any) -> None:
            raise self.error

        if name.startswith("_") or name in ("limits", "warm"):
            raise AttributeError(name)
        return fail


def a_stream(inner: Broken) -> tuple[Any, list[Any]]:
    world = World(clock=VirtualClock(asyncio.get_running_loop()))
    events: list[Any] = []
    return GuardedRealtimeModel(inner, world).open(RealtimeSession(), events.append), events  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (AgentSound("i", b"ab"), AgentSound("i", b"ab")),
        (AgentSound(["i"], bytearray(b"abcd")), AgentSound("i", b"abcd")),  # type: ignore[arg-type]
        (ItemAdded("i", "assistant", None), ItemAdded("i", "agent", "")),  # type: ignore[arg-type]
        (Transcript("i", "user", "a\ud83d", 1), Transcript("i", "user", "a\ufffd", True)),  # type: ignore[arg-type]
        (Transcript("i", "agent", "x" * 300_000, False), Transcript("i", "agent", "x" * MAX_TEXT_CHARS, False)),
        (ToolRequested("i", "c", "n", None), ToolRequested("i", "c", "n", "")),  # type: ignore[arg-type]
        (UserTurn(True, float("nan")), UserTurn(True, 0)),  # type: ignore[arg-type]
        (UserTurn(True, 1.5), UserTurn(True, 1)),  # type: ignore[arg-type]
        (UserTurn(True, -1), UserTurn(True, 0)),
        (ReplyDone(), ReplyDone()),
    ],
)
def test_event_is_made_usable(event: Any, told: Any) -> None:
    async def run() -> None:
        inner = Broken(OSError("gone"))
        _, events = a_stream(inner)
        inner.tell(event)
        assert events == [told]

    run_virtually(run())


@pytest.mark.parametrize("event", [None, {"type": "error"}, "text", AgentSound("i", "text"), RealtimeFailed(ValueError("x"))])  # type: ignore[arg-type]
def test_what_is_no_event_is_a_failure_of_one_request(event: Any) -> None:
    async def run() -> None:
        inner = Broken(OSError("gone"))
        _, events = a_stream(inner)
        inner.tell(event)
        inner.tell(ReplyDone())
        assert isinstance(events[0], RealtimeFailed) and not events[0].is_over and isinstance(events[0].error, ProviderError)
        assert events[1:] == [ReplyDone()]

    run_virtually(run())


def test_sound_in_odd_pieces_comes_out_in_whole_samples_and_no_half_goes_to_another_item() -> None:
    async def run() -> None:
        inner = Broken(OSError("gone"))
        _, events = a_stream(inner)
        for item, pcm in (("a", b"1"), ("a", b"234"), ("a", b"5"), ("b", b"67"), ("b", b"8"), ("b", b"9")):
            inner.tell(AgentSound(item, pcm))
        assert events == [AgentSound("a", b"1234"), AgentSound("b", b"67"), AgentSound("b", b"89")]

    run_virtually(run())


def test_stream_that_raises_is_over_and_told_once() -> None:
    async def run() -> None:
        inner = Broken(OSError("gone"))
        stream, events = a_stream(inner)
        stream.push_audio(b"")
        stream.push_text("x")
        stream.truncate("i", -1)
        inner.tell(ReplyDone())
        await stream.close()
        (failed,) = events
        assert failed.is_over and "unforeseen OSError: gone" in str(failed.error)

    run_virtually(run())


@pytest.mark.parametrize(("error", "kind"), [(ConfigError("realtime.voice", "no"), ConfigError), (KeyError("x"), ProviderError)])
def test_model_that_cannot_be_opened_raises_an_error_of_ours(error: Exception, kind: type[ActiveCallError]) -> None:
    async def run() -> None:
        with pytest.raises(kind):
            a_stream(Broken(error, refuses=True))

    run_virtually(run())
