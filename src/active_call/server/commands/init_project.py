"""`active-call init`: writes a small working project. It writes all files or none, and overwrites nothing."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Final

from active_call.base.errors import ActiveCallError

KEPT: Final = ".gitignore"


class ProjectExists(ActiveCallError):
    """A file of the new project exists already, or cannot be written."""

    code = "project_exists"


def init_project(folder: Path, *, is_python: bool = False) -> list[Path]:
    """Write the project into `folder`, with a Python bot or with a playbook; returns the files. An existing `.gitignore` is kept.

    Raises ProjectExists.
    """
    files = {folder / name: text for name, text in _project(is_python).items() if name != KEPT or not (folder / name).exists()}
    if folder.exists() and not folder.is_dir():
        raise ProjectExists(f"{folder} is a file; expected the name of a folder")
    for path in files:
        if path.exists() or path.is_symlink():
            raise ProjectExists(f"{path} already exists; nothing was written")
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise ProjectExists(f"{error.filename or folder} cannot be written: {error.strerror}") from error
    return list(files)


def start_command(*, is_python: bool) -> str:
    """The command that starts the project."""
    return "python bot.py" if is_python else "active-call serve"


def _project(is_python: bool) -> dict[str, str]:
    start = start_command(is_python=is_python)
    main = "bot.py" if is_python else "playbooks/reception.md"
    readme = _template("README.md").format(start=start, padding=" " * (30 - len(start)), main=main)
    return {
        "active-call.toml": _template("active-call.toml") + ("" if is_python else _template("handler.toml")),
        main: _template("bot.py.txt" if is_python else "reception.md"),
        "tests/test_bot.py": _template("test_python.py.txt" if is_python else "test_playbook.py.txt"),
        ".env.example": _template("env.example"),
        KEPT: _template("gitignore"),
        "README.md": readme,
    }


def _template(name: str) -> str:
    return (resources.files("active_call.server") / "starter" / "project" / name).read_text(encoding="utf-8")
