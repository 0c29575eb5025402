"""The agent's side of the conversation: `tts` and `play` commands enter, queued sound and the events of plays leave.

Commands become jobs. One task processes them in order, so that sentences are synthesised ahead of playback. A play (playId) consists of
pieces; the text and the samples of each piece are kept, so that an interruption can say which words were heard. A stopped play drops its
unfinished jobs, and the current job is cancelled at once. A play whose sound fails ends with the sound so far: an `error` event says so,
and `trackEnd` says what was heard (`subtitle`). A file is sent only some seconds ahead of playback.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from active_call.base.errors import ActiveCallError, MediaError
from active_call.base.world import Clock
from active_call.call.speech import speech_metrics
from active_call.call.speech.latency import TurnClock
from active_call.call.speech.output_ports import PLAIN_PAUSE, SoundSource, SpeechStore, VoicePauseOrder
from active_call.call.speech.play import AGAIN, AHEAD_MS, Job, Piece, Play, told_id
from active_call.call.speech.sound_maker import SoundMaker
from active_call.call.speech.tts_command import checked, job_of
from active_call.call.speech.words_heard import Pace, heard_words, word_began_ms
from active_call.call.speech.written_play import goes_on
from active_call.contract import commands, events
from active_call.media.link.messages import PlayEnded, PlayLow, PlayStarted
from active_call.media.pool.pool import MediaStream
from active_call.providers.base import TextToSpeech

logger = logging.getLogger(__name__)

DEFAULT_FADE_MS = 40
MAX_BACK_MS = 400
"""A word that began earlier than this is not repeated."""


class SpeechOutput:
    """Produces the call's sound. `emit` takes contract events; `on_auto_hangup` is called when a play with auto-hangup has been heard."""

    def __init__(
        self,
        *,
        emit: Callable[[events.Event], None],
        clock: Clock,
        turn: TurnClock,
        on_auto_hangup: Callable[[], None],
        sounds: SoundSource | None,
        speech: SpeechStore | None = None,
    ) -> None:
        self._emit = emit
        self._clock = clock
        self._turn = turn
        self._on_auto_hangup = on_auto_hangup
        self._jobs: asyncio.Queue[Job] = asyncio.Queue()
        self._plays: dict[str, Play] = {}
        self._items: dict[str, Play] = {}
        """Plays of `add_sound` that have not ended, by playId."""
        self._stream: MediaStream | None = None
        self._n_unnamed = 0
        self._n_again = 0
        self._at_work: Play | None = None
        self._given_up: asyncio.Future[None] | None = None
        """Resolved when the current synthesis is cancelled."""
        self._ending: set[asyncio.Task[None]] = set()
        """Tasks that have not ended yet; some may be cancelled."""
        self._pace = Pace()
        self.maker = SoundMaker(clock, self._pace, sounds=sounds, speech=speech)
        self.pause_options = PLAIN_PAUSE
        """How the next pause fades, and how it resumes."""
        self._is_paused = False
        self._paused_at: float | None = None
        self._pause_on_voice: VoicePauseOrder | None = None

    def use(self, stream: MediaStream | None, synthesiser: TextToSpeech | None) -> None:
        """Send sound to `stream` and speak with `synthesiser` from now on; None leaves either unchanged. Commands may come before this."""
        if stream is not None:
            self._stream = stream
            if self._is_paused:
                stream.pause(True)
            if self._pause_on_voice is not None:
                self.pause_on_voice(self._pause_on_voice)
        self.maker.synthesiser = synthesiser or self.maker.synthesiser

    @property
    def synthesiser(self) -> TextToSpeech | None:
        """The voice of the call; None before there is one."""
        return self.maker.synthesiser

    @property
    def is_speaking(self) -> bool:
        """Whether something plays or is queued."""
        return any(not play.stopped for play in self._plays.values())

    def live_plays(self) -> list[str]:
        """The playIds of all plays that have not ended, stopped or not."""
        return [play.play_id for play in self._plays.values()]

    # -- commands

    def tts(self, command: commands.Tts) -> None:
        """Speak. Raises LocalProtocolError for values that cannot be spoken."""
        said = checked(command)
        play = self._play_for(said.play_id)
        play.auto_hangup = play.auto_hangup or command.auto_hangup
        piece = Piece(said.text)
        play.closed = command.end_of_stream or not command.streaming
        job = job_of(said, play, piece, command)
        if not goes_on(job):
            self._add_job(job)
        if piece.text:
            self._turn.mark("synthesis_asked_at", self._clock.now())
            speech_metrics.spoken(piece.text, play.play_id, self.maker.tell_metrics)

    def play(self, command: commands.Play, *, repeat: bool = False) -> None:
        """Play a file or URL in place of everything else; with `repeat` (music on hold) in a loop, until it is replaced or stopped."""
        self.interrupt()
        play = self._add_play(command.play_id or command.url)
        play.auto_hangup, play.closed = command.auto_hangup, True
        self._add_job(Job(play, Piece(""), source=command.url, skipped_ms=command.offset_ms or 0, repeats=repeat))

    def _add_job(self, job: Job) -> None:
        job.play.pieces.append(job.piece)
        job.play.n_jobs += 1
        self._jobs.put_nowait(job)

    @property
    def rate_hz(self) -> int | None:
        """The rate of the current stream; None if there is none yet."""
        return self._stream.rate_hz if self._stream is not None else None

    def add_sound(self, play_id: str, pcm: bytes, text: str, *, is_last: bool = False) -> bool:
        """More sound of a play that is produced elsewhere, s16le mono at `rate_hz`; `text`: the words of the play so far.

        The first of it replaces the current play. False if the play was stopped, and if there is no stream.
        """
        play = self._items.get(play_id)
        if play is None:
            self.interrupt()
            play = self._items[play_id] = self._add_play(play_id)
            play.pieces.append(Piece(""))
        if play.stopped or self._stream is None:
            return False
        piece = play.pieces[0]
        piece.text = text
        self._queue(Job(play, piece), pcm)
        if is_last:
            play.closed = piece.is_whole = True
            self._end(play)
        return True

    def forget_items(self) -> None:
        """Later plays of `add_sound` are new, whatever their ids: another model may number its items like the previous one."""
        self._items.clear()

    def interrupt(self, *, fade_ms: int | None = None, graceful: bool = False) -> None:
        """Stop all plays; with `graceful`, finish the current command and drop those after it."""
        plays = [play for play in self._plays.values() if not play.stopped]
        if graceful and plays:
            self._finish(plays.pop(0))
        for play in plays:
            self._stop(play, DEFAULT_FADE_MS if fade_ms is None else fade_ms)

    def leave_stream(self) -> None:
        """The call leaves this stream, whose reports no longer come: all plays end here, reported with the words heard so far."""
        now = self._clock.now() if self._paused_at is None else self._paused_at
        for play in list(self._plays.values()):
            self._stop(play, DEFAULT_FADE_MS)
            heard_ms = 0.0 if play.started_at is None else max(0.0, now - play.started_at) * 1000
            queued_ms = sum(piece.duration_ms for piece in play.pieces)
            self.play_ended(PlayEnded(0, play.id, False, min(heard_ms, queued_ms), queued_ms, now))

    def pause(self, paused: bool) -> None:
        """Pause at this sample, or continue from it. It also applies to every stream set by `use` later.

        `pause_options` says how.
        """
        if paused == self._is_paused:
            return
        self._is_paused = paused
        back_ms = 0 if paused else self._back_ms()
        self._note_pause(back_ms, is_over=not paused)
        if self._stream is not None:
            self._stream.pause(paused, fade_ms=self.pause_options.fade_ms if paused else 0, back_ms=back_ms)

    def pause_on_voice(self, order: VoicePauseOrder | None) -> None:
        """Let the media process itself pause when the caller begins to speak, once, or (None) no longer. `paused_on_voice` follows."""
        self._pause_on_voice = order
        if self._stream is None:
            return
        if order is None:
            self._stream.pause_on_voice(False)
        else:
            self._stream.pause_on_voice(True, voiced_ms=order.voiced_ms, unless_left_ms=order.unless_left_ms, fade_ms=order.fade_ms)

    def paused_on_voice(self, at: float) -> None:
        """The media process paused by itself at `at`; nothing was played since. The state here is paused too."""
        self._pause_on_voice = None
        if self._is_paused and self._paused_at is not None:
            self._paused_at = min(self._paused_at, at)

    def left_ms(self) -> float | None:
        """How much of the current play is left; None if nothing plays, or its end is unknown."""
        now = self._clock.now() if self._paused_at is None else self._paused_at
        plays = [play for play in self._plays.values() if not (play.is_over or play.stopped)]
        if len(plays) != 1 or plays[0].started_at is None or not (plays[0].closed and plays[0].is_heard_to_its_end):
            return None
        return sum(piece.duration_ms for piece in plays[0].pieces) - (now - plays[0].started_at) * 1000

    def _back_ms(self) -> int:
        """The time from the paused sample back to the beginning of the word."""
        if not self.pause_options.resumes_at_word or self._paused_at is None:
            return 0
        for play in self._plays.values():
            if play.started_at is not None and not (play.is_over or play.stopped):
                heard_ms = max(0.0, self._paused_at - play.started_at) * 1000
                return round(min(MAX_BACK_MS, heard_ms - word_began_ms(play.pieces, heard_ms, self._pace)))
        return 0

    def _note_pause(self, back_ms: int, *, is_over: bool) -> None:
        """Paused time does not count as heard, nor does sound that will be repeated."""
        now = self._clock.now()
        if is_over and self._paused_at is not None:
            for play in self._plays.values():
                if play.started_at is not None:
                    play.started_at += now - max(self._paused_at, play.started_at) + back_ms / 1000
        self._paused_at = None if is_over else now

    def _play_for(self, play_id: str | None) -> Play:
        """The play for the words of a `tts` command.

        Without a playId they play after everything queued. With the playId of the current play they are appended to it. If the media
        process already knows the end of that, they are a further part of it for events. Any other playId replaces the current play.
        """
        if play_id is None:
            self._n_unnamed += 1
            return self._add_play(f"p{self._n_unnamed}")
        same = next((play for play in reversed(self._plays.values()) if play.play_id == play_id and play.takes_sound), None)
        if same is None or same.finishing:
            self.interrupt()
            return self._add_play(play_id)
        return self._add_play(play_id, follows=same) if same.is_ended and same.closed else same

    def _add_play(self, play_id: str, *, follows: Play | None = None) -> Play:
        """A new play after all others. Its name in the media process is unique among plays that have not ended."""
        self._n_again += play_id in self._plays
        name = f"{play_id}{AGAIN}{self._n_again}" if play_id in self._plays else play_id
        play = self._plays[name] = Play(name, follows=follows)
        return play

    def _stop(self, play: Play, fade_ms: int) -> None:
        if not play.stopped:
            play.stopped = True
            play.has_news.set()
            self._abandon(play)
            if self._stream is not None:
                self._stream.stop(play.id, fade_ms)
            if play.follows is not None and not (play.is_known or play.is_over):  # no report follows
                self._end_of(play, PlayEnded(0, play.id, False, 0.0, 0.0, self._clock.now()))

    def _finish(self, play: Play) -> None:
        """Let the media process finish the current command. It learns a command's end once all of its sound is complete."""
        play.finishing = True
        if self._stream is not None:
            self._stream.finish(play.id, play.boundaries(self._stream.rate_hz))
            if self._at_work is not play:
                self._end(play)

    def _end(self, play: Play) -> None:
        """No more sound for this play."""
        if self._stream is not None and not (play.stopped or play.is_ended):
            play.is_ended = play.is_known = True
            self._stream.queue_audio(play.id, b"", end=True)

    # -- the task that produces sound

    async def run(self) -> None:
        """Process the jobs, one after another, until cancelled."""
        try:
            while True:
                await self._work_off(await self._jobs.get())
        finally:
            self.maker.prepare(None)

    async def _work_off(self, job: Job) -> None:
        """Produce the sound of `job`. Returns at once when its play is stopped, even if the synthesiser has not ended by then."""
        play = job.play
        if play.stopped or play.ends_early:
            return
        loop = asyncio.get_running_loop()
        work = loop.create_task(self._make(job), name="speech")
        self._ending.add(work)
        work.add_done_callback(self._ending.discard)
        self._at_work, self._given_up = play, loop.create_future()
        try:
            await asyncio.wait([work, self._given_up], return_when=asyncio.FIRST_COMPLETED)
        finally:
            work.cancel()
            self._at_work = self._given_up = None
        play.n_jobs -= 1
        if (play.closed and not play.n_jobs) or play.ends_early:
            self._end(play)

    def _abandon(self, play: Play) -> None:
        """Stop waiting for the sound of `play`."""
        if self._at_work is play and self._given_up is not None and not self._given_up.done():
            self._given_up.set_result(None)

    async def _make(self, job: Job) -> None:
        try:
            if self._stream is None:
                raise MediaError("the call has no media stream yet")
            await self._stream.rate_known()
            await self.maker.make(job, self._stream.rate_hz, self._queue)
            if job.play.takes_sound and not job.piece.is_whole:
                self.maker.note_whole(job)
        except ActiveCallError as error:
            self._fail(job, str(error))
        except Exception as error:  # a synthesiser outside the provider wall
            logger.exception("sound could not be made")
            self._fail(job, f"unforeseen {type(error).__name__}: {error}")

    def _fail(self, job: Job, reason: str) -> None:
        """Its sound failed: the sound so far is played, and the later pieces of the play are left out."""
        if job.play.takes_sound:
            job.play.failed = True
            self._emit(events.Error(sender="tts" if job.text else "play", error=reason))

    def _queue(self, job: Job, pcm: bytes) -> None:
        if not pcm or self._stream is None or job.play.stopped:
            return
        job.piece.duration_ms += len(pcm) / 2 * 1000 / self._stream.rate_hz
        audible_at = job.play.lead.take(pcm, self._stream.rate_hz, self._clock.now())
        if audible_at is not None:
            self._turn.mark("synthesised_at", audible_at)
        job.play.is_known = True
        self._stream.queue_audio(job.play.id, pcm)

    # -- reports of the media stream

    def play_started(self, report: PlayStarted) -> str:
        """The first packet has left. Returns the text of the play as far as it is known."""
        play = self._plays.get(report.play)
        if play is None or not play.is_told:
            self._emit(events.TrackStart(play_id=told_id(report.play)))
        if play is None:
            return ""
        play.is_told = True
        play.started_at = self._clock.now()
        return play.text

    def heard_so_far(self, now: float) -> tuple[str, str] | None:
        """The current playId, and its words heard until `now`; None if nothing plays."""
        now = now if self._paused_at is None else self._paused_at
        for play in self._plays.values():
            if play.started_at is not None and not play.is_over:
                return play.play_id, heard_words(play.pieces, max(0.0, now - play.started_at) * 1000)[0]
        return None

    def play_low(self, report: PlayLow) -> None:
        """The media process accepts more of a file."""
        play = self._plays.get(report.play)
        if play is not None:
            play.room_ms = AHEAD_MS - report.left_ms
            play.has_news.set()

    def play_ended(self, report: PlayEnded) -> None:
        """A play has ended, complete or cut off: report its end, with the words heard."""
        play = self._plays.get(report.play)
        if play is not None:
            self._end_of(play, report)
        elif report.completed:
            self._emit(events.TrackEnd(play_id=told_id(report.play), duration=round(report.heard_ms)))

    def _end_of(self, play: Play, report: PlayEnded) -> None:
        play.is_over_with(report.heard_ms, report.queued_ms)
        following = next((one for one in self._plays.values() if one.follows is play), None)
        completed = report.completed and (play.failed or play.is_heard_to_its_end) and (play.finishing or not play.cut_ms)
        is_last = following is None
        if following is not None:
            play.go_on_with(following)
        elif play.follows is not None and not play.follows.is_over:  # cut off before it began
            play.follows.cut_ms += play.queued_ms + play.cut_ms
            is_last = False
        else:
            self._tell_end(play, completed=completed)
        self._plays.pop(play.id, None)
        if self._items.get(play.play_id) is play:
            del self._items[play.play_id]
        play.is_over = True
        play.has_news.set()
        self._abandon(play)
        if completed and is_last and play.auto_hangup:
            self._on_auto_hangup()

    def _tell_end(self, play: Play, *, completed: bool) -> None:
        """The event for the end of a playId, with all its parts."""
        heard, position = heard_words([*play.earlier, *play.pieces], play.heard_ms, self._pace)
        if completed:
            subtitle = heard if play.failed else None
            ends_call = True if play.auto_hangup else None
            self._emit(events.TrackEnd(play_id=play.play_id, duration=round(play.heard_ms), subtitle=subtitle, auto_hangup=ends_call))
            return
        self._emit(
            events.Interruption(
                play_id=play.play_id,
                subtitle=heard,
                position=position,
                total_duration=round(play.queued_ms + play.cut_ms),
                current=round(play.heard_ms),
            )
        )
