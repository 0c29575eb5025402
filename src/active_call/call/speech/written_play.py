"""A play whose text is spoken while the model writes it: its pieces, and the stream that speaks them.

Pieces enter as `tts` commands bring them; each piece's sound leaves in order. Pieces with another voice or emotion do not belong to it, nor
does cached speech or sound from elsewhere. Knows no media stream.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from msgspec import Struct
from msgspec.structs import replace

from active_call.agent.reply.speakable import as_pronounced
from active_call.call.speech.play import Job, Piece
from active_call.call.speech.speech_metrics import Made
from active_call.call.speech.words_heard import weight_of
from active_call.codec.resample import StreamResampler
from active_call.contract.options import TtsOption
from active_call.providers.base import TextToSpeech
from active_call.providers.speech.written_text import WrittenSpeech


class VoiceSettings(Struct, frozen=True):
    """The voice settings of speech."""

    speaker: str | None
    speed: float | None
    option: TtsOption | None


def voice_settings_of(job: Job) -> VoiceSettings | None:
    """The voice settings for `job`; None if it is not text to synthesise."""
    if job.pcm or job.source or job.cache_key or not as_pronounced(job.text):
        return None
    return VoiceSettings(job.speaker, job.speed, job.option)


class WrittenPlay:
    """The text of a play from the first piece on, until it ends or the voice settings change."""

    def __init__(self, voice: TextToSpeech, settings: VoiceSettings, now: Callable[[], float]) -> None:
        """`now` gives monotonic seconds."""
        self.voice = voice.name
        self.rate_hz = voice.capabilities.rate_hz
        self._now = now
        self._settings = settings
        self.pieces: list[Piece] = []
        self._asked_at: list[float] = []
        self._first_at: dict[int, float] = {}
        self._n_bytes: dict[int, int] = {}
        self._speech = WrittenSpeech(voice, speaker=settings.speaker, speed=settings.speed)

    def takes(self, job: Job) -> bool:
        """Whether `job` continues it."""
        return not self._speech.is_ended and voice_settings_of(job) == self._settings

    def add(self, piece: Piece) -> None:
        """Add text, to be spoken as soon as possible."""
        self.pieces.append(piece)
        self._asked_at.append(self._now())
        self._speech.say(as_pronounced(piece.text))

    def end(self) -> None:
        """No more text belongs to it. May be called again."""
        self._speech.end()

    async def sound(self) -> AsyncGenerator[tuple[int, bytes, bool], None]:
        """Sound with the number of its piece, and whether it is the last of that piece. Raises ProviderError. Closing this cancels the
        rest.
        """
        async with aclosing(self._speech.sound()) as chunks:
            async for number, chunk in chunks:
                if chunk.pcm:
                    self._first_at.setdefault(number, self._now())
                    self._n_bytes[number] = self._n_bytes.get(number, 0) + len(chunk.pcm)
                yield number, chunk.pcm, chunk.ends_flush

    def made(self, number: int) -> Made | None:
        """The synthesis timing of a piece whose sound is complete; None if there is none."""
        if number not in self._first_at:
            return None
        asked = self._asked_at[number]
        return Made(round((self._first_at[number] - asked) * 1000), round((self._now() - asked) * 1000), self._n_bytes[number])


def goes_on(job: Job) -> bool:
    """Whether `job` continued the text of its play, or ended it. A job that does not belong to it ends it."""
    play, written = job.play, job.play.written
    if written is None:
        return False
    belongs = written.takes(job)
    if belongs:
        play.pieces.append(job.piece)
        written.add(job.piece)
    if play.closed or not belongs:
        written.end()
    return belongs or (play.closed and not (job.text or job.pcm))


async def send_written(
    written: WrittenPlay, job: Job, rate_hz: int, send: Callable[[Job, bytes], None], note_whole: Callable[[Job, Made | None], None]
) -> None:
    """Send the sound of `job`'s text and of all further text, piece by piece. Raises ProviderError."""
    play, resampler, latest = job.play, StreamResampler(written.rate_hz, rate_hz), job
    play.written = written
    written.add(job.piece)
    try:
        async with aclosing(written.sound()) as sound:
            async for number, pcm, is_last in sound:
                if not play.takes_sound:
                    return
                piece = written.pieces[number]
                latest = replace(job, piece=piece, text=piece.text)
                send(latest, resampler.push(pcm))
                if is_last:
                    note_whole(latest, written.made(number))
                    if play.ends_early:
                        return
        send(latest, resampler.flush())
        for number, piece in enumerate(written.pieces):
            if not piece.is_whole and (made := written.made(number)) is not None:
                note_whole(replace(job, piece=piece, text=piece.text), made)
        _share(written.pieces)
    finally:
        play.written = None


def _share(pieces: list[Piece]) -> None:
    """All pieces have been spoken. If the vendor did not separate them, divide the time by their lengths."""
    if not all(piece.is_whole and piece.duration_ms for piece in pieces):
        whole_ms, weight = sum(piece.duration_ms for piece in pieces), weight_of(piece.text for piece in pieces)
        for piece in pieces:
            piece.duration_ms = whole_ms * weight_of([piece.text]) / weight
            piece.is_whole = True
