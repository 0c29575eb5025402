"""Collect the mistakes and warnings of a playbook with their lines. Mistakes prevent its use, warnings do not."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from msgspec import Struct

from active_call.base.errors import PlaybookError

MAX_FINDINGS = 500
"""Mistakes, and as many warnings; further ones are not listed."""


class Finding(Struct, frozen=True):
    """One mistake or warning. `line` counts from 1; 0 means the whole file."""

    line: int
    text: str
    is_error: bool = True


@dataclass(slots=True)
class Findings:
    """The findings in one file."""

    file: str
    entries: list[Finding] = field(default_factory=list)
    _known: set[Finding] = field(default_factory=set)
    _n_of: Counter[bool] = field(default_factory=Counter)
    """The numbers of warnings (False) and mistakes (True)."""

    @property
    def has_enough_errors(self) -> bool:
        """No further mistake would be listed, so nobody has to look for one."""
        return self._n_of[True] >= MAX_FINDINGS

    def error(self, line: int, text: str) -> None:
        """Add a mistake."""
        self._add(Finding(line, text))

    def warn(self, line: int, text: str) -> None:
        """Add a warning."""
        self._add(Finding(line, text, is_error=False))

    @property
    def in_order(self) -> list[Finding]:
        """All findings by line; within a line in the order of detection."""
        return sorted(self.entries, key=lambda finding: finding.line)

    @property
    def first_error(self) -> PlaybookError | None:
        """The first mistake by line."""
        first = next((finding for finding in self.in_order if finding.is_error), None)
        return PlaybookError(self.file, first.line, first.text) if first is not None else None

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings as sentences with file and line."""
        return tuple(str(PlaybookError(self.file, entry.line, entry.text)) for entry in self.in_order if not entry.is_error)

    def _add(self, finding: Finding) -> None:
        if finding not in self._known and self._n_of[finding.is_error] < MAX_FINDINGS:
            self._known.add(finding)
            self._n_of[finding.is_error] += 1
            self.entries.append(finding)
