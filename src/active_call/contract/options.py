"""The options of a call: in `invite`, `accept`, `POST /call`, and a playbook's front matter.

Field names are the contract's, in snake_case; on the wire they are camelCase (`wire`). `None` means that nothing was said, and
the next level down (playbook, config file, built-in default) decides; any other value was said, and
wins, also one that equals the default. Units are in the names; if the contract's own name has none, the docstring gives it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal

import msgspec

from active_call.contract import bounds
from active_call.contract.durations import Unit


class Options(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The base of all option groups. `aliases` maps further accepted names (snake_case) to field names.

    `durations` are the fields that are times, with their unit: a text such as `8s` or `500ms` is accepted, too.
    """

    aliases: ClassVar[dict[str, str]] = {}
    durations: ClassVar[Mapping[str, Unit]] = {}


class SipOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """How a SIP leg is placed or answered."""

    username: bounds.Name | None = None
    password: bounds.Name | None = None
    realm: bounds.Name | None = None
    contact: bounds.Address | None = None
    headers: dict[str, str] = {}
    """Added to the INVITE (or to the 200 when answering)."""
    hangup_headers: dict[str, str] = {}
    """Added to the BYE; values are templates in a playbook."""
    extract_headers: list[str | dict[str, str]] | None = None
    """Names of the headers that become variables, or `{name, pattern}`; empty means every `X-*` header."""
    enable_srtp: bool | None = None


class RecorderOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A recording of the call."""

    durations: ClassVar[Mapping[str, Unit]] = {"ptime": "ms"}

    recorder_file: bounds.Address | None = None
    """Path; `{id}` is filled in with the session id."""
    samplerate: bounds.RateHz | None = None
    ptime: bounds.FlushMs | None = None
    """How often the file is written, in ms."""
    format: bounds.Word | None = None
    native_samplerate: bool | None = None


class VadOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Voice activity detection."""

    durations: ClassVar[Mapping[str, Unit]] = {
        "speech_padding": "ms",
        "silence_padding": "ms",
        "max_buffer_duration_secs": "s",
        "silence_timeout": "ms",
    }

    type: bounds.Word | None = None
    provider: bounds.Word | None = None
    sensitivity: bounds.Ratio | None = None
    samplerate: bounds.RateHz | None = None
    speech_padding: bounds.PauseMs | None = None
    """ms of audio kept before the detected start of speech."""
    silence_padding: bounds.PauseMs | None = None
    """ms of silence after which speech is reported as ended."""
    ratio: bounds.Ratio | None = None
    voice_threshold: bounds.Ratio | None = None
    max_buffer_duration_secs: bounds.BufferS | None = None
    silence_timeout: bounds.PauseMs | None = None
    """ms."""
    endpoint: bounds.Source | None = None
    secret_key: str | None = None
    secret_id: str | None = None


class AgcOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Automatic gain control of the caller's voice."""

    headroom_db: bounds.Headroom | None = None
    max_gain_db: bounds.Decibels | None = None
    initial_gain_db: bounds.Decibels | None = None
    max_gain_change_db_per_second: bounds.DecibelsPerS | None = None
    max_output_noise_level_dbfs: bounds.NoiseDbfs | None = None
    adjacent_speech_frames_threshold: bounds.Frames | None = None
    enable_limiter: bool | None = None


class HedgeOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """When the next of several providers is asked beside one that is slow."""

    durations: ClassVar[Mapping[str, Unit]] = {"after": "ms"}

    after: bounds.HedgeMs
    """ms without anything usable after which the next provider is asked, too; the first usable answer wins."""


NO_RECOGNISER: Final = "none"
"""`asr.provider` of a call without recognition."""


class AsrOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Speech recognition."""

    aliases: ClassVar[dict[str, str]] = {
        "api_key": "secret_key",
        "model": "model_type",
        "base_url": "endpoint",
        "hotwords": "keyterms",
        "interim_results": "interim",
    }
    durations: ClassVar[Mapping[str, Unit]] = {"endpointing": "ms"}

    provider: bounds.Word | None = None
    """The engine; `none`: nothing is recognised."""
    language: bounds.Word | None = None
    app_id: str | None = None
    secret_id: str | None = None
    secret_key: str | None = None
    model_type: bounds.Name | None = None
    buffer_size: bounds.Bytes | None = None
    samplerate: bounds.RateHz | None = None
    endpoint: bounds.Source | None = None
    extra: dict[str, Any] = {}
    keyterms: bounds.Keyterms | None = None
    """Words that the recogniser may not know: names, products, places."""
    endpointing: bounds.PauseMs | None = None
    """ms of silence after which a vendor that segments by itself ends a segment; unset: its default."""
    interim: bool | None = None
    """Whether to ask for partial texts (true)."""
    fallback: bounds.Fallback | None = None
    """Providers that take over, in turn, when this one fails; each with its own defaults."""
    hedge: HedgeOption | None = None
    """Ask the next provider of `fallback` as well when this one is slow."""
    start_when_answer: bool | None = None


class TtsOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Speech synthesis."""

    aliases: ClassVar[dict[str, str]] = {"api_key": "secret_key", "voice": "model", "base_url": "endpoint"}

    provider: bounds.Word | None = None
    samplerate: bounds.RateHz | None = None
    speed: bounds.Speed | None = None
    app_id: str | None = None
    secret_id: str | None = None
    secret_key: str | None = None
    volume: bounds.Volume | None = None
    """1 to 10."""
    speaker: bounds.Name | None = None
    codec: bounds.Word | None = None
    subtitle: bool | None = None
    emotion: bounds.Name | None = None
    model: bounds.Name | None = None
    language: bounds.Word | None = None
    endpoint: bounds.Source | None = None
    extra: dict[str, Any] = {}
    fallback: bounds.Fallback | None = None
    """Providers that take over, in turn, when this one fails; each with its own voice."""
    hedge: HedgeOption | None = None
    """Ask the next provider of `fallback` as well when this one is slow."""
    max_concurrent_tasks: bounds.Tasks | None = None
    cache_key: str | None = None
    session_id: str | None = None


class EouOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """End of utterance: when the caller's turn counts as over."""

    durations: ClassVar[Mapping[str, Unit]] = {"timeout": "ms", "max_silence": "ms"}

    aliases: ClassVar[dict[str, str]] = {"api_key": "secret_key"}

    type: bounds.Word | None = None
    """`adaptive` (by what was said, how it sounded, what was asked), `smart-turn` (adaptive, and a model of the sound when that is unsure)
    or `fixed` (`timeout` alone). Unset: `fixed` if a timeout is given, else `adaptive`. Names of other programs count as unset."""
    endpoint: bounds.Source | None = None
    secret_key: str | None = None
    secret_id: str | None = None
    timeout: bounds.PauseMs | None = None
    """ms of silence that end a turn; with `adaptive`, that end an utterance for the recogniser."""
    max_silence: bounds.PauseMs | None = None
    """ms: with `adaptive`, the longest silence before the turn ends, except within a number or an address (1200)."""
    speculate: bool | None = None
    """With `adaptive`: the model may be asked before the turn is over, and its answer is held back (true)."""
    model: bounds.Source | None = None
    """With `smart-turn`: the path of the ONNX file; unset, it comes from the package `pipecat-ai`."""
    extra: dict[str, Any] = {}


class RealtimeOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A speech-to-speech model instead of recogniser, model and synthesiser."""

    aliases: ClassVar[dict[str, str]] = {"api_key": "secret_key"}

    provider: bounds.Word | None = None
    model: bounds.Name | None = None
    secret_id: str | None = None
    secret_key: str | None = None
    endpoint: bounds.Source | None = None
    turn_detection: dict[str, Any] = {}
    tools: list[dict[str, Any]] | None = None
    voice: bounds.Name | None = None
    extra: dict[str, Any] = {}


class AmbianceOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Background sound under the agent's voice."""

    path: bounds.Source | None = None
    duck_level: bounds.Ratio | None = None
    normal_level: bounds.Ratio | None = None
    transition_speed: bounds.Ratio | None = None
    enabled: bool | None = None


class RingbackDetectionOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Recognition of ringback and other tones before the answer."""

    durations: ClassVar[Mapping[str, Unit]] = {"min_buffer_secs": "s", "detection_interval_secs": "s"}

    enabled: bool | None = None
    min_buffer_secs: bounds.ShortS | None = None
    detection_interval_secs: bounds.ShortS | None = None
    confidence_threshold: bounds.Ratio | None = None
    on_state_change_only: bool | None = None
    sliding_window_size: int | None = None
    final_confidence_threshold: float | None = None
    model_weights_path: str | None = None


class MediaPassOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The call's audio as raw PCM over a WebSocket that this server opens."""

    durations: ClassVar[Mapping[str, Unit]] = {"ptime": "ms"}

    url: bounds.Source | None = None
    input_sample_rate: bounds.RateHz | None = None
    """The sample rate of what the service sends."""
    output_sample_rate: bounds.RateHz | None = None
    """The sample rate of what the service gets."""
    packet_size: bounds.Bytes | None = None
    """Bytes of a message to it (2560)."""
    ptime: bounds.FrameMs | None = None
    """ms of sound in a message to it; 0: as `packet_size` says."""


class BriefingOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What the target of a warm transfer hears before it is connected with the caller."""

    durations: ClassVar[Mapping[str, Unit]] = {"timeout": "s"}

    text: bounds.Body | None = None
    """In a playbook a template: its variables, and `summary`. None: who is calling, and about what."""
    accept: bounds.Word | None = None
    """Keys that accept the call; unset: `1`; empty: the two are joined when the text was heard."""
    decline: bounds.Word | None = None
    """Keys that decline it; unset: `2`."""
    speech: bool | None = None
    """A spoken yes or no counts, too."""
    timeout: bounds.TimeoutS | None = None
    """Seconds for an answer after the text; unset: 8."""
    repeats: bounds.Count | None = None
    """How often the text is repeated if no answer comes; unset: once."""


class ReferOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """How a transfer is made."""

    durations: ClassVar[Mapping[str, Unit]] = {"timeout": "s"}

    denoise: bool | None = None
    agc: AgcOption | None = None
    vad: VadOption | None = None
    """Voice detection of the far leg: its `speaking` and `silence` events have `refer: true`."""
    asr: AsrOption | None = None
    """Recognition of the far leg: its `asrFinal` events have `refer: true`."""
    timeout: bounds.TimeoutS | None = None
    """Seconds without news after which the peer counts as silent, and which the target may take to answer; default 30."""
    moh: bounds.Source | None = None
    """File or URL that the caller hears meanwhile; none: the built-in melody."""
    auto_hangup: bool | None = None
    """Hang up the caller when the far leg has hung up; else the caller is back with the agent."""
    sip: SipOption | None = None
    """Credentials and headers of the INVITE to the target; `headers` go into a REFER, too."""
    call_id: bounds.Name | None = None
    """Session id or Call-ID of a call of ours: the caller takes our place in it (attended transfer). Any other: Call-ID of our INVITE."""
    pause_parent_asr: bool | None = None
    """False: the caller is still recognised during the transfer."""
    forward_dtmf: bool | None = None
    """Digits of either side are forwarded to the other."""
    mode: bounds.Word | None = None
    """`refer`: by REFER or not at all; `bridge`: we call the target; `warm`: so, and tell it first who waits; `auto`: by REFER, else we
    call."""
    briefing: BriefingOption | None = None
    """What the target hears in mode `warm`."""
    allow: list[bounds.Address] | None = None
    """Targets that the agent may transfer to besides those in its playbook: numbers (`+49*`), addresses, hosts."""
    on_request: bounds.Word | None = None
    """What to do with a REFER of the peer: `reject` it (603), or `bridge`: call the target, which then takes the peer's place."""
    extra_headers: dict[str, str] = {}
    """Headers of a REFER, besides `sip.headers`."""


class MonitorOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The call's audio, one way, over a WebSocket that this server opens."""

    durations: ClassVar[Mapping[str, Unit]] = {"ptime": "ms"}

    url: bounds.Source = ""
    buffer_size: bounds.Bytes | None = None
    """Bytes of sound in a message (2560)."""
    ptime: bounds.FrameMs | None = None
    """ms of sound in a message; 0: as `buffer_size` says."""
    headers: dict[str, str] = {}


class BudgetOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What one call may cost or use. When one of these is reached, `say` is spoken and the call is ended."""

    durations: ClassVar[Mapping[str, Unit]] = {"seconds": "s"}

    per_call: bounds.Money | None = None
    """Money, in the currency of `[prices]`. What has no price does not count."""
    seconds: bounds.Amount | None = None
    """Of sound sent to recognisers."""
    characters: bounds.Amount | None = None
    """Of text given to synthesisers; speech that is kept from before does not count."""
    tokens: bounds.Amount | None = None
    """Of all models, in and out."""
    say: bounds.Speech | None = None
    """The last sentence; none said: an English one. Empty: the call is ended without a word."""


class CallOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """All options of one call."""

    durations: ClassVar[Mapping[str, Unit]] = {"handshake_timeout": "s", "inactivity_timeout": "s", "rtp_timeout": "s"}

    caller: bounds.Address | None = None
    callee: bounds.Address | None = None
    offer: bounds.Body | None = None
    codec: bounds.Name | None = None
    denoise: bool | None = None
    handshake_timeout: bounds.TimeoutS | None = None
    """Seconds that an outbound call may take until it is answered."""
    inactivity_timeout: bounds.WaitS | None = None
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
    """Options of the transfers of this call, unless the command sets them."""
    budget: BudgetOption | None = None
    """Limits for the cost and usage of this call."""
    keys: bounds.Word | None = None
    """The name of a key set in the config file (`[keys.NAME]`): the providers of this call use its keys."""
    monitor: MonitorOption | None = None
    on_machine: Literal["hangup", "message-after-beep", "continue"] | None = None
    """What to do if a machine answers an outbound call. If set, `answerMachineDetection` reports who has answered."""
    on_menu_loop: Literal["agent", "operator", "hangup"] | None = None
    """What to do when a menu is heard again: the model is told (`agent`, the default), key 0 is pressed and then the call is
    ended (`operator`), or the call is ended."""
    machine_message: bounds.Speech | None = None
    """The text to say after the beep; without it `message-after-beep` hangs up."""
    sip_messages: Literal["off", "summary", "full"] | None = None
    """Which part of the call's SIP messages the record keeps: none, start lines and main headers (None), or the complete texts, too."""
    rtp_timeout: bounds.WaitS | None = None
    """Seconds without RTP and RTCP (not on hold), after which the call is ended; 0 never. None: `rtp_timeout` of the configuration."""
