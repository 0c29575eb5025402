"""A playbook for an editor: its mistakes by line, and its scenes with the transitions between them. Pure: text in, values out.

A playbook that cannot be loaded still gives its findings, and the scenes that could be parsed.
"""

from __future__ import annotations

from typing import Any

from active_call.agent.playbook.check import MAX_MENTIONED, PlaybookResources, check_playbook, mentions
from active_call.agent.playbook.findings import Findings
from active_call.agent.playbook.parser import Reading
from active_call.agent.playbook.tag_check import check_tags
from active_call.base.errors import PlaybookError

Edges = dict[tuple[str, str], list[str]]
"""By (from, to), what causes the transition. From `""`: from every scene."""


def view_of(text: str, resources: PlaybookResources) -> dict[str, Any]:
    """`ok`, `findings` (`line level text`), `scenes` (`id line text`, the first one is the start) and `edges` (`from to by`)."""
    try:
        reading = check_playbook(text, file="playbook", resources=resources)
    except PlaybookError as error:
        return {"ok": False, "findings": [{"line": error.line, "level": "error", "text": error.reason}], "scenes": [], "edges": []}
    found = reading.findings.in_order
    return {
        "ok": not any(finding.is_error for finding in found),
        "findings": [
            {"line": finding.line, "level": "error" if finding.is_error else "warning", "text": finding.text} for finding in found
        ],
        "scenes": [{"id": scene.id, "line": scene.line, "text": scene.text[:200]} for scene in reading.playbook.scenes],
        "edges": [{"from": source, "to": to, "by": ", ".join(by)} for (source, to), by in _edges(reading).items()],
    }


def _edges(reading: Reading) -> Edges:
    """Which scene leads to which, and by what: a tag, a digit, or a name offered to a model."""
    book, edges = reading.playbook, Edges()
    known = dict.fromkeys(scene.id for scene in book.scenes)

    def add(source: str, to: str, by: str) -> None:
        if to in known and source != to and by not in edges.setdefault((source, to), []):
            edges[source, to].append(by)

    for digit, action in book.dtmf.items():
        add("", action.scene, f"digit {digit}")
    for scene in book.scenes:
        for digit, action in scene.dtmf.items():
            add(scene.id, action.scene, f"digit {digit}")
    for raw in reading.texts:
        for tag in check_tags(raw.text, raw.text_line, Findings(""), is_script=book.script is not None):
            if tag.name == "goto":
                add(raw.id, tag.attributes.get("scene", ""), "goto")
        if book.script is None and len(known) <= MAX_MENTIONED:
            for name in known:
                if name and (raw.id, name) not in edges and mentions(raw.text, name):
                    add(raw.id, name, "named")
    return edges
