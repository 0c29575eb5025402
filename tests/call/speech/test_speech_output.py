"""Which words were heard, from what the playout counted; and files, which are sent as fast as they are heard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest

from active_call.base.errors import MediaError
from active_call.call.speech.latency import TurnClock
from active_call.call.speech.speech_output import Piece, SpeechOutput
from active_call.call.speech.words_heard import heard_words
from active_call.contract import commands, events
from active_call.media.link import messages as link
from active_call.providers.tts.whole_text import WholeTextToSpeech
from active_call.testing.fakes.call import FakeStream
from active_call.testing.virtual_time import VirtualClock, VirtualLoop, run_virtually

PIECES = [Piece("Good morning.", 1000.0, is_whole=True), Piece("We are open from nine to five.", 2000.0, is_whole=True)]


@pytest.mark.parametrize(
    ("heard_ms", "words"),
    [
        (0.0, ""),
        (500.0, "Good"),
        (1000.0, "Good morning."),
        (2000.0, "Good morning. We are open"),
        (3000.0, "Good morning. We are open from nine to five."),
        (9000.0, "Good morning. We are open from nine to five."),
    ],
)
def test_heard_words_follow_the_samples(heard_ms: float, words: str) -> None:
    text, position = heard_words(PIECES, heard_ms)
    assert text == words
    assert position == len(words.split())


def test_heard_words_of_a_piece_without_sound_yet_are_none() -> None:
    assert heard_words([Piece("Not made yet.")], 100.0) == ("", 0)


class Files:
    """A library with one long file, which counts what was taken from it."""

    def __init__(self, seconds: float, fails_after_s: float | None = None) -> None:
        self._seconds = seconds
        self._fails_after_s = fails_after_s
        self.taken_s = 0.0
        self.n_open = 0

    async def pieces(self, source: str, rate_hz: int, *, repeat: bool = False) -> AsyncGenerator[bytes, None]:
        self.n_open += 1
        try:
            while self.taken_s < self._seconds:
                if self._fails_after_s is not None and self.taken_s >= self._fails_after_s:
                    raise MediaError(f"{source}: 404 Not Found")
                self.taken_s += 0.5
                yield b"\1\0" * (rate_hz // 2)
        finally:
            self.n_open -= 1


class Player:
    """Speaking over a pretended stream, in virtual time."""

    def __init__(self, files: Files) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self.loop = loop
        self.files = files
        self.events: list[events.Event] = []
        self.stream = FakeStream(self._report)
        self.speaking = SpeechOutput(
            emit=self.events.append, clock=VirtualClock(loop), turn=TurnClock(), on_auto_hangup=lambda: None, sounds=files
        )
        self.speaking.use(self.stream, None)  # type: ignore[arg-type]

    def _report(self, report: link.Report) -> None:
        match report:
            case link.PlayStarted():
                self.speaking.play_started(report)
            case link.PlayLow():
                self.speaking.play_low(report)
            case link.PlayEnded():
                self.speaking.play_ended(report)


def with_player(files: Files, work: Callable[[Player], Awaitable[None]]) -> None:
    async def body() -> None:
        player = Player(files)
        task = asyncio.create_task(player.speaking.run())
        try:
            await work(player)
        finally:
            task.cancel()
            await player.stream.close()

    run_virtually(body())


def test_what_is_more_urgent_is_read_before_each_further_piece_of_a_file() -> None:
    async def work(player: Player) -> None:
        taken_s: list[float] = []
        player.speaking.maker.before_step = lambda: taken_s.append(player.files.taken_s)
        player.speaking.play(commands.Play(url="long.wav"))
        await asyncio.sleep(20)
        assert taken_s == [n / 2 for n in range(1, len(taken_s) + 1)]
        assert len(taken_s) > 30

    with_player(Files(600), work)


def test_long_file_is_sent_only_some_seconds_ahead_and_heard_whole() -> None:
    async def work(player: Player) -> None:
        player.speaking.play(commands.Play(url="long.wav"))
        for second in range(1, 600):
            await asyncio.sleep(1)
            assert player.files.taken_s <= second + 5
        await asyncio.sleep(2)
        (ended,) = [event for event in player.events if isinstance(event, events.TrackEnd)]
        assert (ended.play_id, ended.duration) == ("long.wav", 600_000)

    with_player(Files(600), work)


class LaterStream(FakeStream):
    """A stream whose codec is negotiated later."""

    def __init__(self, report: Callable[[link.Report], None]) -> None:
        super().__init__(report)
        self.rate_hz = 8000
        self._agreed = asyncio.Event()

    def agree(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self._agreed.set()

    async def rate_known(self) -> None:
        await self._agreed.wait()


def test_sound_asked_for_before_the_codec_is_known_is_made_at_the_codecs_rate() -> None:
    asked: list[int] = []

    class Asked(Files):
        def pieces(self, source: str, rate_hz: int, *, repeat: bool = False) -> AsyncGenerator[bytes, None]:
            asked.append(rate_hz)
            return super().pieces(source, rate_hz, repeat=repeat)

    async def work(player: Player) -> None:
        stream = LaterStream(player._report)
        player.speaking.use(stream, None)  # type: ignore[arg-type]
        player.speaking.play(commands.Play(url="a.wav"))
        await asyncio.sleep(1)
        assert asked == []
        stream.agree(16_000)
        await asyncio.sleep(1)
        assert asked == [16_000]
        await stream.close()

    with_player(Asked(0.5), work)


def test_paused_file_takes_no_more_and_goes_on_afterwards() -> None:
    async def work(player: Player) -> None:
        player.speaking.play(commands.Play(url="long.wav"))
        await asyncio.sleep(3)
        player.speaking.pause(True)
        await asyncio.sleep(1)
        taken_s = player.files.taken_s
        await asyncio.sleep(100)
        assert player.files.taken_s == taken_s
        player.speaking.pause(False)
        await asyncio.sleep(20)
        assert [event.duration for event in player.events if isinstance(event, events.TrackEnd)] == [20_000]

    with_player(Files(20), work)


def test_file_that_is_replaced_is_let_go_and_the_next_one_begins() -> None:
    async def work(player: Player) -> None:
        player.speaking.play(commands.Play(url="long.wav"))
        await asyncio.sleep(10)
        player.speaking.play(commands.Play(url="other.wav"))
        await asyncio.sleep(0.1)
        assert player.files.n_open == 1
        cut = [event for event in player.events if isinstance(event, events.Interruption)]
        assert [event.play_id for event in cut] == ["long.wav"]
        assert cut[0].current == pytest.approx(10_000, abs=100)

    with_player(Files(600), work)


def test_file_that_fails_is_told_as_an_error_and_its_play_ends() -> None:
    async def work(player: Player) -> None:
        player.speaking.play(commands.Play(url="https://example.com/a.mp3"))
        await asyncio.sleep(5)
        (error,) = [event for event in player.events if isinstance(event, events.Error)]
        assert (error.sender, error.error) == ("play", "https://example.com/a.mp3: 404 Not Found")
        assert [event.duration for event in player.events if isinstance(event, events.TrackEnd)] == [1000]
        assert not player.speaking.is_speaking

    with_player(Files(600, fails_after_s=1.0), work)


# -- graceful interruptions --------------------------------------------------------------------------------------------------------------


class SlowVoice(WholeTextToSpeech):
    """Makes `ms_of` sound for each text, and takes that long for it times `pace`."""

    rate_hz = 8000

    def __init__(self, pace: float) -> None:
        self.pace = pace
        self.asked: list[str] = []

    async def synthesise(self, text: str, *, speaker: str | None = None, speed: float | None = None) -> AsyncGenerator[bytes, None]:
        self.asked.append(text)
        for _ in range(10):
            await asyncio.sleep(self.pace * 0.1)
            yield b"\1\0" * 800


def with_voice(pace: float, work: Callable[[Player, SlowVoice], Awaitable[None]]) -> None:
    async def begin(player: Player) -> None:
        voice = SlowVoice(pace)
        player.speaking.use(None, voice)
        for text in ("One.", "Two.", "Three."):
            player.speaking.tts(commands.Tts(text=text, play_id="talk", streaming=True))
        await work(player, voice)

    with_player(Files(0), begin)


def ends(player: Player) -> list[tuple[str, int]]:
    """What was heard of each play, and for how long; a whole one has no words here."""
    heard = [event for event in player.events if isinstance(event, events.TrackEnd | events.Interruption)]
    return [(event.subtitle, event.current) if isinstance(event, events.Interruption) else ("", event.duration) for event in heard]


@pytest.mark.parametrize("pace", [0.0, 0.2, 0.95])
def test_graceful_interruption_lets_the_command_under_way_be_heard_to_its_end(pace: float) -> None:
    async def work(player: Player, voice: SlowVoice) -> None:
        await asyncio.sleep(1.5)
        player.speaking.interrupt(graceful=True)
        assert not ends(player)
        await asyncio.sleep(3)
        assert ends(player) == [("One. Two.", 2000)]
        assert voice.asked == (["One.", "Two."] if pace > 0.5 else ["One.", "Two.", "Three."])
        player.speaking.tts(commands.Tts(text="Again.", play_id="talk"))
        await asyncio.sleep(3)
        assert ends(player) == [("One. Two.", 2000), ("", 1000)]
        assert not player.speaking.is_speaking

    with_voice(pace, work)


def test_graceful_interruption_of_a_command_that_is_still_being_made_leaves_out_what_has_not_begun() -> None:
    async def work(player: Player, voice: SlowVoice) -> None:
        await asyncio.sleep(0.5)
        player.speaking.interrupt(graceful=True)
        player.speaking.interrupt(graceful=True)
        await asyncio.sleep(5)
        assert ends(player) == [("One.", 1000)]
        assert voice.asked == ["One."]

    with_voice(0.99, work)


def test_graceful_interruption_in_the_last_command_changes_nothing() -> None:
    async def work(player: Player, voice: SlowVoice) -> None:
        player.speaking.tts(commands.Tts(text="", play_id="talk", streaming=True, end_of_stream=True))
        await asyncio.sleep(2.5)
        player.speaking.interrupt(graceful=True)
        await asyncio.sleep(2)
        assert ends(player) == [("", 3000)]
        assert len(voice.asked) == 3

    with_voice(0.0, work)


def test_new_words_in_a_graceful_interruption_end_it() -> None:
    async def work(player: Player, voice: SlowVoice) -> None:
        await asyncio.sleep(1.5)
        player.speaking.interrupt(graceful=True)
        player.speaking.tts(commands.Tts(text="Never mind.", play_id="talk"))
        await asyncio.sleep(3)
        assert ends(player) == [("One.", 1500), ("", 1000)]
        assert voice.asked[-1] == "Never mind."

    with_voice(0.0, work)


# -- several commands, one behind the other ----------------------------------------------------------------------------------------------


def speaking_voice(work: Callable[[Player], Awaitable[None]], pace: float = 0.1) -> None:
    async def begin(player: Player) -> None:
        player.speaking.use(None, SlowVoice(pace))
        await work(player)

    with_player(Files(0), begin)


def tracks(player: Player) -> list[str]:
    """Beginnings and ends of plays, by playId."""
    signs = {events.TrackStart: "+", events.TrackEnd: "-", events.Interruption: "!"}
    return [f"{signs[type(event)]}{event.play_id}" for event in player.events if type(event) in signs]  # type: ignore[union-attr]


@pytest.mark.parametrize("later_s", [0.0, 0.5, 2.5])
def test_sentences_of_one_play_id_are_heard_one_after_another_whenever_they_come(later_s: float) -> None:
    """As clients send them that know no streaming: each a whole command, the last with `endOfStream` and no text."""

    async def work(player: Player) -> None:
        for text in ("One.", "Two."):
            player.speaking.tts(commands.Tts(text=text, play_id="1"))
        await asyncio.sleep(later_s)
        player.speaking.tts(commands.Tts(text="Three.", play_id="1"))
        player.speaking.tts(commands.Tts(text="", play_id="1", end_of_stream=True))
        await asyncio.sleep(6)
        assert ends(player) == ([("", 2000), ("", 1000)] if later_s > 2 else [("", 3000)])
        assert tracks(player) == ["+1", "-1"] * len(ends(player))
        assert not player.speaking.is_speaking

    speaking_voice(work)


@pytest.mark.parametrize(
    ("at_s", "end"),
    [
        (0.6, ("", 500)),  # the sound of the third is not complete
        (1.3, ("One.", 1200)),
        (2.3, ("One. Two.", 2200)),
    ],
)
def test_sentences_that_come_when_the_end_of_the_first_is_known_are_cut_as_one_play(at_s: float, end: tuple[str, int]) -> None:
    async def work(player: Player) -> None:
        for n_words, text in enumerate(("One.", "Two.", "Three.")):
            await asyncio.sleep(0.25 * (n_words > 0))
            player.speaking.tts(commands.Tts(text=text, play_id="1"))
        await asyncio.sleep(at_s - 0.5)
        player.speaking.interrupt()
        await asyncio.sleep(5)
        (told,) = ends(player)
        assert told[0] == end[0] and abs(told[1] - end[1]) <= 120
        assert tracks(player) == ["+1", "!1"]
        (cut,) = [event for event in player.events if isinstance(event, events.Interruption)]
        assert cut.total_duration == (3000 if at_s > 1 else 2900)
        assert not player.speaking._plays

    speaking_voice(work)


def test_graceful_interruption_of_the_first_sentence_leaves_out_those_that_came_when_its_end_was_known() -> None:
    async def work(player: Player) -> None:
        for text in ("One.", "Two."):
            player.speaking.tts(commands.Tts(text=text, play_id="1"))
            await asyncio.sleep(0.3)
        player.speaking.interrupt(graceful=True)
        await asyncio.sleep(5)
        assert ends(player) == [("", 1000)]
        assert tracks(player) == ["+1", "-1"]

    speaking_voice(work)


def test_call_hangs_up_after_the_words_that_were_appended_to_its_last_play() -> None:
    async def work(player: Player) -> None:
        ended: list[float] = []
        player.speaking._on_auto_hangup = lambda: ended.append(player.loop.time())
        player.speaking.tts(commands.Tts(text="One.", play_id="1", auto_hangup=True))
        await asyncio.sleep(0.5)
        player.speaking.tts(commands.Tts(text="Two.", play_id="1"))
        await asyncio.sleep(5)
        assert len(ended) == 1 and ended[0] >= 2.0

    speaking_voice(work)


def test_words_without_play_id_follow_what_plays_and_another_play_id_replaces_it() -> None:
    async def work(player: Player) -> None:
        player.speaking.tts(commands.Tts(text="One.", play_id="a"))
        player.speaking.tts(commands.Tts(text="Two."))
        player.speaking.tts(commands.Tts(text="Three."))
        await asyncio.sleep(2.5)
        assert tracks(player) == ["+a", "-a", "+p1", "-p1", "+p2"]
        player.speaking.tts(commands.Tts(text="Four.", play_id="b"))
        await asyncio.sleep(2)
        assert tracks(player)[5:] == ["!p2", "+b", "-b"]

    speaking_voice(work)


def test_empty_words_with_auto_hangup_end_the_call_after_what_plays() -> None:
    async def work(player: Player) -> None:
        ended: list[float] = []
        player.speaking._on_auto_hangup = lambda: ended.append(player.loop.time())
        player.speaking.tts(commands.Tts(text="One.", play_id="1"))
        await asyncio.sleep(0.5)
        player.speaking.tts(commands.Tts(text="", end_of_stream=True, auto_hangup=True))
        assert not ended
        await asyncio.sleep(2)
        assert len(ended) == 1 and ended[0] >= 1.0

    speaking_voice(work)


def test_file_begins_at_the_wanted_place_under_the_wanted_name() -> None:
    async def work(player: Player) -> None:
        player.speaking.play(commands.Play(url="long.wav", play_id="music", offset_ms=1200))
        await asyncio.sleep(4)
        assert tracks(player) == ["+music", "-music"]
        assert [event.duration for event in player.events if isinstance(event, events.TrackEnd)] == [1800]

    with_player(Files(3), work)
