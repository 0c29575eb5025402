"""Execute the actions of a reply that change the call or the playbook, not the reply itself.

In: tags, in the order of execution. Out: effects. A part of `reply.replies`, which keeps the order.
"""

from __future__ import annotations

import re

import msgspec

from active_call.agent.effects import ExpectPhrases, SwitchLanguage
from active_call.agent.items import UserItem
from active_call.agent.outbox import Outbox
from active_call.agent.playbook.scenes import Scene
from active_call.agent.playbook_context import PlaybookContext
from active_call.agent.reply.steps import Remainder, Step
from active_call.agent.reply.tags import DigitsTag, HangupTag, HoldTag, LanguageTag, MessageTag, PlayTag, ReferTag, UnknownTag
from active_call.contract import commands
from active_call.contract.options import BriefingOption, ReferOption

MAX_SCENE_CHANGES = 5
"""Maximum number of scene changes without words from the caller; more is a loop."""


MAX_HOLD_S = 600.0
"""Maximum duration of a hold that a model starts."""
MAX_SUMMARY_CHARS = 300
_DIGITS = re.compile(r"[0-9*#A-D]{1,64}")


class Actions:
    """The actions of one conversation."""

    def __init__(self, context: PlaybookContext, outbox: Outbox) -> None:
        self.has_hung_up = False
        self.unhold_at: float | None = None
        """When the caller's hold ends that the agent has started."""
        self._context = context
        self._outbox = outbox
        self._n_scene_changes = 0
        """Since the caller last took part."""

    def caller_took_part(self) -> None:
        """The caller has spoken: restart the count of scene changes."""
        self._n_scene_changes = 0

    def hang_up(self, tag: HangupTag) -> None:
        """End the call."""
        self.has_hung_up = True
        headers = self._context.hangup_headers()
        self._outbox.perform(commands.Hangup(reason=tag.reason or "goodbye", initiator="agent", headers=headers))

    def refer(self, tag: ReferTag) -> None:
        """Transfer the call. The briefing template of a warm transfer is filled in now, with the reason of the call as `summary`."""
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
        """The caller's last words without keys: the reason of the call, if nobody has stated one."""
        said = [item.text for item in self._outbox.history.items if isinstance(item, UserItem) and not item.text.startswith("[")]
        return " ".join(said[-2:])[-MAX_SUMMARY_CHARS:]

    def message(self, tag: MessageTag) -> None:
        """Send a SIP MESSAGE, or the leg's equivalent."""
        self._outbox.perform(commands.Message(body=tag.body, content_type=tag.content_type, refer=tag.refer))

    def send_digits(self, tag: DigitsTag) -> None:
        """Send DTMF digits to the other side."""
        digits = "".join(tag.digits.split()).upper()
        if not _DIGITS.fullmatch(digits):
            self._outbox.note("digits dropped", reason="expected up to 64 of 0-9, *, #, A-D", n_characters=len(digits))
            return
        self._outbox.perform(commands.Dtmf(digits=digits))

    def hold(self, tag: HoldTag, now: float) -> None:
        """Put the caller on hold; with a time, resume after it."""
        self._outbox.perform(commands.Hold(moh=tag.file or None))
        if tag.seconds > 0:
            self.unhold_at = now + min(tag.seconds, MAX_HOLD_S)

    def switch_language(self, tag: LanguageTag) -> None:
        """Switch the language for speaking and listening."""
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
        """Log a tag that cannot be executed."""
        self._outbox.note("tag dropped", tag=tag.text, reason=tag.reason)

    def find_scene(self, scene_id: str) -> Scene | None:
        """The scene to enter; None, with a log entry, if it does not exist."""
        scene = self._context.playbook.scene(scene_id)
        if scene is None:
            self._outbox.note("goto dropped", scene=scene_id, reason="there is no such scene")
        return scene

    def may_change_scene(self, scene: Scene) -> bool:
        """Count a change to `scene`. False, with a log entry, if the scenes form a loop."""
        self._n_scene_changes += 1
        if self._n_scene_changes > MAX_SCENE_CHANGES:
            self._outbox.note("goto dropped", scene=scene.id, reason="the scenes lead into one another without end")
            return False
        return True

    def entering(self, scene: Scene) -> list[Step]:
        """The steps on entering `scene`."""
        steps: list[Step] = [PlayTag(file) for file in scene.play]
        if not self._context.has_model and scene.text:
            steps.append(Remainder(scene.text))
        return steps

    def expect_phrases(self) -> None:
        """Send the expected phrases of this scene to the recogniser. Only a script has them."""
        if not self._context.has_model:
            self._outbox.put(ExpectPhrases(self._context.phrases()))


def _primary(code: str) -> str:
    """The primary subtag: `de` of `de-AT`."""
    return code.replace("_", "-").partition("-")[0].lower()
