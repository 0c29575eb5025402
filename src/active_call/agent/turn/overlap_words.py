"""What a text over the agent's speech is worth: the words that were probably said, and what kind of text they are.

In: a text and its alternatives, what the agent is saying, the language. Out: the likelier text, its kind. Knows no time and no confidence:
`overlap` decides. The shares were chosen with 166 short utterances of nine voices (decision 101).
"""

from __future__ import annotations

from msgspec import Struct

from active_call.agent.turn.backchannels import Kind, OverlapText, backchannels
from active_call.agent.turn.turn_words import spoken_words, turn_words
from active_call.providers.speech_to_text import Alternative

Alternatives = tuple[Alternative, ...] | None
"""The short replies that are nearly as likely as a final text, the likeliest first; None if the recogniser does not rate them."""

LISTENING_SHARES = (0.02, 0.02, 0.2)
"""A listener's word that is at least this likely, as a share of the likelihood of the recognised text, is what was said: by the number of
words in that text, not counting those of listeners. With more words it is no misheard reply of a listener."""
INSTEAD_SHARE = 0.3
"""The same for a word that stops the agent instead of other words: "Hanging on." for "Hang on." """
SURE_LISTENING_SHARE = 0.5
"""The same for a listener's word instead of one that stops the agent, or of a whole turn ("no", "what?")."""
STOPPING_SHARE = 100.0
"""The same for a word that stops the agent instead of a listener's: hums resemble many words, and "no" has up to 40."""


class OverlapWords(Struct, frozen=True):
    """Reads texts over the agent's words `own`."""

    own: str
    language: str | None = None

    @property
    def is_question(self) -> bool:
        """Whether the agent is asking something: words over it may be the answer."""
        return "?" in self.own or "？" in self.own

    def read(self, text: str) -> OverlapText:
        """The kind of `text`."""
        return backchannels(self.language).read(text, own=self.own, is_question=self.is_question)

    def likelier_text(self, text: str, alternatives: Alternatives) -> str:
        """The final text, or a short reply that is nearly as likely by its sound.

        Who listens says "okay" far more often than two arbitrary words. An answer, or what the agent has just offered, stays as heard.
        """
        if not alternatives or self.is_question or self._is_offered(text):
            return text
        other = alternatives[0]
        least = self._least_share(text, self.read(text), self.read(other.text).kind)
        return other.text if least is not None and other.share >= least else text

    def _least_share(self, text: str, read: OverlapText, other: Kind) -> float | None:
        match read.kind, other:
            case Kind.BACKCHANNEL, _:
                return STOPPING_SHARE
            case Kind.WORDS, Kind.BACKCHANNEL if self._is_whole(text):
                return SURE_LISTENING_SHARE
            case Kind.WORDS, Kind.BACKCHANNEL if read.n_content <= len(LISTENING_SHARES):
                return LISTENING_SHARES[read.n_content - 1]
            case Kind.WORDS, Kind.STOP if read.n_content <= len(LISTENING_SHARES):
                return INSTEAD_SHARE
            case Kind.STOP, Kind.BACKCHANNEL:
                return SURE_LISTENING_SHARE
            case _:
                return None

    def has_rival(self, text: str, alternatives: Alternatives) -> bool:
        """False for a short text that is a whole turn if no listener's word is nearly as likely by its sound: "no", "what?"."""
        is_near = alternatives is None or any(self.read(one.text).kind is Kind.BACKCHANNEL for one in alternatives[:1])
        return is_near or not self._is_whole(text)

    def without_beginning(self, text: str, read: OverlapText) -> OverlapText:
        """The kind of `text` without a first word after which more must follow.

        Who wants the turn goes on after "so" or "but". "So, okay" is what is left of "oh, okay".
        """
        if read.kind is not Kind.WORDS or self.is_question:
            return read
        words = turn_words(self.language)
        if words.is_a_beginning(text):
            return OverlapText(Kind.NOTHING)
        rest = self.read(words.without_beginning(text))
        return rest if rest.kind is Kind.BACKCHANNEL else read

    def _is_whole(self, text: str) -> bool:
        words = turn_words(self.language)
        said = " ".join(spoken_words(text))
        return said in words.whole or said in words.no

    def _is_offered(self, text: str) -> bool:
        """Whether the agent has just said the words itself: "you can have red or white" """
        said = spoken_words(text)
        return bool(said) and set(said) <= set(spoken_words(self.own))
