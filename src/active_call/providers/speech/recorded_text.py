"""The text pushed into a synthesis stream, kept so that a second stream can get the same text when the first one fails."""

from __future__ import annotations

from collections.abc import Callable

from active_call.providers.text_to_speech import SynthesisStream


class RecordedText:
    """Passes text to the attached streams. A stream that is attached later first gets all earlier text."""

    def __init__(self) -> None:
        self._inputs: list[Callable[[SynthesisStream], None]] = []
        self._streams: list[SynthesisStream] = []
        self._pieces: list[str] = []
        self.n_chars = 0
        """The length of all text so far."""
        self.is_flushed = False
        """Sound was requested for some text."""
        self.is_ended = False

    @property
    def has_words(self) -> bool:
        """Whether it contains something to speak."""
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
        """Give `stream` all the text so far and all further text. Several streams may be attached."""
        self._streams.append(stream)
        for give in self._inputs:
            give(stream)

    def detach(self, stream: SynthesisStream) -> None:
        """Stop passing text to `stream`."""
        self._streams = [each for each in self._streams if each is not stream]

    def _give(self, give: Callable[[SynthesisStream], None]) -> None:
        self._inputs.append(give)
        for stream in self._streams:
            give(stream)
