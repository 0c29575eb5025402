"""The answers of a script in one call: which entry answers, which are used in turn, and when a confirmation is asked.

In: recognised texts with the recogniser's confidence. Out: templates for a reply. An entry that ends or transfers the call is used only on
a strong match (`matching/ranking`). Otherwise the caller is asked "Did you mean …?", and the entry waits for a yes:

| after the question, the caller …                       | then                        |
|--------------------------------------------------------|-----------------------------|
| says yes                                               | the entry's reply           |
| says only no                                           | the next `## *`             |
| says something else that an entry answers              | that entry, by its own rule |
| repeats the words, not more certain; or no entry fits  | the next `## *`             |
| is silent, presses a key, or did not hear the question | the question is dropped     |
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from active_call.agent.matching.yes_no import equal_answers, is_nod, yes_or_no
from active_call.agent.playbook.scenes import Playbook
from active_call.agent.script import Entry, Found, Script
from active_call.agent.turn.backchannels import backchannels
from active_call.agent.turn.turn_words import spoken_words, turn_words
from active_call.agent.wording import Wording

_PHRASE = re.compile(r"\{\{\s*phrase\s*\}\}")
_GOTO = re.compile(r"<goto\b[^>]*\bscene\s*=\s*[\"']([^\"']+)", re.IGNORECASE)
_FINAL = re.compile(r"<(?:hangup|refer)\b|[\"'](?:hangup|refer|transfer)[\"']", re.IGNORECASE)
"""A tag, or a tool name in a JSON reply, that ends or transfers the call."""


class ScriptAnswers:
    """The state of a script in one call. Without a script all answers are empty."""

    def __init__(self, playbook: Playbook, wording: Wording) -> None:
        self._playbook = playbook
        self._script: Script = playbook.script or Script({})
        self._wording = wording
        self._language = playbook.llm.language
        self._turns: dict[str, int] = {}
        """How often each list of entries was used, for entries used in turn."""
        self._asked: Found | None = None
        """The entry that waits for the caller's confirmation."""

    def switch_language(self, code: str, wording: Wording) -> None:
        """The conversation continues in another language."""
        self._language, self._wording = code, wording

    def enter(self) -> None:
        """A new scene begins: restart entries that are used in turn, and drop an open question."""
        self._turns.clear()
        self._asked = None

    def answer(self, scene: str, said: Sequence[str], confidence: float | None = None) -> str:
        """The answer to the last of `said` or to all of it together; else a confirmation question or a fallback.

        `said` is what the caller said since the last answer was heard. `confidence` is the recogniser's for the last text.
        """
        asked, self._asked = self._asked, None
        if not said:
            return self.fallback(scene)
        if asked is not None and len(said) == 1:
            is_meant = yes_or_no(said[0], self._language)
            if is_meant is not None:
                return asked.entry.reply if is_meant else self.fallback(scene)
        found = self._match(scene, said[-1]) or self._match(scene, " ".join(said))
        if found is None:
            found = self._match_yes_or_no(scene, said[-1])
            if found is None:
                return self._without_entry(scene, said[-1])
            confidence = 0.0 if is_nod(said[-1]) else confidence
        if self._is_final(found.entry.reply) and not found.evidence.is_strong(confidence):
            return self._ask(scene, found) if asked is None or asked.entry is not found.entry else self.fallback(scene)
        self._turns.pop("fallback", None)
        return found.entry.reply

    def _without_entry(self, scene: str, text: str) -> str:
        """The answer to what people say in any conversation: whether anybody is there, and that they need time. Else a fallback."""
        if backchannels(self._language).only_calls(text):
            return self._wording.listening
        if turn_words(self._language).asks_for_time(spoken_words(text)):
            return self._wording.take_your_time
        return self.fallback(scene)

    def _match(self, scene: str, text: str) -> Found | None:
        """The entry for `text`. An entry that ends or transfers the call does not match if its phrase is inside another sentence."""
        return self._script.match(
            scene, text, lambda entry, match: match.is_strong() or not (match.is_inside and self._is_final(entry.reply))
        )

    def _match_yes_or_no(self, scene: str, text: str) -> Found | None:
        """The entry for yes or no, if `text` says it in another word: "yeah", "mm-hmm", "nope"."""
        return next((found for word in equal_answers(text, self._language) if (found := self._script.match(scene, word)) is not None), None)

    def fallback(self, scene: str) -> str:
        """The next `## *` entry."""
        self._asked = None
        return self._in_turn("fallback", self._script.fallbacks(scene)) or self._wording.not_understood

    def silence(self, scene: str) -> str:
        """The next `## (silence)` entry. A "yes" to it does not answer an earlier question."""
        self._asked = None
        return self._in_turn("silence", self._script.silence(scene)) or self._wording.still_there

    def digit(self, scene: str, digit: str) -> str:
        """The `## press …` entry, empty if there is none."""
        self._asked = None
        entry = self._script.digit(scene, digit)
        return entry.reply if entry else ""

    def caller_took_part(self) -> None:
        """The caller has spoken: restart the `## (silence)` entries."""
        self._turns.pop("silence", None)

    def _ask(self, scene: str, found: Found) -> str:
        self._asked = found
        question = self._in_turn("confirm", self._script.confirmations(scene)) or self._wording.confirm
        return _PHRASE.sub(lambda _: found.phrase, question)

    def _is_final(self, reply: str) -> bool:
        """Whether the reply ends or transfers the call, directly or by the scene that it goes to."""
        scenes = [self._playbook.scene(name) for name in _GOTO.findall(reply)]
        return any(_FINAL.search(text) for text in (reply, *(scene.text for scene in scenes if scene is not None)))

    def _in_turn(self, kind: str, entries: Sequence[Entry]) -> str:
        if not entries:
            return ""
        count = self._turns.get(kind, 0)
        self._turns[kind] = count + 1
        return entries[count % len(entries)].reply
