"""Makes the helpers of these tests importable by name, and gives virtual time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from active_call.testing.virtual_time import run_virtually


@pytest.fixture
def virtually() -> Callable[..., Any]:
    return run_virtually
