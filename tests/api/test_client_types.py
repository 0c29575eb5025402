"""`/client.js`, its types and its guide name the same things."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "src/active_call/api/javascript"
SCRIPTS = "\n".join(file.read_text(encoding="utf-8") for file in (FOLDER / "client.js", *sorted((FOLDER / "client").glob("*.js"))))
TYPES = (FOLDER / "client.d.ts").read_text(encoding="utf-8")
GUIDE = (ROOT / "docs/javascript.md").read_text(encoding="utf-8")
FOR_SUBCLASSES = {"tell", "finish", "connect", "open", "begin", "constructor"}
"""Methods of the scripts that pages do not call."""
UNTOLD = {"stream", "on", "next", "interrupt", "restartIce", "release", "constructor"}
"""Methods whose names the guide's tables do not begin with."""


def methods(text: str, name: str) -> set[str]:
    """The public methods of a class, in a script or in the types."""
    body = re.search(rf"^export class {name}\b[^\n]*\{{\n(.*?)^\}}", text, re.MULTILINE | re.DOTALL)
    assert body is not None, name
    return set(re.findall(r"^  (?:async )?\*?(?:static async )?([A-Za-z]\w*)\(", body[1], re.MULTILINE))


@pytest.mark.parametrize("name", ["Client", "Call", "BrowserCall"])
def test_types_have_the_methods_of_the_scripts(name: str) -> None:
    written, typed = methods(SCRIPTS, name) - FOR_SUBCLASSES, methods(TYPES, name) - FOR_SUBCLASSES
    inherited = methods(TYPES, "Call") if name == "BrowserCall" else set()
    assert typed - inherited == written - inherited
    assert len(typed) > 5


@pytest.mark.parametrize("name", ["Client", "Call", "BrowserCall"])
def test_guide_names_every_method(name: str) -> None:
    missing = {one for one in methods(TYPES, name) - UNTOLD if not re.search(rf"`[^`\n]*\b{one}\(", GUIDE)}
    assert not missing


def test_types_export_what_the_script_exports() -> None:
    script = (FOLDER / "client.js").read_text(encoding="utf-8")
    exported = set(re.findall(r"^export (?:class|function) (\w+)", script, re.MULTILINE))
    for names in re.findall(r"^export \{([^}]*)\}", script, re.MULTILINE):
        exported |= {one.strip() for one in names.split(",")}
    assert exported == set(re.findall(r"^export (?:class|function) (\w+)", TYPES, re.MULTILINE))
