"""The HTTP API's interface to the server. Imports nothing of the framework, which is loaded with the first request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from msgspec import Struct, field

from active_call.api.access import AccessControl
from active_call.api.carrier_streams.access import StreamSettings
from active_call.api.console_data.facts import ConsoleFacts
from active_call.api.console_data.text_call import BeginTextCall
from active_call.api.origins import OriginRules
from active_call.call.opening.registry import CallRegistry
from active_call.call.opening.routing import Playbooks
from active_call.call.speech.precaching import Precached
from active_call.contract.requests import PrecacheSpeech
from active_call.legs.webrtc.settings import BrowserSettings
from active_call.media.pool.pool import MediaPool
from active_call.store.records import RecordStore
from active_call.store.webhook_delivery import WebhookDelivery

DEFAULT_ICE_SERVERS: Final = ({"urls": ["stun:stun.l.google.com:19302"]},)


class ApiServices(Struct, frozen=True):
    """The services for the handlers. `health` returns the body of /health, `is_ready` whether new calls are accepted."""

    registry: CallRegistry
    playbooks: Playbooks
    playbook_folder: Path
    records: RecordStore
    health: Callable[[], dict[str, Any]]
    version: str
    token: str | None = None
    """The only token, if `access` is not given."""
    explain: Callable[[dict[str, str]], dict[str, Any]] | None = None
    """Explains how such a call would be handled; raises ValueError for an invalid question."""
    precache: Callable[[PrecacheSpeech], Awaitable[Precached]] | None = None
    """Synthesises and stores a sound."""
    media: MediaPool | None = None
    """Opens the streams of calls with sound over a socket."""
    browsers: BrowserSettings = field(default_factory=BrowserSettings)
    streams: StreamSettings = field(default_factory=StreamSettings)
    """Access control for carriers' WebSocket streams."""
    ice_servers: Sequence[Mapping[str, Any]] = DEFAULT_ICE_SERVERS
    """As WebRTC's `RTCIceServer`: `urls`, `username`, `credential`."""
    console: ConsoleFacts = field(default_factory=ConsoleFacts)
    """The console's facts about this server, in addition to its calls."""
    origins: OriginRules = field(default_factory=OriginRules)
    """The host names of this server, and the web pages that may use them."""
    webhooks: WebhookDelivery | None = None
    """Events for web services; None: there are none."""
    begin_talk: BeginTextCall | None = None
    """Begins text calls, for testing playbooks; None: not available."""
    access: AccessControl | None = None
    """Access control."""
