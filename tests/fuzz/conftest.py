"""Puts what the fuzz targets share on the path."""

from __future__ import annotations

import sys
from pathlib import Path

_HERE = Path(__file__).parent
if str(_HERE) not in sys.path:
    sys.path.insert(0, str(_HERE))  # importlib mode adds no folder: `fuzzing` is found here
