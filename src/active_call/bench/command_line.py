"""Runs the command of a bench as `active-call` runs its commands: the same help, the same errors, the same exit codes.

The function of the command enters, whose parameters are its options; the exit code leaves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one line, for programs.")]
RecordFlag = Annotated[int, typer.Option(min=0, metavar="R", help="Record every R-th call.")]


def finite(value: float | None) -> float | None:
    """Check the value of an option. Raises BadParameter for `nan` and `inf`."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no number of calls or seconds")
    return value


def run_command(function: Callable[..., None], name: str, arguments: Sequence[str] | None = None) -> int:
    """Call `function` with the values of its options; `name` is the command in its help. None: the program's arguments."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(function)
    try:
        typer.main.get_command(app).main(None if arguments is None else list(arguments), prog_name=name)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0
