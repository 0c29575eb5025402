"""`GET /docs`: the API on one page, made from the OpenAPI description. It has no scripts and no external content, so it works offline.

The application enters; a route leaves. It shows the content of `/openapi.json`; texts are escaped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

METHODS = ("get", "post", "put", "patch", "delete")

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; background: #fff }
h2 { margin: 2.2rem 0 .6rem; font-size: 1.1rem; text-transform: capitalize }
details { border: 1px solid #ddd; border-radius: 6px; margin: .4rem 0; padding: .45rem .8rem }
summary { cursor: pointer }
code, pre { font: 13px/1.45 ui-monospace, monospace }
pre { background: #f6f6f6; padding: .7rem; overflow: auto; border-radius: 4px }
b { display: inline-block; min-width: 4.2rem }
td { padding: .1rem 1rem .1rem 0; vertical-align: top }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #181818 } pre { background: #242424 } details { border-color: #444 } }
"""


def add_docs_page(app: FastAPI) -> None:
    """Serve the page at `/docs`; the application was created without the framework's own."""

    @app.get("/docs", response_class=HTMLResponse, include_in_schema=False)
    async def docs() -> str:
        return docs_page(app.openapi())


def docs_page(description: Mapping[str, Any]) -> str:
    """The whole page."""
    about = description.get("info", {})
    title = f"{about.get('title', 'API')} {about.get('version', '')}".strip()
    body = "".join(_sections(description))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head><body>'
        f"<h1>{escape(title)}</h1><p>{escape(str(about.get('description', '')))} "
        f'The same for programs: <a href="/openapi.json">/openapi.json</a>.</p>{body}</body></html>'
    )


def _sections(description: Mapping[str, Any]) -> Iterator[str]:
    """One section for each tag, in order of first appearance."""
    by_tag: dict[str, list[str]] = {}
    for path, item in description.get("paths", {}).items():
        for method in METHODS:
            if method in item:
                tag = (item[method].get("tags") or ["server"])[0]
                by_tag.setdefault(str(tag), []).append(_operation(method, path, item[method], description))
    for tag, operations in by_tag.items():
        yield f"<h2>{escape(tag)}</h2>{''.join(operations)}"


def _operation(method: str, path: str, operation: Mapping[str, Any], description: Mapping[str, Any]) -> str:
    rows = "".join(_parameter(entry) for entry in operation.get("parameters", ()))
    parts = [f"<p>{escape(str(operation['description']))}</p>"] if operation.get("description") else []
    if rows:
        parts.append(f"<table>{rows}</table>")
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"<p>Body, <code>{escape(kind)}</code>:</p>{_schema(content.get('schema', {}), description)}")
    for code, response in operation.get("responses", {}).items():
        parts.append(f"<p><code>{escape(str(code))}</code> {escape(str(response.get('description', '')))}</p>")
    heading = f"<b>{method.upper()}</b> <code>{escape(path)}</code> &nbsp; {escape(str(operation.get('summary', '')))}"
    return f"<details><summary>{heading}</summary>{''.join(parts)}</details>"


def _parameter(entry: Mapping[str, Any]) -> str:
    kind = entry.get("schema", {})
    default = f", default {kind['default']!r}" if kind.get("default") is not None else ""
    need = "needed" if entry.get("required") else "optional"
    told = f"{entry.get('in', '')}, {kind.get('type', 'any')}, {need}{default}. {entry.get('description', '')}"
    return f"<tr><td><code>{escape(str(entry.get('name', '')))}</code></td><td>{escape(told)}</td></tr>"


def _schema(schema: Mapping[str, Any], description: Mapping[str, Any]) -> str:
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    if name:
        schema = description.get("components", {}).get("schemas", {}).get(name, schema)
    return f"<pre>{escape(json.dumps(schema, indent=2, ensure_ascii=False))}</pre>"
