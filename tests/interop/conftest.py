"""What every test against a real program shares: the peers' harness on the path, and the mark `interop`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

_HERE = Path(__file__).parent
if str(_HERE) not in sys.path:
    sys.path.insert(0, str(_HERE))  # importlib mode adds no folder: `peers` is found here


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.interop)


def pytest_collection_finish(session: pytest.Session) -> None:
    from forked_starts import start_for_all

    if session.config.getoption("processes") > 1 and any(_HERE in item.path.parents for item in session.items):
        start_for_all()


def pytest_sessionfinish() -> None:
    from forked_starts import stop_forked_starts
    from shared_servers import stop_shared_servers

    stop_shared_servers()
    stop_forked_starts()
