"""Collects the mistakes and warnings of a playbook while it is read, each with its line. Mistakes prevent its use, warnings do not."""

from __future__ import annotations

from dataclasses import dataclass, field

from active_call.base.errors import PlaybookError


@dataclass(frozen=True, slots=True)
class Finding:
    """One mistake or warning. `line` counts from 1; 0 where the whole file is meant."""

    line: int
    text: str
    is_error: bool = True


@dataclass(slots=True)
class Findings:
    """Collects what is found in one file."""

    file: str
    entries: list[Finding] = field(default_factory=list)

    def error(self, line: int, text: str) -> None:
        """Note a mistake."""
        self._add(Finding(line, text))

    def warn(self, line: int, text: str) -> None:
        """Note something that is allowed and probably not meant."""
        self._add(Finding(line, text, is_error=False))

    @property
    def in_order(self) -> list[Finding]:
        """All findings by line; within a line in the order in which they were found."""
        return sorted(self.entries, key=lambda finding: finding.line)

    @property
    def first_error(self) -> PlaybookError | None:
        """The first mistake in the order of the file."""
        first = next((finding for finding in self.in_order if finding.is_error), None)
        return PlaybookError(self.file, first.line, first.text) if first is not None else None

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings as sentences that name file and line."""
        return tuple(str(PlaybookError(self.file, entry.line, entry.text)) for entry in self.in_order if not entry.is_error)

    def _add(self, finding: Finding) -> None:
        if finding not in self.entries:
            self.entries.append(finding)
