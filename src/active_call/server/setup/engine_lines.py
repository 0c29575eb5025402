"""Which engines calls will use, and why: for the banner of `serve` and for the doctor. Configuration and playbooks enter; lines leave."""

from __future__ import annotations

from collections.abc import Mapping

from active_call.agent.playbook.scenes import Playbook
from active_call.base.errors import ActiveCallError
from active_call.call.opening.options import SpeechChoice, choose_speech, merged
from active_call.call.opening.routing import Playbooks
from active_call.contract.options import CallOption
from active_call.providers.selection import selections
from active_call.server.config.config import Config, default_option
from active_call.server.config.sections import PlaybookHandler


def engine_lines(config: Config, playbooks: Playbooks, environment: Mapping[str, str]) -> list[str]:
    """A line for each selection among the configured playbooks, with their names; the defaults if there are no playbooks."""
    names = [name for name in _playbook_names(config) if name]
    if not names:
        return [told(choose_speech(merged(CallOption(), default_option(config)), None), environment)]
    lines: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        try:
            lines.setdefault(told(_choice(config, playbooks.load(name)), environment), []).append(name)
        except ActiveCallError as error:
            lines.setdefault(str(error), []).append(name)
    if len(lines) == 1:
        return list(lines)
    return [f"{', '.join(users)}: {line}" for line, users in lines.items()]


def told(choice: SpeechChoice, environment: Mapping[str, str]) -> str:
    """One selection as a line. Raises ConfigError if an engine is not available."""
    chosen = selections(choice.asr, choice.tts, choice.llm, environment)
    return ", ".join([*map(str, chosen), *([] if choice.llm is not None else ["no language model"])])


def _choice(config: Config, book: Playbook) -> SpeechChoice:
    return choose_speech(merged(book.option, default_option(config)), book)


def _playbook_names(config: Config) -> list[str | None]:
    handler = config.handler
    return [*(rule.playbook for rule in handler.rules), handler.default] if isinstance(handler, PlaybookHandler) else []
