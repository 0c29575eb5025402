"""The third layer of a reply: words to speak, and tags to execute.

In: pieces of any size, cut anywhere. Out: `Words` and tags, in order. A tag is never spoken, even if it is split or never closed; a `<`
that begins no tag is spoken. Unknown tags are dropped and reported as `UnknownTag`, HTML tags without a report. `[happy]…[/happy]` marks
the words between with an emotion. Values are tokens in this text (see `reply.values`). They are inserted into attributes here, after a tag
has been recognised. `reply.replies` decides what a tag does, and when.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from msgspec import Struct, field

from active_call.agent.markup import parse_attributes
from active_call.agent.reply.speakable import INLINE_TAGS, LINE_TAGS
from active_call.agent.reply.structured import tag_end
from active_call.agent.reply.values import NO_VALUES, Values
from active_call.contract.options import BriefingOption, ReferOption

MAX_TAG_CHARS = 8192
"""Maximum length of a tag. `<http … body="…"/>` may be long."""
MAX_UNKNOWN_CHARS = 120
"""`<` and letters of no known tag become text after this many characters without `>`."""

EMOTIONS = frozenset(
    {
        "angry", "annoyed", "apologetic", "calm", "caring", "cheerful", "concerned", "confident", "confused", "curious", "disgusted",
        "empathetic", "encouraging", "excited", "fear", "fearful", "friendly", "frustrated", "gentle", "grateful", "happy", "laugh",
        "neutral", "professional", "proud", "relieved", "sad", "serious", "surprise", "surprised", "sympathetic", "warm", "whisper",
        "worried",
    }
)  # fmt: skip


class Words(Struct, frozen=True):
    """Text to speak, as written. It may end within a word."""

    text: str
    emotion: str = ""


class HangupTag(Struct, frozen=True):
    """End the call."""

    reason: str = ""


class ReferTag(Struct, frozen=True):
    """Transfer the call. `options`: the options of the transfer that the tag sets."""

    to: str
    caller: str = ""
    options: ReferOption | None = None
    summary: str = ""
    """The reason of the call, for the target of a warm transfer."""


class GotoTag(Struct, frozen=True):
    """Enter another scene."""

    scene: str


class PlayTag(Struct, frozen=True):
    """Play a file or URL."""

    file: str


class SetVarTag(Struct, frozen=True):
    """Set a variable of the call."""

    key: str
    value: str


class HttpTag(Struct, frozen=True):
    """Send an HTTP request. `set_var`: the variable for the answer."""

    url: str
    method: str = "GET"
    body: str | None = None
    set_var: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Only in the JSON form."""


class MessageTag(Struct, frozen=True):
    """Send a text message to the caller, or to the transfer target if `refer`."""

    body: str
    content_type: str | None = None
    refer: bool = False


class DigitsTag(Struct, frozen=True):
    """Send DTMF digits to the other side."""

    digits: str


class HoldTag(Struct, frozen=True):
    """Put the caller on hold, with music from `file` if given. `seconds`: the duration of the hold."""

    file: str = ""
    seconds: float = 0.0


class LanguageTag(Struct, frozen=True):
    """Switch the language for speaking and listening. `voice`: the synthesiser's voice name."""

    code: str
    voice: str = ""


class CollectTag(Struct, frozen=True):
    """Collect input from the caller, with the collector named `type` or of a built-in kind (see `agent.collect`)."""

    type: str
    var: str = ""
    prompt: str = ""


class CallTag(Struct, frozen=True):
    """Call a tool. Only in the JSON form, for models without native tool calls. `arguments` is JSON."""

    name: str
    arguments: str = "{}"


class WaitInput(Struct, frozen=True):
    """How long to wait for the caller after this reply before a follow-up. Only in the JSON form of a reply."""

    seconds: float


class UnknownTag(Struct, frozen=True):
    """Text that looks like a tag but cannot be executed; for the log."""

    text: str
    reason: str = "unknown tag"


Tag = (
    HangupTag | ReferTag | GotoTag | PlayTag | SetVarTag | HttpTag | MessageTag | DigitsTag | HoldTag | LanguageTag | CollectTag | CallTag
    | WaitInput | UnknownTag
)  # fmt: skip
Part = Words | Tag

_TRUE = ("true", "1", "yes")


def _seconds(text: str) -> float:
    return float(text) if re.fullmatch(r"\d{1,4}(\.\d{1,3})?", text) else 0.0


def _refer_option(attributes: Mapping[str, str]) -> ReferOption | None:
    """The transfer options of a `<refer/>`. An invalid attribute counts as absent."""
    timeout, hangup, digits = (attributes.get(name, "") for name in ("timeout", "autohangup", "forwarddtmf"))
    option = ReferOption(
        mode=attributes.get("mode") or None,
        moh=attributes.get("moh") or None,
        timeout=int(timeout) if re.fullmatch(r"[0-9]{1,9}", timeout) else None,
        auto_hangup=hangup.lower() in _TRUE if hangup else None,
        forward_dtmf=digits.lower() in _TRUE if digits else None,
        call_id=attributes.get("callid") or None,
        briefing=BriefingOption(text=attributes["briefing"]) if attributes.get("briefing") else None,
    )
    return None if option == ReferOption() else option


_MADE: Mapping[str, tuple[tuple[str, ...], Callable[[Mapping[str, str]], Tag]]] = {
    "hangup": ((), lambda a: HangupTag(a.get("reason", ""))),
    "refer": (("to",), lambda a: ReferTag(a["to"], a.get("caller", ""), _refer_option(a), a.get("summary", ""))),
    "goto": (("scene",), lambda a: GotoTag(a["scene"])),
    "play": (("file",), lambda a: PlayTag(a["file"])),
    "set_var": (("key",), lambda a: SetVarTag(a["key"], a.get("value", ""))),
    "http": (("url",), lambda a: HttpTag(a["url"], (a.get("method") or "GET").upper(), a.get("body"), a.get("set_var", ""))),
    "message": (("body",), lambda a: MessageTag(a["body"], a.get("contenttype"), a.get("refer", "").lower() in _TRUE)),
    "send_digits": (("digits",), lambda a: DigitsTag(a["digits"])),
    "hold": ((), lambda a: HoldTag(a.get("file", "") or a.get("moh", ""), _seconds(a.get("seconds", "")))),
    "language": (("code",), lambda a: LanguageTag(a["code"], a.get("voice", ""))),
    "collect": (("type",), lambda a: CollectTag(a["type"], a.get("var", ""), a.get("prompt", ""))),
}
"""Name → required attributes, and the function that creates the tag."""
_OTHER_NAMES: Mapping[str, str] = {
    "hangup_call": "hangup",
    "transfer_call": "refer",
    "refer_call": "refer",
    "goto_scene": "goto",
    "set_variable": "set_var",
    "send_message": "message",
    "play_file": "play",
    "hold_call": "hold",
    "switch_language": "language",
    "collect_input": "collect",
}
"""Names under which models call the same actions as functions. They may also occur in the JSON form."""
_OTHER_ATTRIBUTES: Mapping[str, str] = {"callee": "to", "callee_uri": "to", "target": "to", "collector": "type"}
_OURS = frozenset((*_MADE, *_OTHER_NAMES))
_MAX_HTML_CHARS = 2000
_HTML_ATTRIBUTE = re.compile(r"\s+[\w-]+\s*=")
_ADDRESS = re.compile(r"<(?:mailto:)?((?:https?://|[\w.+-]+@)[^\s<>]+)>", re.IGNORECASE)

_NAME = re.compile(r"<(/?)([A-Za-z][\w-]*)")
_EMOTION = re.compile(r"\[(/?)([a-z_]+)\]")
_EMOTION_BEGUN = re.compile(r"\[/?[a-z_]{0,20}$")


def is_action(name: str) -> bool:
    """Whether `name` is a tag or an action's function name."""
    return name in _MADE or name in _OTHER_NAMES


def make_tag(name: str, attributes: Mapping[str, str], source: str) -> Tag:
    """Create the tag with that name. UnknownTag if it does not exist or an attribute is missing. `source` is quoted in the log."""
    if name in _OTHER_NAMES:
        name = _OTHER_NAMES[name]
        attributes = {_OTHER_ATTRIBUTES.get(key, key): value for key, value in attributes.items()}
    if name not in _MADE:
        return UnknownTag(source[:80])
    needed, make = _MADE[name]
    missing = [key for key in needed if not attributes.get(key)]
    return UnknownTag(source[:80], f"{missing[0]} is missing") if missing else make(attributes)


class TagParser:
    """One reply from its first piece to `finish`."""

    def __init__(self, values: Values = NO_VALUES) -> None:
        self._buffer = ""
        self._emotion = ""
        self._values = values

    def feed(self, piece: str) -> list[Part]:
        """The parts that `piece` completes."""
        self._buffer += piece
        return self._read(at_end=False)

    def finish(self) -> list[Part]:
        """The remaining parts. A tag without its end is dropped."""
        return self._read(at_end=True)

    def _read(self, *, at_end: bool) -> list[Part]:
        parts: list[Part] = []
        while self._buffer:
            consumed = self._step(parts, at_end)
            if consumed == 0:
                break
            self._buffer = self._buffer[consumed:]
        return parts

    def _step(self, parts: list[Part], at_end: bool) -> int:
        """Parse one part from the front of the buffer; 0 if more text is needed."""
        first = self._buffer[0]
        if first == "<":
            return self._tag(parts, at_end)
        if first == "[":
            return self._bracket(parts, at_end)
        stops = [place for place in (self._buffer.find("<"), self._buffer.find("[")) if place > 0]
        length = min(stops, default=len(self._buffer))
        self._words(parts, self._buffer[:length])
        return length

    def _tag(self, parts: list[Part], at_end: bool) -> int:
        if len(self._buffer) == 1 or self._buffer[:2] == "</":
            if len(self._buffer) < 3 and not at_end:
                return 0
            if len(self._buffer) < 3:
                return self._plain(parts, 1) if self._buffer == "<" else len(self._buffer)
        match = _NAME.match(self._buffer)
        if match is None:
            return self._plain(parts, 1)
        name = match.group(2).lower()
        limit = 0
        if match.end() < len(self._buffer) and name not in _OURS:
            limit = _text_from(self._buffer, match.end(), name)
        end = tag_end(self._buffer[: limit or MAX_TAG_CHARS])
        if limit and not end:
            return self._plain(parts, 1)
        if end > 0:
            self._whole_tag(parts, name, closing=bool(match.group(1)), text=self._buffer[:end], inner=match.end())
            return end
        if at_end or len(self._buffer) > MAX_TAG_CHARS:
            parts.append(UnknownTag(self._buffer[:80], "a tag without its end"))
            return len(self._buffer)
        return 0

    def _whole_tag(self, parts: list[Part], name: str, *, closing: bool, text: str, inner: int) -> None:
        address = _ADDRESS.fullmatch(text)
        if closing and name in _OURS:
            return
        if name in _OURS:
            attributes = self._values.attributes(parse_attributes(text[inner:-1]))
            parts.append(make_tag(name, attributes, self._values.plain(text)))
        elif address is not None:
            self._words(parts, address.group(1))
        elif name in LINE_TAGS:
            self._words(parts, "\n")
        elif name not in INLINE_TAGS:
            parts.append(UnknownTag(self._values.plain(text)[:80]))

    def _bracket(self, parts: list[Part], at_end: bool) -> int:
        match = _EMOTION.match(self._buffer)
        if match is not None and match.group(2) in EMOTIONS:
            self._emotion = "" if match.group(1) else match.group(2)
            return match.end()
        if match is None and not at_end and _EMOTION_BEGUN.match(self._buffer):
            return 0
        return self._plain(parts, 1)

    def _plain(self, parts: list[Part], length: int) -> int:
        self._words(parts, self._buffer[:length])
        return length

    def _words(self, parts: list[Part], text: str) -> None:
        last = parts[-1] if parts else None
        if isinstance(last, Words) and last.emotion == self._emotion:
            parts[-1] = Words(last.text + text, self._emotion)
        else:
            parts.append(Words(text, self._emotion))


def _text_from(text: str, inner: int, name: str) -> int:
    """The index at which `text`, which begins like an unknown tag, turns out to be text: end of line, another `<`, or too many characters.

    0 if it is not certain yet.
    """
    is_html = (name in INLINE_TAGS or name in LINE_TAGS) and _HTML_ATTRIBUTE.match(text, inner) is not None
    limit = _MAX_HTML_CHARS if is_html else MAX_UNKNOWN_CHARS
    stops = [place for place in (text.find("\n", inner), text.find("<", inner)) if place > 0]
    if len(text) > limit:
        stops.append(limit)
    return min(stops, default=0)
