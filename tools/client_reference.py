"""Writes the reference part of docs/python-client.md from the docstrings of the client: `python tools/client_reference.py [--check]`."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path

from active_call.client import errors
from active_call.client.call import ClientCall
from active_call.client.client import Client

PAGE = Path(__file__).parents[1] / "docs" / "python-client.md"
BEGIN = "<!-- reference: written by tools/client_reference.py -->"


def reference() -> str:
    """The generated part of the page."""
    lines = [BEGIN, ""]
    for cls, shown in ((Client, "Client"), (ClientCall, "ClientCall")):
        lines += [f"### {shown}", "", _plain(cls.__doc__), ""]
        if cls is Client:
            lines += [f"`{shown}{_signature(cls)}`", ""]
        lines += _members(cls)
    lines += ["### Errors", "", "All can be imported from `active_call`, as can `ClientCall` for annotations.", ""]
    lines += ["| error | means |", "|---|---|"]
    found = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if cls.__module__ == errors.__name__]
    lines += [f"| `{cls.__name__}` | {_plain(cls.__doc__)} |" for cls in found]
    return "\n".join(lines) + "\n"


def _members(cls: type) -> list[str]:
    rows = ["| method | does |", "|---|---|"]
    for name, member in vars(cls).items():
        if name.startswith("_"):
            continue
        if isinstance(member, property):
            rows.append(f"| `{name}` | {_plain(member.__doc__)} |")
        elif inspect.isfunction(member):
            awaited = "await " if inspect.iscoroutinefunction(member) else "async for … in " if inspect.isasyncgenfunction(member) else ""
            rows.append(f"| `{awaited}{name}{_signature(member)}` | {_plain(member.__doc__)} |")
    return [*rows, ""]


def _signature(member: object) -> str:
    text = re.sub(r"\(self(, )?", "(", str(inspect.signature(member)))  # type: ignore[arg-type]
    text = text.partition(" -> ")[0] if "->" in text else text
    # Annotations are strings in these modules: show them without their quotes.
    text = re.sub(r": '([^']*)'|: \"([^\"]*)\"", lambda found: f": {found[1] or found[2]}", text)
    return text.replace("|", "\\|")


def _plain(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def page() -> str:
    """The page with its current reference."""
    return PAGE.read_text(encoding="utf-8").partition(BEGIN)[0] + reference()


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(0 if page() == PAGE.read_text(encoding="utf-8") else "docs/python-client.md is out of date: run tools/client_reference.py")
    PAGE.write_text(page(), encoding="utf-8")
