"""The text that was pushed into a synthesis stream, kept so that a second stream can be given the same when the first one fails."""

from __future__ import annotations

from collections.abc import Callable

from active_call.providers.text_to_speech import SynthesisStream


class RecordedText:
    """Passes text on to the attached streams, and gives a stream that is attached later all that came before."""

    def __init__(self) -> None:
        self._inputs: list[Callable[[SynthesisStream], None]] = []
        self._streams: list[SynthesisStream] = []
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
        """Give `stream` all the text so far, and what comes from now on. Several streams may be attached."""
        self._streams.append(stream)
        for give in self._inputs:
            give(stream)

    def detach(self, stream: SynthesisStream) -> None:
        """`stream` gets no more text."""
        self._streams = [each for each in self._streams if each is not stream]

    def _give(self, give: Callable[[SynthesisStream], None]) -> None:
        self._inputs.append(give)
        for stream in self._streams:
            give(stream)
