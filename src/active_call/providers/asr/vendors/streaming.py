"""Recognition over a vendor's WebSocket: connecting, sending and keep-alive, shared by all such vendors.

Sound, starts and ends enter as in `segments`. A vendor's adapter defines its messages (`address`, `opening`, `packet`, `finalize`,
`handle`, …) and knows no connection. Sound is sent in packets of `packet_ms`, and all at once at the end of an utterance. Every wait has a
limit: connecting, the vendor's readiness, a connection that accepts no sound, a missing pong. A failure ends the stream with one
`Failed`; the supervisor opens the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final

from websockets.exceptions import ConnectionClosed

from active_call.base.ended_tasks import cancel_and_wait
from active_call.base.errors import ActiveCallError, ProviderError
from active_call.base.pcm import BYTES_PER_SAMPLE, LISTEN_RATE_HZ, samples_in
from active_call.providers.asr.onset import speech_from
from active_call.providers.asr.segments import Segment, SegmentedRecognition, Utterance
from active_call.providers.asr.sound_ring import SoundRing
from active_call.providers.asr.vendors.sound_format import SoundEncoder
from active_call.providers.asr.vendors.wire import Address, Last, Message, Setup
from active_call.providers.guarding.guard import Limits
from active_call.providers.json_values import read_object
from active_call.providers.services import Services
from active_call.providers.speech_to_text import Failed, RecognitionEvent, RecognitionStream, SpeechToTextCapabilities, TurnChange, Word
from active_call.providers.websocket import CLOSE_S, VendorConnection, closed_error, open_socket

logger = logging.getLogger(__name__)

READY_S: Final = 4.0
"""From the open connection to the vendor's ready message, if it sends one."""
MUTE_S: Final = 3.5
"""A vendor that acknowledges and sends nothing for this long after an utterance has failed; the caller was not silent."""
LATE_SLACK_S: Final = 0.05
MAX_BACKLOG_S: Final = 20.0
"""The most sound that waits for a slow vendor; beyond this the connection counts as lost."""
RING_SAMPLES: Final = samples_in(3_000, LISTEN_RATE_HZ)
GATE_LEAD_SAMPLES: Final = samples_in(300, LISTEN_RATE_HZ)
"""Sound sent before a detected start, if only utterances are sent."""
TOLD_SAMPLES: Final = samples_in(1_000, LISTEN_RATE_HZ)
"""A turn that the vendor ended at most this long before the end of the utterance contains all of it."""


class StreamingSpeechToText:
    """A configured vendor. Opens a stream of class `stream` for each caller."""

    limits = Limits(first_result_s=4.5)

    def __init__(
        self,
        stream: type[StreamingRecognition],
        capabilities: SpeechToTextCapabilities,
        services: Services,
        setup: Setup,
    ) -> None:
        self.name = stream.provider
        self.capabilities = capabilities
        self._stream = stream
        self._services = services
        self._setup = setup

    def open(self, on_event: Callable[[RecognitionEvent], None], *, language: str | None = None) -> RecognitionStream:
        """Begin to recognise one caller. The connection is made in the background. Must be called on the loop."""
        return self._stream(self._services, self._setup, on_event, language or self._setup.option.language)

    async def close(self) -> None:
        """Does nothing: every stream has its own connection."""


class StreamingRecognition(SegmentedRecognition):
    """The base of a vendor's `RecognitionStream`. The adapter sets the class variables and implements at least `address` and `handle`.

    All methods that the adapter implements are called on the loop, in order. They return at once, except `address`, which may ask the
    vendor.
    """

    provider: ClassVar[str]
    packet_ms: ClassVar[int] = 60
    """The length of sound collected for one packet."""
    max_packet_ms: ClassVar[int] = 1_000
    min_packet_ms: ClassVar[int] = 0
    """A shorter rest waits for the next packet, also at the end of an utterance."""
    keepalive_s: ClassVar[float | None] = None
    """After this long without a message to the vendor, `keepalive` is sent."""
    waits_for_ready: ClassVar[bool] = False
    """Sound waits until the adapter calls `note_ready`."""
    ends_by_itself: ClassVar[bool] = False
    """The vendor ends turns by itself: an utterance whose turn it has already ended is answered without asking."""
    only_utterances: ClassVar[bool] = False
    """Only the voice detector's utterances are sent, for vendors that segment on request, not at pauses."""

    def __init__(self, services: Services, setup: Setup, on_event: Callable[[RecognitionEvent], None], language: str | None) -> None:
        super().__init__(on_event)
        self._services = services
        self._setup = setup
        self._option = setup.option
        self._url = setup.url
        self._key = setup.key
        self._sound = setup.sound
        self._language = language
        self._encoder = SoundEncoder(setup.sound)
        self._collected = bytearray()
        self._packet_bytes = samples_in(self.packet_ms, LISTEN_RATE_HZ) * BYTES_PER_SAMPLE
        self._outgoing: deque[Message | Last] = deque()
        self._urgent: deque[Message] = deque()
        """Messages sent before everything that waits, even while the vendor is not ready."""
        self._backlog_bytes = 0
        self._n_encoded_bytes = 0
        """Sound given to the connection, in the vendor's format."""
        self._is_idle = False
        """The vendor is ready and nothing waits to be sent: a message may be written at once."""
        self._sent_at = self._loop.time()
        """When something was last sent, or a keep-alive was due."""
        self._due = asyncio.Event()
        self._ready = asyncio.Event()
        self._socket: VendorConnection | None = None
        self._ring = SoundRing(RING_SAMPLES) if self.only_utterances else None
        self._ring_sent_to = 0
        self._n_open = 0
        self._turn_is_open = False
        self._last_heard_at = 0.0
        self._has_listened = False
        self._phrases: tuple[str, ...] = ()
        self._terms_told: list[str] = []
        """The expected words that the vendor knows."""
        self._secrets: Sequence[str] = ()
        self._task = self._loop.create_task(self._run(), name=f"{self.provider} recognition")

    # -- what the adapter gives

    async def address(self) -> Address:
        """The address to connect to; `self._phrases` holds the phrases expected so far. May raise ProviderError."""
        raise NotImplementedError

    def opening(self) -> Sequence[Message]:
        """The first messages to send."""
        return ()

    def packet(self, sound: bytes) -> Message:
        """The message that carries `sound`, in this stream's format."""
        return sound

    def finalize(self) -> Sequence[Message | Last]:
        """The messages that ask the vendor to finish the current speech."""
        return ()

    def keepalive(self) -> Message | None:
        """The message that keeps the connection open while no sound is sent."""
        return None

    def closing(self) -> Sequence[Message]:
        """The last messages to send."""
        return ()

    def terms(self) -> list[str]:
        """The words expected now, as the vendor takes them."""
        return []

    def new_terms(self, terms: Sequence[str]) -> Message | None:
        """The message that replaces the expected words on an open connection; None: they cannot be changed."""
        return None

    def handle(self, message: Mapping[str, Any]) -> None:
        """Report a vendor's message by the `note_` methods. Raises ProviderError for an error message."""
        raise NotImplementedError

    def read(self, message: Message) -> Mapping[str, Any]:
        """A vendor's message as an object: JSON unless the adapter overrides this. Raises ProviderError."""
        return read_object(self.provider, message)

    def closed(self, error: ConnectionClosed) -> ProviderError:
        """The error for a connection that the vendor closed; adapters know their vendor's codes."""
        return closed_error(self.provider, error, self._secrets)

    # -- what the adapter uses

    def note_ready(self) -> None:
        """The vendor is ready: sound may be sent."""
        self._ready.set()
        self._tell_terms()
        self._due.set()

    def first_terms(self) -> list[str]:
        """`terms` for the address; what is expected otherwise until the vendor is ready is sent then."""
        self._terms_told = self.terms()
        return self._terms_told

    def _tell_terms(self) -> None:
        terms = self.terms()
        message = self.new_terms(terms) if terms != self._terms_told and self._ready.is_set() else None
        if message is not None:
            self._terms_told = terms
            self.send(message)

    def send_now(self, message: Message) -> None:
        """Send `message` before everything that waits."""
        if not self._is_written(message):
            self._is_idle = False
            self._urgent.append(message)
            self._due.set()

    def send(self, *messages: Message | Last) -> None:
        """Send `messages` after everything that waits; at once if nothing does."""
        for message in messages:
            if not self._is_written(message):
                self._is_idle = False
                self._outgoing.append(message)
                self._backlog_bytes += len(message)
                self._due.set()

    def _is_written(self, message: Message | Last) -> bool:
        """Write `message` now. False if it must wait."""
        if not self._is_idle or isinstance(message, Last) or self._socket is None or not self._socket.send_now(message):
            return False
        self._sent_at = self._loop.time()
        return True

    @property
    def sent_s(self) -> float:
        """Seconds of sound sent to the vendor; 0 if it was never ready."""
        return self._n_encoded_bytes / self._sound.bytes_per_s if self._has_listened else 0.0

    def sample_at(self, seconds: float | None) -> int:
        """The call's sample at `seconds` of the sound sent to the vendor."""
        return max(0, self.to_sample((seconds or 0.0) * LISTEN_RATE_HZ))

    def word(self, text: str, start_s: float | None, end_s: float | None, confidence: float | None = None) -> Word:
        """A word with its position in the call; the vendor's times are seconds of the sound it received."""
        start = self.sample_at(start_s)
        return Word(text, start, max(start, self.sample_at(end_s)), confidence)

    # -- sound

    def push_audio(self, pcm: bytes, sample: int) -> None:
        if self._ring is None:
            super().push_audio(pcm, sample)
            return
        if self._is_over:
            return
        self._ring.push(pcm, sample, keep_from=self._ring_sent_to if self._n_open else None)
        if self._n_open:
            self._send_ring()

    def start_utterance(self, index: int, sample: int) -> None:
        super().start_utterance(index, sample)
        if self._ring is not None:
            if not self._n_open:
                first = speech_from(self._ring, sample, GATE_LEAD_SAMPLES, self._ring_sent_to)
                self._ring_sent_to = max(self._ring_sent_to, first)
            self._n_open += 1
            self._send_ring()

    def cancel_utterance(self, index: int) -> None:
        """The vendor is asked to finish it, so that its words do not join those of the next one."""
        is_open = any(each.index == index and each.end_sample is None for each in self._utterances)
        super().cancel_utterance(index)
        self._n_open -= is_open
        if is_open and not self._is_over:
            self._send_collected()
            if not self.ends_by_itself:
                self._asked.append((index, self._loop.time()))
            self.send(*self.finalize())

    def end_utterance(self, index: int, sample: int) -> None:
        is_open = any(each.index == index and each.end_sample is None for each in self._utterances)
        super().end_utterance(index, sample)
        self._n_open -= is_open

    def _send_ring(self) -> None:
        """Send the part of the ring that was not sent yet."""
        if self._ring is None:
            return
        pcm = self._ring.cut(self._ring_sent_to, self._ring.end)
        if pcm:
            first = max(self._ring_sent_to, self._ring.start)
            self._ring_sent_to = self._ring.end
            super().push_audio(pcm, first)

    def send_audio(self, pcm: bytes) -> None:
        self._collected += pcm
        if len(self._collected) >= self._packet_bytes:
            self._send_collected()

    def ask_final(self) -> None:
        self._send_collected()
        if self.ends_by_itself and self._is_told():
            self._loop.call_soon(self.note_finished)
        else:
            self.send(*self.finalize())

    def note_turn(self, change: TurnChange, sample: int, *, text: str = "", confidence: float | None = None) -> None:
        self._turn_is_open = change in (TurnChange.STARTED, TurnChange.RESUMED)
        super().note_turn(change, sample, text=text, confidence=confidence)

    def note_turn_final(self, segment: Segment) -> None:
        """The vendor has ended a turn, by itself or on request: a waiting utterance is answered."""
        self.note_final(segment)
        for index, _ in self._asked:
            utterance = self._find(index)
            if utterance is not None and utterance.holds(segment):
                while self._asked.popleft()[0] != index:
                    pass
                self._settle(index)
                return

    def _handle_late(self, index: int) -> None:
        """The time to answer counts from the request to the vendor; before that, nothing is late."""
        utterance = self._find(index)
        if utterance is None or self._is_over:
            return
        asked_at = next((at for asked, at in self._asked if asked == index), 0.0)
        waited_s = self._loop.time() - asked_at
        is_mute = self._last_heard_at < asked_at and not self._knows_of(utterance)
        patience_s = 2 * self.answer_s if self.ends_by_itself else MUTE_S
        if not self._ready.is_set() or self._outgoing or (is_mute and waited_s < patience_s - LATE_SLACK_S):
            utterance.timer = self._loop.call_later(self.answer_s, self._handle_late, index)
        elif is_mute and not self.ends_by_itself:  # a vendor that ends turns by itself reports nothing for a noise
            self._forget(utterance)
            error = ProviderError(self.provider, f"sent nothing for {waited_s:.1f} s after an utterance", retryable=True)
            self._report(Failed(error, index))
        else:
            super()._handle_late(index)

    def _knows_of(self, utterance: Utterance) -> bool:
        """Whether the vendor sent any text for it."""
        return self._interim is not None or any(utterance.holds(segment) for segment in self._segments)

    def _is_told(self) -> bool:
        """Whether the vendor has ended the turn of the utterance that ends now, and sent no text since."""
        utterance = [each for each in self._utterances if each.end_sample is not None][-1]
        told = [segment.end_sample for segment in self._segments if utterance.holds(segment)]
        if not told or self._turn_is_open or self._interim is not None:
            return False
        return told[-1] is None or told[-1] > (utterance.end_sample or 0) - TOLD_SAMPLES

    def expect_phrases(self, phrases: Sequence[str]) -> None:
        self._phrases = tuple(phrases)
        self._tell_terms()

    def _send_collected(self) -> None:
        limit = samples_in(self.max_packet_ms, LISTEN_RATE_HZ) * BYTES_PER_SAMPLE
        least = samples_in(self.min_packet_ms, LISTEN_RATE_HZ) * BYTES_PER_SAMPLE
        pcm, self._collected = bytes(self._collected), bytearray()
        for start in range(0, len(pcm), limit):
            piece = pcm[start : start + limit]
            if len(piece) < least:
                self._collected += piece
            elif sound := self._encoder.encode(piece):
                self._n_encoded_bytes += len(sound)
                self.send(self.packet(sound))
        if self._backlog_bytes > 2 * MAX_BACKLOG_S * self._sound.bytes_per_s:
            error = ProviderError(self.provider, "accepts the sound more slowly than it arrives", retryable=True)
            self._loop.call_soon(self.fail, error)

    # -- the connection

    async def _run(self) -> None:
        """Connect, then send and receive until the vendor or `close` ends it."""
        try:
            address = await self.address()
            self._secrets = address.secrets
            self._socket = await open_socket(
                self._services,
                self.provider,
                address.url,
                headers=address.headers,
                subprotocols=address.subprotocols,
                secrets=address.secrets,
            )
            if not self.waits_for_ready:
                self.note_ready()
            async with asyncio.TaskGroup() as tasks:
                writing = tasks.create_task(self._write_until_closed(self._socket))
                tasks.create_task(self._read_until_closed(self._socket, writing))
        except* ActiveCallError as group:
            self.fail(_first_of(group, ActiveCallError))
        except* Exception as group:  # an unexpected error in the adapter
            error = _first_of(group, Exception)
            logger.exception("recognition stream failed", extra={"provider": self.provider})
            self.fail(ProviderError(self.provider, f"unforeseen {type(error).__name__}", retryable=True))
        finally:
            self._outgoing.clear()
            self._collected.clear()
            if self._socket is not None and not self._socket.close_code:
                self._socket.transport.abort()

    async def _read_until_closed(self, socket: VendorConnection, writing: asyncio.Task[None]) -> None:
        """End without an exception: that of a task group forms a reference cycle, which would hold the call until a garbage collection."""
        try:
            while True:
                message = await socket.recv()
                self._last_heard_at = self._loop.time()
                self.handle(self.read(message))
        except ConnectionClosed as error:
            self.fail(self.closed(error))
            writing.cancel()

    async def _write_until_closed(self, socket: VendorConnection) -> None:
        """Return when the vendor has closed the connection: its last messages, which may say why, are still to be read."""
        with contextlib.suppress(ConnectionClosed):
            await self._write(socket)

    async def _write(self, socket: VendorConnection) -> None:
        for message in self.opening():
            await socket.send(message)
        try:
            async with asyncio.timeout(READY_S):
                await self._ready.wait()
        except TimeoutError:
            raise ProviderError(self.provider, f"was not ready within {READY_S:g} s", retryable=True) from None
        while True:
            self._due.clear()
            self._has_listened = True
            while self._urgent or (self._outgoing and self._ready.is_set()):
                await socket.send(self._urgent.popleft() if self._urgent else self._take_next())
                self._sent_at = self._loop.time()
            self._is_idle = not self._outgoing and self._ready.is_set()
            await self._wait_for_more()

    def _take_next(self) -> Message:
        message = self._outgoing.popleft()
        self._backlog_bytes -= len(message)
        if isinstance(message, Last):
            self._ready.clear()
            return message.message
        return message

    async def _wait_for_more(self) -> None:
        """Wait until something waits to be sent, or send a keep-alive if the vendor needs one."""
        if self.keepalive_s is None:
            await self._due.wait()
            return
        try:
            async with asyncio.timeout_at(self._sent_at + self.keepalive_s):
                await self._due.wait()
        except TimeoutError:
            now = self._loop.time()
            if now < self._sent_at + self.keepalive_s:
                return  # something was written meanwhile
            self._sent_at = now
            message = self.keepalive()
            if message is not None:
                self.send(message)

    async def disconnect(self) -> None:
        """Send the closing messages if there is a connection, and free everything within `CLOSE_S`."""
        self._outgoing.clear()
        self._backlog_bytes = 0
        socket = self._socket
        if socket is not None and not self._task.done():
            with contextlib.suppress(TimeoutError, ConnectionClosed):
                async with asyncio.timeout(CLOSE_S):
                    for message in self.closing():
                        await socket.send(message)
                    await socket.close()
                    await asyncio.wait((self._task,))  # a task group that is cancelled leaves a reference cycle
        await cancel_and_wait(self._task)


def _first_of(group: BaseExceptionGroup[Any], kind: type[Any]) -> Any:
    """The first error in `group`, at any depth."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            return _first_of(error, kind)
        if isinstance(error, kind):
            return error
    raise AssertionError("an empty group")
