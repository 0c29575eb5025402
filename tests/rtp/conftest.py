"""Lets the tests of this room import `scalar_buffers`, what the tables are compared with."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
