"""Attacks on a real server over loopback. They take what the interop tests have: the running server, SIPp, PostgreSQL."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "interop"))
