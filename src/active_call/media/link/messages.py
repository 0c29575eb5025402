"""The messages between the control process and a media process, and their framing.

Unix stream socket; each message is a 4-byte big-endian length and a MessagePack array (`[tag, field, …]`). `Order`s go to the media
process, `Report`s come back. Sound travels as bytes inside them (s16le mono). Times are CLOCK_MONOTONIC seconds, which both processes
share. A stream is a number that the control process chooses and never reuses.
"""

from __future__ import annotations

from typing import Final

import msgspec

from active_call.media.enhance.gain import GainSettings

ALIVE_EVERY_S: Final = 0.25
"""How often a media process says that it runs, whatever else it has to say."""


class Link(msgspec.Struct, frozen=True, array_like=True):
    """The base of all link messages."""


# -- orders ------------------------------------------------------------------------------------------------------------------------------


class OpenStream(Link, frozen=True, array_like=True, tag="open"):
    """Reserve a slot and, unless `bind_ip` is empty, an even RTP port (RTCP on the next). Answered by Opened or OpenFailed.

    `rate_hz` is that of its plays as long as no codec says another: 8000, 16000 or 48000.
    """

    stream: int
    bind_ip: str
    rate_hz: int = 8000


class ConfigureRtp(Link, frozen=True, array_like=True, tag="rtp"):
    """What the offer/answer agreed on; may come again (re-INVITE). Sending starts at once when `send` is true, unless the stream `waits`.

    `remote_ip` is an address, or empty where it is not known yet: nothing is sent then before the peer's packets show where it is.

    Payload types: `send_*` are the peer's numbers, `receive_*` ours. A telephone-event type of -1 means: not agreed. SRTP keys are the
    30 bytes (master key and salt) of the suite, empty for plain RTP; `suite` is the SDP name. `ssrc` 0 lets the process choose.
    """

    stream: int
    remote_ip: str
    remote_port: int
    codec: str
    """Our name of what we send (`codec.table`)."""
    send_payload_type: int
    receive_payload_type: int
    send_event_type: int
    receive_event_type: int
    ptime_ms: int = 20
    suite: str = ""
    send_key: bytes = b""
    receive_key: bytes = b""
    send: bool = True
    receive: bool = True
    latching: bool = True
    rtp_timeout_s: float = 20.0
    """Without RTP and RTCP for this long while `receive` is true, StreamDead is reported; 0 never."""
    ssrc: int = 0
    receive_formats: tuple[tuple[int, str], ...] = ()
    """Every payload type that may come, with our name of its codec; the peer may change among them at any time. `codec` is always one."""
    event_clock_hz: int = 8000
    """Of telephone events, both ways."""
    rtcp_mux: bool = False
    """RTCP goes over the RTP port (RFC 5761)."""
    send_parameters: str = ""
    """The `fmtp` by which the peer says what it wants of `codec`."""
    waits: bool = False
    """Nothing is sent before StartSending, or packets of the peer, prove that somebody at that address takes the sound. What was proved for
    an address holds when it is named again, and for no other.
    """
    remote_rtcp_ip: str = ""
    """Where RTCP goes (RFC 3605); empty: where RTP goes."""
    remote_rtcp_port: int = 0
    """0: the port above that of RTP."""
    may_be_silent: bool = False
    """The peer has said that it sends nothing while its side is silent (`a=silenceSupp:on`)."""


class StartSending(Link, frozen=True, array_like=True, tag="proved"):
    """The peer has proved that it is there: a stream that waits sends from now on, from the first sample that was queued."""

    stream: int


class Listen(Link, frozen=True, array_like=True, tag="listen"):
    """Turn detection of speech on or off, and whether the caller's sound (16 kHz) is to be forwarded."""

    stream: int
    detect: bool
    forward_audio: bool
    threshold: float = 0.5
    min_speech_ms: int = 64
    silence_ms: int = 100


class HearTones(Link, frozen=True, array_like=True, tag="tones"):
    """Listen for digits that come as sound, and for the tones of the network, fax machines and answering machines.

    `country` of `tones.toml` tells busy from congestion there; empty: by the commonest cadences.
    """

    stream: int
    digits: bool
    tones: bool
    country: str = ""


class ImproveSound(Link, frozen=True, array_like=True, tag="improve"):
    """Suppress noise in the caller's voice, and level it (`gain`), before speech is detected and forwarded."""

    stream: int
    denoise: bool
    gain: GainSettings | None = None


class StartAmbience(Link, frozen=True, array_like=True, tag="ambience"):
    """Background sound under what is sent: the s16le samples of the file, at the rate of the stream's plays, from `offset` on, again and
    again; softer while the agent speaks. An empty `path` ends it.
    """

    stream: int
    path: str
    offset: int = 0
    duck_level: float = 0.1
    normal_level: float = 0.3
    transition_speed: float = 0.01


class QueueAudio(Link, frozen=True, array_like=True, tag="audio"):
    """Append sound at the rate of the stream's plays to `play`; an unknown play joins the queue behind those before it.

    `end` closes the play: when its last sample has been sent, PlayEnded follows. `replace` first stops every other play, with the default
    fade.
    """

    stream: int
    play: str
    pcm: bytes
    end: bool = False
    replace: bool = False


class StopPlay(Link, frozen=True, array_like=True, tag="stop"):
    """Stop `play`, or all of them when empty, fading over `fade_ms`. Each is reported by PlayEnded with `completed` false."""

    stream: int
    play: str = ""
    fade_ms: int = 20


class FinishPlay(Link, frozen=True, array_like=True, tag="finish"):
    """Let `play` end at the first of `boundaries` that is still to be heard: ascending samples of it, where commands end.

    PlayEnded then has `completed` false. What still comes for it is dropped, up to its `end`. With every boundary passed it goes on.
    """

    stream: int
    play: str
    boundaries: tuple[int, ...]


class PausePlay(Link, frozen=True, array_like=True, tag="pause"):
    """Freeze (`paused`) or continue playing at the exact sample."""

    stream: int
    paused: bool


class MuteStream(Link, frozen=True, array_like=True, tag="mute"):
    """Send silence instead of what plays and is mixed in (the plays go on); with `track`, only that track is silent (see `bridging`)."""

    stream: int
    muted: bool
    track: str = ""


class BridgeStreams(Link, frozen=True, array_like=True, tag="bridge"):
    """Let `stream` and `partner`, of the same process, hear each other; `one_way`: only `stream` hears `partner`.

    What is heard in a tick is sent in the next, under whatever plays. A stream may be joined to several.
    """

    stream: int
    partner: int
    one_way: bool = False


class UnbridgeStreams(Link, frozen=True, array_like=True, tag="unbridge"):
    """End what BridgeStreams began; `partner` 0: with everybody."""

    stream: int
    partner: int = 0


class QueueMusic(Link, frozen=True, array_like=True, tag="music"):
    """Sound at the rate of the plays, mixed under whatever else is sent, paused plays included; after `end` it begins again and again.

    What comes after an `end` is other music, and takes the place of the one before.
    """

    stream: int
    pcm: bytes
    end: bool = False


class StopMusic(Link, frozen=True, array_like=True, tag="quiet"):
    """End the music, fading over `fade_ms`."""

    stream: int
    fade_ms: int = 200


class SendDigits(Link, frozen=True, array_like=True, tag="digits"):
    """Send RFC 4733 events, one after another."""

    stream: int
    digits: str
    duration_ms: int = 160


class StartRecording(Link, frozen=True, array_like=True, tag="record"):
    """Record both directions, caller left and ours right, time-aligned from now on. The path's ending says the format."""

    stream: int
    path: str
    rate_hz: int = 16000
    flush_ms: int = 200
    """How often the file is written to; a recording that is compressed is written to twice a second."""


class PauseRecording(Link, frozen=True, array_like=True, tag="pause_record"):
    """Write silence on both sides (a card number is being said), or go on; time runs on in the file."""

    stream: int
    paused: bool


class StopRecording(Link, frozen=True, array_like=True, tag="unrecord"):
    stream: int


class CloseStream(Link, frozen=True, array_like=True, tag="close"):
    """Free the slot and the port; answered by StreamClosed with the statistics."""

    stream: int


class Shutdown(Link, frozen=True, array_like=True, tag="shutdown"):
    """Close every stream and exit."""


# -- reports -----------------------------------------------------------------------------------------------------------------------------


class Ready(Link, frozen=True, array_like=True, tag="ready"):
    """The process is up. `capacity` is how many streams it takes."""

    pid: int
    capacity: int


class Opened(Link, frozen=True, array_like=True, tag="opened"):
    stream: int
    port: int


class OpenFailed(Link, frozen=True, array_like=True, tag="open_failed"):
    stream: int
    reason: str


class MediaStarted(Link, frozen=True, array_like=True, tag="started"):
    """The first packet of the peer (authenticated, where secured) has arrived."""

    stream: int
    at: float
    from_ip: str
    from_port: int


class SpeechStarted(Link, frozen=True, array_like=True, tag="speech"):
    """Speech began at `at` (arrival time of its first voiced packet), sample `sample` of the forwarded 16 kHz sound.

    It is reported at `detected_at`.
    """

    stream: int
    at: float
    sample: int
    detected_at: float
    confidence: float


class SpeechEnded(Link, frozen=True, array_like=True, tag="silence"):
    """Speech ended: `at` is the arrival of the last voiced packet, `sample` the 16 kHz sample after it."""

    stream: int
    at: float
    sample: int
    detected_at: float
    duration_ms: int


class CallerAudio(Link, frozen=True, array_like=True, tag="heard"):
    """The caller's sound at 16 kHz from `sample` on (gaps are filled with silence, so that samples count time)."""

    stream: int
    sample: int
    pcm: bytes


class CodecChanged(Link, frozen=True, array_like=True, tag="codec"):
    """The peer's sound comes in this codec from now on."""

    stream: int
    codec: str


class DigitReceived(Link, frozen=True, array_like=True, tag="digit"):
    stream: int
    digit: str
    duration_ms: int
    at: float


class ToneReported(Link, frozen=True, array_like=True, tag="tone"):
    """A tone of `media.tone_detection` was recognised; of what repeats, each period is told."""

    stream: int
    kind: str
    confidence: float
    frequency_hz: float
    duration_ms: int
    at: float


class PlayStarted(Link, frozen=True, array_like=True, tag="play_started"):
    """The first packet of `play` has left at `at`; the first one that is voiced (not silence) at `voiced_at`, reported together with it."""

    stream: int
    play: str
    at: float
    voiced_at: float


class PlayEnded(Link, frozen=True, array_like=True, tag="play_ended"):
    """`heard_ms` of `queued_ms` have been sent. `completed`: to its end, not stopped. `at`: when the last packet left."""

    stream: int
    play: str
    completed: bool
    heard_ms: float
    queued_ms: float
    at: float


class PlayStarved(Link, frozen=True, array_like=True, tag="starved"):
    """A play that is not closed has run out of sound: the caller hears silence since `at`."""

    stream: int
    play: str
    at: float


class PlayLow(Link, frozen=True, array_like=True, tag="low"):
    """A play that is not closed has less than two seconds left: more is welcome. Told once until more comes."""

    stream: int
    play: str
    left_ms: float


class StreamDead(Link, frozen=True, array_like=True, tag="dead"):
    """Neither RTP nor RTCP from the peer for `silent_s` seconds."""

    stream: int
    silent_s: float


class MediaProblem(Link, frozen=True, array_like=True, tag="problem"):
    """Sound goes one way only, or does so no more (`over`); the names are those of `media.one_way`."""

    stream: int
    name: str
    detail: str
    over: bool = False


class OrderRefused(Link, frozen=True, array_like=True, tag="refused"):
    """An order about `stream` could not be carried out, and nothing was changed by it. `order` is its class."""

    stream: int
    order: str
    reason: str


class RecordingEnded(Link, frozen=True, array_like=True, tag="recorded"):
    """The file is complete (`error` empty), or could not be written further."""

    stream: int
    path: str
    duration_ms: int
    error: str = ""


class StreamClosed(Link, frozen=True, array_like=True, tag="closed"):
    """The slot is free; what crossed the wire."""

    stream: int
    packets_sent: int
    packets_received: int
    packets_lost: int
    packets_late: int
    packets_dropped: int
    """Not authenticated, malformed, or of a type that was not agreed."""
    jitter_ms: float
    round_trip_ms: float = -1.0
    mos: float = -1.0
    """1 to 4.5, estimated from losses and delay (`rtp.quality`); -1 when less than a second was heard."""


class StreamFailed(Link, frozen=True, array_like=True, tag="failed"):
    """Something went wrong with this stream alone: it sends and hears nothing any more, and waits to be closed."""

    stream: int
    reason: str


class Alive(Link, frozen=True, array_like=True, tag="alive"):
    """Some times a second: the process still runs its loop."""


class Load(Link, frozen=True, array_like=True, tag="load"):
    """Once a second: how the tick is doing. `tick_late_ms_*` are percentiles of the tick's start over that second."""

    streams: int
    tick_late_ms_p50: float
    tick_late_ms_p90: float
    tick_late_ms_p99: float
    tick_late_ms_max: float
    tick_cpu_ms_mean: float
    skipped_ticks: int
    rss_mb: float
    dropped_audio: int = 0
    """CallerAudio messages given up since the process began, because the control process did not read."""
    tick_late_ms: tuple[float, ...] = ()
    """Every tick of that second in ascending order, for whoever sums up longer spans."""


Order = (
    OpenStream | ConfigureRtp | StartSending | Listen | HearTones | ImproveSound | StartAmbience
    | QueueAudio | StopPlay | FinishPlay | PausePlay | MuteStream | SendDigits | StartRecording | StopRecording | PauseRecording
    | CloseStream | Shutdown | BridgeStreams | UnbridgeStreams | QueueMusic | StopMusic
)  # fmt: skip
Report = (
    Ready | Opened | OpenFailed | CodecChanged | MediaStarted
    | SpeechStarted | SpeechEnded | CallerAudio | DigitReceived | ToneReported | PlayStarted | PlayEnded
    | PlayStarved | PlayLow | StreamDead | MediaProblem | OrderRefused | RecordingEnded | StreamClosed | StreamFailed | Alive | Load
)  # fmt: skip
