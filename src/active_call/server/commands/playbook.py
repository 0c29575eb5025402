"""`active-call playbook check`: reads a playbook and reports all mistakes, with line numbers.

Exit codes: 0 it can be used (possibly with warnings), 2 it has mistakes; with --strict warnings count as mistakes.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated

import typer

from active_call.agent.playbook.check import PlaybookResources, check_playbook
from active_call.agent.playbook.findings import Finding
from active_call.agent.playbook.parser import Reading
from active_call.base.errors import ActiveCallError, PlaybookError
from active_call.server.config.document import read_document, read_environment, why_unreadable
from active_call.server.config.loading import DEFAULT_FILE
from active_call.server.playbook_files import PLAYBOOK_FOLDERS
from active_call.server.terminal import Terminal, json_line

out = Terminal()
err = Terminal(stderr=True)

playbook_app = typer.Typer(help="Check playbooks.", no_args_is_help=True)
SECTIONS = ("asr", "tts", "llm")


@playbook_app.callback()
def playbooks() -> None:
    """Check playbooks."""


@playbook_app.command("check")
def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Playbook files, or names in the playbook folders.")],
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as mistakes.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print only JSON.")] = False,
    conf: Annotated[Path | None, typer.Option("--conf", help="Config file (default: active-call.toml, if there is one).")] = None,
) -> None:
    """Read playbooks and list all their mistakes, or summarise them."""
    try:
        key_sets = _key_sets(conf)
    except ActiveCallError as error:
        err.print(str(error), style="red", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(2) from None
    reports = [_check_one(file, key_sets, strict=strict) for file in files]
    if as_json:
        typer.echo(json_line([report for report, _ in reports]))
    else:
        for _, lines in reports:
            for line, style in lines:
                (err if style else out).print(line, style=style, highlight=False, markup=False, soft_wrap=True)
    if not all(report["ok"] for report, _ in reports):
        raise typer.Exit(2)


def _key_sets(conf: Path | None) -> list[str] | None:
    """The names of the key sets in the config file; None if there is no config file. Raises ConfigError."""
    file = conf or DEFAULT_FILE
    if conf is None and not file.exists():
        return None
    table = read_document(file).values.get("keys", {})
    return sorted(map(str, table)) if isinstance(table, dict) else []


def _check_one(name: Path, key_sets: list[str] | None, *, strict: bool) -> tuple[dict[str, object], list[tuple[str, str]]]:
    """The report as JSON, and as lines with their styles. `name` is a path, or a name that is searched in the playbook folders."""
    file = next((path for path in (name, *(folder / name for folder in PLAYBOOK_FOLDERS)) if path.exists()), name)
    if file is name and not name.exists() and not name.is_absolute():
        places = ", ".join(str(folder) for folder in PLAYBOOK_FOLDERS)
        return _unreadable(name, f"there is no such file, neither here nor in {places}")
    try:
        environment = read_environment(Path(), os.environ)
    except ActiveCallError:
        environment = dict(os.environ)
    reading = examine(file, environment, key_sets)
    if isinstance(reading, str):
        return _unreadable(file, reading)
    found = reading.findings.in_order
    n_mistakes = sum(finding.is_error or strict for finding in found)
    lines = [(_sentence(file, finding), "red" if finding.is_error or strict else "yellow") for finding in found]
    scenes = ", ".join(scene.id for scene in reading.playbook.scenes)
    if n_mistakes:
        lines.append((f"{file}: {n_mistakes} mistake(s), {len(found) - n_mistakes} warning(s)", "bold red"))
    else:
        lines.append((f"{file}: a playbook with {len(reading.playbook.scenes)} scene(s): {scenes}", ""))
    findings = [{"line": each.line, "level": "error" if each.is_error or strict else "warning", "text": each.text} for each in found]
    return {"file": str(file), "ok": n_mistakes == 0, "findings": findings}, lines


def examine(file: Path, environment: Mapping[str, str], key_sets: Collection[str] | None = None) -> Reading | str:
    """The playbook with all findings; or why its file cannot be read. `key_sets`: those of the config file, if known."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return why_unreadable(error)
    return check_playbook(text, file=str(file), resources=PlaybookResources(environment, known_by_section(), missing_sound, key_sets))


def _unreadable(file: Path, why: str) -> tuple[dict[str, object], list[tuple[str, str]]]:
    finding = {"line": 0, "level": "error", "text": why}
    return {"file": str(file), "ok": False, "findings": [finding]}, [(f"{file}: {why}", "red")]


def _sentence(file: Path, finding: Finding) -> str:
    text = finding.text if finding.is_error else f"warning: {finding.text}"
    return str(PlaybookError(str(file), finding.line, text))


def known_by_section() -> dict[str, list[str]]:
    """The providers of this installation by section; `local` if this machine may have an engine."""
    from active_call.providers.local.on_this_machine import LOCAL_ENGINES
    from active_call.providers.registry import known_providers
    from active_call.providers.selection import LOCAL

    return {section: [*([LOCAL] if LOCAL_ENGINES.get(section) else []), *known_providers(section)] for section in SECTIONS}


def missing_sound(source: str) -> str:
    """Why a sound cannot be played; only files can be checked in advance. Relative paths are relative to the working directory."""
    from active_call.base.errors import MediaError
    from active_call.media.sounds import tones

    if source.startswith(("http://", "https://")):
        return ""
    try:
        if tones.tone_of(source) is not None:
            return ""
    except MediaError as error:
        return str(error)
    path = Path(source.removeprefix("file://"))
    return "" if path.is_file() else f"there is no file {path.absolute()}"
