"""The configured limits on playing files and on outgoing requests, in the form that the parts use.

Hosts and folders in the config file and the environment may be anywhere, for every call. Those in a playbook file apply to the calls of
that playbook (`call/opening/playbook_trust`). Hosts named by others must be public.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from active_call.base.trust import urls_of_values
from active_call.net.outgoing import OutgoingPolicy, parse_place, places_of
from active_call.providers.entry_points import all_providers
from active_call.providers.usage.prices import shipped_prices
from active_call.server.config.config import Config
from active_call.store.sound_folders import SoundFolders

SERVER_VARIABLES = ("OPENAI_BASE_URL", "VOICEAPI_ENDPOINT", "AZURE_OPENAI_ENDPOINT")
"""Environment variables with the address of a server that adapters use."""


def sound_folders(config: Config) -> SoundFolders:
    """The folders with playable files."""
    kept_out = {Path(config.recording.path), Path(config.media_cache_path)}
    root = getattr(config.callrecord, "root", None)
    if root:
        kept_out.add(Path(root))
    return SoundFolders(Path.cwd(), {Path(name) for name in config.files.roots}, kept_out)


def outgoing_policy(config: Config, environment: Mapping[str, str]) -> OutgoingPolicy:
    """Which hosts the server may reach, including those in the config file and the environment."""
    groups = (config.asr, config.tts, config.eou, config.realtime, config.vad, config.ambiance)
    values = [msgspec.to_builtins(group) for group in groups if group is not None]
    named = [environment.get(variable) for variable in SERVER_VARIABLES]
    trusted = places_of([*urls_of_values(values), *urls_of_values(config.llm or {}), *named])
    return OutgoingPolicy(tuple(parse_place(text) for text in config.outgoing.allow_private), trusted)


def read_shipped_facts() -> None:
    """Read the shipped prices and the list of installed providers, both cached: 50 ms, for a moment in which the start waits anyway."""
    shipped_prices()
    all_providers()
