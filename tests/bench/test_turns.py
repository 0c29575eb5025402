"""Real sound through the real recogniser into a whole call, in virtual time: farewells end it, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import pytest

from active_call.bench.evals import speech
from active_call.testing.sound import audio
from active_call.testing.sound.audio import MULAW, Pcm
from active_call.testing.spoken_calls.call import PlayedCall, play_call
from active_call.testing.spoken_calls.recogniser import CachedRecogniser

pytest.importorskip("onnxruntime")
pytest.importorskip("moonshine_voice")

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "tests" / "vectors" / "speech"
SENTENCES = (VECTORS / "sentences.txt").read_text(encoding="utf-8").splitlines()
EAR = CachedRecogniser()


def recorded(voice: str, sentence: str) -> Pcm:
    number = SENTENCES.index(sentence) + 1
    return MULAW.decode((VECTORS / f"{voice}_{number:02}.ulaw").read_bytes())


def call(sounds: list[Pcm], seed: int = 1, snr_db: float = 44.0) -> PlayedCall:
    hiss = audio.noise(10 * audio.RATE_HZ, sigma=speech.SPEECH_RMS / 10 ** (snr_db / 20), seed=seed)
    return play_call(ROOT / "evals" / "playbook.md", sounds, hiss, EAR)


@pytest.mark.parametrize(("seed", "snr_db"), [(1, 44.0), (2, 44.0), (3, 30.0), (4, 20.0), (5, 20.0), (6, 15.0)])
def test_thank_you_goodbye_ends_the_call_on_any_line(seed: int, snr_db: float) -> None:
    played = call([recorded("joe", "Thank you, goodbye.")], seed, snr_db)
    (turn,) = played.turns
    assert (played.ended_by, turn.is_cut_off) == ("agent", False), turn
    assert len(turn.answers) == 1, "the agent begins to answer once"


def test_natural_sentences_end_no_call() -> None:
    others = [sentence for sentence in SENTENCES if "goodbye" not in sentence.lower()][:6]
    played = call([recorded("joe", sentence) for sentence in others])
    assert (len(played.turns), played.ended_by) == (6, "caller"), [(turn.heard, turn.reply) for turn in played.turns]
