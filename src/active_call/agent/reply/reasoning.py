"""The first layer of a model's reply: remove the reasoning and all control tokens.

In: the raw text, cut anywhere. Out: the text for the caller and the later layers. Reasoning is enclosed in marks (`<think>`, `<thought>`,
`<reasoning>`, `[THINK]`, `[THOUGHT]`, `&lt;think&gt;`, `◁think▷`, `<|channel>thought … <channel|>`, `<unused94>thought … <unused95>`), or
has its own channel (harmony: only `final` is spoken), or has no opening mark, because that was in the prompt: then everything before
`</think>` was reasoning, and what was not spoken yet is retracted. Tool calls between control tokens are removed too. This
module knows no tags, JSON or sentences.
"""

from __future__ import annotations

import re
from enum import Enum

MAX_MARK_CHARS = 96
"""A longer text is not a mark."""

_NAMES = (
    r"(?:\w{1,20}:)?(?:[a-z0-9]{1,12}_)?(?:ant)?(?:think(?:ing)?(?:_\w{1,60})?|thoughts?|reason|reasoning(?:_\w{1,20})?|reflect|reflection"
    r"|analysis|scratchpad|chain[-_]of[-_]thoughts?|cot|plan|planning|deliberation|internal|(?:inner|internal)[-_]monologue)"
)
_MARK = re.compile(
    rf"""(?P<tag>(?:<|&lt;)(?P<end>[/\\]{{0,2}})\s?{_NAMES}(?:\s[^<>\n]{{0,60}}?)?(?P<empty>/?)(?:>|&gt;))
    |(?P<token><[|｜](?P<name>[^<>\n]{{1,80}}?)[|｜]>)
    |(?P<open><\|(?P<channel>[a-z_]{{1,30}})>(?:[ \t]*(?P<topic>[A-Za-z]+))?)
    |(?P<close><[a-z_]{{1,30}}\|>)
    |(?P<turn><(?:(?P<starts>start)|end)_of_turn>)
    |(?P<square>\[(?P<square_end>/?)(?:THINK|(?-i:THINKING|THOUGHTS?|REASONING))\])
    |(?P<unused><unused(?:94|(?P<unused_end>95))>)
    |(?P<moon>◁(?P<moon_end>/?)think▷)
    |(?P<instruction>\[/?INST\])""",
    re.IGNORECASE | re.VERBOSE,
)
_BEGUN = re.compile(
    r"<(?:[/\\]{0,2}\s?[\w:-]{0,80}|[/\\]{0,2}\s?[\w:-]{1,80}\s[^<>\n]{0,60}/?|[|｜][^<>\n]{0,80}[|｜]?|[a-z_]{1,30}\|)\Z"
    r"|<\|[a-z_]{1,30}>[ \t]*[A-Za-z]*\Z|\[/?[A-Za-z]{0,10}\Z|◁/?[a-z]{0,5}\Z"
    r"|&(?:l(?:t(?:;[/\\]{0,2}\s?[\w:-]{0,80}(?:\s[^<>\n&]{0,60})?(?:&(?:gt?)?)?)?)?)?\Z",
    re.IGNORECASE,
)
"""Matches a possible beginning of a mark."""
_SAID_CHANNELS = ("final", "response", "answer", "reply", "message", "say")
_OURS = ("assistant", "model", "bot", "ai")
_OTHERS = ("user", "human", "system", "observation", "tool", "environment")
"""Roles whose turns a model sometimes invents."""
_ENDS = ("endoftext", "end_of_text", "end_of_sentence", "eot_id", "im_end", "eom_id")
"""Tokens after which the reply is over; a model that goes on writes the caller's next words itself."""
_LEAKED = re.compile(r"\s*analysis(?=[A-Z])")
_LEAKED_END = re.compile(r"assistant\s?final")
"""Harmony output from which the server has removed the tokens but not the words between them."""
_LEAKED_CHARS = len("assistant final")


class _Inside(Enum):
    """The state of the filter."""

    REPLY = "reply"
    REASONING = "reasoning"
    HEADER = "header"
    """After a token, reading the role or channel name up to `<|message|>` or the end of the line."""
    MACHINE = "machine"
    """Inside a tool call or a turn of another role."""


class ReasoningFilter:
    """One reply from its first piece to `finish`. `is_prefilled`: the reasoning began in the prompt."""

    def __init__(self, *, is_prefilled: bool = False) -> None:
        self.has_ended_without_beginning = False
        """A closing mark arrived without an opening one."""
        self._inside = _Inside.REASONING if is_prefilled else _Inside.REPLY
        self._buffer = ""
        self._header = ""
        self._ends_at_line = False
        self._has_said = False
        """Words for the caller have been returned since the last retraction."""
        self._is_first = True
        self._is_leaked = False
        self._has_retraction = False

    def feed(self, piece: str) -> str:
        """The text for the caller that is certain now. After a retraction: the text after it."""
        self._buffer += piece
        return self._read(at_end=False)

    def finish(self) -> str:
        """The remaining text for the caller."""
        return self._read(at_end=True)

    def take_retraction(self) -> bool:
        """Whether all text returned so far turned out to be reasoning; True once."""
        found, self._has_retraction = self._has_retraction, False
        return found

    def _read(self, *, at_end: bool) -> str:
        if self._is_first and not self._begin(at_end=at_end):
            return ""
        if self._is_leaked:
            return self._read_leaked(at_end=at_end)
        out: list[str] = []
        while (match := _MARK.search(self._buffer)) is not None:
            if match.end() == len(self._buffer) and match.lastgroup and match.group("open") and not at_end:
                break  # its topic may still follow
            self._take(self._buffer[: match.start()], out)
            self._buffer = self._buffer[match.end() :]
            self._pass(match, out)
        keep = "" if at_end else self._held()
        self._take(self._buffer[: len(self._buffer) - len(keep)], out)
        self._buffer = keep
        return "".join(out)

    def _held(self) -> str:
        begun = _BEGUN.search(self._buffer, max(0, len(self._buffer) - MAX_MARK_CHARS))
        return begun.group() if begun else ""

    def _take(self, text: str, out: list[str]) -> None:
        if self._inside is _Inside.REPLY:
            out.append(text)
            self._has_said = self._has_said or (not text.isspace() and bool(text))
        elif self._inside is _Inside.HEADER:
            line, newline, rest = text.partition("\n") if self._ends_at_line else (text, "", "")
            self._header = (self._header + line)[:MAX_MARK_CHARS]
            if newline:
                self._end_header()
                self._take(rest, out)

    def _pass(self, match: re.Match[str], out: list[str]) -> None:
        """Continue after a mark."""
        if match.group("token"):
            self._on_token(match.group("name").lower().replace("▁", "_"))
        elif match.group("open"):
            self._inside = _inside_of(match.group("topic") or match.group("channel"))
        elif match.group("close"):
            self._inside = _Inside.REPLY
        elif match.group("turn"):
            if match.group("starts"):
                self._begin_header(ends_at_line=True)
        elif match.group("instruction") or match.group("empty"):
            pass
        elif any(match.group(name) for name in ("end", "square_end", "moon_end", "unused_end")):
            self._close(out)
        else:
            self._inside = _Inside.REASONING

    def _close(self, out: list[str]) -> None:
        """Handle a closing mark. Without an opening one, everything before it was reasoning."""
        if self._inside is _Inside.REPLY:
            self.has_ended_without_beginning = self._has_retraction = True
            self._has_said = False
            out.clear()
        self._inside = _Inside.REPLY

    def _on_token(self, name: str) -> None:
        if self._inside is _Inside.HEADER:
            self._end_header()
        if name in ("start", "channel", "start_header_id"):
            self._begin_header(ends_at_line=False)
        elif name == "im_start":
            self._begin_header(ends_at_line=True)
        elif "thought" in name or "think" in name:
            self._inside = _Inside.REPLY if name.startswith(("end", "/")) or name.endswith("end") else _Inside.REASONING
        elif "tool" in name or "action" in name or name in ("python_tag", "call", "function_call"):
            self._inside = _Inside.REPLY if name.startswith(("end", "/")) or name.endswith("end") or name == "call" else _Inside.MACHINE
        elif name in _ENDS and self._inside is _Inside.REPLY and self._has_said:
            self._inside = _Inside.MACHINE
        elif name in ("end", "return", "end_of_turn", *_ENDS, *_OURS):
            self._inside = _Inside.REPLY
        elif name in _OTHERS:
            self._inside = _Inside.MACHINE

    def _begin_header(self, *, ends_at_line: bool) -> None:
        self._inside, self._header, self._ends_at_line = _Inside.HEADER, "", ends_at_line

    def _end_header(self) -> None:
        self._inside = _inside_of(self._header)

    # -- harmony without its tokens

    def _begin(self, *, at_end: bool) -> bool:
        """Whether the beginning is long enough to decide."""
        start = self._buffer.lstrip()
        if not at_end and len(start) <= len("analysis") and "analysis".startswith(start[:8]):
            return False
        self._is_first = False
        self._is_leaked = _LEAKED.match(self._buffer) is not None
        return True

    def _read_leaked(self, *, at_end: bool) -> str:
        end = _LEAKED_END.search(self._buffer)
        if end is None:
            self._buffer = "" if at_end else self._buffer[-_LEAKED_CHARS:]
            return ""
        self._is_leaked = False
        self._buffer = self._buffer[end.end() :]
        return self._read(at_end=at_end)


def _inside_of(header: str) -> _Inside:
    """The state after a role or channel name. A tool call (`commentary to=…`) is not part of the reply, nor is any channel but `final`."""
    name = header.strip().lower()
    if " to=" in f" {name}":
        return _Inside.MACHINE
    return _Inside.REPLY if not name or name in _OURS or name.startswith(_SAID_CHANNELS) else _Inside.MACHINE


def without_reasoning(text: str) -> str:
    """The part of a complete text that is for the caller."""
    reading = ReasoningFilter()
    said = reading.feed(text)
    is_taken_back = reading.take_retraction()
    rest = reading.finish()
    return rest if is_taken_back and not said else said + rest
