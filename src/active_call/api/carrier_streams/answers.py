"""The document for a carrier's answer URL: it opens the stream and passes values. Pure; the profile defines its form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode
from xml.sax.saxutils import escape, quoteattr

from active_call.legs.websocket.carriers.profile import AnswerProfile

MAX_VALUES: Final = 30
MAX_CHARACTERS: Final = 450
"""The limit for one name with its value; Twilio's is 500."""


def answer_document(profile: AnswerProfile, url: str, values: Mapping[str, str]) -> str:
    """The document with `values` for the stream at `url`; values that are too many or too long are left out."""
    kept = {name: value for name, value in list(values.items())[:MAX_VALUES] if value and len(name) + len(value) <= MAX_CHARACTERS}
    if profile.values_in == "query" and kept:
        url = f"{url}?{urlencode(kept)}"
    is_json = profile.media_type == "application/json"
    parameters = (
        json.dumps(kept)
        if is_json
        else "".join(
            profile.parameter.replace("$name", quoteattr(name)).replace("$value", _attribute(value)) for name, value in kept.items()
        )
    )
    as_xml = quoteattr if "=$url" in profile.template else escape
    shown = json.dumps(url) if is_json else as_xml(url)
    before, _, after = profile.template.partition("$url")
    return before + shown + after.replace("$parameters", parameters)


def _attribute(value: str) -> str:
    return quoteattr("".join(each if each.isprintable() else " " for each in value))
