"""The voice of Piper without its chance: it says a sentence the same way each time.

Piper draws the length and the timbre of each sound anew, and one hearing in twelve of a short sentence fails a recogniser. That is not what
evals and tests judge.
"""

from __future__ import annotations

import json
from pathlib import Path

from active_call.providers.tts.piper_voices import FOLDER_VARIABLE, find_voice

NAME = "still"
"""As playbooks and personas call it: `speaker: still`, `piper:still`."""


def write_still_voice(folder: Path) -> dict[str, str]:
    """Write the voice into `folder`; gives the environment in which it is found. Raises LookupError if no voice is installed."""
    found = find_voice({}, "joe", "en")
    if found is None:
        raise LookupError("no voice is installed: pip install 'active-call[local]'")
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / f"en_US-{NAME}-medium.onnx"
    model.symlink_to(found.model)
    config = json.loads(Path(f"{found.model}.json").read_text(encoding="utf-8"))
    config["inference"].update(noise_scale=0.0, noise_w=0.0)
    Path(f"{model}.json").write_text(json.dumps(config), encoding="utf-8")
    return {FOLDER_VARIABLE: str(folder)}
