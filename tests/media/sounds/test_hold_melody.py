"""The melody on hold, judged by its length, its level and its spectrum."""

from __future__ import annotations

import numpy as np

from active_call.media.sounds.hold_melody import hold_melody


def samples(pcm: bytes) -> np.ndarray:
    return np.frombuffer(pcm, "<i2").astype(float) / 32768


def test_melody_lasts_fits_a_telephone_and_has_no_seam() -> None:
    sound = samples(hold_melody())
    assert len(sound) == 32 * 8000
    assert 0.2 < abs(sound).max() < 0.3
    steps = abs(np.diff(np.concatenate((sound, sound[:1]))))
    assert steps[-1] <= steps[:-1].max()
    spectrum = abs(np.fft.rfft(sound)) ** 2
    hz = np.fft.rfftfreq(len(sound), 1 / 8000)
    assert spectrum[(hz >= 80) & (hz <= 3000)].sum() / spectrum.sum() > 0.999
    quarters = (sound.reshape(-1, 2000) ** 2).mean(axis=1) ** 0.5
    assert quarters.min() > 0.01  # it never stops: nobody takes the line for dead
