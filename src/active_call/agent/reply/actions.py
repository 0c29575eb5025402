"""Carries out those actions of a reply that change the call or the playbook, not the reply itself.

In: tags, in the order in which their turn comes. Out: effects. A part of `reply.replies`, which keeps the order.
"""

from __future__ import annotations

import re

import msgspec

from active_call.agent.context import PlaybookContext
from active_call.agent.effects import ExpectPhrases, SwitchLanguage
from active_call.agent.items import UserItem
from active_call.agent.outbox import Outbox
from active_call.agent.playbook.scenes import Scene
from active_call.agent.reply.steps import Remainder, Step
from active_call.agent.reply.tags import DigitsTag, HangupTag, HoldTag, LanguageTag, MessageTag, PlayTag, ReferTag, UnknownTag
from active_call.contract import commands
from active_call.contract.options import BriefingOption, ReferOption

MAX_SCENE_CHANGES = 5
"""Without a word from the caller; more is a loop."""


MAX_HOLD_S = 600.0
"""A model takes the caller back after so long at the latest."""
MAX_SUMMARY_CHARS = 300
_DIGITS = re.compile(r"[0-9*#A-D]{1,64}")


class Actions:
    """The actions of one conversation."""

    def __init__(self, context: PlaybookContext, outbox: Outbox) -> None:
        self.has_hung_up = False
        self.unhold_at: float | None = None
        """When the caller whom the agent has put on hold is to be taken back."""
        self._context = context
        self._outbox = outbox
        self._n_scene_changes = 0
        """Since the caller last took part."""

    def caller_took_part(self) -> None:
        """The caller has said something: scene changes are counted anew."""
        self._n_scene_changes = 0

    def hang_up(self, tag: HangupTag) -> None:
        """End the call."""
        self.has_hung_up = True
        headers = self._context.hangup_headers()
        self._outbox.perform(commands.Hangup(reason=tag.reason or "goodbye", initiator="agent", headers=headers))

    def refer(self, tag: ReferTag) -> None:
        """Transfer the call. The template of a warm transfer's briefing is filled in now, with what the call is about as `summary`."""
        options, own = tag.options, self._context.playbook.option.refer
        template = own.briefing.text if own is not None and own.briefing is not None else None
        mode = (options.mode if options is not None else None) or (own.mode if own is not None else None)
        is_told = options is not None and options.briefing is not None
        if template and not is_told and mode in (None, "auto", "warm"):
            summary = tag.summary or str(self._context.variables.get("summary") or "") or self._last_words()
            text = self._context.fill_with(template, {"summary": summary}).text
            options = msgspec.structs.replace(options or ReferOption(), briefing=BriefingOption(text=text))
        self._outbox.perform(commands.Refer(callee=tag.to, caller=tag.caller, options=options))

    def _last_words(self) -> str:
        """What the caller has said last, keys left out: what the call is about, where nobody has said so."""
        said = [item.text for item in self._outbox.history.items if isinstance(item, UserItem) and not item.text.startswith("[")]
        return " ".join(said[-2:])[-MAX_SUMMARY_CHARS:]

    def message(self, tag: MessageTag) -> None:
        """Send a SIP MESSAGE, or what the leg has in its place."""
        self._outbox.perform(commands.Message(body=tag.body, content_type=tag.content_type, refer=tag.refer))

    def send_digits(self, tag: DigitsTag) -> None:
        """Press keys, for the other side to hear."""
        digits = "".join(tag.digits.split()).upper()
        if not _DIGITS.fullmatch(digits):
            self._outbox.note("digits dropped", reason="expected up to 64 of 0-9, *, #, A-D", n_characters=len(digits))
            return
        self._outbox.perform(commands.Dtmf(digits=digits))

    def hold(self, tag: HoldTag, now: float) -> None:
        """Put the caller on hold; with a time, the caller is taken back after it."""
        self._outbox.perform(commands.Hold(moh=tag.file or None))
        if tag.seconds > 0:
            self.unhold_at = now + min(tag.seconds, MAX_HOLD_S)

    def switch_language(self, tag: LanguageTag) -> None:
        """Speak and listen in another language from here on."""
        languages = self._context.playbook.languages
        code = next((known for known in languages if known.lower() == tag.code.lower()), None)
        code = code or next((known for known in languages if _primary(known) == _primary(tag.code)), None)
        if code is None:
            self._outbox.note("language dropped", code=tag.code, reason=f"the playbook lists {', '.join(languages) or 'none'}")
            return
        voice = tag.voice or languages[code]
        self._context.switch_language(code, voice)
        self._outbox.put(SwitchLanguage(code, voice))

    def set_variable(self, key: str, value: str) -> None:
        """Set a variable of the call."""
        self._context.set_variable(key, value)
        self._outbox.perform(commands.SetVar(key=key, value=value))

    def report(self, tag: UnknownTag) -> None:
        """Log a tag that cannot be acted on."""
        self._outbox.note("tag dropped", tag=tag.text, reason=tag.reason)

    def find_scene(self, scene_id: str) -> Scene | None:
        """The scene to enter; None, with a note, when there is no such scene."""
        scene = self._context.playbook.scene(scene_id)
        if scene is None:
            self._outbox.note("goto dropped", scene=scene_id, reason="there is no such scene")
        return scene

    def may_change_scene(self, scene: Scene) -> bool:
        """Count a change to `scene`; False, with a note, when the scenes lead into one another without end."""
        self._n_scene_changes += 1
        if self._n_scene_changes > MAX_SCENE_CHANGES:
            self._outbox.note("goto dropped", scene=scene.id, reason="the scenes lead into one another without end")
            return False
        return True

    def entering(self, scene: Scene) -> list[Step]:
        """What is said or played on entering `scene`."""
        steps: list[Step] = [PlayTag(file) for file in scene.play]
        if not self._context.has_model and scene.text:
            steps.append(Remainder(scene.text))
        return steps

    def expect_phrases(self) -> None:
        """Tell the recogniser what the caller may say in this scene; only a script knows."""
        if not self._context.has_model:
            self._outbox.put(ExpectPhrases(self._context.phrases()))


def _primary(code: str) -> str:
    """`de` of `de-AT`."""
    return code.replace("_", "-").partition("-")[0].lower()
