"""The console and `/client.js`: pages, scripts and styles from this package.

They contain no data and need no token; their data come from other routes.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final

from fastapi import APIRouter, HTTPException
from fastapi.responses import Response

KINDS: Final = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".ts": "text/plain",  # types for editors; a browser never loads them
}


def console_routes() -> APIRouter:
    """`/`, its files, and `/client.js` with its parts and types. Only files that existed at the start are served."""
    router = APIRouter(include_in_schema=False)
    package = resources.files("active_call.api")
    files = {f"console/{path}": file for path, file in _files(package / "console")}
    files |= dict(_files(package / "javascript"))

    def served(path: str) -> Response:
        file = files.get(path)
        kind = KINDS.get(f".{path.rpartition('.')[2]}")
        if file is None or kind is None:
            raise HTTPException(404, f"no file {path!r}")
        return Response(file.read_text(encoding="utf-8"), media_type=kind)

    @router.get("/")
    async def console() -> Response:
        return served("console/index.html")

    @router.get("/console/{path:path}")
    async def part(path: str) -> Response:
        return served(f"console/{path}")

    @router.get("/client.js")
    async def client() -> Response:
        return served("client.js")

    @router.get("/client.d.ts")
    async def types() -> Response:
        return served("client.d.ts")

    @router.get("/client/{name}")
    async def part_of_client(name: str) -> Response:
        return served(f"client/{name}")

    return router


def _files(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, Traversable]]:
    """All files below `folder`, by their paths in it."""
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _files(entry, f"{prefix}{entry.name}/")
        else:
            yield prefix + entry.name, entry
