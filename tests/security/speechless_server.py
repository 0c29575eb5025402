"""A running server for callers without a voice, who are most of the attackers."""

from __future__ import annotations

from functools import partial

from running_server import NOBODY_SPEAKS, running_server

speechless_server = partial(running_server, engines=NOBODY_SPEAKS)
"""As `running_server`; no recogniser is started."""
