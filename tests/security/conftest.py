"""Attacks on a real server over real sockets; the mark is `interop`, as for every test that starts programs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

_HERE = Path(__file__).parent
for _folder in (_HERE, _HERE.parent / "interop"):
    if str(_folder) not in sys.path:
        sys.path.insert(0, str(_folder))  # importlib mode adds no folder: `running_server` is found there


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.interop)
