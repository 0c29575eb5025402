"""The server's services that every call uses: engines, records, playbooks, sounds, joining streams. Wired by `server/composition`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import httpx
from msgspec import Struct, field

from active_call.base.errors import MediaError
from active_call.base.trust import Trust
from active_call.base.world import World
from active_call.call.conversation.posthook import Posthooks
from active_call.call.cost.spending import Spending
from active_call.call.opening.routing import Playbooks
from active_call.call.sound.call_sounds import SoundsByTrust
from active_call.call.sound.outgoing_sockets import OpensSockets
from active_call.call.state import CallFacts
from active_call.contract.options import AsrOption, CallOption, RealtimeOption, TtsOption
from active_call.media.pool.pool import MediaStream, Relay
from active_call.providers.base import ChatModel, RealtimeModel, SpeechToText, TextToSpeech
from active_call.providers.mcp.pool import McpPool
from active_call.providers.selection import Selection
from active_call.providers.settings import LlmSettings
from active_call.providers.turn.judge import TurnJudge
from active_call.store.knowledge.library import KnowledgeLibrary
from active_call.store.records import RecordSink
from active_call.store.speech import SpeechLibrary
from active_call.store.troubles import Troubles

ROUTE_DEADLINE_S = 60.0


class RecordingPolicy(Struct, frozen=True):
    """Whether and where calls are recorded. `path_for` gives the file for a call's facts."""

    auto_start: bool
    rate_hz: int
    path_for: Callable[[CallFacts], Path]
    flush_ms: int = 200


class EngineSource(Protocol):
    """Returns the engine that an option selects; see `providers.registry.Engines`. `trust` holds the hosts and the key set of the call.

    Each method raises ConfigError if there is no such engine.
    """

    def get_recogniser(self, option: AsrOption, trust: Trust) -> SpeechToText: ...

    def get_synthesiser(self, option: TtsOption, trust: Trust) -> TextToSpeech: ...

    def get_responder(self, settings: LlmSettings, trust: Trust) -> ChatModel: ...

    def get_realtime(self, option: RealtimeOption, trust: Trust) -> RealtimeModel: ...

    def get_turn_judge(self, model: str | None) -> TurnJudge: ...

    def selection(self, asr: AsrOption, tts: TtsOption, llm: LlmSettings | None, trust: Trust) -> tuple[Selection, ...]: ...


class JoinStreams(Protocol):
    """See `MediaPool.join`."""

    async def __call__(self, stream: MediaStream, partner: MediaStream, *, one_way: bool = False) -> Relay: ...


async def _join_nothing(stream: MediaStream, partner: MediaStream, *, one_way: bool = False) -> Relay:
    raise MediaError("this server cannot join streams")


class CallDependencies(Struct, frozen=True):
    """The services that every call uses."""

    world: World
    engines: EngineSource
    http: httpx.AsyncClient
    records: RecordSink
    playbooks: Playbooks
    recording: RecordingPolicy | None = None
    defaults: CallOption = field(default_factory=CallOption)
    trunk_keys: Mapping[str, str] = field(default_factory=dict)
    """The name of the key set for the calls of each trunk, by trunk."""
    accept_timeout_s: float = ROUTE_DEADLINE_S
    sounds: SoundsByTrust | None = None
    speech: SpeechLibrary | None = None
    """The store of speech with a `cacheKey`; None: such speech is synthesised each time."""
    join: JoinStreams = _join_nothing
    troubles: Troubles = field(default_factory=Troubles)
    """Where a full disk is reported."""
    guarded: httpx.AsyncClient | None = None
    """As `http`, for hosts named by external parties; None: `http` is used for these too."""
    knowledge: KnowledgeLibrary | None = None
    """Folders that playbooks search; None: no search."""
    mcp: McpPool | None = None
    """MCP servers; None: not available."""
    posthooks: Posthooks | None = None
    """Reports of ended calls; None: none are sent."""
    open_socket: OpensSockets | None = None
    """Opens WebSockets for `mediaPass` and `monitor`; None: not available."""
    load_engines: Callable[[], None] | None = None
    """Called when a call has its engines, before it is answered, so that they load while it rings. None: they are loaded, or load at first
    use.
    """
    spending: Spending = field(default_factory=Spending)
    """Prices, and the usage and cost of all calls."""
    recordings: Path = Path("config/recorders")
    """The folder of recordings requested by a call's own option."""
    before_step: Callable[[], None] = lambda: None
    """Called by a call before each of its steps: reads input that is more urgent (`base/urgent_input`)."""
