"""Bodies of HTTP requests that are part of the contract."""

from __future__ import annotations

from typing import Any

from active_call.contract import bounds
from active_call.contract.options import CallOption, Options, SipOption, TtsOption


class PlaceCall(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """`POST /call`: place a call and let a playbook hold the conversation."""

    callee: bounds.Address
    caller: bounds.Address | None = None
    playbook: bounds.Name | None = None
    """Name of a playbook file."""
    content: bounds.Speech | None = None
    """A playbook as text; overrides `playbook`."""
    sip: SipOption | None = None
    option: CallOption | None = None
    vars: dict[str, Any] = {}  # noqa: RUF012 (msgspec copies it)
    id: bounds.Name | None = None


class PrecacheSpeech(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """`POST /precache`: synthesise a sound now and keep it, so that calls play it without delay."""

    text: str
    speaker: bounds.Name | None = None
    option: TtsOption | None = None
    """As the `tts` option of the calls that will say it; the server's defaults fill in the rest."""
    cache_key: str | None = None
    """A name for the sound. Without it the sound is found by its text and voice."""
    keys: bounds.Word | None = None
    """The name of the key set that the calls use, as `keys` of their options, their playbook or their trunk."""


class RunPlaybook(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """`POST /api/playbook/run`: a playbook for a call that a socket will start."""

    playbook: bounds.Name | None = None
    """Name of a playbook file."""
    content: bounds.Speech | None = None
    """A playbook as text; overrides `playbook`."""
    type: bounds.Name | None = None
    """`sip`, `webrtc` or `websocket`: the kind of the socket."""
    to: bounds.Address | None = None
    """The address to call if the socket's `invite` names none."""
    session_id: bounds.Name | None = None


class BrowserCall(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """`POST /call/webrtc`: a call with the browser that makes the request."""

    offer: str
    """Its session description."""
    caller: bounds.Address | None = None
    playbook: bounds.Name | None = None
    """Name of a playbook file. Without one, commands control the call."""
    content: bounds.Speech | None = None
    """A playbook as text; overrides `playbook`."""
    option: CallOption | None = None
    vars: dict[str, Any] = {}  # noqa: RUF012 (msgspec copies it)
    id: bounds.Name | None = None


class BeginTalk(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """`POST /api/console/talks`: try a playbook by text."""

    playbook: bounds.Name | None = None
    """Name of a playbook file."""
    content: bounds.Speech | None = None
    """A playbook given as text; overrides `playbook`."""


class TalkTurn(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """`POST /api/console/talks/{id}`: what the caller does next."""

    text: bounds.Speech | None = None
    """What the caller says."""
    digits: bounds.Name | None = None
    """The keys that the caller presses; win over `text`."""
