"""The names that `import active_call` offers: the same for programs and for type checkers."""

from __future__ import annotations

import ast
import inspect

import active_call


def test_names_for_type_checkers_are_those_that_load() -> None:
    body = ast.parse(inspect.getsource(active_call)).body
    checked = next(part for part in body if isinstance(part, ast.If) and ast.unparse(part.test) == "TYPE_CHECKING")
    seen = {alias.asname for imported in checked.body if isinstance(imported, ast.ImportFrom) for alias in imported.names}
    loaded = {name for name in active_call.__all__ if getattr(active_call, name) is not None} - {"__version__"}
    assert seen == loaded


def test_type_checkers_do_not_see_the_loading_on_first_use() -> None:
    """With a `__getattr__` of the module they would accept every misspelt name."""
    functions = [part.name for part in ast.parse(inspect.getsource(active_call)).body if isinstance(part, ast.FunctionDef)]
    assert functions == ["__dir__"]
