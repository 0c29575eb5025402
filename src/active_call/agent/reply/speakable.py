"""The last step before a synthesiser: convert written text to spoken text.

In: text as written. Out: the same words without HTML entities and tags, emoji, Markdown marks and code. `speakable` takes a sentence,
`speakable_text` a whole text; `as_pronounced` returns the text for the synthesiser. Ordinary text does not change: `2 * 3`, `snake_case`,
`C#`, `5 > 3`, `*67`. Pure and idempotent functions.
"""

from __future__ import annotations

import html
import re
from html.entities import html5

from active_call.agent.reply.structured import OWN_TAGS

ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_MAX_ENCODED = 3
"""Maximum number of times that text may have been HTML-encoded."""

INLINE_TAGS = frozenset(
    (
        "a", "abbr", "acronym", "audio", "b", "big", "break", "center", "cite", "code", "del", "details", "dfn", "em", "emphasis", "font",
        "i", "img", "ins", "kbd", "label", "lang", "mark", "phoneme", "prosody", "q", "s", "samp", "say-as", "small", "span", "speak",
        "strike", "strong", "sub", "summary", "sup", "td", "th", "tt", "u", "var", "voice", "wbr",
    )
)  # fmt: skip
LINE_TAGS = frozenset(
    (
        "article", "blockquote", "body", "br", "dd", "div", "dl", "dt", "footer", "h1", "h2", "h3", "h4", "h5", "h6", "head", "header",
        "hr",
        "html", "li", "ol", "p", "pre", "section", "table", "tbody", "tfoot", "thead", "tr", "ul",
    )
)  # fmt: skip
_NAMES = "|".join(sorted((*INLINE_TAGS, *LINE_TAGS, *OWN_TAGS), key=len, reverse=True))
_TAG = re.compile(
    rf"<(/?)({_NAMES})(?=[\s/>])((?:\"[^\"]*\"|'[^']*'|[^<>\"'])*)>",
    re.IGNORECASE,
)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_BREAKING = re.compile(rf"<br\s*/?>|</?(?:{'|'.join(sorted(LINE_TAGS - {'br'}))})(?=[\s/>])[^<>]*>", re.IGNORECASE)

_EMOJI = (
    "\U0001f000-\U0001faff\U0001fb00-\U0001fbff\u2600-\u27bf\u2b00-\u2bff\u231a\u231b\u2328\u23cf\u23e9-\u23fa\u25a0-\u25ff\u2190-\u21ff"
    "\u3030\u303d\u3297\u3299\U000e0020-\U000e007f"
)
_EMOJI_RUN = re.compile(rf"(?:[{_EMOJI}][\ufe0e\ufe0f\u200d]*)+(?:\s*(?:[{_EMOJI}][\ufe0e\ufe0f\u200d]*)+)*")
_INVISIBLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufe0e\ufe0f\ufeff\u20e3]")

LINK = re.compile(
    r"!?\[([^\[\]\n]{0,300})\](?:"
    r"\([ \t]*<?[^()\s]*(?:\([^()\s]*\)[^()\s]*)*>?(?:[ \t]+(?:\"[^\"\n]*\"|'[^'\n]*'))?[ \t]*\)"
    r"|\[[^\[\]\n]{0,80}\])"
)
"""A Markdown link within one line."""
_FOOTNOTE = re.compile(r"\[\^[^\]\s]{1,30}\]:?")
_LINK_TARGET = re.compile(r"^\s*\[[^\]]+\]:\s+\S+\s*$")
_LINE_MARK = re.compile(
    r"^\s*(?:#{1,6}\s+|[-*+•◦▪‣·●–]\s+(?=\S)(?:\[[ xX]\]\s+)?|(?:>\s?)+(?=[^\s\d=]|\s)|(?:-{3,}|\*{3,}|_{3,}|={3,}|(?:`{3,}|~{3,})\w*)\s*$)"
)
_HEADING = re.compile(r"^\s*#{1,6}\s.*?(\s+#+\s*)$")
_ROW_RULE = re.compile(r"^(?=[^|]*\|)[\s|:+=-]++$")
_BAR = re.compile(r"(?:(?<!\s)\s++)?\|+\s*")
_STAR_PAIR = re.compile(r"(?<![\w*])\*(?=[^\s*])([^*\n]*[^\s*])\*(?![\w*])")
_EMPHASIS = re.compile(
    r"(?<!\d)\*{2,}|\*{2,}(?!\d)|(?<!\w)__+|__+(?!\w)|`+|~~+|(?<![\w*])\*(?=[^\W\d_])|(?<=[^\W\d_])\*(?![\w*])|(?<=[.!?,])\*(?!\w)|(?<!\w)_(?=\w)|(?<=[\w.!?,])_(?!\w)"
)
_ESCAPE = re.compile(r"\\([\\`*_{}\[\]()#+.!|>~-])")
_URL = re.compile(r"\b(?:https?|ftp)://(?:www\.)?([^\s/?#<>\"]+)([^\s?#<>\"]*)(?:[?#][^\s<>\"]*)?", re.IGNORECASE)
_SPOKEN_PATH_CHARS = 40


def decode_entities(text: str) -> str:
    """Decode `&amp;` and the like, also if they were encoded twice."""
    for _ in range(_MAX_ENCODED):
        decoded = ENTITY.sub(_decoded, text)
        if decoded == text:
            break
        text = decoded
    return text


def _decoded(match: re.Match[str]) -> str:
    """The character. An unknown entity name does not change."""
    written = match.group()
    return html.unescape(written) if written[1] == "#" or written[1:] in html5 else written


def link_text(match: re.Match[str]) -> str:
    """The spoken text of a Markdown link."""
    return match.group(1).strip()


def speakable(text: str) -> str:
    """One sentence or line as spoken; empty if nothing of it can be spoken."""
    text = decode_entities(text)
    if "-->" in text:
        text = _COMMENT.sub(" ", text)
    text = _INVISIBLE.sub("", _without_emoji(_TAG.sub(_what_tag_leaves, text)))
    if _ROW_RULE.match(text) or _LINK_TARGET.match(text):
        return ""
    heading = _HEADING.match(text)
    text = text[: heading.start(1)] if heading else text
    while (bare := _LINE_MARK.sub("", text)) != text:
        text = bare
    text = _FOOTNOTE.sub("", LINK.sub(link_text, LINK.sub(link_text, text)))
    text = _BAR.sub(", ", text.strip().strip("|").strip()) if "|" in text else text
    text = _EMPHASIS.sub("", _STAR_PAIR.sub(r"\1", _ESCAPE.sub(r"\1", text)))
    text = " ".join(text.split()).lstrip("」』》〉）】 ")
    text = re.sub(r"([!?])\.(?=\s|$)", r"\1", text)
    return text if any(char.isalnum() for char in text) or _is_key(text) else ""


def speakable_text(text: str) -> str:
    """A whole text, line by line, without fenced code."""
    text = _BREAKING.sub("\n", _without_fences(decode_entities(text)))
    return "\n".join(line for line in (speakable(line) for line in text.split("\n") if line.strip()) if line)


def as_pronounced(text: str) -> str:
    """The text that a synthesiser gets for `text`: URLs without the parts that nobody says. SSML does not change."""
    if text.lstrip().lower().startswith(("<speak", "<?xml")):
        return text
    return _URL.sub(_spoken_address, speakable_text(text))


def _without_fences(text: str) -> str:
    """`text` without the lines between two fences. Text between fences on one line is spoken."""
    for mark in ("```", "\n~~~"):
        parts = f"\n{text}".split(mark)
        inside = parts[1::2]
        parts[1::2] = ["\n" if "\n" in part else f" {part} " for part in inside]
        text = "".join(parts)
    return text


def _what_tag_leaves(match: re.Match[str]) -> str:
    return "" if match.group(2).lower() in INLINE_TAGS else " "


def _without_emoji(text: str) -> str:
    """Remove emoji, and the space that they leave before a full stop."""

    def gap(match: re.Match[str]) -> str:
        after = text[match.end() : match.end() + 1]
        return "" if not after or after.isspace() or after in ".,!?;:" else " "

    if text.isascii():
        return text
    text = re.sub(r"([0-9#*])\ufe0f?\u20e3", r"\1", text)
    stripped = _EMOJI_RUN.sub(gap, text)
    return re.sub(r"\s+(?=[.,!?;:](?:\s|$))", "", stripped) if stripped != text else text


def _is_key(text: str) -> bool:
    """Whether the text is a single telephone key, which is spoken."""
    return text in ("*", "#")


def _spoken_address(match: re.Match[str]) -> str:
    host, path = match.group(1), match.group(2)
    ending = re.search(r"[.,!?;:)\]]*$", match.group())
    tail = ending.group() if ending else ""
    path = path.rstrip("/.,!?;:)]") if len(path) <= _SPOKEN_PATH_CHARS else ""
    return host.rstrip(".,!?;:)]") + path + tail
