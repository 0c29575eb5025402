"""The key of a sound, from everything that shapes it: equal keys, equal sounds.

A voice (provider and option) and a text enter, a hash leaves. Settings that do not shape the sound (credentials, limits) are left out:
after a change of password, cached sound is still found.
"""

from __future__ import annotations

import hashlib
import json
from typing import Final

import msgspec
from msgspec import Struct

from active_call.contract.options import TtsOption

KEY_CHARS: Final = 40

_FORMAT: Final = "speech 1"


class Voice(Struct, frozen=True):
    """Who speaks: the provider and its settings. `option.endpoint` is the server actually used, if there is one."""

    provider: str
    option: TtsOption

    def key_of(self, text: str, speaker: str | None = None, speed: float | None = None) -> str:
        """The key of `text`, with `speaker` and `speed` in place of the option's own if they are given."""
        shape = msgspec.structs.replace(
            self.option,
            provider=self.provider,
            speaker=speaker or self.option.speaker,
            speed=self.option.speed if speed is None else speed,
            app_id=None,
            secret_id=None,
            secret_key=None,
            subtitle=None,
            max_concurrent_tasks=None,
            cache_key=None,
            session_id=None,
            fallback=None,
            hedge=None,
        )
        said = json.dumps([_FORMAT, msgspec.to_builtins(shape), text], sort_keys=True, default=str)  # a model's text may be invalid Unicode
        return hashlib.sha256(said.encode()).hexdigest()[:KEY_CHARS]
