"""Traces of callers' turns in a file, for the benchmarks that replay turns: `turns.py` and `overlaps.py`."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from active_call.testing.sound.audio import MULAW, Pcm
from active_call.testing.spoken_calls.turn_trace import TurnTrace, from_json, record_turn, to_json, with_silence

FOLDER = Path(__file__).parent / "traces"
VOICES = {
    "tune": ("piper:joe", "flite:rms"),
    "held-out": ("flite:slt", "flite:awb", "piper:joe*1.2"),
    "fresh": ("flite:slt", "piper:joe*1.2"),
    "tune-2": ("piper:joe*0.88", "flite:kal16"),
    "tune-3": ("flite:slt", "flite:awb", "piper:joe*1.2", "piper:joe*1.35"),
    "held-out-2": ("flite:slt", "flite:awb", "piper:joe*1.2"),
    "tune-4": ("piper:joe", "piper:joe*0.88", "flite:rms"),
    "fresh-2": ("flite:slt", "piper:joe*1.2"),
    "tune-5": ("flite:kal16", "flite:rms", "espeak:en-gb", "espeak:en-us+f2"),
}
"""The sets used to tune rules and weights, and the sets used to evaluate them. `tune-2` are the sentences of `tune` in other voices."""
SAID_BY = {"tune-2": "tune"}
"""The sets that have the sentences of another one."""
SNR_DB = (44.0, 30.0, 20.0)
"""The lines, in turn: a quiet one, an ordinary one, a noisy one."""
SOUNDS = FOLDER / "sounds"
"""The spoken sound: not stored in the repository."""
EVERY = 20
"""Traces between two writes of the file."""

Entry = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Recorded:
    """A spoken entry, with its trace."""

    entry: Entry
    trace: TurnTrace


def load(file: Path, wanted: dict[str, Entry], say: Callable[[Entry], Pcm], *, record: bool, judged: bool = True) -> list[Recorded]:
    """The traces of `wanted`, by name. `say` makes the sound of an entry, 8 kHz samples; its noise is added here.

    With `record` missing traces are recorded first, which needs the voices and the models; `judged`: also the answers of Smart Turn.
    """
    kept = json.loads(gzip.decompress(file.read_bytes())) if file.exists() else {}
    if record:
        _record({name: entry for name, entry in wanted.items() if name not in kept}, kept, say, file, judged=judged)
    lacking = [name for name in wanted if name not in kept]
    if lacking:
        raise SystemExit(f"{file} lacks {len(lacking)} traces, for one {lacking[0]!r}: run with --record")
    return [Recorded(entry, from_json(kept[name])) for name, entry in wanted.items()]


def sound_of(name: str, entry: Entry, say: Callable[[Entry], Pcm]) -> Pcm:
    """The sound as spoken the first time."""
    file = SOUNDS / f"{hashlib.blake2b(name.encode(), digest_size=8).hexdigest()}.npy"
    if not file.exists():
        SOUNDS.mkdir(exist_ok=True, parents=True)
        np.save(file, say(entry))
    sound: Pcm = np.load(file)
    return sound


def line_of(name: str, entry: Entry, say: Callable[[Entry], Pcm]) -> Pcm:
    """The whole line as a trace gets it: silence, speech, silence, over its noise, in G.711."""
    from active_call.bench.evals.speech import bed

    sound = with_silence(sound_of(name, entry, say)).astype(np.int32)
    noisy = sound + np.resize(bed("hiss", entry["snr_db"]), len(sound))
    line: Pcm = MULAW.decode(MULAW.encode(np.clip(noisy, -32768, 32767).astype(np.int16)))
    return line


def _record(lacking: dict[str, Entry], kept: dict[str, Any], say: Callable[[Entry], Pcm], file: Path, *, judged: bool) -> None:
    from active_call.bench.evals.speech import bed
    from active_call.providers.turn.smart_turn import find_model
    from active_call.providers.turn.smart_turn_engine import judge
    from active_call.testing.spoken_calls.recogniser import CachedRecogniser

    receiver, model = CachedRecogniser(), str(find_model(None)) if judged else ""
    file.parent.mkdir(exist_ok=True)
    for number, (name, entry) in enumerate(lacking.items(), 1):
        said = sound_of(name, entry, say)
        kept[name] = to_json(
            record_turn(said, bed("hiss", entry["snr_db"]), receiver, (lambda pcm: judge(model, [pcm])[0]) if judged else None)
        )
        if number % EVERY == 0 or number == len(lacking):
            print(f"recorded {number} of {len(lacking)}", flush=True)
            file.write_bytes(gzip.compress(json.dumps(kept, separators=(",", ":")).encode(), mtime=0))
