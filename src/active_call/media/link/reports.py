"""What a media process reports to the control process, as a rule about one stream.

Sound travels as bytes (s16le mono). Times are CLOCK_MONOTONIC seconds, which both processes share.
"""

from __future__ import annotations

from typing import Final

from active_call.media.link.message import Link

ALIVE_EVERY_S: Final = 0.25
"""How often a media process says that it runs, whatever else it has to say."""
IDLE_ALIVE_EVERY_S: Final = 1.0
"""The same while it has no stream: an idle server sleeps."""
QUALITY_EVERY_S: Final = 5.0
"""How often the quality of a stream is told: as often as RTCP, whose figures are among it."""


class Ready(Link, frozen=True, array_like=True, tag="ready"):
    """The process is up. `capacity` is how many streams it takes."""

    pid: int
    capacity: int


class Opened(Link, frozen=True, array_like=True, tag="opened"):
    """The stream is there. `port` is that of RTP, 0 without RTP."""

    stream: int
    port: int


class OpenFailed(Link, frozen=True, array_like=True, tag="open_failed"):
    """There is no such stream. `reason`: `full` (no slot), `ports` or `descriptors` (none is left), or `bind` (the address is not ours)."""

    stream: int
    reason: str


class MediaStarted(Link, frozen=True, array_like=True, tag="started"):
    """The first packet of the peer (authenticated, where secured) has arrived. Without RTP: the first sound was fed, from no address."""

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


class PausedOnVoice(Link, frozen=True, array_like=True, tag="paused"):
    """What plays stands still since `at`, after `heard_ms` of `play`, since the caller speaks: what PauseOnVoice has asked for."""

    stream: int
    play: str
    heard_ms: float
    at: float


class PauseHeard(Link, frozen=True, array_like=True, tag="pause"):
    """A pause has lasted 0.2, 0.4, 0.7, 1.0 or 1.3 s (`detect.pauses`); `since` is the arrival of the last voiced packet.

    `voice_probability`: the detector's highest in the last 100 ms. `pitch_change_st`, `final_lengthening`: of the speech before the pause
    (`detect.prosody`), None if it had too little voice.
    """

    stream: int
    since: float
    silence_ms: int
    voice_probability: float
    energy_db: float
    pitch_change_st: float | None
    final_lengthening: float | None


class CallerAudio(Link, frozen=True, array_like=True, tag="heard"):
    """The caller's sound at 16 kHz from `sample` on (gaps are filled with silence, so that samples count time)."""

    stream: int
    sample: int
    pcm: bytes


class SentAudio(Link, frozen=True, array_like=True, tag="sent"):
    """What the stream has sent, s16le mono at the rate of its plays, from `sample` on, counted since ForwardSent.

    Samples count time: those of ticks in which nothing was sent (no destination, digits under way) are left out.
    """

    stream: int
    sample: int
    pcm: bytes


class CodecChanged(Link, frozen=True, array_like=True, tag="codec"):
    """The peer's sound comes in this codec from now on."""

    stream: int
    codec: str


class DigitReceived(Link, frozen=True, array_like=True, tag="digit"):
    """The caller has pressed a key: a telephone event (RFC 4733) or a tone in the sound, told at `at`."""

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


class QualityReported(Link, frozen=True, array_like=True, tag="quality"):
    """How the last seconds have sounded, told every `QUALITY_EVERY_S`: what the jitter buffer has counted since the report before."""

    stream: int
    at: float
    packets_received: int
    packets_lost: int
    packets_late: int
    jitter_ms: float
    """As RFC 3550 estimates it now."""
    round_trip_ms: float = -1.0
    """The latest; -1 while no RTCP has told it."""
    mos: float = -1.0
    """Of these seconds, as in StreamClosed."""
    peer_loss_percent: float = -1.0
    """Of our packets, by the peer's reports in these seconds; -1 without one."""


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
    peer_loss_percent: float = -1.0
    """How much of our packets the peer has missed, by its RTCP reports; -1 without one."""


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
    """Every tick of that second in ascending order, for sums over longer spans."""


Report = (
    Ready | Opened | OpenFailed | CodecChanged | MediaStarted
    | SpeechStarted | SpeechEnded | PausedOnVoice | PauseHeard | CallerAudio | SentAudio | DigitReceived | ToneReported
    | PlayStarted | PlayEnded
    | PlayStarved | PlayLow | StreamDead | MediaProblem | OrderRefused | RecordingEnded | QualityReported
    | StreamClosed | StreamFailed | Alive | Load
)  # fmt: skip
