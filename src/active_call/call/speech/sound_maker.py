"""Produces the sound of one job of `speech_output`: prepared or synthesised speech, text that is still being written, or a file.

The sound goes to the `queue` of `make` piece by piece, s16le mono at the rate of the call's stream.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial

from active_call.agent.reply.speakable import as_pronounced
from active_call.base.errors import MediaError, ProviderError
from active_call.base.world import Clock
from active_call.call.speech import speech_metrics
from active_call.call.speech.output_ports import SoundSource, SpeechStore, VoiceOf
from active_call.call.speech.play import Job, Piece, Play
from active_call.call.speech.prepared_speech import Pieces, SpeechKey, SpeechPreparation
from active_call.call.speech.tts_command import checked, job_of
from active_call.call.speech.words_heard import Pace
from active_call.call.speech.written_play import WrittenPlay, send_written, voice_settings_of
from active_call.codec.resample import StreamResampler
from active_call.contract import commands, events
from active_call.providers.base import TextToSpeech, speech_of

Queue = Callable[[Job, bytes], None]


class SoundMaker:
    """The synthesiser of a call, its sound source, and the speech prepared before it is said."""

    def __init__(self, clock: Clock, pace: Pace, *, sounds: SoundSource | None, speech: SpeechStore | None) -> None:
        """`pace` learns how long texts take; `speech` keeps speech that a command wants cached."""
        self._clock = clock
        self._pace = pace
        self._sounds = sounds
        self._speech = speech
        self.synthesiser: TextToSpeech | None = None
        self.voice_of: VoiceOf = lambda option, current: None
        """Another synthesiser for a command with its own option, if there is one."""
        self.tell_metrics: Callable[[events.Metrics], object] = lambda _: None
        """Gets the `metrics` events of synthesis."""
        self.before_step: Callable[[], None] = lambda: None
        """Called before a further piece of a file is read: many calls ask for one in the same pass of the loop."""
        self._prepared = SpeechPreparation()

    def prepare(self, command: commands.Tts | None) -> None:
        """Synthesise `command` and hold it back until exactly that is said; None: it will not be. Any other speech drops it."""
        self._prepared.drop()
        said = checked(command) if command is not None and self.synthesiser is not None else None
        if command is not None and said is not None and said.text:
            job = job_of(said, Play(""), Piece(said.text), command)
            self._prepared.begin(self._key_of(job), self._pcm_of(job))

    def _key_of(self, job: Job) -> SpeechKey:
        return SpeechKey(job.text, job.speaker, job.speed, job.cache_key, job.option, id(self.synthesiser))

    def _pieces_of(self, job: Job) -> Pieces:
        """The sound of `job`: the prepared speech if it matches."""
        return (self._prepared.take(self._key_of(job)) if job.text else None) or self._pcm_of(job)

    async def make(self, job: Job, rate_hz: int, queue: Queue) -> None:
        """Send all sound of `job` at `rate_hz` to `queue`. Raises ActiveCallError if it cannot be produced."""
        if job.source:
            await self._sound_file(job, rate_hz, queue)
            return
        if (written := self._written_from(job)) is not None:
            await send_written(written, job, rate_hz, queue, partial(self._note_written, written.voice))
            return
        resampler: StreamResampler | None = None
        voice = getattr(self.synthesiser, "name", "tts")
        made = speech_metrics.measured(job, self._pieces_of(job), voice, self.tell_metrics, self._clock.now, self._speech)
        async with aclosing(made) as pieces:
            async for pcm, voice_rate_hz in pieces:
                if not job.play.takes_sound:
                    return
                if resampler is None:
                    resampler = StreamResampler(voice_rate_hz, rate_hz)
                queue(job, resampler.push(pcm))
        if resampler is not None:
            queue(job, resampler.flush())
        if job.piece.duration_ms == 0 and job.play.takes_sound and any(char.isalnum() for char in job.text):
            raise ProviderError(getattr(self.synthesiser, "name", "tts"), "the synthesiser returned no sound")

    def _written_from(self, job: Job) -> WrittenPlay | None:
        """A stream for `job` and for later words that are not known yet, if the voice supports that.

        Complete text is synthesised sentence by sentence instead, so that it can be cached and shared with other calls.
        """
        play, settings = job.play, voice_settings_of(job)
        if play.closed or play.n_jobs != 1 or settings is None or self.synthesiser is None or self._prepared.has(self._key_of(job)):
            return None
        voice = self.voice_of(job.option, self.synthesiser) or self.synthesiser
        if not voice.capabilities.streaming_text:
            return None
        self._prepared.drop()
        return WrittenPlay(voice, settings, self._clock.now)

    def note_whole(self, job: Job) -> None:
        """All sound of the piece was sent."""
        job.piece.is_whole = True
        self._pace.learn(job.text, job.piece.duration_ms)

    def _note_written(self, voice: str, job: Job, made: speech_metrics.Made | None) -> None:
        self.note_whole(job)
        if made is not None:
            speech_metrics.completed(job, made, voice, self.tell_metrics)

    async def _sound_file(self, job: Job, rate_hz: int, queue: Queue) -> None:
        """Send a file at playing speed, some seconds ahead."""
        if self._sounds is None:
            raise MediaError(f"{job.source}: this server cannot play sounds")
        play, n_skipped = job.play, job.skipped_ms * rate_hz // 1000 * 2
        async with aclosing(self._sounds.pieces(job.source, rate_hz, repeat=job.repeats)) as pieces:
            async for piece in pieces:
                pcm = piece[n_skipped:]
                n_skipped = max(0, n_skipped - len(piece))
                if not play.takes_sound or (play.finishing and job.repeats):
                    return
                queue(job, pcm)
                play.room_ms -= len(pcm) / 2 * 1000 / rate_hz
                while play.room_ms <= 0 and play.takes_sound:
                    play.has_news.clear()
                    await play.has_news.wait()
                self.before_step()

    async def _pcm_of(self, job: Job) -> AsyncGenerator[tuple[bytes, int], None]:
        if job.pcm:
            yield job.pcm, job.rate_hz
        elif text := as_pronounced(job.text):
            if self.synthesiser is None:
                raise MediaError("no speech synthesis is configured for this call")
            other = self.voice_of(job.option, self.synthesiser)
            async with aclosing(self._speech_of(job, text, other or self.synthesiser)) as speech:
                async for piece in speech:
                    yield piece

    def _speech_of(self, job: Job, text: str, synthesiser: TextToSpeech) -> AsyncGenerator[tuple[bytes, int], None]:
        if job.cache_key and self._speech is not None:
            return self._speech.pieces(job.cache_key, synthesiser, text, speaker=job.speaker, speed=job.speed)
        return _synthesised(job, text, synthesiser)


async def _synthesised(job: Job, text: str, synthesiser: TextToSpeech) -> AsyncGenerator[tuple[bytes, int], None]:
    rate_hz = synthesiser.capabilities.rate_hz
    async with aclosing(speech_of(synthesiser, text, speaker=job.speaker, speed=job.speed)) as chunks:
        async for chunk in chunks:
            yield chunk.pcm, rate_hz
