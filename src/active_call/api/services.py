"""What the HTTP API needs of the server. Imports nothing of the framework, which is loaded when the first request wants it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

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


@dataclass(frozen=True, slots=True)
class ApiServices:
    """What the handlers need. `health` gives the body of /health, `is_ready` whether new calls are taken."""

    registry: CallRegistry
    playbooks: Playbooks
    playbook_folder: Path
    records: RecordStore
    health: Callable[[], dict[str, Any]]
    version: str
    token: str | None = None
    """The only one, where `access` is not given."""
    explain: Callable[[dict[str, str]], dict[str, Any]] | None = None
    """What would happen to a call like that; raises ValueError for a question that makes no sense."""
    precache: Callable[[PrecacheSpeech], Awaitable[Precached]] | None = None
    """Makes a sound and keeps it."""
    media: MediaPool | None = None
    """Opens the streams of calls whose sound goes over a socket."""
    browsers: BrowserSettings = field(default_factory=BrowserSettings)
    streams: StreamSettings = field(default_factory=StreamSettings)
    """Who may stream calls to us over WebSockets of carriers."""
    ice_servers: Sequence[Mapping[str, Any]] = DEFAULT_ICE_SERVERS
    """As `RTCIceServer` of WebRTC: `urls`, `username`, `credential`."""
    console: ConsoleFacts = field(default_factory=ConsoleFacts)
    """What the console shows of this server beside its calls."""
    origins: OriginRules = field(default_factory=OriginRules)
    """By which names this server may be asked, and which web pages may do so."""
    webhooks: WebhookDelivery | None = None
    """Events for web services; None: nobody is told."""
    begin_talk: BeginTextCall | None = None
    """Begins calls by text, for trying playbooks; None: there are none here."""
    access: AccessControl | None = None
    """Who may do what."""
