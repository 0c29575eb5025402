"""The orders of the control process to a media process. Each order names its stream by a number that is never reused.

Orders contain sound as bytes (s16le mono). Times are CLOCK_MONOTONIC seconds, which both processes share.
"""

from __future__ import annotations

from active_call.media.enhance.gain import GainSettings
from active_call.media.link.message import Link

DEFAULT_RATE_HZ = 8000
"""The rate of plays before the first codec."""


class OpenStream(Link, frozen=True, array_like=True, tag="open"):
    """Reserve a slot and, unless `bind_ip` is empty, an even RTP port (RTCP on the next). Answered by Opened or OpenFailed.

    `rate_hz` is the rate of its plays until a codec sets another, and the rate of fed sound in a stream without RTP: 8000, 16000 or 48000.
    """

    stream: int
    bind_ip: str
    rate_hz: int = DEFAULT_RATE_HZ


class ConfigureRtp(Link, frozen=True, array_like=True, tag="rtp"):
    """The result of offer/answer; may be repeated (re-INVITE). Sending starts at once if `send` is true, unless the stream `waits`.

    `remote_ip` is an address, or empty if it is unknown: then nothing is sent until the peer's packets reveal it.

    Payload types: `send_*` are the peer's numbers, `receive_*` ours. A telephone-event type of -1 means not negotiated. SRTP keys are the
    30 bytes (master key and salt) of the suite, empty for plain RTP; `suite` is the SDP name. With `ssrc` 0 the process chooses one.
    """

    stream: int
    remote_ip: str
    remote_port: int
    codec: str
    """Our name of the codec that we send (`codec.table`)."""
    send_payload_type: int
    receive_payload_type: int
    send_event_type: int = -1
    receive_event_type: int = -1
    ptime_ms: int = 20
    suite: str = ""
    send_key: bytes = b""
    receive_key: bytes = b""
    send: bool = True
    receive: bool = True
    latching: bool = True
    rtp_timeout_s: float = 20.0
    """StreamDead is reported after this time without RTP and RTCP while `receive` is true; 0: never."""
    ssrc: int = 0
    receive_formats: tuple[tuple[int, str], ...] = ()
    """Every payload type that may arrive, with our name of its codec.

    The peer may switch between them at any time. `codec` is one of them.
    """
    event_clock_hz: int = 8000
    """Clock of telephone events, both directions."""
    rtcp_mux: bool = False
    """RTCP uses the RTP port (RFC 5761)."""
    send_parameters: str = ""
    """The `fmtp` in which the peer states its parameters for `codec`."""
    waits: bool = False
    """Send nothing until StartSending or packets of the peer prove that the peer receives at that address. The proof for an address stays
    valid if the address is named again, and applies to no other.
    """
    remote_rtcp_ip: str = ""
    """Address for RTCP (RFC 3605); empty: that of RTP."""
    remote_rtcp_port: int = 0
    """0: the RTP port plus one."""
    may_be_silent: bool = False
    """The peer has announced that it sends nothing during silence (`a=silenceSupp:on`)."""
    awaits_keys: bool = False
    """The SRTP keys are not known yet (DTLS, RFC 5763): nothing is sent or accepted until a later ConfigureRtp has `suite` and keys."""


class StartSending(Link, frozen=True, array_like=True, tag="proved"):
    """The peer has proved that it receives: a stream that waits starts sending, from the first queued sample."""

    stream: int


class Listen(Link, frozen=True, array_like=True, tag="listen"):
    """Turn speech detection on or off, and the forwarding of the caller's sound (16 kHz)."""

    stream: int
    detect: bool
    forward_audio: bool
    threshold: float = 0.5
    min_speech_ms: int = 64
    silence_ms: int = 100
    pauses: bool = False
    """With detection: report pauses at fixed moments, see `PauseHeard`."""
    only_speech: bool = False
    """With detection: forward only speech, from up to 1.2 s before its start is reported until 0.5 s after its end. A pause of up to 1.7 s
    is forwarded completely when the caller continues.
    """


class HearTones(Link, frozen=True, array_like=True, tag="tones"):
    """Detect in-band DTMF digits, and the tones of the network, fax machines and answering machines."""

    stream: int
    digits: bool
    tones: bool


class ImproveSound(Link, frozen=True, array_like=True, tag="improve"):
    """Apply noise suppression and gain control (`gain`) to the caller's sound before detection and forwarding."""

    stream: int
    denoise: bool
    gain: GainSettings | None = None


class StartAmbience(Link, frozen=True, array_like=True, tag="ambience"):
    """Play background sound under the sent sound: the s16le samples of the file at the rate of the stream's plays, from byte `offset` on,
    in a loop, softer while the agent speaks. An empty `path` ends it.
    """

    stream: int
    path: str
    offset: int = 0
    duck_level: float = 0.1
    normal_level: float = 0.3
    transition_speed: float = 0.01


class UseMessages(Link, frozen=True, array_like=True, tag="messages"):
    """The sound of a stream without RTP is in messages of this codec (`codec.messages`), whose rate must be that of the plays.

    FeedAudio then contains such messages, and each frame that the stream sends is reported as MessageSent. `rate_hz` is the rate of pcm.
    `silent_frames`: after this many silent frames, silence is not encoded, and the messages are empty; 0: silence is always encoded.
    """

    stream: int
    codec: str
    rate_hz: int = 16_000
    silent_frames: int = 0


class FeedAudio(Link, frozen=True, array_like=True, tag="feed"):
    """The caller's sound for a stream without RTP, as it arrives in real time: a message of UseMessages, until then s16le mono at the
    stream's rate.

    It is processed like decoded packets (detection, recognition, recording, bridges), one 20 ms frame per tick.
    """

    stream: int
    data: bytes


class ForwardSent(Link, frozen=True, array_like=True, tag="forward_sent"):
    """Start or stop reports of what the stream sends (`SentAudio`). `piece_ms`, a multiple of 20, is the amount of sound per report."""

    stream: int
    enabled: bool
    piece_ms: int = 20


class QueueAudio(Link, frozen=True, array_like=True, tag="audio"):
    """Append sound at the rate of the stream's plays to `play`. A new play is queued behind the existing ones.

    `end` closes the play: PlayEnded follows after its last sample was sent.
    """

    stream: int
    play: str
    pcm: bytes
    end: bool = False


class StopPlay(Link, frozen=True, array_like=True, tag="stop"):
    """Stop `play`, or all plays if empty, with a fade of `fade_ms`. PlayEnded with `completed` false reports each."""

    stream: int
    play: str = ""
    fade_ms: int = 20


class FinishPlay(Link, frozen=True, array_like=True, tag="finish"):
    """End `play` at the first of `boundaries` that has not been sent: ascending sample positions at which commands end.

    PlayEnded then has `completed` false. Further sound for the play is dropped up to its `end`. If all boundaries have passed, it
    continues.
    """

    stream: int
    play: str
    boundaries: tuple[int, ...]


class PausePlay(Link, frozen=True, array_like=True, tag="pause"):
    """Pause (`paused`) or resume playing at the exact sample.

    `fade_ms`: the sound after that sample fades to silence and is repeated on resume. `back_ms`: resume that much earlier, at most 0.5 s,
    within the paused play.
    """

    stream: int
    paused: bool
    fade_ms: int = 0
    back_ms: int = 0


class PauseOnVoice(Link, frozen=True, array_like=True, tag="pause_on_voice"):
    """Pause the plays once, as soon as the caller has spoken for `voiced_ms` (in chunks of 32 ms); or disarm this.

    It takes effect only if speech detection is on (`Listen`) and at least `unless_left_ms` is left of the current play, as far as its end
    is known. An onset that is not confirmed as speech (`min_speech_ms` of Listen) ends the pause without a report. Otherwise PausedOnVoice
    follows SpeechStarted. PausePlay ends the pause.
    """

    stream: int
    armed: bool
    voiced_ms: int = 32
    unless_left_ms: int = 0
    fade_ms: int = 20


class MuteStream(Link, frozen=True, array_like=True, tag="mute"):
    """Send silence instead of plays and mixed-in sound (the plays continue). With `track`, only that track is silent (see `bridging`)."""

    stream: int
    muted: bool
    track: str = ""


class BridgeStreams(Link, frozen=True, array_like=True, tag="bridge"):
    """Connect `stream` and `partner` of the same process so that they hear each other. `one_way`: only `stream` hears `partner`.

    The sound received in a tick is sent in the next one, mixed with any play. A stream may have several bridges.
    """

    stream: int
    partner: int
    one_way: bool = False


class UnbridgeStreams(Link, frozen=True, array_like=True, tag="unbridge"):
    """End a bridge of BridgeStreams; `partner` 0: all bridges of the stream."""

    stream: int
    partner: int = 0


class QueueMusic(Link, frozen=True, array_like=True, tag="music"):
    """Music at the rate of the plays, mixed under everything else, also while plays are paused. After `end` it loops.

    Sound after an `end` is new music and replaces the old.
    """

    stream: int
    pcm: bytes
    end: bool = False


class StopMusic(Link, frozen=True, array_like=True, tag="quiet"):
    """End the music with a fade of `fade_ms`."""

    stream: int
    fade_ms: int = 200


class SendDigits(Link, frozen=True, array_like=True, tag="digits"):
    """Send RFC 4733 events, one after another."""

    stream: int
    digits: str
    duration_ms: int = 160


class StartRecording(Link, frozen=True, array_like=True, tag="record"):
    """Record both directions time-aligned from now on: caller left, our sound right. The file name extension selects the format."""

    stream: int
    path: str
    rate_hz: int = 16000
    flush_ms: int = 200
    """How often the file is flushed. A compressed recording is flushed twice a second."""


class PauseRecording(Link, frozen=True, array_like=True, tag="pause_record"):
    """Record silence on both channels (while a card number is spoken), or continue. The time in the file continues."""

    stream: int
    paused: bool


class StopRecording(Link, frozen=True, array_like=True, tag="unrecord"):
    """Finish the file; RecordingEnded follows."""

    stream: int


class CloseStream(Link, frozen=True, array_like=True, tag="close"):
    """Free the slot and the port. Answered by StreamClosed with the statistics."""

    stream: int


class Shutdown(Link, frozen=True, array_like=True, tag="shutdown"):
    """Close every stream and exit."""


Order = (
    OpenStream | ConfigureRtp | StartSending | Listen | HearTones | ImproveSound | StartAmbience
    | UseMessages | FeedAudio | ForwardSent | QueueAudio | StopPlay | FinishPlay | PausePlay | PauseOnVoice | MuteStream | SendDigits
    | StartRecording | StopRecording | PauseRecording | CloseStream | Shutdown | BridgeStreams | UnbridgeStreams | QueueMusic | StopMusic
)  # fmt: skip
