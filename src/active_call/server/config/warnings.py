"""Warnings about a valid configuration: keys without effect, placeholders that were not replaced.

A valid document enters; one sentence for each warning leaves, with its line. Decides nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from active_call.contract import options
from active_call.contract.unused import WITHOUT_EFFECT
from active_call.server.config.document import Document, KeyPath, dotted

UNUSED = {
    "sip_register_proxy": "use `proxy` in [[sip_registrations]]",
    "auto_refer": "`refer: {onRequest: bridge}` in a playbook lets the other side transfer",
    "auto_refer_timeout": "",
    "options_response": "enable_options_response switches the answer to OPTIONS",
    "sipflow": "each record has the SIP messages of its call; `sipMessages: full` in a playbook keeps their complete texts",
    "llm": "choose the model in the front matter of a playbook",
    "http_access_skip_paths": "there is no access log",
    "http_gzip": "use a reverse proxy for compression",
    "peers": "",
    "cluster": "",
    "recording.native_samplerate": "set recording.samplerate instead",
    "callrecord.with_media": "",
    "callrecord.keep_media_copy": "",
}
"""Keys that are accepted so that existing files load, with advice."""

_GROUPS: Mapping[str, type[msgspec.Struct]] = {
    "vad": options.VadOption,
    "asr": options.AsrOption,
    "tts": options.TtsOption,
    "eou": options.EouOption,
    "realtime": options.RealtimeOption,
    "ringback_detection": options.RingbackDetectionOption,
}
PLACEHOLDER = re.compile(r"<?\$?\{?YOUR_[A-Z_]+\}?>?")
"""The guides' placeholders for the operator's own values."""


def config_warnings(document: Document) -> tuple[str, ...]:
    """All warnings, in file order."""
    found = [*_unused(document), *_unused_options(document), *_placeholders(document.values, ())]
    found.sort(key=lambda entry: document.line_of(entry[0]))
    return tuple(_sentence(document, place, text) for place, text in found)


def _unused(document: Document) -> Iterator[tuple[KeyPath, str]]:
    for name, instead in UNUSED.items():
        path = tuple(name.split("."))
        if _value_at(document.values, path) is not None:
            yield path, "has no effect" + (f"; {instead}" if instead else "")


def _unused_options(document: Document) -> Iterator[tuple[KeyPath, str]]:
    for group, cls in _GROUPS.items():
        table = document.values.get(group)
        for key in table if isinstance(table, dict) else ():
            instead = WITHOUT_EFFECT[cls].get(_snake(str(key)))
            if instead is not None:
                yield (group, str(key)), "has no effect" + (f"; {instead}" if instead else "")


def _placeholders(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(value, str) and PLACEHOLDER.fullmatch(value):
        if path == ("external_ip",):
            text = f"is still the guide's placeholder {value}; set it to the server's public address, otherwise carriers cannot reach it"
        else:
            text = f"is still the guide's placeholder {value}"
        yield path, text
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _placeholders(item, (*path, str(key)))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _placeholders(item, (*path, index))


def _value_at(values: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        values = values.get(part) if isinstance(values, dict) else None
    return values


def _sentence(document: Document, place: KeyPath, text: str) -> str:
    line = document.line_of(place)
    return f"{document.file}:{line}: {dotted(place)} {text}" if line else f"{dotted(place)} {text}"


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda match: "_" + match[1], name).lower()
