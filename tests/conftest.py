"""What all tests share: how long the property tests search (`make fuzz` takes the long profile), the order of files, ports per process."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

_HERE = Path(__file__).parent
if str(_HERE) not in sys.path:
    sys.path.insert(0, str(_HERE))  # importlib mode adds no folder: `ports` is found here

from forked_processes import pytest_addoption, pytest_runtestloop  # noqa: E402, F401
from searches import N_LONG, N_USUAL  # noqa: E402

# The server is started some two hundred times, as several processes each: without bytecode on disk every start compiles all of it.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Each HTTP client and each server reads the machine's authorities, 0.05 s of CPU, and tests make thousands. No test trusts one of them.
os.environ["SSL_CERT_FILE"] = str(_HERE / "vectors" / "authority.pem")

settings.register_profile("default", max_examples=N_USUAL, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("long", max_examples=N_LONG, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")

_LONG_FILES = (
    "test_bad_networks.py",
    "test_transfers.py",
    "test_linphone_calls.py",
    "test_baresip_calls.py",
    "test_load_and_leaks.py",
    "test_kamailio_edge.py",
    "test_codecs_baresip.py",
    "test_holds_and_requests.py",
)
"""The files that take longest begin first, so that no process is left with one of them at the end."""
_IN_REAL_TIME = ("interop", "security", "net", "media")
"""Folders whose tests wait for real time. They begin before the pure tests, which then fill the gaps."""


gc.disable()
"""Until the tests are collected: nothing of them is garbage, and each pass would look at all of it."""


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()  # ten thousand tests, which live as long as the process; a collection by a test looks at what tests make
    gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _place_in_the_run(item.path))
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(_group(item)))


def _group(item: pytest.Item) -> str:
    """What runs in one process: the tests of a file, because they may share a server; those that share nothing go where there is room."""
    folder = _within(item.path).parts[0]
    fixtures = getattr(item, "_fixtureinfo", None)
    found = fixtures.name2fixturedefs.values() if fixtures is not None else ()
    shares = fixtures is None or any(one[-1].baseid and one[-1].scope != "function" for one in found)  # without baseid: pytest's own
    return item.nodeid if folder in _IN_REAL_TIME and not shares else str(_within(item.path))


@cache
def _within(path: Path) -> Path:
    """`path` below the tests."""
    return path.relative_to(_HERE)


@cache
def _place_in_the_run(path: Path) -> tuple[int, int]:
    folder = _within(path).parts[0]
    by_file = _LONG_FILES.index(path.name) if path.name in _LONG_FILES else len(_LONG_FILES)
    return by_file, _IN_REAL_TIME.index(folder) if folder in _IN_REAL_TIME else len(_IN_REAL_TIME)


@pytest.fixture
def without_collector() -> Iterator[None]:
    """The garbage collector is off: only what has no reference cycle is freed."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()
