"""What may be chosen for a call: in `invite`, `accept`, `POST /call`, and a playbook's front matter.

Field names are the contract's, in snake_case; on the wire they are camelCase (`wire`). `None` means that nothing was said, and
the next level down (playbook, config file, built-in default) decides; any other value was said, and
wins, also one that equals the default. Units stand in the names; where the contract's own name has none, the docstring gives it.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec


class Options(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The base of all option groups. `aliases` maps further accepted names (snake_case) to field names."""

    aliases: ClassVar[dict[str, str]] = {}


class SipOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """How a SIP leg is placed or answered."""

    username: str | None = None
    password: str | None = None
    realm: str | None = None
    contact: str | None = None
    headers: dict[str, str] = {}
    """Added to the INVITE (or to the 200 when answering)."""
    hangup_headers: dict[str, str] = {}
    """Added to the BYE; values are templates in a playbook."""
    extract_headers: list[str | dict[str, str]] | None = None
    """Names of the headers that become variables, or `{name, pattern}`; empty means every `X-*` header."""
    enable_srtp: bool | None = None


class RecorderOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A recording of the call."""

    recorder_file: str | None = None
    """Path; `{id}` is filled in with the session id."""
    samplerate: int | None = None
    ptime: int | None = None
    """How often the file is written, in ms."""
    format: str | None = None


class VadOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Voice activity detection."""

    type: str | None = None
    samplerate: int | None = None
    speech_padding: int | None = None
    """ms of audio kept before the detected start of speech."""
    silence_padding: int | None = None
    """ms of silence after which speech is reported as ended."""
    ratio: float | None = None
    voice_threshold: float | None = None
    max_buffer_duration_secs: int | None = None
    silence_timeout: int | None = None
    """ms."""
    endpoint: str | None = None
    secret_key: str | None = None
    secret_id: str | None = None


class AgcOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Automatic gain control of the caller's voice."""

    headroom_db: float | None = None
    max_gain_db: float | None = None
    initial_gain_db: float | None = None
    max_gain_change_db_per_second: float | None = None
    max_output_noise_level_dbfs: float | None = None
    adjacent_speech_frames_threshold: int | None = None
    enable_limiter: bool | None = None


class AsrOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Speech recognition."""

    aliases: ClassVar[dict[str, str]] = {"api_key": "secret_key", "model": "model_type"}

    provider: str | None = None
    language: str | None = None
    app_id: str | None = None
    secret_id: str | None = None
    secret_key: str | None = None
    model_type: str | None = None
    buffer_size: int | None = None
    samplerate: int | None = None
    endpoint: str | None = None
    extra: dict[str, Any] = {}
    start_when_answer: bool | None = None


class TtsOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Speech synthesis."""

    aliases: ClassVar[dict[str, str]] = {"api_key": "secret_key", "voice": "model"}

    provider: str | None = None
    samplerate: int | None = None
    speed: float | None = None
    app_id: str | None = None
    secret_id: str | None = None
    secret_key: str | None = None
    volume: int | None = None
    """1 to 10."""
    speaker: str | None = None
    codec: str | None = None
    subtitle: bool | None = None
    emotion: str | None = None
    model: str | None = None
    language: str | None = None
    endpoint: str | None = None
    extra: dict[str, Any] = {}
    max_concurrent_tasks: int | None = None
    cache_key: str | None = None


class EouOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """End of utterance: when the caller's turn counts as over."""

    aliases: ClassVar[dict[str, str]] = {"api_key": "secret_key"}

    type: str | None = None
    endpoint: str | None = None
    secret_key: str | None = None
    secret_id: str | None = None
    timeout: int | None = None
    """ms of silence that end a turn."""
    extra: dict[str, Any] = {}


class RealtimeOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A speech-to-speech model instead of recogniser, model and synthesiser."""

    aliases: ClassVar[dict[str, str]] = {"api_key": "secret_key"}

    provider: str | None = None
    model: str | None = None
    secret_key: str | None = None
    endpoint: str | None = None
    turn_detection: dict[str, Any] = {}
    tools: list[dict[str, Any]] | None = None
    voice: str | None = None
    extra: dict[str, Any] = {}


class AmbianceOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Background sound under the agent's voice."""

    path: str | None = None
    duck_level: float | None = None
    normal_level: float | None = None
    transition_speed: float | None = None
    enabled: bool | None = None


class RingbackDetectionOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Recognition of ringback and other tones before the answer."""

    enabled: bool | None = None
    min_buffer_secs: float | None = None
    detection_interval_secs: float | None = None
    confidence_threshold: float | None = None
    on_state_change_only: bool | None = None


class MediaPassOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The call's audio as raw PCM over a WebSocket that this server opens."""

    url: str | None = None
    input_sample_rate: int | None = None
    output_sample_rate: int | None = None
    packet_size: int | None = None
    ptime: int | None = None


class ReferOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """How a transfer is made."""

    denoise: bool | None = None
    agc: AgcOption | None = None
    vad: VadOption | None = None
    """Voice detection of the far leg: its `speaking` and `silence` are told, with `refer: true`."""
    asr: AsrOption | None = None
    """Recognition of the far leg: its `asrFinal` is told, with `refer: true`."""
    timeout: int | None = None
    """Seconds without news after which the peer counts as silent, and which the target may take to answer; 30 where nothing is said."""
    moh: str | None = None
    """File or URL of what the caller hears meanwhile; none: the built-in melody."""
    auto_hangup: bool | None = None
    """Hang up the caller when the far leg has hung up; else the caller is back with the agent."""
    sip: SipOption | None = None
    """Credentials and headers of the INVITE to the target; `headers` go into a REFER, too."""
    call_id: str | None = None
    """Session id or Call-ID of a call of ours: the caller takes our place in it (attended transfer). Any other: Call-ID of our INVITE."""
    pause_parent_asr: bool | None = None
    """False: the caller goes on being recognised during the transfer."""
    forward_dtmf: bool | None = None
    """Digits of either side are sent on to the other."""
    mode: str | None = None
    """`refer`: by REFER or not at all; `bridge`: we call the target; `auto`: by REFER, else we call."""
    on_request: str | None = None
    """What is done with a REFER of the peer: `reject` it (603), or `bridge`: call the target, which then takes the peer's place."""


class CallOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Everything that may be chosen for one call."""

    caller: str | None = None
    callee: str | None = None
    offer: str | None = None
    codec: str | None = None
    denoise: bool | None = None
    handshake_timeout: int | None = None
    """Seconds that an outbound call may take until it is answered."""
    inactivity_timeout: int | None = None
    """Seconds without a word from either side, after which the call is ended."""
    subscribe: bool | None = None
    enable_ipv6: bool | None = None
    enable_ice_lite: bool | None = None
    extra: dict[str, Any] = {}
    sip: SipOption | None = None
    recorder: RecorderOption | None = None
    vad: VadOption | None = None
    agc: AgcOption | None = None
    asr: AsrOption | None = None
    tts: TtsOption | None = None
    eou: EouOption | None = None
    realtime: RealtimeOption | None = None
    ambiance: AmbianceOption | None = None
    ringback_detection: RingbackDetectionOption | None = None
    media_pass: MediaPassOption | None = None
    refer: ReferOption | None = None
    """How transfers of this call are made, where the command says nothing."""
