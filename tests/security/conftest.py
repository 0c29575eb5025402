"""Attacks on a real server over loopback. They take what the interop tests have: the running server, SIPp, PostgreSQL."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

_HERE = Path(__file__).parent
for _folder in (_HERE, _HERE.parent / "interop"):
    if str(_folder) not in sys.path:
        sys.path.append(str(_folder))  # importlib mode adds no folder: `running_server` is found there


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.interop)
