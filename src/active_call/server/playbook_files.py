"""Finds playbook files. A name enters; the path of an existing file leaves, or a PlaybookError; never a path that the requester may not
name.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from active_call.base.errors import PlaybookError
from active_call.server.config.sections import PlaybookHandler

if TYPE_CHECKING:
    from active_call.server.config.config import Config

STARTER_PLAYBOOK = "greeting.md"
"""Written at the start if the handler names it and it does not exist."""
PLAYBOOK_FOLDERS = (Path("config/playbook"), Path("playbooks"))
"""Searched in this order in the working directory; then the name as given."""


def find_playbook(name: str, config: Config) -> Path:
    """The file of the playbook `name`. Raises PlaybookError if there is none, or if the name leaves the folders.

    A name that the operator wrote into the configuration may be any path. Any other name (an API client's, a webhook's) must be a `.md`
    file inside one of the folders or the working directory, symbolic links followed.
    """
    is_own = name in _configured_names(config)
    if not is_own:
        _refuse_leaving(name)
    candidates = _candidates(name)
    for candidate in candidates:
        if candidate.is_file():
            if not is_own and not candidate.resolve().is_relative_to(_root_of(candidate, Path(name))):
                raise PlaybookError(name, 0, f"the playbook {name!r} leads out of its folder")
            return candidate
    looked = ", ".join(str(candidate.absolute()) for candidate in candidates)
    raise PlaybookError(name, 0, f"there is no playbook {name!r} (looked for {looked})")


@lru_cache(maxsize=64)
def _candidates(name: str) -> tuple[Path, ...]:
    """Where the playbook may be, in order. Cached, because each call asks, mostly for the same one."""
    path = Path(name)
    return (path,) if path.is_absolute() else (*(folder / path for folder in PLAYBOOK_FOLDERS), path)


def _refuse_leaving(name: str) -> None:
    parts = PurePosixPath(name.replace("\\", "/"))
    if not name.strip() or "\0" in name or parts.is_absolute() or ".." in parts.parts or Path(name).is_absolute():
        raise PlaybookError(name, 0, f"{name!r} is not the name of a playbook inside the playbook folder")
    if parts.suffix != ".md":
        raise PlaybookError(name, 0, f"{name!r} is not the name of a playbook; expected a name that ends in .md")


def _root_of(candidate: Path, path: Path) -> Path:
    """The folder in which `candidate` was found under the name `path`."""
    return candidate.parents[len(path.parts) - 1].resolve()


def _configured_names(config: Config) -> set[str]:
    handler = config.handler
    if not isinstance(handler, PlaybookHandler):
        return set()
    return {name for name in (handler.default, *(rule.playbook for rule in handler.rules)) if name}


def playbook_folder() -> Path:
    """The folder of the playbooks that the HTTP API reads and writes: the first one of `PLAYBOOK_FOLDERS` that exists, or the last."""
    return next((folder for folder in PLAYBOOK_FOLDERS if folder.is_dir()), PLAYBOOK_FOLDERS[-1])
