"""What judges the program shares no code with it."""

from __future__ import annotations

import subprocess
import sys

JUDGES = [f"phone.{name}" for name in ("__main__", "caller", "receiver", "rtp", "sip", "story", "user_agent", "wire")]
JUDGES += ["sound.audio", "sound.listening", "sound.voice", "certificate"]
JUDGES += ["trunk", "trunk.admission", "trunk.called", "trunk.calling", "trunk.leg", "trunk.media", "trunk.trunk"]
JUDGED = ["agent", "api", "call", "codec", "legs", "media", "net", "providers", "rtp", "sdp", "sip", "server", "store"]


def test_judging_modules_load_no_judged_room() -> None:
    imports = ", ".join(f"active_call.testing.{name}" for name in JUDGES)
    code = f"import sys, {imports}; print('\\n'.join(name for name in sys.modules if name.startswith('active_call.')))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout.split()
    assert {f"active_call.testing.{name}" for name in JUDGES} <= set(loaded)
    assert [name for name in loaded if name.split(".")[1] in JUDGED] == []
