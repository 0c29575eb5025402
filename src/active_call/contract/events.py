"""The events of a call: the closed union `Event`. Times named `timestamp`, `start_time` … are milliseconds since the Unix epoch."""

from __future__ import annotations

from typing import Any

import msgspec


class EventBase(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="event"):
    """The base of all events; the tag is the event's name. `timestamp` is set by the session that emits it."""

    timestamp: int = 0
    track_id: str | None = None
    refer: bool = False
    """The event belongs to the far leg of a transfer."""


class Incoming(EventBase, frozen=True, kw_only=True, rename="camel", tag="incoming"):
    """An inbound call has arrived."""

    caller: str
    callee: str
    sdp: str = ""
    headers: dict[str, str] = {}
    """The headers of the INVITE."""


class Ringing(EventBase, frozen=True, kw_only=True, rename="camel", tag="ringing"):
    """The other side rings (180, or 183 with early media)."""

    early_media: bool = msgspec.field(default=False)


class Answer(EventBase, frozen=True, kw_only=True, rename="camel", tag="answer"):
    """The call is answered."""

    sdp: str = ""


class Reject(EventBase, frozen=True, kw_only=True, rename="camel", tag="reject"):
    """The call was refused."""

    reason: str = ""
    code: int | None = None


class MediaReady(EventBase, frozen=True, kw_only=True, rename="camel", tag="mediaReady"):
    """The answer is acknowledged: both sides can talk."""


class Attendee(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One party of the call."""

    username: str = ""
    realm: str = ""
    source: str = ""


class Hangup(EventBase, frozen=True, kw_only=True, rename="camel", tag="hangup"):
    """The call is over. Times are ISO 8601; times of events that did not happen are absent."""

    reason: str | None = None
    initiator: str | None = None
    start_time: str = ""
    hangup_time: str = ""
    answer_time: str | None = None
    ringing_time: str | None = None
    from_: Attendee | None = msgspec.field(default=None, name="from")
    to: Attendee | None = None
    extra: dict[str, Any] | None = None


class Speaking(EventBase, frozen=True, kw_only=True, rename="camel", tag="speaking"):
    """The caller has begun to speak."""

    start_time: int = 0
    is_filler: bool | None = None
    confidence: float | None = None


class Silence(EventBase, frozen=True, kw_only=True, rename="camel", tag="silence"):
    """The caller has stopped speaking; `duration` is the length of the speech that ended, in ms."""

    start_time: int = 0
    duration: int = 0


class Eou(EventBase, frozen=True, kw_only=True, rename="camel", tag="eou"):
    """The turn of the caller is over (`completed`), or goes on."""

    completed: bool = True
    text: str | None = None
    interrupt_point: str | None = None


class AsrDelta(EventBase, frozen=True, kw_only=True, rename="camel", tag="asrDelta"):
    """The partial text of an utterance; a later event with the same index replaces it."""

    index: int = 0
    text: str = ""
    start_time: int | None = None
    end_time: int | None = None
    is_filler: bool | None = None
    confidence: float | None = None
    task_id: str | None = None


class AsrFinal(EventBase, frozen=True, kw_only=True, rename="camel", tag="asrFinal"):
    """The final text of one utterance. An empty text: there was speech, but no words were recognised.

    `is_lost`: there may have been words; the recogniser was overloaded or has failed.
    """

    index: int = 0
    text: str = ""
    start_time: int | None = None
    end_time: int | None = None
    is_filler: bool | None = None
    confidence: float | None = None
    task_id: str | None = None
    is_lost: bool | None = None


class TrackStart(EventBase, frozen=True, kw_only=True, rename="camel", tag="trackStart"):
    """A playback has begun. API clients also get it for the other party's sound before `answer`, with the call's id as `track_id`."""

    play_id: str | None = None


class TrackEnd(EventBase, frozen=True, kw_only=True, rename="camel", tag="trackEnd"):
    """A playback has ended. API clients also get it for the other party's sound before `hangup`. `duration` in ms."""

    duration: int = 0
    ssrc: int = 0
    play_id: str | None = None
    auto_hangup: bool | None = None
    """True: the call ends with this playback."""
    subtitle: str | None = None
    """The words that were heard, if the rest could not be made; absent: all of it."""


class Interruption(EventBase, frozen=True, kw_only=True, rename="camel", tag="interruption"):
    """A playback was cut short. `subtitle` has the words that were heard, `position` the index of the word reached."""

    play_id: str | None = None
    subtitle: str | None = None
    position: int | None = None
    total_duration: int = 0
    """ms of the whole playback, as far as it was known."""
    current: int = 0
    """ms that were heard."""


class Interrupt(EventBase, frozen=True, kw_only=True, rename="camel", tag="interrupt"):
    """A realtime model has detected the caller's speech and stops speaking."""

    receiver: str | None = None


class Dtmf(EventBase, frozen=True, kw_only=True, rename="camel", tag="dtmf"):
    """The caller has pressed a key."""

    digit: str


class ReplyEnd(EventBase, frozen=True, kw_only=True, rename="camel", tag="replyEnd"):
    """A reply of the agent is over, and the caller has the turn. The words before a tool and those about its result are one reply."""

    reply: int = 0
    """Its number: 7 where its plays are `r7`, `r7.1` …; of several the last. 0 for a realtime model's, whose plays have the model's ids."""
    outcome: str = "heard"
    """`heard`: to its end; `interrupted`: cut by the caller or a command; `nothing`: there was nothing to say, or it was not heard."""


class Hold(EventBase, frozen=True, kw_only=True, rename="camel", tag="hold"):
    """The call was put on hold or resumed. `initiator`: `caller` or `callee` (the peer did it), or `system` (a command of ours)."""

    on_hold: bool
    initiator: str | None = None


class Inactivity(EventBase, frozen=True, kw_only=True, rename="camel", tag="inactivity"):
    """Nobody has said anything for the configured time; the call is ended."""


class TransferRequest(EventBase, frozen=True, kw_only=True, rename="camel", tag="transferRequest"):
    """The peer asks for a transfer (REFER)."""

    refer_to: str
    referred_by: str | None = None


class Message(EventBase, frozen=True, kw_only=True, rename="camel", tag="message"):
    """The peer has sent a text."""

    body: str
    content_type: str | None = None


class RingbackState(EventBase, frozen=True, kw_only=True, rename="camel", tag="ringbackState"):
    """The tones before the answer have changed."""

    state: str
    state_index: int = 0
    confidence: float = 0.0
    prev_state: str | None = None
    prev_confidence: float | None = None
    is_final: bool = False


class AnswerMachineDetection(EventBase, frozen=True, kw_only=True, rename="camel", tag="answerMachineDetection"):
    """Who has answered an outbound call, reported again whenever that changes; times in ms since 1970."""

    start_time: int = 0
    end_time: int = 0
    text: str = ""
    """The words, or the name of the tone, that led to the result."""
    kind: str | None = None
    """`human`, `voicemail`, `mailboxFull`, `screening`, `menu`, `hold`, `fax` or `announcement`."""
    confidence: float | None = None
    """0 to 1; below 0.7 the server does not act on it."""


class FunctionCall(EventBase, frozen=True, kw_only=True, rename="camel", tag="functionCall"):
    """The model has called a tool or an action of the agent. `arguments` is JSON."""

    call_id: str
    name: str
    arguments: str


class Metrics(EventBase, frozen=True, kw_only=True, rename="camel", tag="metrics"):
    """A measured duration."""

    key: str
    duration: int = 0
    data: Any = None


class Error(EventBase, frozen=True, kw_only=True, rename="camel", tag="error"):
    """Something could not be done; `sender` names the command or the part."""

    sender: str
    error: str
    code: int | None = None


class AddHistory(EventBase, frozen=True, kw_only=True, rename="camel", tag="addHistory"):
    """A line of the transcript; for the agent, only as far as it was heard."""

    speaker: str
    text: str
    sender: str | None = None


class Custom(EventBase, frozen=True, kw_only=True, rename="camel", tag="custom"):
    """Data of a client, passed on."""

    data: Any
    sender: str | None = None


class Other(EventBase, frozen=True, kw_only=True, rename="camel", tag="other"):
    """An event of an extension."""

    sender: str
    extra: dict[str, Any] | None = None


class Binary(EventBase, frozen=True, kw_only=True, rename="camel", tag="binary"):
    """Sound or other bytes."""

    data: bytes


class Ping(EventBase, frozen=True, kw_only=True, rename="camel", tag="ping"):
    """Keeps a connection alive."""

    payload: str | None = None


class Transfer(EventBase, frozen=True, kw_only=True, rename="camel", tag="transfer"):
    """The progress of a transfer of ours. `code` is a SIP status, `reason` says it in words.

    `referring` (the peer was asked), `calling` (we call the target ourselves), `progress`, `connected` (the two talk, over us); and once,
    as the last: `completed`, `failed` or `cancelled`.
    """

    state: str
    target: str
    code: int | None = None
    reason: str | None = None
    initiator: str | None = None
    """`caller` or `callee` if the peer asked for it by a REFER of its own: then the target has taken its place."""
    returned: bool | None = None
    """With the last state: whether the caller is back with the agent; else the call ends."""


class Bridge(EventBase, frozen=True, kw_only=True, rename="camel", tag="bridge"):
    """The parties of two calls hear each other (`joined`), or no longer (`parted`, with `reason`)."""

    state: str
    target_session_id: str
    reason: str | None = None


class TurnWait(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A part of a turn's latency and what it waited for: `turn` (is the caller's turn over?), `recogniser`, `model`, `synthesiser`, `web`
    or `server`. ms since the caller's last voiced packet."""

    owner: str
    start: float
    duration: float


class Turn(EventBase, frozen=True, kw_only=True, rename="camel", tag="turn"):
    """One turn's latency, measured at the RTP sockets. Every part in ms; a part that did not occur is absent.

    `latency` runs from the arrival of the caller's last voiced packet to the departure of our first voiced one. It is the sum of
    `end_of_turn_wait` (until it was sure that the caller had finished), `recognition`, `model`, `synthesis`, web servers (in `waits` alone)
    and what is left: `added`, our own.
    """

    index: int
    speaker: str = "agent"
    text: str = ""
    latency: float | None = None
    end_of_turn_wait: float | None = None
    recognition: float | None = None
    model: float | None = None
    synthesis: float | None = None
    added: float | None = None
    marks: dict[str, float] = {}
    """What happened when, in ms since the caller's last voiced packet: `recogniserAsked`, `finalWords`, `turnDecided`, `modelAsked`,
    `firstToken`, `firstSentence`, `synthesisAsked`, `firstSample`, `firstPacket`. Negative: before it."""
    waits: list[TurnWait] = []
    """The latency as stretches without a gap, each with its owner."""


class RtpTimeout(EventBase, frozen=True, kw_only=True, rename="camel", tag="rtpTimeout"):
    """Neither RTP nor RTCP has come for `timeout` seconds; the call is ended."""

    timeout: int = 0


class MediaProblem(EventBase, frozen=True, kw_only=True, rename="camel", tag="mediaProblem"):
    """Media flows in one direction only: `nothing_received`, `receiving_stopped` or `not_heard`. `over`: it flows both ways again."""

    problem: str
    detail: str = ""
    over: bool = False


Event = (
    Incoming | Ringing | Answer | Reject | MediaReady | Hangup | Speaking | Silence | Eou | AsrDelta | AsrFinal | TrackStart
    | TrackEnd | Interruption | Interrupt | Dtmf | Hold | Inactivity | TransferRequest | Message | RingbackState | AnswerMachineDetection
    | ReplyEnd | FunctionCall | Metrics | Error | AddHistory | Custom | Other | Binary | Ping | Transfer | Bridge | Turn
    | MediaProblem | RtpTimeout
)  # fmt: skip
