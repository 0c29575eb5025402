"""Decides what becomes of the agent's reply when the caller speaks over it. Pure: facts in, a verdict out.

The reply is paused at once; this says whether it goes on. In the order of the rules, the first that fits:

| the caller                                                     | verdict                                     |
|----------------------------------------------------------------|---------------------------------------------|
| asks to stop                                                   | yield                                       |
| said words that are no back-channel, 3 of them (1 in the first second of the reply, or in a final text) | yield |
| has spoken for 1 s, with one such word                         | yield                                       |
| still speaks                                                   | wait, until 2 s after the pause; then yield |
| is silent, and it was an echo of our words, or a final back-channel | resume                                 |
| is silent, and said back-channels so far                       | resume after 0.3 s of silence               |
| is silent, spoke for less than 0.5 s, without words            | resume after 0.35 s of silence              |
| is silent, spoke longer, without words or with too few         | resume after 0.7 s of silence               |

Before all of these: a final text that `is_doubtful` lets the reply go on. Words that come after a resume interrupt the reply like any
others.
"""

from __future__ import annotations

from dataclasses import dataclass

from active_call.agent.turn.backchannels import Kind, OverlapText

ENOUGH_WORDS = 3
"""So many words that are no back-channel take the turn while the caller still speaks."""
LONG_SPEECH_S = 1.0
MAX_S = 2.0
"""An overlap that lasts longer is decided: nobody speaks over somebody for so long by chance."""
FIRST_S = 1.0
"""The caller speaks into the first second of a reply: it is likely that the turn was not over."""
LAST_MS = 1000
"""With less than this left of a reply, it is not paused: it ends, and the caller has the turn."""
SHORT_SPEECH_S = 0.5
DOUBTFUL_S = 0.5
DOUBTFUL_WORDS = 2
SURE_CONFIDENCE = 0.8
"""Of a recogniser's text, 0 to 1. Short sounds of a listener ("uh-huh", "yeah") become any two words with 0.55 to 0.8."""
SURE_AFTER_BACKCHANNEL = 0.85
AFTER_BACKCHANNEL_S = 0.3
AFTER_SHORT_S = 0.35
AFTER_LONG_S = 0.7


@dataclass(frozen=True, slots=True)
class Overlap:
    """What is known of speech over a paused reply. Times are monotonic seconds."""

    paused_at: float
    voice_began_at: float
    text: OverlapText
    is_final: bool = False
    """The recogniser has decided on the text."""
    voice_ended_at: float | None = None
    """None: the caller still speaks."""
    is_early: bool = False
    """It began in the first second of the reply."""


@dataclass(frozen=True, slots=True)
class Yield:
    """The caller takes the turn."""


@dataclass(frozen=True, slots=True)
class Resume:
    """The reply goes on."""


@dataclass(frozen=True, slots=True)
class AskAgain:
    """Not decided; without a new fact ask again at `at`."""

    at: float


OverlapVerdict = Yield | Resume | AskAgain


def decide(overlap: Overlap, now: float) -> OverlapVerdict:
    """The verdict by the table above. Some time after the last fact it is Yield or Resume."""
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


def is_doubtful(text: OverlapText, confidence: float | None, spoke_s: float, *, after_backchannel: bool = False) -> bool:
    """Whether a final text is too doubtful to take the turn: two words at most, of a short sound (in seconds), of which the recogniser is
    not sure. Who only listens must not stop the agent; who wants the turn goes on.

    `after_backchannel`: the same sound was heard as a back-channel before; then the recogniser must be surer.
    """
    is_short = spoke_s < DOUBTFUL_S and text.n_content <= DOUBTFUL_WORDS + int(after_backchannel)
    sure = SURE_AFTER_BACKCHANNEL if after_backchannel else SURE_CONFIDENCE
    return text.kind is Kind.WORDS and is_short and confidence is not None and confidence < sure


def _patience_s(text: OverlapText, spoke_s: float) -> float:
    if text.kind is Kind.BACKCHANNEL:
        return AFTER_BACKCHANNEL_S
    return AFTER_SHORT_S if text.kind is Kind.NOTHING and spoke_s < SHORT_SPEECH_S else AFTER_LONG_S
