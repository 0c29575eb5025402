"""`active-call providers`: the engines and vendors that this installation knows, their features, and what is missing here."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from active_call.server.config.document import read_environment
from active_call.server.terminal import Terminal

if TYPE_CHECKING:
    from active_call.providers.declared import Declared

out = Terminal()


def providers(
    kind: Annotated[str | None, typer.Argument(metavar="KIND", help="asr, tts, llm or realtime; by default all.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print only JSON.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", hidden=True, help="Print docs/providers.md.")] = False,
) -> None:
    """List speech engines and vendors, their features, and whether you can use them here."""
    from active_call.providers.declaration import KINDS
    from active_call.providers.declared import declared_providers
    from active_call.server.commands.providers_page import features_of, providers_page

    if kind is not None and kind not in KINDS:
        raise typer.BadParameter(f"expected one of {', '.join(KINDS)}, found {kind!r}")
    environment = read_environment(Path.cwd(), os.environ)
    found = [one for one in declared_providers(environment) if kind in (None, one.kind)]
    if markdown:
        typer.echo(providers_page([one.declaration for one in found if one.declaration is not None and one.is_own]), nl=False)
    elif as_json:
        typer.echo(json.dumps([_as_json(one) for one in found]))
    else:
        from rich.table import Table

        table = Table("kind", "provider", "what", "features", "here")
        for one in found:
            title, can = (one.declaration.title, ", ".join(features_of(one.declaration))) if one.declaration is not None else ("", "")
            table.add_row(one.kind, one.name, title, can, one.missing.partition(" (")[0] or "ready")
        out.print(table)


def _as_json(one: Declared) -> dict[str, object]:
    from active_call.server.commands.providers_page import features_of

    declaration = one.declaration
    facts: dict[str, object] = {"kind": one.kind, "provider": one.name, "usable": not one.missing, "missing": one.missing}
    if declaration is not None:
        facts |= {
            "title": declaration.title,
            "aliases": list(declaration.aliases),
            "features": features_of(declaration),
            "keys": list(declaration.keys),
            "documentation": declaration.documentation,
            "options": [{"name": o.name, "meaning": o.meaning, "default": o.default} for o in declaration.options],
        }
    return facts
