"""Which providers the doctor tests: those that calls would use, and those with a key in the environment.

A config, its playbooks and the environment enter; options leave, each once. Starts nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from active_call.agent.playbook.parser import parse_playbook
from active_call.base.errors import ActiveCallError
from active_call.call.opening.options import SpeechChoice, choose_speech, merged
from active_call.contract.options import AsrOption, CallOption, RealtimeOption, TtsOption
from active_call.providers.declared import Declared, declared_providers
from active_call.providers.guarding.fallbacks import asr_chain, llm_chain, tts_chain
from active_call.providers.key_sets import KeySets
from active_call.providers.registry import Option
from active_call.providers.selection import resolved
from active_call.providers.settings import LlmSettings
from active_call.server.config.config import default_option, key_variables
from active_call.server.config.sections import PlaybookHandler
from active_call.server.playbook_files import find_playbook

if TYPE_CHECKING:
    from active_call.server.config.config import Config

KINDS: Mapping[type, str] = {AsrOption: "asr", TtsOption: "tts", LlmSettings: "llm", RealtimeOption: "realtime"}
_OF_KIND: Mapping[str, type[AsrOption] | type[TtsOption] | type[LlmSettings] | type[RealtimeOption]] = {
    kind: option for option, kind in KINDS.items()
}


class Target(Struct, frozen=True):
    """A provider to test. `whose` says what would use it: a playbook, `calls`, or the environment variable with its key."""

    kind: str
    provider: str
    option: Option
    whose: str
    mistake: str = ""
    """Why there is nothing to test; empty: there is."""
    keys: str = ""
    """The key set with the provider's key; empty: only the environment."""


def provider_targets(config: Config, environment: Mapping[str, str]) -> list[Target]:
    """Each provider, option and key set once, in the order of `asr`, `tts`, `llm`, `realtime`. Imports every adapter."""
    found: dict[bytes, Target] = {}
    declared = declared_providers(environment)
    of_sets = [target for name, own in key_variables(config).items() for target in _with_key(declared, own, keys=name)]
    for target in (*_used(config, environment), *_with_key(declared, environment), *of_sets):
        is_by_key = target.whose in environment or target.whose == f"keys.{target.keys}"
        if is_by_key and any((one.kind, one.provider, one.keys) == (target.kind, target.provider, target.keys) for one in found.values()):
            continue  # calls use it already, perhaps with another key
        found.setdefault(msgspec.msgpack.encode([target.kind, target.option, target.keys], order="deterministic"), target)
    order = list(_OF_KIND)
    return sorted(found.values(), key=lambda target: order.index(target.kind))


def _used(config: Config, environment: Mapping[str, str]) -> Iterator[Target]:
    """The providers used by the calls of the config and its playbooks, including fallbacks."""
    sets = KeySets(environment)
    sets.use(key_variables(config))
    for whose, choice, realtime, keys in _choices(config, environment):
        options: list[AsrOption | TtsOption | LlmSettings] = [choice.asr, choice.tts]
        options += [choice.llm] if choice.llm is not None else []
        if realtime is not None:
            yield Target("realtime", realtime.provider or "", realtime, whose, keys=keys)
            options = []
        for option in options:
            kind = KINDS[type(option)]
            try:
                chain = _chain(option, sets.of(keys).environment)
            except ActiveCallError as error:
                yield Target(kind, getattr(option, "provider", None) or "none", option, whose, str(error), keys)
                continue
            for each in chain:
                yield Target(kind, each.provider or "", each, whose, keys=keys)


def _chain(option: AsrOption | TtsOption | LlmSettings, environment: Mapping[str, str]) -> Sequence[AsrOption | TtsOption | LlmSettings]:
    match option:
        case AsrOption(provider="none"):
            return []
        case AsrOption():
            heard = [resolved(each, environment) for each in asr_chain(resolved(option, environment))]
            return [msgspec.structs.replace(each, fallback=None) for each in heard]
        case TtsOption():
            said = [resolved(each, environment) for each in tts_chain(resolved(option, environment))]
            return [msgspec.structs.replace(each, fallback=None) for each in said]
        case LlmSettings():
            return llm_chain(resolved(option, environment))


def _choices(config: Config, environment: Mapping[str, str]) -> Iterator[tuple[str, SpeechChoice, RealtimeOption | None, str]]:
    """The owner, the resolved speech and realtime options, and the key set of each configuration."""
    handler = config.handler
    if not isinstance(handler, PlaybookHandler):
        option = CallOption(asr=config.asr, tts=config.tts, realtime=config.realtime)
        yield "calls", choose_speech(option, None), _realtime(option.realtime), ""
        return
    for name in dict.fromkeys((*(rule.playbook for rule in handler.rules), handler.default)):
        try:
            text = find_playbook(name or "", config).read_text(encoding="utf-8")
            book = parse_playbook(text, file=str(name), environment=environment)
        except (ActiveCallError, OSError, UnicodeDecodeError):
            continue  # reported by the doctor's other checks
        option = merged(book.option, default_option(config))
        yield str(name), choose_speech(option, book), _realtime(option.realtime), option.keys or ""


def _realtime(option: RealtimeOption | None) -> RealtimeOption | None:
    return option if option is not None and option.provider else None


def _with_key(declared: Sequence[Declared], environment: Mapping[str, str], keys: str = "") -> Iterator[Target]:
    """Vendors with a key in the environment or in the key set `keys`."""
    for one in declared:
        names = one.declaration.keys if one.declaration is not None else ()
        variable = next((name for name in names if environment.get(name)), None)
        if variable is not None:
            yield Target(one.kind, one.name, _OF_KIND[one.kind](provider=one.name), f"keys.{keys}" if keys else variable, keys=keys)
