"""Apply the operator's rules to an outbound call: to the callee before it is dialled, then to From, To and Contact of the INVITE.

Addresses go in and out. This module knows no trunks and no configuration file. Each `Rewrite` applies to the result of the previous one.
Only the first matching `HeaderRule` is applied: all its patterns must match, and a missing pattern always matches.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from active_call.base import pattern_search
from active_call.base.errors import ParseError
from active_call.sip.routing import parse_place
from active_call.sip.syntax.uri import Uri

_REFERENCE = re.compile(r"\$\$|\$\{(\w+)\}|\$([0-9]+|[A-Za-z_]\w*)|\\([0-9]{1,2})|\\g<(\w+)>")


class Rewrite(Struct, frozen=True):
    """One rewriting of the callee. `template` is `replacement` in the syntax of `re`."""

    pattern: re.Pattern[str]
    template: str

    @classmethod
    def of(cls, pattern: str, replacement: str) -> Rewrite:
        """Compile both. Raises ValueError for an invalid pattern, or for a reference to a missing group."""
        try:
            compiled = re.compile(pattern)
        except re.error as error:
            raise ValueError(f"expected a regular expression, found {pattern!r}: {error}") from error
        parts, end = [], 0
        for match in _REFERENCE.finditer(replacement):
            parts += [replacement[end : match.start()].replace("\\", r"\\"), _reference(match, compiled)]
            end = match.end()
        return cls(compiled, "".join([*parts, replacement[end:].replace("\\", r"\\")]))

    def apply(self, text: str) -> str:
        return pattern_search.substitute(self.pattern, self.template, text)


def _reference(match: re.Match[str], pattern: re.Pattern[str]) -> str:
    name = match[1] or match[2] or match[3] or match[4]
    if name is None:
        return "$"
    known = int(name) <= pattern.groups if name.isdigit() else name in pattern.groupindex
    if not known:
        raise ValueError(f"{match[0]}: the pattern {pattern.pattern!r} has no such group")
    return rf"\g<{name}>"


def rewritten(callee: str, rewrites: Sequence[Rewrite]) -> str:
    """The callee after all rewrites."""
    for rewrite in rewrites:
        callee = rewrite.apply(callee)
    return callee


class Part(Struct, frozen=True):
    """New values for the user and host of a URI. None keeps the old one. A host without a port keeps the port."""

    user: str | None = None
    host: str | None = None

    def apply(self, uri: Uri) -> Uri:
        if self.user is not None:
            uri = replace(uri, user=self.user or None)
        if self.host is not None:
            host, port = split_host(self.host)
            uri = replace(uri, host=host, port=uri.port if port is None else port)
        return uri


class HeaderRule(Struct, frozen=True):
    """One rule: patterns for From and To, and the new From, To and Contact."""

    name: str = ""
    from_user: re.Pattern[str] | None = None
    from_host: re.Pattern[str] | None = None
    to_user: re.Pattern[str] | None = None
    to_host: re.Pattern[str] | None = None
    new_from: Part = Part()
    new_to: Part = Part()
    new_contact: Part = Part()

    def matches(self, from_uri: Uri, to_uri: Uri) -> bool:
        return (
            _found(self.from_user, from_uri.user)
            and _found(self.from_host, from_uri.host)
            and _found(self.to_user, to_uri.user)
            and _found(self.to_host, to_uri.host)
        )


def rule_for(rules: Sequence[HeaderRule], from_uri: Uri, to_uri: Uri) -> HeaderRule | None:
    """The first rule that matches the call."""
    return next((rule for rule in rules if rule.matches(from_uri, to_uri)), None)


def split_host(text: str) -> tuple[str, int | None]:
    """`host[:port]`, IPv6 with or without brackets. Raises ValueError."""
    try:
        return parse_place(text)
    except ParseError as error:
        raise ValueError(f"expected a host, with or without a port, found {text!r}") from error


def _found(pattern: re.Pattern[str] | None, text: str | None) -> bool:
    return pattern is None or (text is not None and pattern_search.search(pattern, text) is not None)
