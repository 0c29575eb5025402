"""Playbooks over HTTP: listed, read, written, and stored for a socket that will connect."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import secrets
import stat
from datetime import datetime
from pathlib import Path
from typing import Final

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import JSONResponse, Response

from active_call.agent.playbook.scenes import Playbook
from active_call.api.access import is_operator
from active_call.api.bodies import body_schema, json_object
from active_call.api.sockets.playbook_runs import PlaybookRuns
from active_call.base.errors import PlaybookError
from active_call.call.opening.routing import Playbooks
from active_call.contract import wire
from active_call.contract.requests import RunPlaybook
from active_call.store.private_files import FILE_MODE, create_private

MAX_NAME_BYTES: Final = 200
"""The longest name of a playbook: file systems allow 255, and the draft has a suffix."""


def library_routes(folder: Path, playbooks: Playbooks, runs: PlaybookRuns) -> APIRouter:
    """`/api/playbooks` and `/api/playbook/run`. `runs` stores the playbooks that wait for a socket."""
    router = APIRouter(prefix="/api", tags=["library"])

    @router.get("/playbooks", summary="Playbooks on this server")
    async def list_playbooks() -> list[dict[str, str]]:
        return await asyncio.to_thread(_listed, folder)

    @router.get("/playbooks/{name:path}", summary="The text of a playbook; as JSON if `Accept` asks for it")
    async def read_playbook(name: str, request: Request) -> Response:
        path = _playbook_path(folder, name)
        if not path.is_file():
            raise HTTPException(404, f"no playbook {name!r}")
        try:
            content = await asyncio.to_thread(path.read_text, encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise HTTPException(409, f"the playbook {name!r} cannot be read: {_why(error)}") from error
        if "application/json" in request.headers.get("accept", ""):
            return JSONResponse({"name": name, "content": content})
        return Response(content, media_type="text/markdown; charset=utf-8")

    @router.post("/playbooks/{name:path}", summary="Write a playbook, given as text or as JSON; refused if it does not parse")
    async def write_playbook(name: str, request: Request) -> dict[str, str]:
        content = await _content_of(request)
        path = _playbook_path(folder, name)
        await playbooks.parse_long(content, by_operator=is_operator(request))
        try:
            await asyncio.to_thread(_write_whole, path, content)
        except OSError as error:
            code = 507 if error.errno in (errno.ENOSPC, errno.EDQUOT) else 409
            raise HTTPException(code, f"the playbook {name!r} cannot be written: {_why(error)}") from error
        return {"status": "written", "name": name}

    @router.post(
        "/playbook/run", summary="Prepare a playbook for the socket that opens with the returned id", openapi_extra=body_schema(RunPlaybook)
    )
    async def run_playbook(request: Request) -> dict[str, str]:
        wanted = wire.convert(await json_object(request), RunPlaybook).value
        if wanted.content is not None:
            playbook = await playbooks.parse_long(wanted.content, by_operator=is_operator(request))
        elif wanted.playbook is not None:
            playbook = load_playbook(playbooks, wanted.playbook)
        else:
            raise wire.ContractError("playbook", "missing; name a playbook, or give one as 'content'")
        return {"session_id": runs.add(playbook, wanted.session_id, wanted.to)}

    return router


def _why(error: OSError | UnicodeDecodeError) -> str:
    """The reason, without paths of this machine."""
    return (error.strerror or type(error).__name__) if isinstance(error, OSError) else "it is not UTF-8"


def _listed(folder: Path) -> list[dict[str, str]]:
    """The playbooks in `folder`. What only looks like one is left out: a folder, an editor's lock (a link to nowhere), a file just gone."""
    found: list[dict[str, str]] = []
    for path in sorted(folder.glob("*.md")) if folder.is_dir() else []:
        with contextlib.suppress(OSError):
            if path.is_file():
                updated = datetime.fromtimestamp(path.stat().st_mtime).astimezone().isoformat()
                found.append({"name": path.name, "updated": updated})
    return found


def _playbook_path(folder: Path, name: str) -> Path:
    try:
        path = (folder / name).resolve()
    except (OSError, ValueError, RuntimeError):  # NUL, links in a circle
        path = Path()
    is_short = len(name.encode("utf-8", "replace")) <= MAX_NAME_BYTES
    if not is_short or path.parent != folder.resolve() or path.suffix != ".md":
        raise HTTPException(400, f"Invalid filename: {name[:80]!r}; expected a name such as 'sales.md'")
    return path


def _write_whole(path: Path, content: str) -> None:
    """A playbook may contain vendors' keys: a new file is readable for the owner only, an existing one keeps its mode. Written whole or not
    at all.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else FILE_MODE
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with create_private(draft) as file:
            file.write(content.encode())
        draft.chmod(mode)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


async def _content_of(request: Request) -> str:
    """The playbook in a body: the body itself, or `content` of a JSON object."""
    if "json" in request.headers.get("content-type", ""):
        content = (await json_object(request)).get("content")
        if not isinstance(content, str):
            raise wire.ContractError("content", "missing; expected the playbook as text")
        return content
    try:
        return (await request.body()).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise HTTPException(400, f"the body is not UTF-8: byte {error.start} is {error.object[error.start]:#x}") from error


def load_playbook(playbooks: Playbooks, name: str) -> Playbook:
    """The playbook of that name. Raises HTTPException 404 if there is none, 400 if it has a mistake."""
    try:
        return playbooks.load(name)
    except PlaybookError as error:
        raise HTTPException(404 if error.line == 0 else 400, str(error)) from error
