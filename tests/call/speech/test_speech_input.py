"""Utterances from voice detection, in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from active_call.agent.effects import FinalForAgent
from active_call.base.errors import ProviderError
from active_call.call.speech.latency import TurnClock
from active_call.call.speech.speech_input import MAX_UTTERANCE_S, SpeechInput, VadSettings, open_recognition
from active_call.contract import events
from active_call.media.link.messages import CallerAudio, SpeechEnded, SpeechStarted
from active_call.providers.base import Failed, Final, Partial, RecognitionEvent, SpeechToTextCapabilities, TurnChange, TurnEvent
from active_call.providers.speech_to_text import Alternative


class Recorder:
    """A Recognition that writes down what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []

    def push_audio(self, pcm: bytes, sample: int) -> None:
        self.asked.append(("audio", len(pcm), sample))

    def start_utterance(self, index: int, sample: int) -> None:
        self.asked.append(("start", index, sample))

    def end_utterance(self, index: int, sample: int) -> None:
        self.asked.append(("end", index, sample))

    def cancel_utterance(self, index: int) -> None:
        self.asked.append(("cancel", index))

    def expect_phrases(self, phrases: Sequence[str]) -> None:
        self.asked.append(("expect", tuple(phrases)))

    async def close(self) -> None:
        self.asked.append(("close",))


def a_hearing() -> tuple[SpeechInput, Recorder, list[events.Event]]:
    told: list[events.Event] = []
    hearing = SpeechInput(emit=told.append, to_epoch_ms=lambda at: int(at * 1000), turn=TurnClock(), end_of_turn_ms=500)
    recorder = Recorder()
    hearing.use(recorder)
    return hearing, recorder, told


def started(at: float, sample: int) -> SpeechStarted:
    return SpeechStarted(1, at, sample, at + 0.1, 0.9)


def ended(at: float, sample: int, duration_ms: int = 400) -> SpeechEnded:
    return SpeechEnded(1, at, sample, at + 0.1, duration_ms)


def test_utterance_ends_when_silence_has_lasted_long_enough() -> None:
    hearing, recorder, told = a_hearing()
    hearing.speech_started(started(1.0, 16_000))
    hearing.speech_ended(ended(1.5, 24_000))
    assert hearing.next_timeout() == 2.0
    hearing.handle_timeout(1.99)
    assert recorder.asked == [("start", 1, 16_000)]
    hearing.handle_timeout(2.0)
    assert recorder.asked[-1] == ("end", 1, 24_000 + 4_000)
    assert [type(event).__name__ for event in told] == ["Speaking", "Silence", "Eou"]
    hearing.recognised(Final("hello", 1, 16_000, 24_000, 0.8), 2.05)
    assert told[-1] == events.AsrFinal(index=1, text="hello", start_time=1000, end_time=1500, confidence=0.8)
    assert not hearing.is_busy


def test_alternatives_of_a_short_text_are_told_to_the_agent() -> None:
    hearing, _, told = a_hearing()
    hearing.speech_started(started(1.0, 16_000))
    alternatives = (Alternative("Okay.", 0.5),)
    hearing.recognised(Final("Milky.", 1, 16_000, 24_000, 0.5, alternatives=alternatives), 2.05)
    assert isinstance(told[-1], FinalForAgent) and told[-1].alternatives == alternatives and told[-1].whole_from is None


def test_speech_that_resumes_in_time_is_one_utterance() -> None:
    hearing, recorder, _ = a_hearing()
    hearing.speech_started(started(1.0, 16_000))
    hearing.speech_ended(ended(1.5, 24_000))
    hearing.speech_started(started(1.8, 28_800))
    hearing.handle_timeout(5.0)
    assert recorder.asked == [("start", 1, 16_000)]
    hearing.speech_ended(ended(6.0, 96_000))
    hearing.handle_timeout(6.5)
    assert recorder.asked == [("start", 1, 16_000), ("end", 1, 96_000 + 4_000)]


def test_speech_that_never_ends_goes_on_as_the_next_utterance_without_a_gap() -> None:
    hearing, recorder, told = a_hearing()
    hearing.speech_started(started(1.0, 16_000))
    seconds = int(MAX_UTTERANCE_S)
    for n in range(1, 4):
        hearing.handle_timeout(1.0 + n * seconds)
    hearing.speech_ended(ended(100.0, 1_600_000))
    hearing.handle_timeout(100.5)
    ends = [16_000 + n * seconds * 16_000 for n in range(4)]
    assert recorder.asked == [
        ("start", 1, 16_000),
        ("end", 1, ends[1]),
        ("start", 2, ends[1]),
        ("end", 2, ends[2]),
        ("start", 3, ends[2]),
        ("end", 3, ends[3]),
        ("start", 4, ends[3]),
        ("end", 4, 1_600_000 + 4_000),
    ]
    assert [event.completed for event in told if isinstance(event, events.Eou)] == [False, False, False, True]


def test_recogniser_failure_ends_the_turn_with_words_that_are_lost() -> None:
    hearing, _, told = a_hearing()
    hearing.speech_started(started(1.0, 16_000))
    hearing.speech_ended(ended(1.5, 24_000))
    hearing.handle_timeout(2.0)
    hearing.failed(RuntimeError("engine died"), 2.1)
    assert isinstance(told[-2], events.Error)
    assert told[-1] == events.AsrFinal(index=1, text="", start_time=1000, end_time=1750, is_lost=True)
    assert not hearing.is_busy


def test_sound_goes_straight_to_the_recogniser() -> None:
    hearing, recorder, _ = a_hearing()
    hearing.audio(CallerAudio(1, 320, b"\0" * 640))
    assert recorder.asked == [("audio", 640, 320)]


def test_each_kind_of_event_of_a_recognition_goes_to_its_own_callback() -> None:
    class Engine:
        name = "engine"
        capabilities = SpeechToTextCapabilities()

        def open(self, on_event: Callable[[RecognitionEvent], None], *, language: str | None = None) -> Recorder:
            self.tell, self.language = on_event, language
            return Recorder()

        async def close(self) -> None:
            pass

    engine = Engine()
    results: list[object] = []
    failures: list[object] = []
    turns: list[object] = []
    open_recognition(engine, results.append, failures.append, language="en", on_turn=turns.append)
    error = ProviderError("engine", "down")
    for event in (Partial("he", 1, 0, 1), Final("hello", 1, 0, 2), Failed(error, 2), TurnEvent(TurnChange.EAGER_END, 2)):
        engine.tell(event)
    assert results == [Partial("he", 1, 0, 1), Final("hello", 1, 0, 2)]
    assert failures == [error] and turns == [TurnEvent(TurnChange.EAGER_END, 2)] and engine.language == "en"
    open_recognition(engine, results.append, failures.append, language=None)
    engine.tell(TurnEvent(TurnChange.ENDED, 2))
    assert len(turns) == 1


class Ordered:
    """Stands in for the media stream: keeps what is ordered."""

    def __init__(self) -> None:
        self.orders: list[dict[str, object]] = []

    def listen(self, **order: object) -> None:
        self.orders.append(order)

    def forwards(self) -> tuple[object, object]:
        return self.orders[-1]["forward_audio"], self.orders[-1]["only_speech"]


def test_recogniser_that_needs_speech_alone_gets_no_silence_over_the_link() -> None:
    hearing, _, _ = a_hearing()
    stream = Ordered()
    hearing.listen_to(stream, VadSettings())  # type: ignore[arg-type]
    assert stream.forwards() == (True, False)
    hearing.hear_between_speech(False)
    assert stream.forwards() == (True, True)
    hearing.forward_always(True)  # somebody listens in
    assert stream.forwards() == (True, False)
    hearing.forward_always(False)
    hearing.set_end_of_turn(1500)  # longer pauses than are kept
    assert stream.forwards() == (True, False)
    hearing.set_end_of_turn(500)
    assert stream.forwards() == (True, True)
    hearing.suspend()
    assert stream.forwards() == (False, False)
    hearing.resume()
    assert stream.forwards() == (True, True)
    hearing.send_sound_to(len)  # a realtime model
    assert stream.forwards() == (True, False)
