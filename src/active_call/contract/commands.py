"""The commands of clients, playbooks and scripts to a call: the closed union `Command`."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from active_call.contract import bounds
from active_call.contract.options import CallOption, RecorderOption, ReferOption, TtsOption


class CommandBase(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag_field="command"):
    """The base of all commands; the tag is the command's name."""

    aliases: ClassVar[dict[str, str]] = {}


class Invite(CommandBase, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="invite"):
    """Place a call; the first command of a socket that dials."""

    option: CallOption = CallOption()


class Accept(CommandBase, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="accept"):
    """Answer an inbound call."""

    option: CallOption = CallOption()


class Ringing(CommandBase, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="ringing"):
    """Let the caller hear ringing."""

    recorder: RecorderOption | None = None
    """The recording of the call; overrides that of `accept`."""
    early_media: bool = False
    """Open the sound before the answer (183 with SDP); `tts` and `play` are heard from then on."""
    ringtone: bounds.Source | None = None
    """File or URL that the caller hears repeatedly until the answer; also opens the sound."""


class Reject(CommandBase, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="reject"):
    """Refuse an inbound call with a SIP status."""

    reason: bounds.Name = ""
    code: bounds.RefusalCode = 486


class Tts(CommandBase, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="tts"):
    """Speak. Without `play_id`, or with that of the current playback, the text is appended; another `play_id` replaces the playback."""

    text: bounds.Speech = ""
    speaker: bounds.Name | None = None
    play_id: bounds.Name | None = None
    auto_hangup: bool = False
    streaming: bool = False
    """More text of this play_id follows, until one with `end_of_stream`."""
    end_of_stream: bool = False
    wait_input_timeout: bounds.WaitS | None = None
    """Seconds of the caller's silence after this utterance, after which `silence` is reported as a followup."""
    option: TtsOption | None = None
    base64: bool = False
    """`text` is base64 of s16le PCM at 16 kHz."""
    cache_key: bounds.Name | None = None


class Play(CommandBase, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="play"):
    """Play a file or URL instead of the current playback. Without `play_id` the URL is its playId in events."""

    url: bounds.Source
    play_id: bounds.Name | None = None
    offset_ms: bounds.OffsetMs | None = None
    """The position in the file at which to begin."""
    auto_hangup: bool = False
    wait_input_timeout: bounds.WaitS | None = None


class Interrupt(CommandBase, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="interrupt"):
    """Stop the current playback."""

    graceful: bool = False
    """Let the current tts command finish; drop what comes after it."""
    fade_out_ms: bounds.FadeMs | None = None


class Pause(CommandBase, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="pause"):
    """Pause the current playback."""


class Resume(CommandBase, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="resume"):
    """Resume the paused playback."""


class Mute(CommandBase, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="mute"):
    """`track_id`: `agent` (what we play), `partner` (who is bridged with the caller), `caller` (what partners hear); none: all we send."""

    track_id: bounds.Name | None = None


class Unmute(CommandBase, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="unmute"):
    """Undo `mute` for the same track."""

    track_id: bounds.Name | None = None


class Refer(CommandBase, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="refer"):
    """Transfer the caller to `callee`. `caller` is the number that the callee sees if we call it ourselves."""

    callee: bounds.Address
    caller: bounds.Address = ""
    options: ReferOption | None = None


class Message(CommandBase, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="message"):
    """Send a text inside the call (SIP MESSAGE)."""

    aliases: ClassVar[dict[str, str]] = {"text": "body"}

    body: bounds.Body
    content_type: bounds.Name | None = None
    headers: dict[str, str] = {}
    refer: bool = False
    """Send it to the far leg of a transfer."""


class Bridge(CommandBase, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="bridge"):
    """Let the parties of this call and another call hear each other; each keeps its own signalling."""

    target_session_id: bounds.Name


class Unbridge(CommandBase, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="unbridge"):
    """End a bridge."""

    target_session_id: bounds.Name | None = None


class Hangup(CommandBase, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="hangup"):
    """End the call."""

    reason: bounds.Name | None = None
    initiator: bounds.Name | None = None
    headers: dict[str, str] = {}
    refer: bool = False
    """End the far leg of a transfer only."""


class History(CommandBase, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="history"):
    """Add a line to the conversation; the model sees it."""

    speaker: bounds.Word
    text: bounds.Speech


class AddIceCandidate(CommandBase, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="addIceCandidate"):
    """A candidate of a browser (RFC 8840); calls by SIP ignore it."""

    aliases: ClassVar[dict[str, str]] = {"sdp_mline_index": "sdp_m_line_index"}

    candidate: bounds.Source
    sdp_mid: bounds.Word | None = None
    sdp_m_line_index: bounds.LineIndex | None = msgspec.field(default=None, name="sdpMLineIndex")


class Renegotiate(CommandBase, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="renegotiate"):
    """A new offer of the peer inside the call (a browser whose network has changed); answered by an `answer` event."""

    offer: bounds.Body


class Custom(CommandBase, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="custom"):
    """Data for the agent and for followers of the call."""

    data: Any
    sender: bounds.Name | None = None


class Dtmf(CommandBase, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="dtmf"):
    """Send digits to the other side; the playback goes on."""

    aliases: ClassVar[dict[str, str]] = {"digit": "digits", "duration_ms": "duration"}

    digits: bounds.Word
    duration: bounds.DigitMs = 160
    """ms per digit."""
    method: bounds.Word | None = None
    """`rfc4733`, `info` or `inband`; none: the first of these that the peer has agreed to."""


class Hold(CommandBase, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="hold"):
    """Put the peer on hold by re-INVITE, with music."""

    moh: bounds.Source | None = None
    """File or URL of the music; none: the built-in melody."""
    mode: bounds.Word = "sendonly"
    """`sendonly`, or `inactive`: no sound at all."""


class Unhold(CommandBase, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="unhold"):
    """Resume the peer from hold."""


class Record(CommandBase, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="record"):
    """Start, stop, pause or resume the recording."""

    action: bounds.Word
    """`start`, `stop`, `pause` or `resume`."""


class SetVar(CommandBase, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="setVar"):
    """Set a variable of the call."""

    key: bounds.Name
    value: Any = None


Command = (
    Invite | Accept | Ringing | Reject | Tts | Play | Interrupt | Pause | Resume | Mute | Unmute | Refer | Message | Bridge
    | Unbridge | Hangup | History | AddIceCandidate | Renegotiate | Custom | Dtmf | Hold | Unhold | Record | SetVar
)  # fmt: skip
