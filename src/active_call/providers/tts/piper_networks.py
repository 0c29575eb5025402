"""Loads the networks of a Piper voice into onnxruntime, and keeps them on disk as onnxruntime has optimised them.

Splitting and optimising a voice takes 1.4 s of CPU time on a slow core, loading what was kept 0.15 s: the first call after a start waits
for it. A kept network is valid for one file of a voice and one version of onnxruntime; the name of its folder is made from both. It has no
optimisation that depends on the processor (`ORT_ENABLE_EXTENDED`); the sound takes as long to make with it. Without a folder that can be
written, each process loads the voice itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from msgspec import Struct

from active_call.providers.tts.piper_model import split

FORMAT = 1
"""Changes when `split` makes other networks from the same voice."""
UNFINISHED = "unfinished."
UNFINISHED_S = 600.0
"""After this time nobody is writing any more."""
ENCODER, DECODER, NAMES = "encoder.onnx", "decoder.onnx", "names.json"


class Networks(Struct, frozen=True):
    """The networks of a voice, ready to run: its two halves and the names of the encoder's outputs `latent` and `durations`.

    A voice that cannot be split has no decoder: its encoder makes the sound, and the names are empty.
    """

    encoder: Any
    decoder: Any | None = None
    latent: str = ""
    durations: str = ""


def load(model: Path, cache: Path | None) -> Networks:
    """The networks of the voice in the file `model`, from the folder `cache` if they are kept there; otherwise they are kept there now.

    Raises OSError or ValueError for a voice that cannot be read, and onnxruntime's errors for one that it cannot run.
    """
    kept = None if cache is None else cache / "voices" / _name(model)
    if kept is not None and (found := _kept(kept)) is not None:
        return found
    if kept is None:
        return _made(model, None)
    try:
        kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=kept.parent))
    except OSError:
        return _made(model, None)
    try:
        made = _made(model, unfinished)
        _put_in_place(unfinished, kept)
    except Exception:  # noqa: BLE001 - onnxruntime's own error if the disk is full; the voice is then loaded without keeping it
        made = _made(model, None)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return made


def _name(model: Path) -> str:
    import onnxruntime

    facts = model.stat()
    which = f"{FORMAT} {onnxruntime.__version__} {model.resolve()} {facts.st_size} {facts.st_mtime_ns}"
    return f"{model.stem}-{hashlib.sha256(which.encode()).hexdigest()[:16]}"


def _kept(folder: Path) -> Networks | None:
    """What is kept in `folder`; None if there is nothing, or nothing that can be loaded."""
    try:
        names = json.loads((folder / NAMES).read_bytes())
        decoder = _session(folder / DECODER, None) if names["latent"] else None
        return Networks(_session(folder / ENCODER, None), decoder, names["latent"], names["durations"])
    except Exception:  # noqa: BLE001 - a damaged file: onnxruntime has no common error; the voice is then loaded and kept anew
        return None


def _made(model: Path, folder: Path | None) -> Networks:
    data = model.read_bytes()
    parts = split(data)
    if parts is None:
        made = Networks(_session(data, folder and folder / ENCODER))
    else:
        encoder = _session(parts.encoder, folder and folder / ENCODER)
        made = Networks(encoder, _session(parts.decoder, folder and folder / DECODER), parts.latent, parts.durations)
    if folder is not None:
        (folder / NAMES).write_text(json.dumps({"latent": made.latent, "durations": made.durations}), encoding="utf-8")
    return made


def _put_in_place(unfinished: Path, kept: Path) -> None:
    """Keeps a finished folder, and removes earlier versions of the same voice and what processes that were killed have left."""
    voice = kept.name.rpartition("-")[0]
    old = time.time() - UNFINISHED_S
    with contextlib.suppress(OSError):  # another process was faster: its folder stays
        shutil.rmtree(kept, ignore_errors=True)  # it could not be loaded, if it is there
        unfinished.rename(kept)
        for other in kept.parent.iterdir():
            if other != kept and (
                other.name.rpartition("-")[0] == voice or (other.name.startswith(UNFINISHED) and other.stat().st_mtime < old)
            ):
                shutil.rmtree(other, ignore_errors=True)


def _session(model: bytes | Path, keep_as: Path | None) -> Any:
    """A session for a network in bytes, which is optimised, or for a kept one, which is run as it is."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_DISABLE_ALL if isinstance(model, Path) else level.ORT_ENABLE_EXTENDED
    if keep_as is not None:
        options.optimized_model_filepath = str(keep_as)
    source = str(model) if isinstance(model, Path) else model
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
