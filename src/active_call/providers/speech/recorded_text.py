"""The text that was pushed into a synthesis stream, kept so that a second stream can be given the same when the first one fails."""

from __future__ import annotations

from collections.abc import Callable

from active_call.providers.text_to_speech import SynthesisStream


class RecordedText:
    """Passes text on to the attached stream, and gives a stream that is attached later all that came before."""

    def __init__(self) -> None:
        self._inputs: list[Callable[[SynthesisStream], None]] = []
        self._stream: SynthesisStream | None = None
        self._pieces: list[str] = []
        self.n_chars = 0
        """Of all text so far."""
        self.is_flushed = False
        """The sound of some text was asked for."""
        self.is_ended = False

    @property
    def has_words(self) -> bool:
        """Something of it can be heard."""
        return any(char.isalnum() for piece in self._pieces for char in piece)

    def push_text(self, text: str) -> None:
        self._pieces.append(text)
        self.n_chars += len(text)
        self._give(lambda stream: stream.push_text(text))

    def flush(self) -> None:
        self.is_flushed = True
        self._give(lambda stream: stream.flush())

    def end_text(self) -> None:
        self.is_flushed = self.is_ended = True
        self._give(lambda stream: stream.end_text())

    def attach(self, stream: SynthesisStream) -> None:
        """Give `stream` all the text so far, and what comes from now on."""
        self._stream = stream
        for give in self._inputs:
            give(stream)

    def detach(self, stream: SynthesisStream) -> None:
        """`stream` gets no more text."""
        if self._stream is stream:
            self._stream = None

    def _give(self, give: Callable[[SynthesisStream], None]) -> None:
        self._inputs.append(give)
        if self._stream is not None:
            give(self._stream)
