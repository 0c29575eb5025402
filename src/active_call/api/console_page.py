"""The console: a page, its script and its style, from this package. They hold no data and are open to all; what they show they ask for."""

from __future__ import annotations

from importlib import resources

from fastapi import APIRouter, HTTPException
from fastapi.responses import Response

_KINDS = {"index.html": "text/html", "console.js": "text/javascript", "console.css": "text/css"}


def console_routes() -> APIRouter:
    """`/`, and the files that it names."""
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def console() -> Response:
        return _file("index.html")

    @router.get("/console/{name}")
    async def part(name: str) -> Response:
        return _file(name)

    return router


def _file(name: str) -> Response:
    if name not in _KINDS:
        raise HTTPException(404, f"no file {name!r}")
    text = (resources.files("active_call.api") / "console" / name).read_text(encoding="utf-8")
    return Response(text, media_type=_KINDS[name])
