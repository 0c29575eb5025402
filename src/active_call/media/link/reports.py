"""The reports of a media process to the control process, most of them about one stream.

Reports contain sound as bytes (s16le mono). Times are CLOCK_MONOTONIC seconds, which both processes share.
"""

from __future__ import annotations

from typing import Final

from active_call.media.link.message import Link

ALIVE_EVERY_S: Final = 0.25
"""Interval of a media process's Alive reports, in addition to other reports."""
IDLE_ALIVE_EVERY_S: Final = 4.0
"""The interval without streams, so that an idle server sleeps."""
QUALITY_EVERY_S: Final = 5.0
"""Interval of quality reports: that of RTCP, whose figures they contain."""


class Ready(Link, frozen=True, array_like=True, tag="ready"):
    """The process has started. `capacity` is its maximum number of streams."""

    pid: int
    capacity: int


class Opened(Link, frozen=True, array_like=True, tag="opened"):
    """The stream is open. `port` is its RTP port, 0 without RTP."""

    stream: int
    port: int


class OpenFailed(Link, frozen=True, array_like=True, tag="open_failed"):
    """The stream was not opened. `reason`: `full` (no slot), `ports` or `descriptors` (exhausted), or `bind` (the address is not ours)."""

    stream: int
    reason: str


class MediaStarted(Link, frozen=True, array_like=True, tag="started"):
    """The first packet of the peer has arrived (authenticated with SRTP). Without RTP: the first sound was fed; there is no address."""

    stream: int
    at: float
    from_ip: str
    from_port: int


class SpeechStarted(Link, frozen=True, array_like=True, tag="speech"):
    """Speech started at `at` (arrival time of its first voiced packet), sample `sample` of the forwarded 16 kHz sound.

    It was detected at `detected_at`.
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
    """PauseOnVoice took effect: plays are paused since `at`, after `heard_ms` of `play`, because the caller speaks."""

    stream: int
    play: str
    heard_ms: float
    at: float


class PauseHeard(Link, frozen=True, array_like=True, tag="pause"):
    """A pause has lasted 0.2, 0.4, 0.7, 1.0 or 1.3 s (`detect.pauses`). `since` is the arrival of the last voiced packet.

    `voice_probability`: the detector's maximum in the last 100 ms. `pitch_change_st`, `final_lengthening`: prosody of the speech before the
    pause (`detect.prosody`), None if it had too little voice.
    """

    stream: int
    since: float
    silence_ms: int
    voice_probability: float
    energy_db: float
    pitch_change_st: float | None
    final_lengthening: float | None


class CallerAudio(Link, frozen=True, array_like=True, tag="heard"):
    """The caller's sound at 16 kHz from `sample` on. Gaps are filled with silence, so that samples count time."""

    stream: int
    sample: int
    pcm: bytes


class SentAudio(Link, frozen=True, array_like=True, tag="sent"):
    """Sound that the stream has sent, s16le mono at the rate of its plays, from `sample` on, counted since ForwardSent.

    Samples count time: ticks in which nothing was sent (no destination, outgoing digits) are counted but not included.
    """

    stream: int
    sample: int
    pcm: bytes


class MessageSent(Link, frozen=True, array_like=True, tag="message"):
    """The 20 ms that the stream sends now, as a message of UseMessages.

    Empty: silence that is not sent. It is reported once, and again after each report on a play of the stream.
    """

    stream: int
    data: bytes


SOUND_REPORTS: Final = (CallerAudio, SentAudio)
"""For `isinstance`. A tuple: a union in its place would be made again for each report."""


class CodecChanged(Link, frozen=True, array_like=True, tag="codec"):
    """The peer now sends this codec."""

    stream: int
    codec: str


class DigitReceived(Link, frozen=True, array_like=True, tag="digit"):
    """The caller has pressed a key: a telephone event (RFC 4733) or an in-band tone, recognised at `at`."""

    stream: int
    digit: str
    duration_ms: int
    at: float


class ToneReported(Link, frozen=True, array_like=True, tag="tone"):
    """A tone of `detect.call_progress` was recognised. A repeating tone is reported in each period."""

    stream: int
    kind: str
    confidence: float
    frequency_hz: float
    duration_ms: int
    at: float


class PlayStarted(Link, frozen=True, array_like=True, tag="play_started"):
    """The first packet of `play` was sent at `at`, and its first voiced packet at `voiced_at`. One report has both."""

    stream: int
    play: str
    at: float
    voiced_at: float


class PlayEnded(Link, frozen=True, array_like=True, tag="play_ended"):
    """`heard_ms` of `queued_ms` were sent. `completed`: played to its end, not stopped. `at`: when the last packet was sent."""

    stream: int
    play: str
    completed: bool
    heard_ms: float
    queued_ms: float
    at: float


class PlayStarved(Link, frozen=True, array_like=True, tag="starved"):
    """An open play has run out of sound. The caller hears silence since `at`."""

    stream: int
    play: str
    at: float


class PlayLow(Link, frozen=True, array_like=True, tag="low"):
    """An open play has less than two seconds left: send more. Reported once until more arrives."""

    stream: int
    play: str
    left_ms: float


class StreamDead(Link, frozen=True, array_like=True, tag="dead"):
    """Neither RTP nor RTCP from the peer for `silent_s` seconds."""

    stream: int
    silent_s: float


class MediaProblem(Link, frozen=True, array_like=True, tag="problem"):
    """One-way audio has been detected or (`over`) has ended. The names are those of `receive.one_way_audio`."""

    stream: int
    name: str
    detail: str
    over: bool = False


class OrderRefused(Link, frozen=True, array_like=True, tag="refused"):
    """An order for `stream` was refused and has changed nothing. `order` is its class name."""

    stream: int
    order: str
    reason: str


class RecordingEnded(Link, frozen=True, array_like=True, tag="recorded"):
    """The file is complete (`error` empty), or writing it has failed."""

    stream: int
    path: str
    duration_ms: int
    error: str = ""


class QualityReported(Link, frozen=True, array_like=True, tag="quality"):
    """Quality of the last `QUALITY_EVERY_S` seconds: the counters of the jitter buffer since the previous report."""

    stream: int
    at: float
    packets_received: int
    packets_lost: int
    packets_late: int
    jitter_ms: float
    """Current estimate by RFC 3550."""
    round_trip_ms: float = -1.0
    """Latest value; -1 before the first RTCP round trip."""
    mos: float = -1.0
    """For these seconds; see StreamClosed."""
    peer_loss_percent: float = -1.0
    """Loss of our packets as the peer reported it in these seconds; -1 without a report."""


class StreamClosed(Link, frozen=True, array_like=True, tag="closed"):
    """The slot is free. Contains the statistics of the stream."""

    stream: int
    packets_sent: int
    packets_received: int
    packets_lost: int
    packets_late: int
    packets_dropped: int
    """Not authenticated, malformed, or with a payload type that was not negotiated."""
    jitter_ms: float
    round_trip_ms: float = -1.0
    mos: float = -1.0
    """1 to 4.5, estimated from loss and delay (`rtp.quality`); -1 with less than a second of sound."""
    peer_loss_percent: float = -1.0
    """Loss of our packets according to the peer's RTCP reports; -1 without one."""


class StreamFailed(Link, frozen=True, array_like=True, tag="failed"):
    """An internal error concerned only this stream: it sends and receives nothing more, and must be closed."""

    stream: int
    reason: str


class Alive(Link, frozen=True, array_like=True, tag="alive"):
    """Sent several times a second: the loop of the process is running."""


class Load(Link, frozen=True, array_like=True, tag="load"):
    """Sent once a second: the timing of the tick. `tick_late_ms_*` are percentiles of the lateness of its start in that second."""

    streams: int
    tick_late_ms_p50: float
    tick_late_ms_p90: float
    tick_late_ms_p99: float
    tick_late_ms_max: float
    tick_cpu_ms_mean: float
    skipped_ticks: int
    rss_mb: float
    dropped_audio: int = 0
    """Number of CallerAudio messages dropped since the process started, because the control process did not read."""
    tick_late_ms: tuple[float, ...] = ()
    """The lateness of each tick of that second, ascending, for statistics over longer periods."""


Report = (
    Ready | Opened | OpenFailed | CodecChanged | MediaStarted
    | SpeechStarted | SpeechEnded | PausedOnVoice | PauseHeard | CallerAudio | SentAudio | MessageSent | DigitReceived | ToneReported
    | PlayStarted | PlayEnded
    | PlayStarved | PlayLow | StreamDead | MediaProblem | OrderRefused | RecordingEnded | QualityReported
    | StreamClosed | StreamFailed | Alive | Load
)  # fmt: skip
