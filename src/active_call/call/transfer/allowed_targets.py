"""Which transfer targets an author has allowed: in the playbook's text, in the call's own variables, in `refer.allow`.

A target, patterns and texts enter, yes or no leaves. Pure. Text from a model or a caller is not included.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from active_call.agent.playbook.scenes import Playbook
from active_call.base.errors import ParseError
from active_call.call.transfer.addressing import OwnCall, dialable
from active_call.legs.trunks.destinations import is_written_in, names_address
from active_call.sip.syntax.uri import Uri, parse_uri

_HISTORY = ("diversion", "history-info")


def is_listed(target: str, own: OwnCall, allowed: Iterable[str], texts: str) -> bool:
    """Whether the author allows `target`: by a pattern of `allowed`, or in `texts`."""
    uri = _read(dialable(target, own))
    home = _read(dialable("000", own))
    if uri is None or uri.headers is not None or "method" in uri.parameters or "maddr" in uri.parameters:
        return uri is not None and target.strip() in texts and bool(texts)
    is_home = uri.scheme == "tel" or (home is not None and (home.host.lower(), home.port) == (uri.host.lower(), uri.port))
    return names_address(allowed, uri, is_home=is_home) or is_written_in(texts, uri, is_home=is_home)


def author_texts(playbook: Playbook | None, given: Iterable[str]) -> str:
    """The author's texts: the playbook, the targets of its keys, and the variables set by the side that placed or accepted the call."""
    texts = list(given)
    if playbook is not None:
        texts.append(playbook.source)
        texts += [action.target for keys in (playbook.dtmf, *(scene.dtmf for scene in playbook.scenes)) for action in keys.values()]
    return "\n".join(texts)


def names_call(call_id: str, playbook: Playbook | None, given: Iterable[str]) -> bool:
    """Whether the author names that call: by a whole value of a given variable, or as a `callId` in the playbook.

    A caller chooses the Call-ID of its calls, so a word of the playbook is not enough.
    """
    written = rf"""callId\s*[=:]\s*["']?{re.escape(call_id)}(?:["'\s/>]|$)"""
    return call_id in given or (playbook is not None and re.search(written, playbook.source, re.IGNORECASE) is not None)


def may_show(caller: str, own: OwnCall, texts: str) -> bool:
    """Whether an agent may show `caller` to a target as the calling number: a party of its call, or one that its author wrote."""
    user = _calling_user(caller)
    if user in (_calling_user(own.caller), _calling_user(own.callee)):
        return True
    return bool(user) and re.search(rf"(?<![\w.+-]){re.escape(user)}(?![\w-]|\.\w)", texts) is not None


def _calling_user(address: str) -> str:
    """The user or number in `"Name" <sip:user@host>`, `sip:user@host`, `user`."""
    text = address.partition("<")[2].partition(">")[0] if "<" in address else address
    return re.sub(r"^(?:sips?|tel):", "", text.strip(), flags=re.IGNORECASE).partition("@")[0].partition(";")[0]


def diverted_from(headers: Mapping[str, str]) -> tuple[str, ...]:
    """The earlier destinations of the call, from its headers (RFC 5806, RFC 7044)."""
    return tuple(value for name, value in headers.items() if name.lower() in _HISTORY)


def _read(address: str) -> Uri | None:
    try:
        return parse_uri(address if ":" in address.partition("@")[0] else f"sip:{address}")
    except ParseError:
        return None
