"""What the control process tells a media process to do. Each order names its stream, a number that is never used again.

Sound travels as bytes (s16le mono). Times are CLOCK_MONOTONIC seconds, which both processes share.
"""

from __future__ import annotations

from active_call.media.enhance.gain import GainSettings
from active_call.media.link.message import Link


class OpenStream(Link, frozen=True, array_like=True, tag="open"):
    """Reserve a slot and, unless `bind_ip` is empty, an even RTP port (RTCP on the next). Answered by Opened or OpenFailed.

    `rate_hz` is the rate of its plays as long as no codec says another, and of what is fed to a stream without RTP: 8000, 16000 or 48000.
    """

    stream: int
    bind_ip: str
    rate_hz: int = 8000


class ConfigureRtp(Link, frozen=True, array_like=True, tag="rtp"):
    """What the offer/answer agreed on; may come again (re-INVITE). Sending starts at once when `send` is true, unless the stream `waits`.

    `remote_ip` is an address, or empty if it is not known yet: nothing is sent then before the peer's packets show where it is.

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
    """Nothing is sent before StartSending, or packets of the peer, prove that the peer takes sound at that address. What was proved for an
    address holds when it is named again, and for no other.
    """
    remote_rtcp_ip: str = ""
    """Where RTCP goes (RFC 3605); empty: where RTP goes."""
    remote_rtcp_port: int = 0
    """0: the port above that of RTP."""
    may_be_silent: bool = False
    """The peer has said that it sends nothing while its side is silent (`a=silenceSupp:on`)."""
    awaits_keys: bool = False
    """The SRTP keys are not known yet (DTLS, RFC 5763): nothing is sent or accepted before a later ConfigureRtp brings `suite` and keys."""


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
    pauses: bool = False
    """With detection: report pauses at some of their moments, see `PauseHeard`."""
    only_speech: bool = False
    """With detection: forward what the caller says, from up to 1.2 s before its beginning is told until 0.5 s after its end. Pauses of up
    to 1.7 s are forwarded whole, once the caller goes on.
    """


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


class FeedAudio(Link, frozen=True, array_like=True, tag="feed"):
    """The caller's sound for a stream without RTP: s16le mono at the stream's rate, as it comes from the caller in real time.

    It goes the way of decoded packets: to detection, recognition, recordings and bridges, a frame of 20 ms in every tick.
    """

    stream: int
    pcm: bytes


class ForwardSent(Link, frozen=True, array_like=True, tag="forward_sent"):
    """Report what the stream sends (`SentAudio`), or no longer. `piece_ms`, a multiple of 20, is how much sound a report has."""

    stream: int
    enabled: bool
    piece_ms: int = 20


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
    """Freeze (`paused`) or continue playing at the exact sample.

    `fade_ms`: what would follow is heard falling to silence, and is heard again when playing continues. `back_ms`: playing continues so
    much earlier, 0.5 s at most, within the play that was frozen.
    """

    stream: int
    paused: bool
    fade_ms: int = 0
    back_ms: int = 0


class PauseOnVoice(Link, frozen=True, array_like=True, tag="pause_on_voice"):
    """Freeze what plays, once, as soon as the caller has spoken for `voiced_ms` (in chunks of 32 ms), or no longer do so.

    For the order to have an effect, speech must be detected (`Listen`), and something must play of which `unless_left_ms` or more is left,
    as far as the end is known. A beginning that turns out to be no speech (`min_speech_ms` of Listen) ends the pause, and nothing is told;
    else PausedOnVoice follows SpeechStarted. PausePlay ends the pause.
    """

    stream: int
    armed: bool
    voiced_ms: int = 32
    unless_left_ms: int = 0
    fade_ms: int = 20


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
    """Finish the file; RecordingEnded follows."""

    stream: int


class CloseStream(Link, frozen=True, array_like=True, tag="close"):
    """Free the slot and the port; answered by StreamClosed with the statistics."""

    stream: int


class Shutdown(Link, frozen=True, array_like=True, tag="shutdown"):
    """Close every stream and exit."""


Order = (
    OpenStream | ConfigureRtp | StartSending | Listen | HearTones | ImproveSound | StartAmbience
    | FeedAudio | ForwardSent | QueueAudio | StopPlay | FinishPlay | PausePlay | PauseOnVoice | MuteStream | SendDigits
    | StartRecording | StopRecording | PauseRecording | CloseStream | Shutdown | BridgeStreams | UnbridgeStreams | QueueMusic | StopMusic
)  # fmt: skip
