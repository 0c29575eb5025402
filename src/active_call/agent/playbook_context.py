"""The playbook of one call: the current scene, the variables, and the texts of the playbook filled in with them.

In: what the caller said. Out: templates and texts for replies, prompts for a model. This module knows no turns, timers or playback.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from active_call.agent.control_tokens import prompt_of, without_control_tokens
from active_call.agent.features import CONTEXT_REPAIR, instructions
from active_call.agent.items import SYSTEM, AgentItem, Item, Prompt, ToolCallItem, UserItem
from active_call.agent.matching.courtesy import without_courtesies
from active_call.agent.matching.spoken_form import spoken_words
from active_call.agent.playbook.scenes import DtmfAction, Playbook, Scene
from active_call.agent.playbook.templates import Rendered, render, visible_headers
from active_call.agent.reply.scripted import read_rendered
from active_call.agent.reply.sentences import FIRST_CLAUSE_WORDS, FIRST_CUT_WORDS
from active_call.agent.reply.sound_sources import SoundSources
from active_call.agent.reply.steps import Step
from active_call.agent.reply.values import keep_apart, one_line
from active_call.agent.script_answers import ScriptAnswers
from active_call.agent.wording import Wording, wording_for

_HEADER = re.compile(r"[Xx]-[A-Za-z0-9-]+")

Note = Callable[..., None]
"""`note(message, **fields)` writes to the log."""


class PlaybookContext:
    """The current scene and the variables of one call.

    `has_functions`: the model gets the agent's actions as functions instead of tags. `says_clauses`: the synthesiser takes a streamed reply
    clause by clause.
    """

    def __init__(
        self,
        playbook: Playbook,
        variables: Mapping[str, Any],
        sip_headers: Mapping[str, str],
        note: Note,
        *,
        has_functions: bool = False,
        says_clauses: bool = False,
    ) -> None:
        self.playbook = playbook
        self.variables: dict[str, Any] = dict(variables)
        self.sound_sources = SoundSources(playbook, variables)
        """The URLs that a model may have played."""
        self.bye_headers: dict[str, str] = {}
        """Headers set by `<set_var key="X-…"/>`, in addition to the playbook's."""
        self.scene: Scene = playbook.start
        self.wording: Wording = wording_for(playbook.llm.language)
        self._sip = visible_headers(sip_headers, (playbook.option.sip.extract_headers or []) if playbook.option.sip else [])
        self._note = note
        self.has_functions = has_functions
        self.first_cut_words = FIRST_CLAUSE_WORDS if says_clauses else FIRST_CUT_WORDS
        """Minimum number of words before the first piece of a model's reply may end at a comma."""
        self.secrets: set[str] = set()
        """Names of variables that are hidden from the model."""
        self.language = ""
        """The current language after a switch; empty: the playbook's own."""
        self.voice = ""
        self._answers = ScriptAnswers(playbook, self.wording)
        self.confidence: float | None = None
        """The recogniser's confidence for the last text."""
        self._system = ""
        self._turn_at: float | None = None
        """When the caller's last turn began."""

    @property
    def has_model(self) -> bool:
        """Whether a model answers, not a script."""
        return self.playbook.script is None

    @property
    def error_reply(self) -> str:
        """The template that is said when the model fails."""
        return self.playbook.llm.error_reply or self.wording.failed

    @property
    def apology(self) -> str:
        """The text that is said when an answer takes long."""
        apology = self.playbook.llm.apology
        return self.wording.takes_longer if apology is None else apology

    def fill(self, template: str) -> str:
        """`template` with the current variables, as text that is not parsed again. An error is logged, and the call continues."""
        return self._render(template).text

    def fill_address(self, template: str) -> str:
        """Fill in an address. A value cannot leave the part of the address that contains it."""
        text, values = keep_apart(self._render(template).parts)
        return values.attribute("to", text)

    def read(self, template: str) -> list[Step]:
        """The steps of `template`. Its values are treated as words, whatever they contain."""
        return read_rendered(self._render(template))

    def fill_with(self, template: str, names: Mapping[str, Any]) -> Rendered:
        """`template` with the current variables, overridden by `names`."""
        return self._render(template, names)

    def _render(self, template: str, names: Mapping[str, Any] | None = None) -> Rendered:
        rendered = render(template, {**self.variables, **names} if names else self.variables, self._sip)
        if rendered.error:
            self._note("template failed", scene=self.scene.id, error=rendered.error)
        return rendered

    def enter(self, scene: Scene) -> None:
        """Make `scene` the current one and fill in its prompt."""
        self.scene = scene
        self._answers.enter()
        if self.has_model:
            self._system = self._system_prompt()

    def repair_hint(self, history: Sequence[Item], now: float) -> str:
        """A hint for the model if the caller's words follow the last ones so soon that the answer was not heard.

        Call it once for each turn of the caller, before the model is asked.
        """
        before, self._turn_at = self._turn_at, now
        llm = self.playbook.llm
        if CONTEXT_REPAIR not in llm.features or before is None or now - before > llm.repair_window_ms / 1000:
            return ""
        said = [item for item in history if isinstance(item, UserItem | AgentItem)]
        last = next((item for item in reversed(said[:-1])), None)
        is_unheard = isinstance(last, UserItem) or (isinstance(last, AgentItem) and last.is_interrupted)
        return self.wording.repair if is_unheard else ""

    def set_variable(self, key: str, value: Any) -> None:
        """Set a variable; one named `X-*` also becomes a header of the BYE."""
        self.variables[key] = value
        if _HEADER.fullmatch(key):
            self.bye_headers[key] = str(value)

    def switch_language(self, code: str, voice: str) -> None:
        """Switch the language. The agent's built-in sentences follow if they exist in it."""
        self.language, self.voice = code, voice
        self.wording = wording_for(code)
        self._answers.switch_language(code, self.wording)
        if self.has_model:
            self._system = self._system_prompt()

    def digit_action(self, digit: str) -> DtmfAction | None:
        """The action of the digit in this scene, or in all scenes."""
        return self.scene.dtmf.get(digit) or self.playbook.dtmf.get(digit)

    def hangup_headers(self) -> dict[str, str]:
        """The headers of our BYE, filled in. A header set during the conversation replaces the playbook's of the same name."""
        headers = {name: one_line(self.fill(value)) for name, value in self._templates_of_bye()}
        headers.update({name: one_line(" ".join(value.split())) for name, value in self.bye_headers.items()})
        return {name: value for name, value in headers.items() if value}

    def prompts(self, history: Sequence[Prompt], hint: str = "", tools: str = "") -> tuple[Prompt, ...]:
        """The complete prompt: instructions, conversation and `hint`; `tools` as text if the model does not call them natively."""
        system = "\n\n".join(part for part in (self._system or self._system_prompt(), tools) if part)
        first = (Prompt(SYSTEM, system),) if system else ()
        said = (replace(prompt, text=without_control_tokens(prompt.text), tool_calls=_cleaned(prompt.tool_calls)) for prompt in history)
        return (*first, *said, *((Prompt(SYSTEM, without_control_tokens(hint)),) if hint else ()))

    # -- script --------------------------------------------------------------------------------------------------------------------------

    def phrases(self) -> tuple[str, ...]:
        """What the caller is expected to say in this scene; empty if a model answers."""
        script = self.playbook.script
        return script.phrases(self.scene.id) if script else ()

    def is_whole_phrase(self, said: str) -> bool:
        """Whether `said` without courtesies is a phrase of this scene, and no longer phrase begins with it."""
        words = without_courtesies(spoken_words(said))
        phrases = [without_courtesies(spoken_words(phrase)) for phrase in self.phrases()] if words else []
        return words in phrases and not any(phrase[: len(words)] == words and len(phrase) > len(words) for phrase in phrases)

    def answer(self, said: Sequence[str]) -> str:
        """The script's answer to the last of `said` or to all of it together; else a confirmation question or a fallback."""
        return "" if self.has_model else self._answers.answer(self.scene.id, said, self.confidence)

    def has_answer(self, said: str) -> bool:
        """Whether the script has an entry for `said`."""
        script = self.playbook.script
        return script is not None and script.match(self.scene.id, said) is not None

    def fallback(self) -> str:
        """The script's next `## *` entry."""
        return self._answers.fallback(self.scene.id)

    def silence(self) -> str:
        """The script's next `## (silence)` entry."""
        return self._answers.silence(self.scene.id)

    def caller_took_part(self) -> None:
        """The caller has spoken: restart the `## (silence)` entries."""
        self._answers.caller_took_part()

    def digit_answer(self, digit: str) -> str:
        """The script's `## press …` entry, empty if there is none."""
        return self._answers.digit(self.scene.id, digit)

    def followup(self) -> tuple[float, int] | None:
        """Seconds of silence before a follow-up, and the maximum number of them; None without follow-ups."""
        option = self.scene.followup or self.playbook.followup
        if option is not None:
            return max(option.timeout, 1) / 1000, option.max
        entries = self.playbook.script.silence(self.scene.id) if self.playbook.script else ()
        return (10.0, len(entries)) if entries else None

    def _templates_of_bye(self) -> list[tuple[str, str]]:
        replaced = {name.lower() for name in self.bye_headers}
        return [(name, value) for name, value in self.playbook.hangup_headers.items() if name.lower() not in replaced]

    def _system_prompt(self) -> str:
        llm = self.playbook.llm
        own = self.wording.functions if self.has_functions else self.wording.tools
        tools = own if llm.tool_instructions is None else llm.tool_instructions
        if self.playbook.dtmf_collectors and not self.has_functions:
            named = (f"{name} ({one.description})" if one.description else name for name, one in self.playbook.dtmf_collectors.items())
            tools = f"{tools}\n{self.wording.collectors.format(names=', '.join(named))}" if tools else tools
        tools = "\n".join(part for part in (tools, instructions(llm.features, self.language or llm.language)) if part)
        hidden = dict.fromkeys(self.secrets, "****")
        parts = [prompt_of(self._render(text, hidden).parts).strip() for text in (llm.prompt, self.playbook.prompt, self.scene.text)]
        spoken = self.wording.language.format(language=self.language) if self.language else ""
        return "\n\n".join(part for part in (*parts, tools.strip(), spoken) if part)


def _cleaned(calls: Sequence[ToolCallItem]) -> tuple[ToolCallItem, ...]:
    """The calls with control tokens removed from their arguments, because the model may have copied them from the caller's words."""
    return tuple(replace(call, arguments={key: _clean(value) for key, value in call.arguments.items()}) for call in calls)


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return without_control_tokens(value)
    if isinstance(value, Mapping):
        return {key: _clean(inner) for key, inner in value.items()}
    return [_clean(inner) for inner in value] if isinstance(value, list) else value
