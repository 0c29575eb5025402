"""One call's session with a speech-to-speech model: the caller's sound and the conversation's orders enter, the agent's sound leaves.

The conversation (`agent.realtime`) gives orders and gets events; the model (`providers.realtime_model`) has a stream. This part
translates between the two and carries the sound: the caller's sound goes to the model at its rate, and each item that the model speaks
is played under its id. One item plays at a time; the sound of later ones waits. Sound of a cancelled reply is not played.

`ResponseDone` is sent once for each reply, when all of its items are being played or queued. If the model has no turn detector, the call's
voice detector reports the caller's speech, and the model is asked for a reply at the end of the utterance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, assert_never

from msgspec import Struct
from msgspec.structs import replace

from active_call.agent import items
from active_call.agent.realtime import events as realtime
from active_call.agent.tools.registry import ToolSchema
from active_call.base.errors import ActiveCallError
from active_call.base.pcm import BYTES_PER_SAMPLE, LISTEN_RATE_HZ
from active_call.call.log import CallLog
from active_call.codec.resample import StreamResampler
from active_call.contract import events
from active_call.providers import realtime_model as model
from active_call.providers.chat import ToolDefinition


class ItemPlayer(Protocol):
    """Plays the sound of items."""

    @property
    def rate_hz(self) -> int | None:
        """The rate of the call's stream; None if there is none yet."""

    def add_sound(self, play_id: str, pcm: bytes, text: str, *, is_last: bool = False) -> bool:
        """Play more of an item, whose words so far are `text`; False if its play was stopped."""


class SessionPorts(Struct, frozen=True):
    """The session's interface to its call."""

    player: ItemPlayer
    post: Callable[[realtime.RealtimeEvent], None]
    """Pass an event to the conversation, through the call's mailbox."""
    tell: Callable[[events.Event], object]
    now: Callable[[], float]
    log: CallLog


CANCELLED_S = 3.0
"""If the model has not reported the end of a cancelled reply after this long, it had no reply to cancel; further items are a new reply."""


@dataclass(slots=True)
class _Spoken:
    """An item that the model speaks. `waiting` is sound that cannot be played yet."""

    id: str
    text: str = ""
    waiting: list[bytes] = field(default_factory=list)
    is_complete: bool = False
    resampler: StreamResampler | None = None


class ModelSession:
    """See the module. `voice` None: the model's default."""

    def __init__(self, engine: model.RealtimeModel, voice: str | None, ports: SessionPorts) -> None:
        self._engine = engine
        self._voice = voice
        self._ports = ports
        self._stream: model.RealtimeStream | None = None
        self._settings = model.RealtimeSession()
        self._to_model = StreamResampler(LISTEN_RATE_HZ, engine.capabilities.input_rate_hz)
        self._items: dict[str, _Spoken] = {}
        """Items that play or wait, in playing order."""
        self._playing: str | None = None
        self._dropped: set[str] = set()
        """Items that are played no further: they have ended, were stopped, or belong to a cancelled reply."""
        self._is_replying = False
        """A reply was requested or has begun, and its end was not reported."""
        self._cancelled_at: float | None = None
        """When a reply was cancelled whose end the model has not reported; items until then belong to it. None: there is no such reply."""
        self._owes_done = False
        """The reply is complete, and one of its items waits."""
        self._withdrawn: set[str] = set()
        self._n_heard = 0
        self._is_closed = False

    # -- orders of the conversation

    def order(self, order: realtime.RealtimeOrder) -> None:
        """Execute `order`; returns at once."""
        if isinstance(order, realtime.OpenSession):
            self._open(order.instructions, order.tools)
            return
        stream = self._stream
        if stream is None or self._is_closed:
            return
        match order:
            case realtime.SetInstructions(instructions):
                self._settings = replace(self._settings, instructions=instructions)
                stream.update(self._settings)
            case realtime.AddItem(item):
                self._add(stream, item)
            case realtime.CreateResponse():
                self._is_replying = True
                stream.request_reply()
            case realtime.CancelResponse():
                self._cancel(stream)
            case realtime.TruncateItem(item_id, heard_ms):
                stream.truncate(item_id, heard_ms)
            case realtime.CloseSession():
                self._is_closed = True
            case _:
                assert_never(order)

    def _open(self, instructions: str, tools: tuple[ToolSchema, ...]) -> None:
        capabilities = self._engine.capabilities
        offered = tuple(ToolDefinition(one.name, one.description, one.parameters) for one in tools) if capabilities.tools else ()
        self._settings = model.RealtimeSession(instructions, offered, self._voice, detects_turns=capabilities.turn_events)
        try:
            self._stream = self._engine.open(self._settings, self._handle)
        except ActiveCallError as error:
            self._ports.post(realtime.SessionFailed(str(error)))
        else:
            self._ports.post(realtime.SessionOpened())

    def _add(self, stream: model.RealtimeStream, item: items.Item) -> None:
        match item:
            case items.UserItem(text) | items.SystemItem(text):
                stream.push_text(text)
            case items.AgentItem(text):
                if text:
                    stream.push_text(text, "agent")
            case items.ToolResultItem(call_id, text):
                if call_id not in self._withdrawn:
                    stream.answer_tool(call_id, items.CANCELLED if item.is_cancelled else text)
            case items.ToolCallItem():
                pass  # the model's own turn detector
            case _:
                assert_never(item)

    def _cancel(self, stream: model.RealtimeStream) -> None:
        for item_id in list(self._items):
            self._dropped.add(item_id)
            if item_id != self._playing:
                del self._items[item_id]
        self._owes_done = False
        stream.cancel_reply()
        if self._is_replying:
            self._is_replying, self._cancelled_at = False, self._ports.now()
        elif not self._is_cancelling:
            self._ports.post(realtime.ResponseDone())

    @property
    def _is_cancelling(self) -> bool:
        if self._cancelled_at is not None and self._ports.now() - self._cancelled_at > CANCELLED_S:
            self._cancelled_at = None
            self._ports.post(realtime.ResponseDone())
        return self._cancelled_at is not None

    # -- the caller

    def push_audio(self, pcm: bytes) -> None:
        """More of the caller's sound, s16le mono at 16 kHz."""
        if self._stream is not None and not self._is_closed and (out := self._to_model.push(pcm)):
            self._stream.push_audio(out)

    def observe(self, event: events.Event) -> None:
        """An event of the call, as the conversation gets it."""
        if event.refer or self._is_closed:
            return
        match event:
            case events.TrackEnd(play_id=play_id) | events.Interruption(play_id=play_id) if (
                play_id is not None and play_id == self._playing
            ):
                self._play_next()
            case events.Speaking() if not self._engine.capabilities.turn_events:
                self._ports.post(realtime.CallerBegan())
            case events.Eou(completed=True) if not self._engine.capabilities.turn_events:
                self._utterance_over()
            case _:
                pass

    def _utterance_over(self) -> None:
        """The voice detector reports the end of an utterance. While the agent speaks and may not be interrupted, the model is not asked."""
        if self._stream is not None and self._playing is None:
            self._ports.post(realtime.CallerEnded())
            self._is_replying = True
            self._stream.request_reply()

    # -- events of the model

    def _handle(self, event: model.RealtimeEvent) -> None:
        if self._is_closed:
            return
        post = self._ports.post
        match event:
            case model.ItemAdded(item_id, speaker):
                if speaker == "agent":
                    self._find(item_id)
            case model.AgentSound(item_id, pcm):
                self._sound(item_id, pcm)
            case model.Transcript():
                self._transcript(event)
            case model.ToolRequested():
                self._is_replying = self._is_replying or not self._is_cancelling
                if not self._is_cancelling:
                    post(realtime.FunctionCall(event.call_id, event.name, event.arguments))
            case model.ToolWithdrawn(call_id):
                self._withdrawn.add(call_id)
            case model.UserTurn(is_speaking):
                if is_speaking and self._playing is not None:
                    self._ports.tell(events.Interrupt())
                self._is_replying = self._is_replying or not is_speaking  # the model answers without a request
                post(realtime.CallerBegan() if is_speaking else realtime.CallerEnded())
            case model.ReplyDone():
                self._reply_done("")
            case model.RealtimeFailed(error, is_over):
                self._failed(str(error), is_over=is_over)
            case _:
                assert_never(event)

    def _failed(self, error: str, *, is_over: bool) -> None:
        if is_over:
            self._is_closed = True
            self._ports.post(realtime.SessionFailed(error))
        elif self._is_replying or self._is_cancelling:
            self._reply_done(error)
        else:
            self._ports.log.warning("realtime request failed", extra={"fields": {"error": error}})

    def _transcript(self, event: model.Transcript) -> None:
        if event.speaker == "agent":
            item = self._find(event.item)
            if item is not None and event.text.startswith(item.text) and event.text != item.text:
                self._ports.post(realtime.AgentText(item.id, event.text[len(item.text) :]))
                item.text = event.text
                if item.id == self._playing:
                    self._ports.player.add_sound(item.id, b"", item.text)
        elif event.is_final:
            self._n_heard += 1
            self._ports.tell(events.AsrFinal(index=self._n_heard, text=event.text))
            self._ports.post(realtime.CallerText(event.text))
        else:
            self._ports.tell(events.AsrDelta(index=self._n_heard + 1, text=event.text))

    def _find(self, item_id: str) -> _Spoken | None:
        """The item, created if it is unknown; None if no more of it is played. All earlier items have all of their sound."""
        if item_id in self._dropped:
            return None
        if self._is_cancelling:
            self._dropped.add(item_id)
            return None
        if item_id not in self._items:
            self._is_replying = True
            self._complete_all()
            self._items[item_id] = _Spoken(item_id)
        return self._items[item_id]

    def _sound(self, item_id: str, pcm: bytes) -> None:
        item = self._find(item_id)
        if item is None:
            return
        if self._playing is None:
            self._playing = item.id
        if item.id == self._playing:
            self._play(item, pcm)
        else:
            item.waiting.append(pcm)

    def _play(self, item: _Spoken, pcm: bytes, *, is_last: bool = False) -> None:
        rate_hz, source_hz = self._ports.player.rate_hz, self._engine.capabilities.output_rate_hz
        if rate_hz is None:
            return
        if item.resampler is None:
            item.resampler = StreamResampler(source_hz, rate_hz)
        out = item.resampler.push(pcm)
        if is_last:
            out += item.resampler.flush()
        if not self._ports.player.add_sound(item.id, out, item.text, is_last=is_last):
            self._dropped.add(item.id)  # it was stopped; the event is on its way
        elif pcm:
            self._ports.post(realtime.AgentSound(item.id, round(len(pcm) / BYTES_PER_SAMPLE * 1000 / source_hz)))

    def _complete_all(self) -> None:
        """The existing items get no more sound. One without any sound is not speech."""
        for item in list(self._items.values()):
            if item.is_complete:
                continue
            item.is_complete = True
            if item.id == self._playing:
                self._play(item, b"", is_last=True)
                self._ports.post(realtime.ItemDone(item.id))
            elif not item.waiting:
                del self._items[item.id]

    def _reply_done(self, error: str) -> None:
        if self._is_cancelling:
            self._cancelled_at = None
            self._ports.post(realtime.ResponseDone(error))
            return
        self._is_replying = False
        self._complete_all()
        if error or not self._has_waiting:
            self._ports.post(realtime.ResponseDone(error))
        else:
            self._owes_done = True

    @property
    def _has_waiting(self) -> bool:
        return any(item_id != self._playing for item_id in self._items)

    def _play_next(self) -> None:
        """The current item has ended: play the next one."""
        if self._playing is not None:
            self._dropped.add(self._playing)
            self._items.pop(self._playing, None)
        following = next((item for item in self._items.values() if item.waiting), None)
        self._playing = following.id if following is not None else None
        if following is not None:
            waiting, following.waiting = following.waiting, []
            for pcm in waiting:
                self._play(following, pcm)
            if following.is_complete:
                self._play(following, b"", is_last=True)
                self._ports.post(realtime.ItemDone(following.id))
        if self._owes_done and not self._has_waiting:
            self._owes_done = False
            self._ports.post(realtime.ResponseDone())

    async def close(self) -> None:
        """End the session with the model; no event follows."""
        self._is_closed = True
        if self._stream is not None:
            await self._stream.close()
