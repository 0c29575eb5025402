"""The agent's reaction to speech over its own: back-channels must not stop it, interruptions must.

    python benchmarks/overlaps.py [--set tune,held-out] [--each] [--traces FOLDER] [--record]

The entries of overlaps.yaml are spoken by several voices over a long statement of the agent, through a telephone band, noise, G.711, the
voice detector and the recogniser. Their traces (`--record` makes them) go through the call's own speech input and conversation.

`false`: the reply was stopped by a back-channel. `missed`: an interruption did not stop it. `paused`: from the caller's first sample to
the pause order. `decided`: from there to the decision. `stood`: how long a resumed reply was paused.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import yaml

from active_call.testing.sound import audio
from active_call.testing.sound.audio import RATE_HZ, Pcm
from active_call.testing.spoken_calls.overlap_replay import ReplayedOverlap, replay_overlap
from traces import FOLDER, SNR_DB, VOICES, Entry, Recorded, load

HERE = Path(__file__).parent
SAYS = (
    "Here is the news of the week. The first tulips have arrived from Holland, in red, yellow and white, and until Friday you get twelve "
    "of them for the price of ten. On Wednesday afternoon our gardener explains how to bring your roses through the winter."
)
MISSED_S = 2.0
"""A reply that continues this long after the caller's last word was not stopped."""


def main() -> None:
    """Run and print a row for each set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", default="tune,held-out", dest="sets")
    parser.add_argument("--each", action="store_true", help="print every overlap")
    parser.add_argument("--traces", type=Path, default=FOLDER, help="the folder that keeps them")
    parser.add_argument("--record", action="store_true", help="make the traces that are lacking")
    chosen = parser.parse_args()
    for name in chosen.sets.split(","):
        wanted = {key: entry for key, entry in entries() if entry["set"] == name}
        recorded = load(chosen.traces / f"overlaps-{name}.json.gz", wanted, say, record=chosen.record, judged=False)
        played = [(each, replay_overlap(each.trace, SAYS)) for each in recorded]
        tell(name, played, each=chosen.each)


def tell(name: str, played: list[tuple[Recorded, ReplayedOverlap]], *, each: bool) -> None:
    """Print the row of `name`."""
    listens = [pair for pair in played if pair[0].entry["kind"] != "interrupts"]
    interrupts = [pair for pair in played if pair[0].entry["kind"] == "interrupts"]
    false = [pair for pair in listens if is_given_up(pair[1])]
    missed = [pair for pair in interrupts if not is_given_up(pair[1])]
    paused = [1000 * (overlap.paused_at - overlap.began) for _, overlap in played if overlap.paused_at is not None]
    decided = [
        1000 * (overlap.yielded_at - overlap.paused_at)
        for _, overlap in interrupts
        if overlap.yielded_at is not None and overlap.paused_at is not None
    ]
    stood = [
        1000 * (overlap.resumed_at - overlap.paused_at)
        for _, overlap in listens
        if overlap.resumed_at is not None and overlap.paused_at is not None
    ]
    print(
        f"{name}: listens {len(listens)}, false {len(false)} ({100 * len(false) / len(listens):.1f} %)  interrupts {len(interrupts)}, "
        f"missed {len(missed)} ({100 * len(missed) / max(1, len(interrupts)):.1f} %)  paused {_spread(paused)}  "
        f"decided {_spread(decided)}  stood {_spread(stood)}",
        flush=True,
    )
    for recorded, overlap in played if each else (*false, *missed):
        entry = recorded.entry
        outcome = "yielded" if is_given_up(overlap) else "went on"
        print(f"    {outcome} {entry['kind']:10} {entry['voice']}/{entry['snr_db']:.0f} {entry['text']} -> {overlap.heard!r}", flush=True)


def is_given_up(overlap: ReplayedOverlap) -> bool:
    """The caller has the turn."""
    return overlap.yielded_at is not None and overlap.yielded_at <= overlap.ended + MISSED_S


def _spread(values: list[float]) -> str:
    return f"median {np.median(values):.0f} p95 {np.percentile(values, 95):.0f} ms" if values else "never"


# -- the overlaps


def entries() -> Iterator[tuple[str, Entry]]:
    """Every overlap with its name."""
    said = yaml.safe_load((HERE / "overlaps.yaml").read_text(encoding="utf-8"))
    for name, voices in VOICES.items():
        if name not in said:
            continue
        texts = [(kind, text) for kind in ("listens", "interrupts") for text in said[name][kind]]
        spoken = [(kind, text, voice) for kind, text in texts for voice in voices]
        sounds = [
            ("sound", text, f"seed {voices.index(voice) + 2 * list(VOICES).index(name)}") for text in said["sounds"] for voice in voices
        ]
        for number, (kind, text, voice) in enumerate([*spoken, *sounds]):
            snr_db = SNR_DB[number % len(SNR_DB)]
            yield f"{name} {kind} {voice}/{snr_db:.0f} {text}", {"set": name, "kind": kind, "voice": voice, "snr_db": snr_db, "text": text}


def say(entry: Entry) -> Pcm:
    """The spoken or generated sound."""
    from active_call.bench.evals import speech

    return _sound(entry["text"], int(entry["voice"].split()[1])) if entry["kind"] == "sound" else speech.say(entry["text"], entry["voice"])


def _sound(name: str, seed: int) -> Pcm:
    """A human hum, or a cough; another one for each seed."""
    from active_call.bench.evals import speech

    factor = 1 + 0.12 * seed
    match name:
        case "hum":
            return hum(130 * factor, 0.35)
        case "low hum":
            return hum(95 * factor, 0.6)
        case "two hums":
            return np.concatenate([hum(120 * factor, 0.22), audio.silence(90), hum(150 * factor, 0.3)])
        case "cough":
            return speech.cough(seed + 1)
        case _:
            loud: Pcm = np.clip(speech.cough(seed + 10).astype(np.int32) * 2, -32768, 32767).astype(np.int16)
            return loud


def hum(pitch_hz: float, seconds: float) -> Pcm:
    """A hum with a closed mouth: few overtones, slightly rising, soft edges, in a telephone band."""
    from active_call.bench.evals import speech

    moments = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    phase = 2 * np.pi * np.cumsum(pitch_hz * (1 + 0.15 * moments / seconds)) / RATE_HZ
    sound = sum(np.sin(overtone * phase) / overtone**1.5 for overtone in range(1, 9))
    edge = np.minimum(1.0, np.minimum(moments, seconds - moments) / 0.05)
    voiced = np.asarray(sound * edge)
    level = 4000 / float(np.sqrt((voiced**2).mean()))
    return speech.telephone_band(np.clip(voiced * level, -32768, 32767).astype(np.int16))


if __name__ == "__main__":
    main()
