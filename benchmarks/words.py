"""The word accuracy of the embedded recogniser on the telephone, through the server's call path, without a network.

    python benchmarks/words.py [--voices piper:joe,flite:rms,flite:slt] [--snr 44,20,10] [--every N] [--cache FILE] [--errors]

Each sentence is spoken in a separate call in virtual time: a telephone band, G.711, the voice detector, the utterances and partial texts of
a call, the recogniser's model, the turn detector. The text in the record is compared with the spoken sentence word by word (insertions,
omissions, replacements), with numbers as digits and spellings normalised (`spoken_form`). 44 dB is a quiet line.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from active_call.agent.matching.spoken_form import spoken_words
from active_call.bench.evals import speech
from active_call.bench.evals.measuring import word_errors
from active_call.testing.spoken_calls.call import play_call
from active_call.testing.spoken_calls.recogniser import CachedRecogniser

PLAYBOOK = "---\nllm: {provider: script}\ngreeting: Hello.\n---\n## *\nI see.\n"
SENTENCES = Path(__file__).parent / "sentences.txt"


def main() -> None:
    """Run and print a row for each voice and line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voices", default="piper:joe,flite:rms,flite:slt")
    parser.add_argument("--snr", default="44,20,10")
    parser.add_argument("--every", type=int, default=1, help="each Nth sentence only")
    parser.add_argument("--cache", type=Path, help="keep what the model hears here")
    parser.add_argument("--errors", action="store_true", help="print what was misheard")
    chosen = parser.parse_args()
    sentences = SENTENCES.read_text(encoding="utf-8").splitlines()[:: chosen.every]
    receiver = CachedRecogniser(chosen.cache)
    with TemporaryDirectory() as folder:
        playbook = Path(folder) / "words.md"
        playbook.write_text(PLAYBOOK, encoding="utf-8")
        for voice in chosen.voices.split(","):
            for snr_db in map(float, chosen.snr.split(",")):
                _row(voice, snr_db, sentences, playbook, receiver, tell=chosen.errors)
                receiver.keep()


def _row(voice: str, snr_db: float, sentences: list[str], playbook: Path, receiver: CachedRecogniser, *, tell: bool) -> None:
    count: Counter[str] = Counter()
    for sentence in sentences:
        played = play_call(playbook, [speech.say(sentence, voice)], speech.bed("hiss", snr_db), receiver)
        heard = played.turns[0].heard if played.turns else ""
        wrong = word_errors(spoken_words(sentence), spoken_words(heard))
        count.update(said=len(spoken_words(sentence)), wrong=wrong, cut=played.turns[0].is_cut_off, whole=not wrong)
        if tell and wrong:
            print(f"    {wrong} {sentence!r} -> {heard!r}", flush=True)
    right = 100 * (1 - count["wrong"] / count["said"])
    print(
        f"{voice:12} {snr_db:4.0f} dB  words right {right:5.1f} %  sentences {count['whole']} of {len(sentences)}  cut off {count['cut']}",
        flush=True,
    )


if __name__ == "__main__":
    main()
