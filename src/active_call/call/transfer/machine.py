"""The state machine of a transfer, from its beginning to its single final event. Pure: inputs and `now` enter, actions leave.

    begin ──> REFERRING ──────────2xx reported──────────────────────────────────────> OVER  completed, the call is hung up
                 │ refused, silent (auto)
    begin ──> CALLING ──answer──> JOINING ──joined──> CONNECTED ──target hangs up──> OVER  completed, the caller returns or is hung up
                 │           └─(warm)─> BRIEFING ──accepted──> JOINING
                 │ busy, declined, no answer, no room, not accepted                  OVER  failed, the caller is back
    any ──── the caller hangs up ─────────────────────────────────────────────────> OVER  cancelled; completed if they had talked
                                                                  requested by the peer: completed, the target has replaced it

| state     | refused        | reported: final      | far answers | far ends  | joined | cannot join | caller gone | withdrawn | time  |
|-----------|----------------|----------------------|-------------|-----------|--------|-------------|-------------|-----------|-------|
| REFERRING | call, or fail  | complete, call, fail | -           | -         | -      | -           | cancelled   | -         | call  |
| CALLING   | -              | complete             | JOINING     | failed    | -      | failed      | cancelled   | cancelled | failed|
| BRIEFING  | -              | -                    | -           | failed    | -      | failed      | cancelled   | cancelled | failed|
| JOINING   | -              | -                    | -           | failed    | CONN.  | failed      | cancelled   | cancelled | -     |
| CONNECTED | -              | -                    | -           | completed | -      | -           | completed   | completed | note  |

If an accepted REFER fails, the target's own refusal (busy, declined, no answer) is final; any other failure means that the peer cannot
transfer, and in mode `auto` we call the target ourselves. A REFER that succeeds late, during our own call, counts: the caller is with the
target, and our call is cancelled. Exactly one Tell is final; only actions of the end follow it.

In mode `warm` the target is told who is waiting before it gets the caller (BRIEFING; `briefing` speaks and takes the answer): Briefed
continues or ends the transfer. The caller hears the music until the two are joined.

A transfer requested by the peer (its REFER to us) uses mode `bridge` and leaves us with the target: once the peer hangs up, the target's
call replaces the peer's. Note: a peer that does not hang up within `PEER_LEAVES_S` is hung up. If the peer hangs up at once, we wait alone
until the target answers.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, assert_never

from msgspec import Struct

DEFAULT_TIMEOUT_S: Final = 30.0
MUSIC_AFTER_S: Final = 1.5
"""During a longer REFER the caller hears music; for a shorter one it would be a short burst."""
PEER_LEAVES_S: Final = 3.0
"""A peer whose REFER has succeeded hangs up (RFC 5589 section 6.1). After this time we do, or the target would hear nobody."""
MAX_BRIEFING_S: Final = 300.0
"""A briefing normally ends much sooner."""
_TARGET_HAS_REFUSED: Final = frozenset({480, 486, 487, 600, 603, 604})
"""Statuses that only the target itself sends; calling it again would ring it twice."""

_WORDS: Final = {
    400: "the address was not understood",
    401: "the credentials were refused",
    403: "the call is not allowed",
    404: "there is no such number",
    405: "the peer cannot transfer calls",
    407: "the credentials were refused",
    408: "nobody answered",
    410: "the number is no longer in use",
    415: "no common codec or encryption",
    480: "nobody can answer the call now",
    484: "the number is incomplete",
    486: "the line is busy",
    487: "the call was withdrawn",
    488: "no common codec or encryption",
    500: "the server failed",
    501: "the peer cannot transfer calls",
    503: "the service is not available",
    600: "the line is busy",
    603: "the call was declined",
    604: "there is no such number",
}


def in_words(code: int, reason: str = "") -> str:
    """The meaning of a status, for people and models."""
    return _WORDS.get(code) or reason or ("the reason is not known" if not code else f"status {code}")


class State(StrEnum):
    """See the module."""

    REFERRING = "referring"
    CALLING = "calling"
    BRIEFING = "briefing"
    JOINING = "joining"
    CONNECTED = "connected"
    OVER = "over"


class Mode(StrEnum):
    """How a transfer may be made."""

    REFER = "refer"
    BRIDGE = "bridge"
    AUTO = "auto"
    WARM = "warm"
    """As bridge, but the target is told first who is waiting."""


# -- inputs ------------------------------------------------------------------------------------------------------------------------------


class ReferRefused(Struct, frozen=True):
    """The peer refuses our REFER, or it could not be sent."""

    code: int
    reason: str = ""


class ReferProgress(Struct, frozen=True):
    """The peer reports the progress of the accepted transfer; `final`: its last report."""

    code: int
    reason: str = ""
    final: bool = False


class FarRinging(Struct, frozen=True):
    """The target is being alerted."""

    code: int


class FarHeard(Struct, frozen=True):
    """Sound of the target arrives before its answer."""


class FarAnswered(Struct, frozen=True):
    """The target has answered our call."""


class FarEnded(Struct, frozen=True):
    """Our call to the target has ended, or could not be placed."""

    code: int
    reason: str = ""


class Briefed(Struct, frozen=True):
    """The target was told who is waiting, and accepts the call, or (with a status and a reason) does not."""

    accepted: bool
    code: int = 0
    reason: str = ""


class Joined(Struct, frozen=True):
    """The two hear each other."""


class JoinFailed(Struct, frozen=True):
    """They could not be joined."""

    reason: str


class CallerGone(Struct, frozen=True):
    """The caller's own call has ended."""


class Withdrawn(Struct, frozen=True):
    """The transfer is cancelled by our side."""


Input = (
    ReferRefused | ReferProgress | FarRinging | FarHeard | FarAnswered | FarEnded | Briefed | Joined | JoinFailed | CallerGone | Withdrawn
)


# -- actions -----------------------------------------------------------------------------------------------------------------------------


class Do(StrEnum):
    """An action of the call."""

    REFER = "refer"
    CALL = "call"
    """Call the target."""
    MUSIC = "music"
    """Play music to the caller."""
    SILENCE = "silence"
    """Stop the music."""
    LISTEN = "listen"
    """Let the caller hear the target, which does not hear the caller yet."""
    BRIEF = "brief"
    """Tell the target who is waiting; Briefed follows."""
    JOIN = "join"
    """Let the two hear each other; Joined or JoinFailed follows."""
    END_PEER = "end peer"
    """Hang up the peer that requested the transfer; CallerGone follows."""
    END_FAR = "end far"
    """Cancel or hang up our call to the target."""
    HANG_UP = "hang up"
    """Hang up the caller."""
    RETURN = "return"
    """The caller returns to the agent."""
    ADOPT = "adopt"
    """The target's call replaces the caller's, and is connected to the agent."""
    END = "end"
    """The caller's own call had ended already, and no other has replaced it."""


class EmitEvent(Struct, frozen=True):
    """Send a `transfer` event. With `final` none follows it."""

    state: str
    code: int = 0
    reason: str = ""
    final: bool = False
    returned: bool = False


Action = Do | EmitEvent


class Transfer:
    """One transfer. `begin` it, feed it, and execute the actions of `take_actions` in order."""

    def __init__(self, mode: Mode, *, timeout_s: float = DEFAULT_TIMEOUT_S, auto_hangup: bool = False, asked_by_peer: bool = False) -> None:
        self.mode = mode
        self.asked_by_peer = asked_by_peer
        self.is_alone = False
        """The peer that requested this has gone; the target has not answered yet."""
        self.state: State | None = None
        self._timeout_s = timeout_s
        self._auto_hangup = auto_hangup
        self._actions: list[Action] = []
        self._deadline: float | None = None
        self._music_at: float | None = None
        self._has_far = False
        self._has_music = False

    @property
    def is_over(self) -> bool:
        """The transfer has sent its final event."""
        return self.state is State.OVER

    @property
    def has_far_leg(self) -> bool:
        """The target was called, and that call has not ended."""
        return self._has_far

    def begin(self, now: float, *, can_refer: bool) -> None:
        """Start. `can_refer`: the peer supports REFER."""
        if self.mode in (Mode.BRIDGE, Mode.WARM) or (self.mode is Mode.AUTO and not can_refer):
            self._call(now)
        elif not can_refer:
            self._fail(405)
        else:
            self.state = State.REFERRING
            self._deadline = now + self._timeout_s
            self._music_at = now + MUSIC_AFTER_S
            self._actions += [EmitEvent("referring"), Do.REFER]

    def next_timeout(self) -> float | None:
        """The next deadline, in monotonic seconds."""
        return min((at for at in (self._deadline, self._music_at) if at is not None), default=None)

    def handle_timeout(self, now: float) -> None:
        """Handle due timers; does nothing at any other time."""
        if self._music_at is not None and now >= self._music_at:
            self._music_at = None
            self._music()
        if self._deadline is None or now < self._deadline:
            return
        self._deadline = None
        if self.state is State.REFERRING:
            self._refer_failed(408, "", now, may_call=True)
        elif self.state in (State.CALLING, State.BRIEFING):
            self._fail(408)
        elif self.state is State.CONNECTED:
            self._actions.append(Do.END_PEER)

    def take_actions(self) -> list[Action]:
        """The actions, in order; each is returned once."""
        actions, self._actions = self._actions, []
        return actions

    def receive(self, item: Input, now: float) -> None:
        """An input. One that does not apply to the state is ignored."""
        if self.state is None or self.state is State.OVER:
            return
        match item:
            case ReferRefused(code, reason):
                if self.state is State.REFERRING:
                    self._refer_failed(code, reason, now, may_call=True)
            case ReferProgress():
                self._on_refer_progress(item, now)
            case FarRinging(code):
                if self.state is State.CALLING:
                    self._actions.append(EmitEvent("progress", code))
            case FarHeard():
                if self.state is State.CALLING and self.mode is not Mode.WARM:
                    self._silence()
                    self._actions.append(Do.LISTEN)
            case FarAnswered():
                if self.state is State.CALLING:
                    self._on_far_answered(now)
            case Briefed():
                self._on_briefed(item)
            case FarEnded(code, reason):
                self._on_far_ended(code, reason)
            case Joined():
                if self.state is State.JOINING:
                    self.state = State.CONNECTED
                    self._deadline = now + PEER_LEAVES_S if self.asked_by_peer else None
                    self._silence()
                    self._actions.append(EmitEvent("connected", 200))
            case JoinFailed(reason):
                if self.state in (State.CALLING, State.BRIEFING, State.JOINING):
                    self._fail(503, reason)
            case CallerGone():
                self._on_caller_gone()
            case Withdrawn():
                self._on_withdrawn()
            case _:
                assert_never(item)

    # -- inside -------------------------------------------------------------------------------------------------------------------------

    def _on_refer_progress(self, told: ReferProgress, now: float) -> None:
        has_succeeded = told.final and 200 <= told.code < 300
        if has_succeeded and self.state in (State.REFERRING, State.CALLING):
            self._end(EmitEvent("completed", told.code, final=True), Do.HANG_UP)
        elif self.state is not State.REFERRING:
            return
        elif told.final:
            self._refer_failed(told.code, told.reason, now, may_call=told.code not in _TARGET_HAS_REFUSED)
        else:
            self._deadline = now + self._timeout_s
            self._actions.append(EmitEvent("progress", told.code))

    def _refer_failed(self, code: int, reason: str, now: float, *, may_call: bool) -> None:
        """The REFER has failed."""
        if self.mode is Mode.AUTO and may_call:
            self._call(now, code, reason)
        else:
            self._fail(code, reason)

    def _call(self, now: float, code: int = 0, reason: str = "") -> None:
        self.state = State.CALLING
        self._has_far = True
        self._deadline, self._music_at = now + self._timeout_s, None
        self._actions.append(EmitEvent("calling", code, in_words(code, reason) if code else ""))
        self._music()
        self._actions.append(Do.CALL)

    def _on_far_answered(self, now: float) -> None:
        if self.is_alone:
            self._adopt()
        elif self.mode is Mode.WARM:
            self.state, self._deadline = State.BRIEFING, now + MAX_BRIEFING_S
            self._actions += [EmitEvent("briefing", 200), Do.BRIEF]
        else:
            self._join()

    def _on_briefed(self, told: Briefed) -> None:
        if self.state is not State.BRIEFING:
            return
        if told.accepted:
            self._join()
        else:
            self._fail(told.code, told.reason)

    def _join(self) -> None:
        self.state, self._deadline = State.JOINING, None
        self._actions.append(Do.JOIN)

    def _on_far_ended(self, code: int, reason: str) -> None:
        if not self._has_far:
            return
        self._has_far = False
        if self.state is State.CONNECTED:
            self._part()
        else:
            self._fail(code, reason)

    def _on_caller_gone(self) -> None:
        if self.asked_by_peer and self.state is State.CALLING:
            self.is_alone = True
            self._silence()
        elif self.asked_by_peer:
            self._adopt()
        elif self.state is State.CONNECTED:
            self._end(EmitEvent("completed", final=True))
        else:
            self._end(EmitEvent("cancelled", 487, "the caller hung up", final=True))

    def _on_withdrawn(self) -> None:
        if self.is_alone:
            self._fail(487)
        elif self.state is State.CONNECTED:
            self._part()
        elif self.state is not State.REFERRING:  # a REFER cannot be cancelled
            self._end(EmitEvent("cancelled", 487, in_words(487), final=True, returned=True), Do.RETURN)

    def _part(self) -> None:
        """The conversation with the target has ended, the caller's call has not."""
        if self._auto_hangup:
            self._end(EmitEvent("completed", 200, final=True), Do.HANG_UP)
        else:
            self._end(EmitEvent("completed", 200, final=True, returned=True), Do.RETURN)

    def _adopt(self) -> None:
        self._has_far = False
        self._end(EmitEvent("completed", 200, final=True, returned=True), Do.ADOPT)

    def _fail(self, code: int, reason: str = "") -> None:
        if self.is_alone:
            self._end(EmitEvent("failed", code, in_words(code, reason), final=True), Do.END)
            return
        self._end(EmitEvent("failed", code, in_words(code, reason), final=True, returned=True), Do.RETURN)

    def _end(self, last: EmitEvent, *then: Do) -> None:
        self.state = State.OVER
        self._deadline = self._music_at = None
        if self._has_far:
            self._has_far = False
            self._actions.append(Do.END_FAR)
        self._silence()
        if Do.RETURN in then or Do.ADOPT in then:
            self._actions += [*then, last]  # the agent may act on this
        else:
            self._actions += [last, *then]

    def _music(self) -> None:
        if not self._has_music:
            self._has_music = True
            self._actions.append(Do.MUSIC)

    def _silence(self) -> None:
        if self._has_music:
            self._has_music = False
            self._actions.append(Do.SILENCE)
