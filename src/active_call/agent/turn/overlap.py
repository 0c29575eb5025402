"""Decide whether the agent's reply continues when the caller speaks over it. Pure: facts in, a verdict out.

The reply is paused at once. The first matching rule decides:

| the caller                                                     | verdict                                     |
|----------------------------------------------------------------|---------------------------------------------|
| asks to stop                                                   | yield                                       |
| said 3 words that are not back-channels (1 in the first second of the reply, or in a final text) | yield     |
| has spoken for 1 s, with one such word                         | yield                                       |
| still speaks                                                   | wait, until 2 s after the pause; then yield |
| is silent after an echo of our words or a final back-channel   | resume                                      |
| is silent after back-channels so far                           | resume after 0.3 s of silence               |
| is silent, spoke for less than 0.5 s, without words            | resume after 0.35 s of silence              |
| is silent, spoke longer, without words or with too few         | resume after 0.7 s of silence               |

Before all of these: a final text that `is_doubtful` resumes the reply, and partial words that are `is_unsure` are no words. Words that
arrive after a resume interrupt the reply like any others.
"""

from __future__ import annotations

from msgspec import Struct

from active_call.agent.turn.backchannels import Kind, OverlapText

ENOUGH_WORDS = 3
"""Number of words other than back-channels that take the turn while the caller still speaks."""
LONG_SPEECH_S = 1.0
MAX_S = 2.0
"""A longer overlap is decided: nobody speaks over somebody that long by accident."""
FIRST_S = 1.0
"""If the caller speaks into the first second of a reply, the turn was probably not over."""
FALSE_START_S = 0.25
"""If the caller speaks this soon after the reply became audible, the turn was not over: nobody answers this fast."""
LAST_MS = 1000
"""With less than this left, a reply is not paused: it ends, and the caller has the turn."""
SHORT_SPEECH_S = 0.5
DOUBTFUL_WORDS = 2
DOUBTS = ((0.25, 0.9), (0.5, 0.8))
"""A final text of at most two words from a sound shorter than this (s) needs at least this confidence. Back-channels ("uh-huh", "yeah",
"right, right") are misrecognised as two arbitrary words with 0.4 to 0.8. A third step, 0.72 below 0.95 s, would halve what is left of them
and cost as many interruptions."""
WITHOUT_RIVAL = 0.4
"""The same for a text that is a whole turn ("no", "what?") if no listener's word is nearly as likely by its sound."""
BACKCHANNEL_S = 1.2
BACKCHANNEL_CONFIDENCE = 0.7
"""The same for three words, if a partial text of the same sound was a back-channel, of which the recogniser was surer."""
UNSURE_PARTIAL = 0.6
"""Partial texts of up to three words with less confidence are no words yet: the final text decides."""
SHORT_PARTIAL_S, SURE_PARTIAL = 1.2, 0.8
"""Nor are partial texts of shorter speech with less confidence than this: drafts of a short reply are other words half of the time, and the
agent is silent until the final text decides."""
AFTER_BACKCHANNEL_S = 0.3
AFTER_SHORT_S = 0.35
AFTER_LONG_S = 0.7


class Overlap(Struct, frozen=True):
    """The facts of speech over a paused reply. Times are monotonic seconds."""

    paused_at: float
    voice_began_at: float
    text: OverlapText
    is_final: bool = False
    """The text is final."""
    voice_ended_at: float | None = None
    """None: the caller still speaks."""
    is_early: bool = False
    """It began in the first second of the reply."""


class Yield(Struct, frozen=True):
    """The caller takes the turn."""


class Resume(Struct, frozen=True):
    """The reply continues."""


class AskAgain(Struct, frozen=True):
    """Not decided. Without a new fact ask again at `at`."""

    at: float


OverlapVerdict = Yield | Resume | AskAgain


def decide(overlap: Overlap, now: float) -> OverlapVerdict:
    """The verdict by the table above. Some time after the last fact it is always Yield or Resume."""
    text = overlap.text
    enough = 1 if overlap.is_final or overlap.is_early else ENOUGH_WORDS
    if text.kind is Kind.STOP or (text.kind is Kind.WORDS and text.n_content >= enough):
        return Yield()
    if overlap.voice_ended_at is None:
        ask_at = overlap.paused_at + MAX_S
        if text.kind is Kind.WORDS:
            ask_at = min(ask_at, overlap.voice_began_at + LONG_SPEECH_S)
        return Yield() if now >= ask_at else AskAgain(ask_at)
    spoke_s = overlap.voice_ended_at - overlap.voice_began_at
    if text.kind is Kind.WORDS and spoke_s >= LONG_SPEECH_S:
        return Yield()
    if text.kind is Kind.ECHO or (text.kind is Kind.BACKCHANNEL and overlap.is_final):
        return Resume()
    resume_at = overlap.voice_ended_at + _patience_s(text, spoke_s)
    return Resume() if now >= resume_at else AskAgain(resume_at)


def is_doubtful(text: OverlapText, confidence: float | None, spoke_s: float, *, backchannel: float = 0.0, has_rival: bool = True) -> bool:
    """Whether a final text is too doubtful to take the turn: few words, from a short sound (`spoke_s` seconds), with low confidence. A
    listening caller must not stop the agent; a caller who wants the turn continues to speak.

    `backchannel`: the recogniser's highest confidence in an earlier text of the same sound that was a back-channel; 0 without one.
    `has_rival`: the text is no whole turn in itself, or a listener's word may be nearly as likely by its sound.
    """
    if text.kind is not Kind.WORDS or confidence is None:
        return False
    if not has_rival:
        return text.n_content <= DOUBTFUL_WORDS and spoke_s < SHORT_SPEECH_S and confidence < WITHOUT_RIVAL
    if text.n_content <= DOUBTFUL_WORDS and any(spoke_s < shorter_s and confidence < sure for shorter_s, sure in DOUBTS):
        return True
    is_likelier = backchannel > confidence and confidence < BACKCHANNEL_CONFIDENCE
    return is_likelier and text.n_content <= DOUBTFUL_WORDS + 1 and spoke_s < BACKCHANNEL_S


def is_unsure(text: OverlapText, confidence: float | None, spoke_s: float) -> bool:
    """Whether the words of a partial text are too doubtful to count before the final text. `spoke_s`: the speech so far, in seconds."""
    if text.kind is not Kind.WORDS or confidence is None:
        return False
    is_few = text.n_content <= ENOUGH_WORDS and confidence < UNSURE_PARTIAL
    return is_few or (spoke_s < SHORT_PARTIAL_S and confidence < SURE_PARTIAL)


def _patience_s(text: OverlapText, spoke_s: float) -> float:
    if text.kind is Kind.BACKCHANNEL:
        return AFTER_BACKCHANNEL_S
    return AFTER_SHORT_S if text.kind is Kind.NOTHING and spoke_s < SHORT_SPEECH_S else AFTER_LONG_S
