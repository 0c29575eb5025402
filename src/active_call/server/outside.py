"""What the configuration says about files that are played and hosts that are asked, as the parts that obey take it.

What the operator has written down (the config file, the environment, playbook files) may lie anywhere; what others name may not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from active_call.agent.playbook.scenes import Playbook
from active_call.contract.options import CallOption
from active_call.net.outgoing import OutgoingPolicy, parse_place
from active_call.server.config.config import Config
from active_call.store.sound_folders import SoundFolders


def sound_folders(config: Config) -> SoundFolders:
    """The folders that files are played from."""
    kept_out = {Path(config.recording.path), Path(config.media_cache_path)}
    root = getattr(config.callrecord, "root", None)
    if root:
        kept_out.add(Path(root))
    return SoundFolders(Path.cwd(), {Path(name) for name in config.files.roots}, kept_out)


def outgoing_policy(config: Config, environment: Mapping[str, str]) -> OutgoingPolicy:
    """Whom the server asks; hosts in the config file and in the environment included."""
    policy = OutgoingPolicy(tuple(parse_place(text) for text in config.outgoing.allow_private))
    defaults = CallOption(
        asr=config.asr, tts=config.tts, eou=config.eou, realtime=config.realtime, vad=config.vad, ambiance=config.ambiance
    )
    policy.trust([*_urls_of(defaults), environment.get("OPENAI_BASE_URL")])
    if config.llm:
        policy.trust(str(value) for key, value in config.llm.items() if key.lower().replace("_", "") in ("baseurl", "endpoint"))
    return policy


def on_playbook(policy: OutgoingPolicy, folders: SoundFolders) -> Callable[[Playbook], None]:
    """What a playbook file brings: its folder's sounds may be played, the hosts that it names may be asked."""

    def read(book: Playbook) -> None:
        folders.allow(Path(book.file).absolute().parent)
        sources = [file for scene in book.scenes for file in scene.play]
        policy.trust([book.llm.base_url, *_urls_of(book.option), *sources, *book.urls])

    return read


def _urls_of(option: CallOption) -> list[str | None]:
    groups = (option.asr, option.tts, option.eou, option.realtime, option.vad)
    named = [getattr(group, "endpoint", None) for group in groups if group is not None]
    extra = [value for group in groups for value in getattr(group, "extra", {}).values() if isinstance(value, str)]
    sources = [option.ambiance.path if option.ambiance else None, option.refer.moh if option.refer else None]
    return [url for url in (*named, *extra, *sources) if url and url.lower().startswith(("http://", "https://"))]
