"""What the tests of the store share: a PostgreSQL of their own, and stores of records in both kinds of database."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "interop"))

from peers.postgres import Postgres, own_cluster

_names = count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with own_cluster() as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def own_shared_memory(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers that are killed and never come back leave a file there."""
    monkeypatch.setattr("active_call.store.database.journal.SHARED_MEMORY", tmp_path_factory.getbasetemp())


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'db' / 'records.db'}"
    cluster: Postgres = request.getfixturevalue("postgres")
    return cluster.new_database(f"records_{next(_names)}")
